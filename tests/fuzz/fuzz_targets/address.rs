//! Hunts for an address or a coding that prints as text which parses to another, or not at all.
#![no_main]

#[path = "../../src/check.rs"]
#[expect(dead_code, reason = "the other targets' checks")]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    check::address(input);
    if let Ok(text) = std::str::from_utf8(input) {
        check::text(text);
    }
});
