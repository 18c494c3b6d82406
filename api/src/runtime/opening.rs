//! Streams that are being opened: what comes to one is its dialogue's until it is handed out.
//!
//! Invariant: a wait knows when it begins whom it leaves alone, for an opening that begins inside of it is over
//! before it goes on. While none is under way nobody is looked at.

use netproc_core::engine::Admit;

use super::{Inside, Runtime};
use crate::handlers::Handlers;

/// An opening under way, from its first connect to its end.
#[cfg(feature = "starttls")]
pub(crate) struct Underway<'a>(&'a Runtime);

#[cfg(feature = "starttls")]
impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let openings = &self.0.inner.openings;
        openings.set(openings.get() - 1);
    }
}

impl Runtime {
    /// Counts an opening until what it returns is dropped.
    #[cfg(feature = "starttls")]
    pub(crate) fn begin_opening(&self) -> Underway<'_> {
        let openings = &self.inner.openings;
        openings.set(openings.get() + 1);
        Underway(self)
    }

    /// Whom a wait serves that drops what nobody takes, or hands it to whoever asks.
    pub(super) fn but_openings(&self) -> Admit<'static, Handlers> {
        if self.inner.openings.get() == 0 { None } else { Some(&is_handed_out) }
    }
}

fn is_handed_out(p: &Inside, _input: bool) -> bool {
    !p.handlers.being_opened
}
