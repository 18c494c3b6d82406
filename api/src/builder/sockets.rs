//! Keywords that only some sockets have: the file of a local server, the connection of a packet
//! client.
//!
//! Invariant: what does not go with the socket asked for is an error of `start`, never ignored.

use netproc_core::{
    address::Address,
    reactor::{FileSpec, Kind},
};

use super::{ClientBuilder, ServerBuilder};
use crate::error::StartError;

/// The permissions a file can have.
const MODE_MAX: u32 = 0o777;

impl ServerBuilder {
    /// The permissions of a local server's file, as in `chmod(2)` and whatever the umask: `0o600`
    /// lets only its owner connect. Default: what the umask leaves of `0o777`.
    ///
    /// The file is never open to more than these: Linux makes it with them, elsewhere they are set
    /// before the server listens. A packet server off Linux is the exception: packets of others may
    /// come in the moment between.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::unix::fs::PermissionsExt as _;
    ///
    /// let (folder, rt) = (tempfile::tempdir().unwrap(), netproc::Runtime::new()?);
    /// let path = folder.path().join("private");
    /// let server = rt.server("s").family(netproc::Family::Local).service(&*path);
    /// let server = server.mode(0o600).unlink_on_delete(true).start()?;
    /// let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    /// assert_eq!(mode & 0o777, 0o600);
    /// server.delete();
    /// assert!(!path.exists());
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// unix(7), "Pathname socket ownership and permissions". Emacs has the umask only.
    pub const fn mode(mut self, mode: u32) -> Self {
        self.common.file.mode = Some(mode);
        self
    }

    /// Replace a socket's file that nobody is behind, as a server leaves it that was killed. Default
    /// `false`: `start` fails with `EADDRINUSE`, as in Emacs.
    ///
    /// Whether somebody is there is tried by a connect of another type than the server's: only when the
    /// system says that nobody is, the file goes; a server that lives keeps it and notices nothing. What
    /// is no socket is never removed. Servers that start on the same path at the same time take turns, so
    /// that none removes the file of another: while one does, `.NAME.netproc` lies beside it.
    ///
    /// # Source
    ///
    /// unix(7).
    pub const fn replace_stale(mut self, on: bool) -> Self {
        self.common.file.replace_stale = on;
        self
    }

    /// Remove the file of a local server when it is deleted, if it is still its own: a file that
    /// somebody else has put there stays. Default `false`, as in Emacs: it stays.
    ///
    /// A server whose runtime is dropped, and one that an error ends, leaves it.
    pub const fn unlink_on_delete(mut self, on: bool) -> Self {
        self.common.file.unlink_on_delete = on;
        self
    }
}

impl ClientBuilder {
    /// Whether the system connects a packet client to its peer. Default `true`.
    ///
    /// Connected, it gets the packets of its peer only, and hears when nobody is there
    /// ([`Event::Trouble`](crate::Event::Trouble)). With `false` it is as in Emacs: it gets
    /// everybody's packets, its peer is whoever sent the last one, and no refusal ever reaches it. It
    /// has no port until its first packet has gone: `contact().local()` is `[0 0 0 0 0]` till then.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = netproc::Runtime::new()?;
    /// let server = rt.server("s").datagram().start()?;
    /// let client = rt.client("c").datagram().connected(false);
    /// let client = client.remote(server.contact().local().clone()).start()?;
    /// assert_eq!(client.contact().local().to_string(), "[0 0 0 0 0]");
    /// client.send("hello")?;
    /// rt.turn(std::time::Duration::from_secs(5))?;
    /// assert_ne!(client.contact().local().port(), Some(0));
    /// # Ok::<(), netproc::Error>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Datagrams". Differs: the default, and the contact's local address,
    /// which in Emacs stays as it was at the start.
    pub const fn connected(mut self, connected: bool) -> Self {
        self.common.connected = connected;
        self
    }
}

/// Refuses choices about a file where there is none.
pub(super) fn check_file(file: FileSpec, local: &Address) -> Result<(), StartError> {
    let has_file = matches!(local, Address::Local(path) if !path.is_empty());
    if file != FileSpec::default() && !has_file {
        return Err(StartError::Incompatible("only a local server with a path has a file"));
    }
    if file.mode.is_some_and(|mode| mode > MODE_MAX) {
        return Err(StartError::Incompatible("a file's mode has nine bits, 0o777 at most"));
    }
    Ok(())
}

/// Refuses an unconnected client of anything but packets.
pub(super) fn check_connected(connected: bool, kind: Kind) -> Result<(), StartError> {
    if connected || kind == Kind::Datagram {
        return Ok(());
    }
    Err(StartError::Incompatible("only a packet client can be unconnected"))
}
