//! Hunts for a client whose words bring a server's dialogue to break a promise.
//!
//! An input is a protocol, what becomes of clear text, the longest line, and the words.
#![no_main]

#[path = "../../src/check_dialogue.rs"]
#[expect(dead_code, reason = "the other targets' checks")]
mod check_dialogue;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| check_dialogue::server(input));
