//! The file of a local socket: made with the mode wanted, in place of a stale one if that may be,
//! and known again when it is to be removed.
//!
//! Invariant: a file is removed only while it is certain whose it is: a stale one after a connect
//! was refused, under a lock that those who replace it share; one's own while its socket is open,
//! which keeps the number of its inode from being given to another.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, Flock, FlockArg},
    sys::stat::{FchmodatFlags, Mode, fchmodat},
};
use socket2::{Domain, SockAddr, Socket, Type};

use super::local_addr;
use crate::{
    address::Address,
    reactor::{Op, OpenSpec, SysError},
};

/// The file a socket is bound to, so that it can be removed later if it is still there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BoundFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// The process whose file it is: a forked copy of it must not take the file away.
    owner: u32,
}

impl BoundFile {
    /// The file `socket` is bound to.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for a socket without a file, `ENOENT` and its kin for one that is gone.
    pub fn of(socket: &Socket) -> Result<Self, SysError> {
        let Address::Local(path) = local_addr(socket)? else {
            return Err(SysError::unsupported(Op::Option));
        };
        if path.is_empty() {
            return Err(SysError::unsupported(Op::Option));
        }
        let found = || {
            // The working directory may change before it is looked for again.
            let path = std::path::absolute(OsStr::from_bytes(&path))?;
            let file = fs::symlink_metadata(&path)?;
            let owner = std::process::id();
            Ok(Self { path, device: file.dev(), inode: file.ino(), owner })
        };
        found().map_err(|err: io::Error| SysError::new(Op::Option, &err))
    }

    /// Removes the file unless it is gone or another stands in its place; returns whether it did. In a
    /// forked child it stays: it is the parent's.
    ///
    /// To be called while the socket is open: afterwards another file may have the same inode.
    pub fn remove(&self) -> bool {
        let found = fs::symlink_metadata(&self.path);
        let own = found.is_ok_and(|file| (file.dev(), file.ino()) == (self.device, self.inode));
        own && self.owner == std::process::id() && fs::remove_file(&self.path).is_ok()
    }
}

/// The turn of one server among those that would replace the same stale file: none of them removes what another
/// has just put in its place.
///
/// It is a locked file beside the socket's own, which goes with it. The folder itself could be locked by
/// whoever may read it, for as long as they like.
#[derive(Debug)]
struct Turn {
    path: PathBuf,
    _file: Flock<File>,
}

impl Turn {
    fn take(path: &Path) -> io::Result<Self> {
        let mut name = OsStr::new(".").to_owned();
        name.push(path.file_name().ok_or(Errno::EISDIR)?);
        name.push(".netproc");
        let path = path.with_file_name(name);
        loop {
            let mut how = OpenOptions::new();
            // A pipe that somebody has put there must not hold us up, nor a link lead elsewhere.
            how.write(true).create(true).mode(0o600);
            let file = how.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path)?;
            let held = Flock::lock(file, FlockArg::LockExclusiveNonblock);
            let file = held.map_err(|(_, err)| err)?;
            // Opened just before the one who had it took it away, it locks nothing any more.
            let (own, there) = (file.metadata()?, fs::symlink_metadata(&path));
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // While it is locked, so that it is nobody else's.
        let _gone = fs::remove_file(&self.path);
    }
}

/// Binds `socket` to `address`, which is that of the file at `path`.
pub(super) fn bind(
    socket: &Socket,
    spec: &OpenSpec<'_>,
    path: &[u8],
    address: &SockAddr,
) -> io::Result<()> {
    let (path, file) = (Path::new(OsStr::from_bytes(path)), spec.file);
    match make(socket, address, file.mode) {
        Err(err) if err.kind() == io::ErrorKind::AddrInUse && file.replace_stale => {
            // Without a turn, which somebody else may have, it is in use, as was said.
            let Ok(_turn) = Turn::take(path) else { return Err(err) };
            if !remove_stale(path, address)? {
                return Err(err);
            }
            make(socket, address, file.mode)?;
        }
        made => made?,
    }
    if let Some(mode) = file.mode {
        widen(path, mode).inspect_err(|_| unbind(socket))?;
    }
    Ok(())
}

