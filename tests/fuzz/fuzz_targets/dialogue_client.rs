//! Hunts for a server whose words bring a client's dialogue to break a promise.
//!
//! An input is what `check_dialogue::client` reads: parameters, then what happens.
#![no_main]

#[path = "../../src/check_dialogue.rs"]
#[expect(dead_code, reason = "the other targets' checks")]
mod check_dialogue;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    drop(check_dialogue::client(input));
});
