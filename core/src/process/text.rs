//! The part of a process whose bytes are text: its decoder, its encoder.
//!
//! Invariant: text comes in the order of its bytes, whatever coding they count by.

use super::Process;
use crate::{
    coding::{Coding, Decoder, Encoder, Text},
    event::Input,
    pool::Buf,
    reactor::Kind,
};

/// Bytes kept that have completed no text. No character has so many; changes from one set of characters to the
/// other may.
const HELD_MAX: usize = 1024;

/// The part of a process whose bytes are text.
#[derive(Debug)]
pub(crate) struct TextState {
    pub(crate) decoder: Decoder,
    pub(crate) encoder: Encoder,
    /// What an earlier coding had kept when it was replaced: it goes before what comes next.
    pub(crate) carried: Text,
    /// Bytes that came and completed no text: they go before those of the next input.
    pub(crate) held: Vec<u8>,
    /// As its user named it.
    named: Coding,
    /// What comes is handed on as bytes; whoever takes it decodes it.
    pub(crate) aside: bool,
}

impl TextState {
    pub(crate) fn boxed(coding: Coding) -> Box<Self> {
        let (decoder, encoder) = (coding.decoder(), coding.encoder());
        let (carried, held) = (Text::new(), Vec::new());
        Box::new(Self { decoder, encoder, carried, held, named: coding, aside: false })
    }

    /// Begins anew, as if nothing had come or gone.
    pub(crate) fn restart(&mut self) {
        *self = *Self::boxed(self.named);
    }

    /// How many bytes have come of which nobody was given the text, or which nobody was given at all.
    pub(crate) fn incomplete_len(&self) -> u64 {
        let mut text = self.carried.clone();
        self.decoder.clone().finish(&mut text);
        text.to_bytes().len().max(self.held.len()) as u64
    }

    pub(super) fn known(&self) -> Coding {
        Coding { decode: Some(self.decoder.system()), encode: Some(self.encoder.system()) }
    }

    /// The text that `bytes` complete.
    fn decode(&mut self, bytes: &[u8]) -> Text {
        let mut text = std::mem::take(&mut self.carried);
        self.decoder.decode(bytes, &mut text);
        text
    }

    /// What is still incomplete, as raw bytes, now that nothing will complete it.
    pub(crate) fn leftovers(&mut self) -> Text {
        let mut text = std::mem::take(&mut self.carried);
        self.decoder.finish(&mut text);
        text
    }

    /// The bytes of `input` behind those that were held.
    fn behind_held(&mut self, input: Input) -> Input {
        if self.held.is_empty() {
            return input;
        }
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(&input);
        Input::new(Buf::copied(&bytes), input.lost())
    }
}

impl<H> Process<H> {
    /// Hands on what comes as bytes from now on, or no longer: for conversations that go by the bytes on the
    /// wire. Whoever takes it has [`decode`](Self::decode) for what of it is text.
    pub fn set_text_aside(&mut self, aside: bool) {
        if let Some(state) = &mut self.coding {
            state.aside = aside;
        }
    }

    /// An input with what its coding makes of the bytes, if it has one; `None` when those of a stream complete no
    /// text: they come with the next.
    pub fn decode(&mut self, input: Input) -> Option<Input> {
        let Some(state) = self.coding.as_mut().filter(|_| input.text().is_none()) else {
            return Some(input);
        };
        let text = state.decode(&input);
        // An empty packet is something.
        let told = !text.is_empty() || input.is_empty();
        // Packets and records are whole, and each is its sender's.
        let flows = self.kind == Kind::Stream;
        if !told && flows && state.held.len() + input.len() <= HELD_MAX {
            state.held.extend_from_slice(&input);
            return None;
        }
        Some(state.behind_held(input).with_text(text))
    }

    /// Characters that were never completed, if there are any, with the bytes that no input has brought.
    #[cold]
    pub(crate) fn leftovers(&mut self) -> Option<Input> {
        let state = self.coding.as_mut()?;
        let (text, bytes) = (state.leftovers(), std::mem::take(&mut state.held));
        let any = !(text.is_empty() && bytes.is_empty());
        any.then(|| Input::new(Buf::copied(&bytes), 0).with_text(text))
    }

    /// Has its text begin anew: what was cut short before is told as raw bytes, and decides nothing of what comes.
    pub fn begin_text(&mut self) {
        if let Some(state) = &mut self.coding {
            let (carried, aside) = (state.leftovers(), state.aside);
            state.restart();
            (state.carried, state.aside) = (carried, aside);
        }
    }
}
