//! The front's TLS in a build without cryptography: whoever asks for it is told so.
//!
//! Invariant: nobody who asked for TLS gets a connection in clear.

use std::rc::Rc;

use netproc_core::{layer::Layers, plist::Value, shared_error::SharedError};

use super::Signal;
use crate::{error::TlsParametersError, runtime::Runtime};

type Result<T> = std::result::Result<T, TlsParametersError>;

pub(super) fn layers(_: &Runtime, _: &Value, _: bool) -> Result<Rc<dyn Layers>> {
    Err(TlsParametersError::NotBuilt)
}

/// What `open-network-stream` was given that concerns TLS.
#[cfg(feature = "starttls")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) host: &'a str,
    pub(super) service: &'a str,
    pub(super) parameters: &'a Value,
    pub(super) certificate: &'a Value,
}

#[cfg(feature = "starttls")]
pub(super) fn stream_layers(_: &Runtime, _: Wanted<'_>) -> Result<Rc<dyn Layers>> {
    Err(TlsParametersError::NotBuilt)
}

/// Whether TLS is refused for want of something here, not for what was asked.
#[cfg(feature = "starttls")]
pub(super) const fn cannot_be_had(_: &TlsParametersError) -> bool {
    true
}

/// Nobody has shown a certificate.
#[cfg(feature = "starttls")]
pub(super) const fn is_refusal(_: &SharedError) -> bool {
    false
}

/// What a handshake of a layer that is not TLS comes to.
pub(super) fn handshake_signal(_: &str, err: &SharedError) -> Signal {
    Signal::error(err.to_string())
}
