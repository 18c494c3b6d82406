//! Hunts for a PROXY header that means something else when it is cut, or when it is passed on.
//!
//! An input is the bound, as two bytes, and what a server reads.
#![no_main]

#[path = "../../src/check.rs"]
#[expect(dead_code, reason = "the other targets' checks")]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((max, bytes)) = input.split_first_chunk() else { return };
    check::proxy(bytes, usize::from(u16::from_be_bytes(*max)));
});
