//! Socket options: their Emacs keywords and typed values. Setting them is `socket.rs`'s work.

use std::fmt;

/// One option of a socket, as typed value.
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Network Options". Differs: `linger` with a time in seconds only (Emacs's
/// `t` resets the connection, the opposite of what its manual says), `NoDelay` is new.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum SockOption {
    /// `:bindtodevice`: use this interface only; `None` lifts that (`SO_BINDTODEVICE`, Linux).
    BindToDevice(Option<String>),
    /// `:broadcast`: packets may go to broadcast addresses (`SO_BROADCAST`).
    Broadcast(bool),
    /// `:dontroute`: only to hosts on a connected network (`SO_DONTROUTE`).
    DontRoute(bool),
    /// `:keepalive`: probe an idle connection (`SO_KEEPALIVE`).
    KeepAlive(bool),
    /// `:linger`: on deletion give queued bytes this many seconds; `Some(0)` resets, `None` lets
    /// the system flush in the background (`SO_LINGER`).
    Linger(Option<u16>),
    /// `:nodelay`: send small segments at once (`TCP_NODELAY`).
    NoDelay(bool),
    /// `:oobinline`: urgent bytes in line with the others (`SO_OOBINLINE`).
    OobInline(bool),
    /// `:priority`: of the packets sent (`SO_PRIORITY`, Linux).
    Priority(i32),
    /// `:reuseaddr`: bind although an old connection lingers (`SO_REUSEADDR`).
    ReuseAddr(bool),
}

impl SockOption {
    /// The keyword Emacs has for it.
    #[must_use]
    pub const fn keyword(&self) -> &'static str {
        match self {
            Self::BindToDevice(_) => ":bindtodevice",
            Self::Broadcast(_) => ":broadcast",
            Self::DontRoute(_) => ":dontroute",
            Self::KeepAlive(_) => ":keepalive",
            Self::Linger(_) => ":linger",
            Self::NoDelay(_) => ":nodelay",
            Self::OobInline(_) => ":oobinline",
            Self::Priority(_) => ":priority",
            Self::ReuseAddr(_) => ":reuseaddr",
        }
    }
}

impl fmt::Display for SockOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword())
    }
}
