//! The part of a process whose bytes are text.
//!
//! Invariant: what is incomplete waits here and nowhere else.

use crate::coding::{Coding, Decoder, Encoder, Text};

/// The part of a process whose bytes are text.
#[derive(Debug)]
pub(crate) struct TextState {
    pub(crate) decoder: Decoder,
    pub(crate) encoder: Encoder,
    /// What an earlier coding had kept when it was replaced: it goes before what comes next.
    pub(crate) carried: Text,
    /// As its user named it.
    named: Coding,
}

impl TextState {
    pub(crate) fn boxed(coding: Coding) -> Box<Self> {
        let (decoder, encoder) = (coding.decoder(), coding.encoder());
        Box::new(Self { decoder, encoder, carried: Text::new(), named: coding })
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
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Text {
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