/// Makes the file, open to no more than `mode` from its first moment.
fn make(socket: &Socket, address: &SockAddr, mode: Option<u32>) -> io::Result<()> {
    if let Some(mode) = mode {
        narrow(socket, mode)?;
    }
    socket.bind(address)
}

/// Takes away the file that `socket` is bound to, if it is to one: an opening that fails behind its `bind` leaves
/// nothing.
pub fn unbind(socket: &Socket) {
    let _gone = BoundFile::of(socket).map(|file| file.remove());
}

/// Has `bind` make the file with no more than `mode`. Linux takes the mode of the socket itself, less
/// the umask, so there is no moment in which others may connect.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn narrow(socket: &Socket, mode: u32) -> io::Result<()> {
    nix::sys::stat::fchmod(socket, Mode::from_bits_truncate(mode)).map_err(Into::into)
}

/// Elsewhere a socket has no mode before it is bound. What listens is not connectable between its
/// `bind` and its `listen`, and the mode is set in between; for packets there is that moment.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn narrow(_: &Socket, _: u32) -> io::Result<()> {
    Ok(())
}

/// Gives the file what the umask took from its mode.
fn widen(path: &Path, mode: u32) -> io::Result<()> {
    if fs::symlink_metadata(path)?.mode() & 0o777 == mode & 0o777 {
        return Ok(());
    }
    let bits = libc::mode_t::try_from(mode & 0o777).expect("nine bits fit every mode");
    // Not through a symbolic link that somebody may have put there meanwhile.
    let mode = Mode::from_bits_truncate(bits);
    fchmodat(AT_FDCWD, path, mode, FchmodatFlags::NoFollowSymlink).map_err(Into::into)
}

/// Removes a socket's file that nobody is behind; returns whether the path is free now.
///
/// Whether somebody is, only a connect tells. With a packet socket what listens, or is about to, is of another
/// type, which the system says without a word to it; and who takes packets sees nothing of a connect.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<bool> {
    match remove_refusing(path, address) {
        // Whose it was has taken it away meanwhile, as a server does that is deleted.
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(true),
        removed => removed,
    }
}

fn remove_refusing(path: &Path, address: &SockAddr) -> io::Result<bool> {
    let identity = || fs::symlink_metadata(path).map(|file| (file.dev(), file.ino(), file));
    let (device, inode, file) = identity()?;
    if !file.file_type().is_socket() {
        return Ok(false);
    }
    let probe = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Err(err),
        _ => return Ok(false),
    }
    let (device_now, inode_now, _) = identity()?;
    if (device, inode) != (device_now, inode_now) {
        return Ok(false);
    }
    fs::remove_file(path).map(|()| true)
}

