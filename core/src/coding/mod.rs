//! Coding systems: bytes from a peer to text and back, piece by piece, as Emacs does it.
//!
//! A [`CodingSystem`] is a name such as `utf-8-dos`; a [`Coding`] is a pair of them. A [`Decoder`]
//! turns the bytes of one stream into [`Text`], an [`Encoder`] turns text into bytes. Invariant:
//! however a stream is cut into reads, the same text comes out; what belongs to a character that is
//! not complete yet is kept. Bytes that mean nothing are kept as raw bytes in the text and encode to
//! themselves. Every system of Emacs 28.2 is known by name; those we do not convert are refused by
//! name.
//!
//! Files: `text` holds text; `registry` lists the systems, `system` parses their names;
//! `line_end` converts line ends; `decoder` and `encoder` drive one conversion each through the
//! machines of `utf8`, `utf16`, `utf7`, `hz`, `iso2022`, `multi_byte` and `single_byte`; `charset` and
//! `tables` say which character has which code. Sockets are left to others.
//!
//! # Examples
//!
//! ```
//! use netproc_core::coding::{CodingSystem, Decoder, Encoder, Text};
//!
//! let system: CodingSystem = "utf-8-dos".parse()?;
//! let mut text = Text::new();
//! let mut decoder = Decoder::new(system);
//! decoder.decode(b"caf\xC3", &mut text);
//! decoder.decode(b"\xA9\r\n\xFF", &mut text);
//! decoder.finish(&mut text);
//! assert_eq!(format!("{text:?}"), r#""caf\u{E9}\n\xFF""#);
//!
//! let mut bytes = Vec::new();
//! Encoder::new(system).encode(&text, &mut bytes);
//! assert_eq!(bytes, b"caf\xC3\xA9\r\n\xFF");
//! # Ok::<(), netproc_core::coding::CodingError>(())
//! ```

mod charset;
mod decoder;
mod encoder;
mod hz;
mod iso2022;
mod line_end;
mod machine;
mod multi_byte;
mod registry;
mod single_byte;
mod system;
mod tables;
#[cfg(test)]
mod tests;
mod text;
mod utf16;
mod utf7;
mod utf8;

pub use decoder::Decoder;
pub use encoder::{EncodeError, EncodeReport, Encoder, TextRef};
pub use line_end::LineEnd;
pub use system::{Coding, CodingError, CodingSystem};
pub use text::{Char, Chars, Text};
