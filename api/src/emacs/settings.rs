//! What streams of the dynamic front go by that is no argument: Emacs's variables, as a value.
//!
//! Invariant: a setting counts for streams opened from now on, and nothing set here can make a peer
//! believed that its certificate does not prove.

use std::{path::PathBuf, time::Duration};

use super::Function;
use crate::runtime::Runtime;

/// How long a whole opening may take unless told otherwise.
const WITHIN: Duration = Duration::from_secs(30);

/// Whom streams of the dynamic front trust, and what they do unasked: Emacs's variables.
///
/// # Examples
///
/// ```
/// use netproc::Runtime;
///
/// let rt = Runtime::new()?;
/// let mut defaults = rt.stream_defaults();
/// assert!(defaults.system_roots && defaults.trustfiles.is_empty());
/// defaults.trustfiles.push("/etc/mail/ca.pem".into());
/// rt.set_stream_defaults(defaults);
/// # Ok::<(), netproc::Error>(())
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Network"; the Emacs GnuTLS manual. Differs: a file that is missing or bad is
/// an error; there is no level of security to lower, and no file of certificates taken once.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct StreamDefaults {
    /// `gnutls-trustfiles`: files of authorities in PEM, for who names none by `:trustfiles`. At first
    /// none.
    pub trustfiles: Vec<PathBuf>,
    /// `gnutls-crlfiles`: files of what they have revoked, for who names none by `:crlfiles`. At first
    /// none.
    pub crlfiles: Vec<PathBuf>,
    /// Whether what the system trusts (feature `native-roots`), or Mozilla's list (`webpki-roots`),
    /// counts beside those files. At first it does; no variable.
    pub system_roots: bool,
    /// `network-stream-use-client-certificates`: whether a `:client-certificate` that is not given is
    /// `t`. At first not.
    pub use_client_certificates: bool,
    /// Who is asked about a connection in clear for which `:warn-unless-encrypted` is given: a function
    /// of host and service, which says by anything but `nil` that it may be. Without one it may not, as
    /// in an Emacs that has nobody to ask. No variable.
    pub confirm_unencrypted: Option<Function>,
    /// How long all of `open-network-stream` may take where it waits: connecting, the dialogue,
    /// handshakes. At first 30 seconds; no variable, since Emacs has no limit.
    pub within: Duration,
}

impl Default for StreamDefaults {
    fn default() -> Self {
        Self {
            trustfiles: Vec::new(),
            crlfiles: Vec::new(),
            system_roots: true,
            use_client_certificates: false,
            confirm_unencrypted: None,
            within: WITHIN,
        }
    }
}

impl Runtime {
    /// What streams of the dynamic front go by: `open-network-stream`, and `:tls-parameters` of
    /// [`make_network_process`](Self::make_network_process).
    #[must_use]
    pub fn stream_defaults(&self) -> StreamDefaults {
        self.stream_settings().borrow().clone()
    }

    /// Sets that, for streams opened from now on.
    pub fn set_stream_defaults(&self, defaults: StreamDefaults) {
        // Out of the borrow before it is dropped: a function's drop may run anything.
        let old = self.stream_settings().replace(defaults);
        drop(old);
    }
}
