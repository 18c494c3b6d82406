//! The part of a process whose bytes are text: its decoder, its encoder.
//!
//! Invariant: text comes in the order of its bytes, whatever coding they count by.

use super::Process;
use crate::{
    coding::{Coding, Decoder, Encoder, Text},
    event::Input,
};

/// The part of a process whose bytes are text.
#[derive(Debug)]
pub(crate) struct TextState {
    pub(crate) decoder: Decoder,
    pub(crate) encoder: Encoder,
    /// What an earlier coding had kept when it was replaced: it goes before what comes next.
    pub(crate) carried: Text,
    /// As its user named it.
    named: Coding,
    /// What comes is handed on as bytes; whoever takes it decodes it.
    pub(crate) aside: bool,
}

impl TextState {
    pub(crate) fn boxed(coding: Coding) -> Box<Self> {
        let (decoder, encoder) = (coding.decoder(), coding.encoder());
        Box::new(Self { decoder, encoder, carried: Text::new(), named: coding, aside: false })
    }

    /// Begins anew, as if nothing had come or gone.
    pub(crate) fn restart(&mut self) {
        *self = *Self::boxed(self.named);
    }

    /// How many bytes have come of which nobody was given the text.
    pub(crate) fn incomplete_len(&self) -> u64 {
        let mut text = self.carried.clone();
        self.decoder.clone().finish(&mut text);
        text.to_bytes().len() as u64
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
}

impl<H> Process<H> {
    /// Hands on what comes as bytes from now on, or no longer: for conversations that go by the bytes on the
    /// wire. Whoever takes it has [`decode`](Self::decode) for what of it is text.
    pub fn set_text_aside(&mut self, aside: bool) {
        if let Some(state) = &mut self.coding {
            state.aside = aside;
        }
    }

    /// An input with what its coding makes of the bytes, if it has one; `None` when they complete no text: a
    /// filter is never called for nothing.
    pub fn decode(&mut self, input: Input) -> Option<Input> {
        let Some(state) = self.coding.as_mut().filter(|_| input.text().is_none()) else {
            return Some(input);
        };
        let text = state.decode(&input);
        // An empty packet is something.
        (!text.is_empty() || input.is_empty()).then(|| input.with_text(text))
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
