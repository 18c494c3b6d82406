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

#[cfg(feature = "starttls")]
pub(super) fn stream_layers(
    _: &Runtime,
    _: (&str, &str),
    _: &Value,
    _: &Value,
) -> Result<Rc<dyn Layers>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emacs::Emacs;

    #[test]
    fn whoever_asks_for_tls_is_told_that_there_is_none() {
        let rt = Runtime::new().unwrap();
        let emacs = Emacs::new(&rt);
        let server = rt.server("s").start().unwrap();
        let port = server.contact().local().port().unwrap();
        let tls = "(gnutls-x509pki :hostname \"h\")";
        let make = format!("(:name \"x\" :service {port} :tls-parameters {tls})");
        let open = |more: &str| format!("(\"x\" nil \"127.0.0.1\" {port} {more})");
        let simple = open(&format!(":type plain :tls-parameters {tls}"));
        let mut calls = vec![("make-network-process", make), ("open-network-stream", simple)];
        if cfg!(feature = "starttls") {
            calls.push(("open-network-stream", open(":type tls")));
            calls.push(("open-network-stream", open(":type starttls :return-list t")));
        }
        for (function, args) in calls {
            let values: Value = args.parse().unwrap();
            let refused = emacs.call(function, values.items().unwrap()).unwrap_err();
            let words = "TLS needs the feature tls-ring or tls-aws-lc";
            assert!(refused.to_string().ends_with(words), "{args}: {refused}");
            assert_eq!(rt.process_list(), std::slice::from_ref(&server), "{args}");
        }
        assert_eq!(emacs.call("gnutls-available-p", &[]), Ok(Value::Nil));
    }
}
