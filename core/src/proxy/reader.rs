//! Reads the header of one connection, in whatever pieces it comes.
//!
//! Invariant: it keeps no more than a header may have and one read. It is a layer whose handshake is the
//! header; the engine takes it away when that is there, so that nothing else is ever copied through it.

use super::{ProxyHeader, ProxyHeaderError, V1_LEN_MAX};
use crate::{layer::Layer, pool::Buf, reactor::Payload, shared_error::SharedError};

/// A connection that waits for its header.
#[derive(Debug)]
pub(crate) struct HeaderReader {
    kept: Vec<u8>,
    len_max: usize,
    header: Option<ProxyHeader>,
    /// What was sent all the same.
    out: Vec<Payload>,
}

impl HeaderReader {
    pub(crate) fn new(len_max: usize) -> Self {
        let len_max = len_max.max(V1_LEN_MAX);
        Self { kept: Vec::new(), len_max, header: None, out: Vec::new() }
    }

    /// The header, once it is there.
    pub(crate) fn header(&self) -> Option<&ProxyHeader> {
        self.header.as_ref()
    }

    /// What is to be said of a connection that ends here.
    pub(crate) const fn cut(&self) -> ProxyHeaderError {
        ProxyHeaderError::Cut(self.kept.len())
    }
}

impl Layer for HeaderReader {
    fn receive(&mut self, wire: Buf, plain: &mut Vec<Buf>) -> Result<(), SharedError> {
        if self.header.is_some() {
            plain.push(wire);
            return Ok(());
        }
        // Most come in one read, and are read where they lie.
        let before = self.kept.len();
        let bytes = if before == 0 {
            &wire[..]
        } else {
            self.kept.extend_from_slice(&wire);
            &self.kept[..]
        };
        match ProxyHeader::parse(bytes, self.len_max).map_err(SharedError::new)? {
            Some((header, len)) => {
                self.header = Some(header);
                self.kept = Vec::new();
                // It was not whole before, so its end is in this read.
                let rest = len.saturating_sub(before)..wire.len();
                plain.extend((!rest.is_empty()).then(|| wire.slice(rest)));
            }
            None if before == 0 => self.kept = wire.to_vec(),
            None => {}
        }
        Ok(())
    }

    fn send(&mut self, plain: &[u8]) -> Result<(), SharedError> {
        self.out.push(plain.to_vec().into());
        Ok(())
    }

    fn wire(&mut self, out: &mut Vec<Payload>) {
        out.append(&mut self.out);
    }

    fn is_established(&self) -> bool {
        self.header.is_some()
    }

    fn is_peer_finished(&self) -> bool {
        false
    }

    fn finish(&mut self) {}
}
