//! Tests of the coding systems: against Emacs, by property, and by table.
//!
//! The golden files are answers of Emacs 28.2; `make.el` and `cuts.el` beside them
//! in `tests/golden/coding` say how they are made.

#[macro_use]
mod golden;
mod cuts;
mod properties;
mod units;

use super::*;

/// A system by its name, with `-unix` where the name leaves the line end open.
fn unix(name: &str) -> CodingSystem {
    name.parse::<CodingSystem>().unwrap().for_encoding()
}

/// The text of a whole stream that comes in these reads.
fn decode<'a>(system: CodingSystem, reads: impl IntoIterator<Item = &'a [u8]>) -> Text {
    let mut decoder = Decoder::new(system);
    let mut text = Text::new();
    for read in reads {
        decoder.decode(read, &mut text);
    }
    decoder.finish(&mut text);
    text
}

fn encode<'a>(system: CodingSystem, text: impl Into<TextRef<'a>>) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    let report = Encoder::new(system).encode(text, &mut bytes);
    (bytes, report.replaced)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

/// Every name that can be converted, without aliases.
fn bases() -> Vec<&'static str> {
    let names = registry::ENTRIES.iter().map(|entry| entry.names[0]);
    names.filter(|name| name.parse::<CodingSystem>().is_ok()).collect()
}
