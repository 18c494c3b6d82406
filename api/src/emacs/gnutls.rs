//! Emacs's functions that go with TLS: whether there is any, what to ask of it, what came of it.
//!
//! Invariant: they only tell. Who is believed is decided in `tls`, by what the answers are used for.

use netproc_core::plist::{Plist, Value};

use super::{Answer, Emacs};

/// `gnutls-available-p`: whether this build speaks TLS.
pub(super) fn available_p(_: &Emacs, _: &[Value]) -> Answer {
    Ok(cfg!(any(feature = "tls-ring", feature = "tls-aws-lc")).into())
}

/// `gnutls-boot-parameters`: the tail of `:tls-parameters`, made of keywords.
pub(super) fn boot_parameters(emacs: &Emacs, args: &[Value]) -> Answer {
    let given = Plist::from_values(args)?;
    let get = |keyword: &str| given.get(keyword).cloned().unwrap_or_default();
    let files = |keyword: &str, default: Vec<std::path::PathBuf>| match get(keyword) {
        Value::Nil => {
            Value::list(default.iter().map(|file| file.to_string_lossy().as_ref().into()))
        }
        given => given,
    };
    let priority = match (get(":priority-string"), get(":type").as_symbol()) {
        (Value::Nil, Some("gnutls-x509pki")) => "NORMAL:%DUMBFW".into(),
        (Value::Nil, Some("gnutls-anon")) => "NORMAL:+ANON-DH:!ARCFOUR-128:%DUMBFW".into(),
        (given, _) => given,
    };
    let verify = match (get(":verify-error"), get(":verify-hostname-error")) {
        (Value::Nil, Value::Nil) => Value::Nil,
        (Value::Nil, _) => Value::list([Value::symbol(":hostname")]),
        (given @ Value::List(_), hostname) if hostname.is_true() => {
            let others = given.items().unwrap_or_default().iter().cloned();
            Value::list([Value::symbol(":hostname")].into_iter().chain(others))
        }
        (given, _) => given,
    };
    let defaults = emacs.rt.stream_defaults();
    let made: Plist = [
        (":priority", priority),
        (":hostname", get(":hostname")),
        (":loglevel", 0.into()),
        (":min-prime-bits", get(":min-prime-bits")),
        (":trustfiles", files(":trustfiles", defaults.trustfiles)),
        (":crlfiles", files(":crlfiles", defaults.crlfiles)),
        (":keylist", get(":keylist")),
        (":verify-flags", get(":verify-flags")),
        (":verify-error", verify),
        (":callbacks", Value::Nil),
    ]
    .into_iter()
    .collect();
    Ok(made.to_value())
}

/// `gnutls-peer-status`: what was agreed upon, and the certificates; `nil` without TLS.
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
pub(super) fn peer_status(_: &Emacs, args: &[Value]) -> Answer {
    Ok(Emacs::process(&args[0])?.tls_info().as_ref().map_or(Value::Nil, status))
}

/// The same where there is no TLS.
#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
pub(super) fn peer_status(_: &Emacs, args: &[Value]) -> Answer {
    Emacs::process(&args[0]).map(|_| Value::Nil)
}

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
fn status(info: &crate::tls::TlsInfo) -> Value {
    let (exchange, cipher) = parts(info.suite());
    let exchange = exchange.or_else(|| info.key_exchange().map(str::to_owned));
    // In DER, which every tool reads: what is in them is not taken apart here.
    let certificate = |der: &Vec<u8>| Value::list([Value::symbol(":der"), der.as_slice().into()]);
    let chain: Vec<Value> = info.peer_chain().iter().map(certificate).collect();
    let own = chain.first().cloned().unwrap_or_default();
    let made: Plist = [
        (":certificates", Value::list(chain)),
        (":certificate", own),
        (":key-exchange", exchange.into()),
        (":protocol", info.version().to_string().replace(' ', "").into()),
        (":cipher", cipher.into()),
        (":mac", "AEAD".into()),
        (":encrypt-then-mac", Value::Nil),
        (":hostname", info.server_name().into()),
    ]
    .into_iter()
    .collect();
    made.to_value()
}

/// The key exchange, where a suite names it, and the cipher, as GnuTLS writes them.
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
fn parts(suite: &str) -> (Option<String>, String) {
    let bare = suite.strip_prefix("TLS_").unwrap_or(suite);
    let (exchange, cipher) = match bare.split_once("_WITH_") {
        Some((exchange, cipher)) => (Some(exchange.replace('_', "-")), cipher),
        None => (None, bare),
    };
    let cipher = cipher.rsplit_once("_SHA").map_or(cipher, |(cipher, _)| cipher);
    (exchange, cipher.replace('_', "-"))
}

#[cfg(all(test, any(feature = "tls-ring", feature = "tls-aws-lc")))]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_written_as_gnutls_does() {
        let cases = [
            ("TLS_AES_256_GCM_SHA384", None, "AES-256-GCM"),
            ("TLS_CHACHA20_POLY1305_SHA256", None, "CHACHA20-POLY1305"),
            ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Some("ECDHE-RSA"), "AES-128-GCM"),
            (
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
                Some("ECDHE-ECDSA"),
                "CHACHA20-POLY1305",
            ),
        ];
        for (suite, exchange, cipher) in cases {
            assert_eq!(parts(suite), (exchange.map(str::to_owned), cipher.to_owned()));
        }
    }
}
