//! Hunts for a stream that decodes otherwise when it is cut otherwise.
//!
//! An input is the number of a system, that of a line end, a count of cuts, the cuts, and the stream.
#![no_main]

#[path = "../../src/check.rs"]
#[expect(dead_code, reason = "the other targets' checks")]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&[system, end, count], rest)) = input.split_first_chunk() else { return };
    let Some((cuts, bytes)) = rest.split_at_checked(usize::from(count % 8)) else { return };
    let cuts: Vec<usize> = cuts.iter().map(|&cut| cut.into()).collect();
    check::coding(check::system(system.into(), end.into()), bytes, &cuts);
});
