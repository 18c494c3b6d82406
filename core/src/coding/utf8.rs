//! UTF-8 in its forms, and the systems without any coding.
//!
//! Invariant: exactly the sequences of RFC 3629 are characters; every byte outside one is raw.
//! DIFFERENCE: Emacs also accepts numbers above 10FFFF as characters of its own.

use std::str;

use super::{
    machine::{Machine, Step},
    text::ascii_len,
};

/// The byte order mark in UTF-8.
pub(super) const MARK: &[u8] = "\u{FEFF}".as_bytes();

/// What is done about a byte order mark at the start of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signature {
    /// It is a character like others.
    None,
    /// It is dropped, and written.
    Mark,
    /// It is dropped, and tells which system this is; not written.
    Auto,
}

/// Decodes UTF-8.
#[derive(Clone, Debug)]
pub(super) struct Utf8 {
    signature: Signature,
    /// Whether a mark may come next.
    at_start: bool,
    found: Option<&'static str>,
}

impl Utf8 {
    pub(super) const fn new(signature: Signature) -> Self {
        Self { signature, at_start: !matches!(signature, Signature::None), found: None }
    }

    /// Notes whether the stream began with a mark.
    fn decide(&mut self, marked: bool) {
        self.at_start = false;
        if self.signature == Signature::Auto {
            self.found = Some(if marked { "utf-8-with-signature" } else { "utf-8" });
        }
    }
}

impl Machine for Utf8 {
    fn plain(&mut self, bytes: &[u8]) -> usize {
        if self.at_start {
            return 0;
        }
        match str::from_utf8(bytes) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        }
    }

    fn step(&mut self, bytes: &[u8]) -> Step {
        if self.at_start {
            if bytes.starts_with(MARK) {
                self.decide(true);
                return Step::Skip(MARK.len());
            }
            if MARK.starts_with(bytes) {
                return Step::Incomplete;
            }
            self.decide(false);
            return Step::Skip(0);
        }
        match str::from_utf8(bytes).map_err(|error| error.error_len()) {
            Ok(_) => Step::Skip(0),
            Err(None) => Step::Incomplete,
            Err(Some(len)) => Step::Raw(len),
        }
    }

    fn found(&self) -> Option<&'static str> {
        self.found
    }
}

/// Decodes nothing: ASCII is ASCII, other bytes are raw.
#[derive(Clone, Debug)]
pub(super) struct RawBytes;

impl Machine for RawBytes {
    fn plain(&mut self, bytes: &[u8]) -> usize {
        ascii_len(bytes)
    }

    fn step(&mut self, bytes: &[u8]) -> Step {
        Step::Raw(bytes.iter().take_while(|byte| !byte.is_ascii()).count())
    }
}
