//! The form of a host's name for the wire: RFC 3492, a label at a time.
//!
//! Invariant: what is ASCII already stays as it is, whatever is in it. No character is mapped to
//! another: who wants a name in small letters writes it so, as in Emacs. Whether a name is a good one is
//! left to whoever looks it up.

/// Parameters of RFC 3492, section 5.
const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_N: u32 = 128;

/// The longest label of a host's name, and so the longest that is worth being encoded.
const CHARS_MAX: usize = 63;

/// `host` with each label that is not ASCII encoded; `None` if one is longer than any name has.
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Network" (HOST); RFC 3492, section 6.3.
pub(super) fn to_ascii(host: &str) -> Option<String> {
    let labels: Option<Vec<String>> = host.split('.').map(label).collect();
    labels.map(|labels| labels.join("."))
}

fn label(label: &str) -> Option<String> {
    if label.is_ascii() {
        return Some(label.to_owned());
    }
    let points: Vec<u32> = label.chars().map(u32::from).take(CHARS_MAX + 1).collect();
    if points.len() > CHARS_MAX {
        return None;
    }
    let mut out = String::from("xn--");
    let basic: String = label.chars().filter(char::is_ascii).collect();
    out.push_str(&basic);
    if !basic.is_empty() {
        out.push('-');
    }
    let (mut n, mut delta, mut bias) = (INITIAL_N, 0u32, INITIAL_BIAS);
    let basic_len = u32::try_from(basic.len()).ok()?;
    let mut handled = basic_len;
    while usize::try_from(handled).ok()? < points.len() {
        let next = points.iter().copied().filter(|&point| point >= n).min()?;
        // With 63 characters at most it cannot overflow.
        delta += (next - n) * (handled + 1);
        n = next;
        for &point in &points {
            delta += u32::from(point < n);
            if point == n {
                write_number(delta, bias, &mut out);
                bias = adapt(delta, handled + 1, handled == basic_len);
                delta = 0;
                handled += 1;
            }
        }
        delta += 1;
        n += 1;
    }
    Some(out)
}

/// Appends `delta` as a number of variable length.
fn write_number(delta: u32, bias: u32, out: &mut String) {
    let mut rest = delta;
    let mut k = BASE;
    loop {
        let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if rest < threshold {
            out.push(digit(rest));
            return;
        }
        out.push(digit(threshold + (rest - threshold) % (BASE - threshold)));
        rest = (rest - threshold) / (BASE - threshold);
        k += BASE;
    }
}

fn digit(value: u32) -> char {
    char::from_digit(value.wrapping_sub(26), 10)
        .filter(|_| value >= 26)
        .or_else(|| char::from_u32(u32::from(b'a') + value))
        .expect("a digit is below 36")
}

fn adapt(delta: u32, count: u32, is_first: bool) -> u32 {
    let mut delta = if is_first { delta / DAMP } else { delta / 2 };
    delta += delta / count;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of the first five were asked of Emacs 28.2 (`puny-encode-domain`), the others are of RFC
    /// 3492, section 7.1.
    #[test]
    fn names_are_encoded_a_label_at_a_time() {
        let cases = [
            ("BÜCHER.example", "xn--BCHER-2pa.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("a.É.ü", "a.xn--dca.xn--tda"),
            ("ALLASCII.x", "ALLASCII.x"),
            ("日本.jp", "xn--wgv71a.jp"),
            ("ليهمابتكلموشعربي؟", "xn--egbpdaj6bu4bxfgehfvwxn"),
            ("他们为什么不说中文", "xn--ihqwcrb4cv8a8dqg056pqjye"),
            ("Pročprostěnemluvíčesky", "xn--Proprostnemluvesky-uyb24dma41a"),
            ("3年B組金八先生", "xn--3B-ww4c5e180e575a65lsy2b"),
            ("", ""),
            ("127.0.0.1", "127.0.0.1"),
            ("a..b", "a..b"),
        ];
        for (host, expected) in cases {
            assert_eq!(to_ascii(host).as_deref(), Some(expected), "{host}");
        }
    }

    #[test]
    fn the_longest_label_is_encoded_and_a_longer_one_is_not() {
        let highest = '\u{10ffff}'.to_string();
        assert!(to_ascii(&highest.repeat(63)).is_some());
        assert!(to_ascii(&format!("{}\u{10ffff}", "a".repeat(62))).is_some());
        assert_eq!(to_ascii(&highest.repeat(64)), None);
        assert_eq!(to_ascii(&format!("ok.{}ü", "a".repeat(63))), None);
    }
}
