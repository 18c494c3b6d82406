//! What holds for every input of the coding systems and of the parsers of text and of PROXY headers: one
//! check for each, run by `tests/tests/checks.rs` on drawn inputs and by the targets of `tests/fuzz` on hunted ones.
//!
//! Invariant: a check panics when a promise is broken, and for no other reason; the fuzzer takes this
//! very file, so nothing here but `netproc_core` is used. Where inputs come from is left to callers.

use std::sync::LazyLock;

use netproc_core::{
    address::Address,
    coding::{Coding, CodingSystem, Decoder, Encoder, LineEnd, Text},
    proxy::{ProxyHeader, ProxyHeaderError, ProxyOut, TrustedProxies, tlv},
};

/// Every coding system that is converted, by its first name, in Emacs's order.
static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let rows = include_str!("../golden/coding/names.tsv").lines();
    let names = rows.filter_map(|row| row.split('\t').next());
    names.filter(|name| name.parse::<CodingSystem>().is_ok()).collect()
});

/// Systems that guess from what each read holds.
const GUESSING: [&str; 2] = ["undecided", "prefer-utf-8"];

/// Systems whose text encodes to the very bytes it was decoded from, if line ends stay.
const LOSSLESS: [&str; 8] = [
    "no-conversion",
    "no-conversion-multibyte",
    "raw-text",
    "utf-8",
    "utf-8-emacs",
    "iso-latin-1",
    "us-ascii",
    "utf-16le",
];

/// The most bytes of text that a byte decodes to: every raw byte takes two, a character of the first
/// plane three, and nothing shorter than four bytes is one beyond it.
const TEXT_PER_BYTE: usize = 3;

/// The most bytes that one element of a text encodes to: a shift there and back and the character.
const BYTES_PER_CHAR: usize = 12;

/// What an encoder adds once: a mark, a shift back.
const BYTES_ONCE: usize = 8;

/// The system of number `index` with the line end of number `end`: unix, dos, mac, or left open.
/// Every pair of numbers stands for one.
///
/// # Panics
///
/// When a name without line ends is not the name of a system, which the list rules out.
#[must_use]
pub fn system(index: usize, end: usize) -> CodingSystem {
    let name = NAMES[index % NAMES.len()];
    let full = format!("{name}{}", ["-unix", "-dos", "-mac", ""][end % 4]);
    // `binary` takes no line end.
    full.parse().or_else(|_| name.parse()).expect("the list holds systems only")
}

/// What a stream comes to: its text before the end and with it, and what is known of it then.
#[derive(PartialEq, Debug)]
struct Outcome {
    before: Text,
    after: Text,
    system: CodingSystem,
    pending: bool,
}

fn decode<'a>(system: CodingSystem, reads: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = Decoder::new(system);
    let mut text = Text::new();
    reads.into_iter().for_each(|read| decoder.decode(read, &mut text));
    let (before, system) = (text.clone(), decoder.system());
    let pending = decoder.has_pending();
    decoder.finish(&mut text);
    Outcome { before, after: text, system, pending }
}

/// The reads that `bytes` come in when they are cut at these places, each taken modulo the length.
fn reads<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

/// Checks one stream: it decodes to the same text wherever it is cut, to no more than is bounded by its
/// length, and back to the same bytes where that is promised.
///
/// # Panics
///
/// When one of these does not hold.
pub fn coding(system: CodingSystem, bytes: &[u8], cuts: &[usize]) {
    let whole = decode(system, [bytes]);
    let cut = decode(system, reads(bytes, cuts));
    for outcome in [&whole, &cut] {
        let len = outcome.after.byte_len();
        assert!(
            len <= TEXT_PER_BYTE * bytes.len(),
            "{system}: {} bytes, {len} of text",
            bytes.len()
        );
        survives(outcome, bytes);
        encodes(outcome);
    }
    let guesses = GUESSING.contains(&system.base());
    let is_open = system.line_end().is_none() && !system.is_binary();
    if !guesses && !is_open {
        assert_eq!(cut, whole, "{system} cut at {cuts:?}");
        assert_eq!(decode(system, bytes.chunks(1)), whole, "{system} byte by byte");
    }
    unibyte(system, bytes);
}

/// The text encodes to the bytes it came from, in the system that the stream turned out to be in.
fn survives(outcome: &Outcome, bytes: &[u8]) {
    let system = outcome.system;
    // A stream without any line end leaves open which it has, and none was converted. One that was
    // guessed, or began with a mark, is by now in a system that says so.
    let unconverted = matches!(system.line_end(), None | Some(LineEnd::Unix));
    if LOSSLESS.contains(&system.base()) && unconverted {
        let mut again = Vec::new();
        let report = Encoder::new(system).encode(&outcome.after, &mut again);
        assert_eq!((&again[..], report.replaced), (bytes, 0), "{system}");
    }
}

/// Any text encodes, in bounds, and is refused exactly when a character would have been replaced.
fn encodes(outcome: &Outcome) {
    let (mut lenient, mut strict) = (Vec::new(), Vec::new());
    let report = Encoder::new(outcome.system).encode(&outcome.after, &mut lenient);
    let most = BYTES_PER_CHAR * outcome.after.chars().count() + BYTES_ONCE;
    assert!(lenient.len() <= most, "{}: {} bytes, {most} at most", outcome.system, lenient.len());
    match Encoder::new(outcome.system).try_encode(&outcome.after, &mut strict) {
        Ok(()) => assert_eq!((strict, 0), (lenient, report.replaced), "{}", outcome.system),
        Err(refused) => {
            assert!(report.replaced > 0 && strict.is_empty(), "{refused}");
            assert!(refused.position < outcome.after.chars().count(), "{refused}");
        }
    }
}

