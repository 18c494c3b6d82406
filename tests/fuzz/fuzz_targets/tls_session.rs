//! Hunts for something on the wire between two sides of TLS that gets through, or brings one down.
//!
//! An input is what `check_tls::session` reads: a version, how much passes untouched, then what is done to
//! the rest.
#![no_main]

#[path = "../../src/check_dialogue.rs"]
#[expect(dead_code, reason = "the other targets' checks")]
mod check_dialogue;
#[path = "../../src/check_tls.rs"]
#[expect(dead_code, reason = "the other target's check")]
mod check_tls;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    check_tls::session(input);
});
