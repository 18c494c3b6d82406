//! What only local sockets have: a file, and a peer whose identity the system knows.
//!
//! Invariant: plain values; the calls behind them are `socket.rs`'s. Addresses are elsewhere.

/// What shall become of the file a local socket is bound to; nothing of it concerns other sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "the builders fill every field")]
pub struct FileSpec {
    /// The permissions the file is made with, whatever the umask; `None` leaves them to the system.
    pub mode: Option<u32>,
    /// Whether a socket's file that nobody listens on may be replaced.
    pub replace_stale: bool,
    /// Whether the file goes when its owner deletes the socket. The engine's part, no backend's.
    pub unlink_on_delete: bool,
}

/// Who is at the other end of a local connection, as the system saw it when that was made.
///
/// # Examples
///
/// ```
/// use netproc_core::reactor::Credentials;
///
/// let root = Credentials { pid: Some(1), uid: 0, gid: 0 };
/// assert_eq!(root.to_string(), "pid 1, uid 0, gid 0");
/// assert_eq!(Credentials { pid: None, ..root }.to_string(), "uid 0, gid 0");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the three figures there are on any system")]
pub struct Credentials {
    /// The operating system's process; `None` where the system does not say it, or sees none from
    /// here. It may have exited since, and its number may then be another's.
    pub pid: Option<i32>,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

impl std::fmt::Display for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(pid) = self.pid {
            write!(f, "pid {pid}, ")?;
        }
        write!(f, "uid {}, gid {}", self.uid, self.gid)
    }
}