/// Bytes sent as they are keep all but their line ends.
fn unibyte(system: CodingSystem, bytes: &[u8]) {
    let mut out = Vec::new();
    Encoder::new(system).encode_bytes(bytes, &mut out);
    let end: &[u8] = match system.line_end() {
        None | Some(LineEnd::Unix) => b"\n",
        Some(LineEnd::Dos) => b"\r\n",
        Some(LineEnd::Mac) => b"\r",
    };
    let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    assert_eq!(out, lines.join(end), "{system}");
}

/// Checks what parses text: whatever is taken prints as what parses to the same, and whatever is
/// refused is so in a bounded message.
///
/// # Panics
///
/// When one of these does not hold.
pub fn text(text: &str) {
    /// More than any of our messages needs, however much it escapes of the text it quotes.
    const MESSAGE_MAX: usize = 1000;
    let bounded = |message: String| assert!(message.len() < MESSAGE_MAX, "{message}");
    match text.parse::<Address>() {
        Ok(address) => prints(&address),
        Err(err) => bounded(err.to_string()),
    }
    match text.parse::<CodingSystem>() {
        Ok(system) => {
            assert_eq!(system.to_string(), text, "a system prints as it was asked for");
            assert!(system.for_encoding().to_string().parse() == Ok(system.for_encoding()));
            assert!(system.raw_text().to_string().parse() == Ok(system.raw_text()));
            assert_eq!(text.parse::<Coding>(), Ok(system.into()), "a name is both halves");
        }
        Err(err) => bounded(err.to_string()),
    }
    for text in [text.to_owned(), format!("({text})"), format!("({text} . utf-8-dos)")] {
        match text.parse::<Coding>() {
            Ok(coding) => {
                assert_eq!(coding.to_string().parse::<Coding>(), Ok(coding), "{text:?}");
                // Whatever may be asked for may be used.
                let _ = (coding.decoder(), coding.encoder());
            }
            Err(err) => bounded(err.to_string()),
        }
    }
}

/// Checks the addresses that can be made of these bytes: a local one, a raw one of another family, and
/// those of IP when there are bytes enough.
///
/// # Panics
///
/// When one prints as text that parses to another.
pub fn address(bytes: &[u8]) {
    if let Ok(local) = Address::local(bytes) {
        prints(&local);
    }
    if let Some((family, rest)) = bytes.split_first_chunk::<2>()
        && let Ok(other) = Address::other(u16::from_ne_bytes(*family), rest)
    {
        prints(&other);
    }
    let fields =
        bytes.chunks_exact(2).map(|pair| i64::from(u16::from_be_bytes([pair[0], pair[1]])));
    let fields: Vec<i64> = fields.collect();
    for len in [5, 9] {
        let vector: Vec<i64> = fields.iter().copied().take(len).collect();
        if let Ok(address) = Address::from_vector(&vector) {
            let printed = address.to_vector().expect("it was made of one");
            assert_eq!(printed.into_iter().map(i64::from).collect::<Vec<_>>(), vector);
            prints(&address);
        }
    }
}

/// An address prints as text that parses to it again.
fn prints(address: &Address) {
    let text = address.to_string();
    assert_eq!(text.parse().as_ref(), Ok(address), "{text}");
    // Both forms of the other text exist for every family.
    for omit_port in [false, true] {
        let _ = address.network_text(omit_port).to_string();
    }
}

/// How far a header is looked at byte by byte.
const PREFIXES_MAX: usize = 600;

/// Checks what a server reads where a PROXY header has to be: what it is does not change as more comes, and
/// what was read can be passed on and means the same there.
///
/// # Panics
///
/// When one of these does not hold.
pub fn proxy(bytes: &[u8], len_max: usize) {
    let whole = ProxyHeader::parse(bytes, len_max);
    let mut known = Ok(None);
    for end in 0..=bytes.len().min(PREFIXES_MAX) {
        let now = ProxyHeader::parse(&bytes[..end], len_max);
        assert!(known == Ok(None) || known == now, "{end}: {known:?}, then {now:?}");
        known = now;
    }
    assert!(known == Ok(None) || known == whole, "{known:?}, in the end {whole:?}");
    match whole {
        Ok(None) => assert!(bytes.len() < len_max.max(107), "no end to what is kept"),
        Ok(Some((header, len))) => {
            assert!(len <= bytes.len() && len <= len_max.max(107));
            passes_on(&header);
        }
        Err(err) => assert!(err.to_string().len() < 200 && err != ProxyHeaderError::Late),
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(list) = text.parse::<TrustedProxies>()
    {
        assert_eq!(list.to_string().parse().as_ref(), Ok(&list), "{text:?}");
    }
}

/// What came can be sent as it is, but for a checksum, which goes to the end.
fn passes_on(header: &ProxyHeader) {
    let bytes = ProxyOut::from(header).bytes(None, None).expect("it has been one");
    let (again, len) = ProxyHeader::parse(&bytes, bytes.len()).ok().flatten().expect("it is one");
    assert_eq!(len, bytes.len());
    assert_eq!((again.version(), again.origin()), (header.version(), header.origin()));
    let values = |header: &ProxyHeader| {
        let values = header.tlvs().filter(|(kind, _)| *kind != tlv::CRC32C);
        values.map(|(kind, value)| (kind, value.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(values(&again), values(header));
    let summed = |header: &ProxyHeader| header.tlv(tlv::CRC32C).is_some();
    assert_eq!(summed(&again), summed(header));
}
