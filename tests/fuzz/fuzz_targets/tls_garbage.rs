//! Hunts for garbage that a side of TLS makes something of before there is another side.
//!
//! An input is what `check_tls::garbage` reads: a version, then pieces.
#![no_main]

#[path = "../../src/check_dialogue.rs"]
#[expect(dead_code, reason = "the other targets' checks")]
mod check_dialogue;
#[path = "../../src/check_tls.rs"]
#[expect(dead_code, reason = "the other target's check")]
mod check_tls;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| check_tls::garbage(input));