/// The path of a file that `local` means, if it means one.
pub(super) fn path_of(local: &Address) -> Option<&[u8]> {
    match local {
        Address::Local(path) if !path.is_empty() => Some(path),
        Address::V4(_)
        | Address::V6(_)
        | Address::Local(_)
        | Address::Abstract(_)
        | Address::Other { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        reactor::{FileSpec, Kind},
        socket::{datagram, listener, open},
    };

    fn spec<'a>(local: &'a Address, file: FileSpec) -> OpenSpec<'a> {
        OpenSpec { local: Some(local), file, ..OpenSpec::default() }
    }

    #[test]
    fn a_file_is_made_with_its_mode_whatever_the_umask() {
        let folder = tempfile::tempdir().unwrap();
        for (number, mode) in [0o600, 0o666, 0o777, 0o000, 0o640].into_iter().enumerate() {
            let path = folder.path().join(number.to_string());
            let local = Address::local(path.as_os_str().as_bytes()).unwrap();
            let file = FileSpec { mode: Some(mode), ..FileSpec::default() };
            let _socket = listener(&spec(&local, file), 5).unwrap();
            assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o777, mode, "{mode:o}");
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn the_mode_holds_from_the_bind_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
        make(&socket, &SockAddr::unix(&path).unwrap(), Some(0o600)).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn only_what_nobody_is_behind_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let local = Address::local(path.as_os_str().as_bytes()).unwrap();
        let replace = FileSpec { replace_stale: true, ..FileSpec::default() };
        let live = listener(&spec(&local, replace), 5).unwrap();
        let errno = |made: Result<Socket, SysError>| made.err().map(|err| err.errno);
        let kinds = [Kind::Stream, Kind::SeqPacket];
        for kind in kinds {
            let again = OpenSpec { kind, ..spec(&local, replace) };
            assert_eq!(errno(listener(&again, 5)), Some(libc::EADDRINUSE), "{kind:?}");
        }
        let packets = OpenSpec { kind: Kind::Datagram, ..spec(&local, replace) };
        assert_eq!(errno(datagram(&packets, None)), Some(libc::EADDRINUSE));
        live.set_nonblocking(true).unwrap();
        let called = live.accept().map_err(|err| err.kind());
        assert_eq!(called.err(), Some(io::ErrorKind::WouldBlock), "who lives is not called");
        drop(live);
        for kind in kinds {
            fs::remove_file(&path).unwrap();
            let early = open(&OpenSpec { kind, ..spec(&local, replace) }, None).unwrap();
            early.bind(&SockAddr::unix(&path).unwrap()).unwrap();
            let late = listener(&spec(&local, replace), 5);
            assert_eq!(errno(late), Some(libc::EADDRINUSE), "{kind:?} about to listen");
        }
        assert_eq!(errno(listener(&spec(&local, FileSpec::default()), 5)), Some(libc::EADDRINUSE));
        let live = datagram(&packets, None).unwrap();
        assert_eq!(errno(datagram(&packets, None)), Some(libc::EADDRINUSE), "packets live unheard");
        drop(live);
        for other in [false, true] {
            fs::remove_file(&path).unwrap();
            if other { fs::create_dir(&path) } else { fs::write(&path, "") }.unwrap();
            assert_eq!(errno(listener(&spec(&local, replace), 5)), Some(libc::EADDRINUSE));
            if other { fs::remove_dir(&path) } else { Ok(()) }.unwrap();
        }
    }

    #[test]
    fn a_lock_on_the_folder_or_on_another_path_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let replace = FileSpec { replace_stale: true, ..FileSpec::default() };
        let path = folder.path().join("s");
        let local = Address::local(path.as_os_str().as_bytes()).unwrap();
        let open = File::open(folder.path()).unwrap();
        let _folder = Flock::lock(open, FlockArg::LockExclusiveNonblock).unwrap();
        let _other = Turn::take(&folder.path().join("other")).unwrap();
        drop(listener(&spec(&local, replace), 5).unwrap());
        let turn = Turn::take(&path).unwrap();
        let taken = listener(&spec(&local, replace), 5).unwrap_err();
        assert_eq!((taken.op, taken.errno), (Op::Bind, libc::EADDRINUSE), "it is another's turn");
        drop(turn);
        let _live = listener(&spec(&local, replace), 5).unwrap();
        assert_eq!(names(folder.path()), [".other.netproc", "s"], "a turn leaves nothing");
    }

    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|it| name(it).unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_opening_that_fails_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let local = Address::local(path.as_os_str().as_bytes()).unwrap();
        let nobody = Address::local(folder.path().join("t").as_os_str().as_bytes()).unwrap();
        let packets = OpenSpec { kind: Kind::Datagram, ..spec(&local, FileSpec::default()) };
        for _ in 0..2 {
            let refused = datagram(&packets, Some(&nobody)).unwrap_err();
            assert_eq!((refused.op, refused.errno), (Op::Connect, libc::ENOENT));
            assert_eq!(names(folder.path()), [""; 0]);
        }
    }

    #[test]
    fn a_file_is_known_again_and_no_other_taken_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let local = Address::local(path.as_os_str().as_bytes()).unwrap();
        let first = listener(&spec(&local, FileSpec::default()), 5).unwrap();
        let own = BoundFile::of(&first).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!own.remove(), "it is gone");
        let second = listener(&spec(&local, FileSpec::default()), 5).unwrap();
        assert!(!own.remove(), "another stands there");
        assert!(BoundFile::of(&second).unwrap().remove());
        assert!(!path.exists());
        let ip = Address::from_vector(&[127, 0, 0, 1, 0]).unwrap();
        let ip = listener(&spec(&ip, FileSpec::default()), 5).unwrap();
        assert_eq!(BoundFile::of(&ip).unwrap_err().errno, libc::EOPNOTSUPP);
    }
}
