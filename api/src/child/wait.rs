//! Waiting for a child: a thread of its own that hears of stops and of the end, and tells the runtime.
//!
//! Invariant: a child is reaped here, under the lock of its [`Body`], as soon as it has ended; nobody has to
//! come round for that. The thread needs nothing of the runtime: when that is gone, it still reaps.

use std::{
    io,
    process::ExitStatus,
    sync::{Arc, mpsc},
    thread,
};

use netproc_core::{
    child::{ChildChange, ChildExit, ChildSignal},
    table::ProcessId,
};

use super::Body;
use crate::handle::Postbox;

/// Bytes of stack: the thread makes system calls and little else.
const STACK_LEN: usize = 128 << 10;

/// Whom a thread waits for, and where it tells of it.
pub(crate) struct Errand {
    pub(crate) body: Arc<Body>,
    /// None for one that is to be reaped and nothing else.
    pub(crate) tell: Option<(Postbox, ProcessId)>,
}

/// A thread that is there before there is a child, so that there is never a child nobody waits for.
pub(crate) struct Waiter(mpsc::Sender<Errand>);

impl Waiter {
    /// Starts the thread; it ends if it is given nobody.
    pub(crate) fn start() -> io::Result<Self> {
        let (give, take) = mpsc::channel::<Errand>();
        let thread = thread::Builder::new().name("netproc-child".into()).stack_size(STACK_LEN);
        crate::thread::start(thread, move || {
            if let Ok(errand) = take.recv() {
                errand.run();
            }
        })?;
        Ok(Self(give))
    }

    /// Has the thread wait for a child.
    pub(crate) fn wait_for(self, errand: Errand) {
        // It ends after it was given somebody, not before.
        let _gone = self.0.send(errand);
    }
}

impl Errand {
    fn tell(&self, change: ChildChange) {
        if let Some((postbox, id)) = &self.tell {
            let id = *id;
            postbox.post(move |rt| rt.child_changed(id, change));
        }
    }

    /// Reaps the child, if it has ended; returns whether it has.
    fn reap(&self) -> bool {
        let mut body = self.body.lock();
        let Some(child) = &mut *body else { return true };
        let exit = match child.try_wait() {
            Ok(None) => return false,
            Ok(Some(status)) => exit_of(status),
            // Somebody has waited for all children there are, or ours are not to be waited for.
            Err(_) => ChildExit::Unknown,
        };
        *body = None;
        drop(body);
        self.tell(ChildChange::Ended(exit));
        true
    }

    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    fn run(&self) {
        use nix::{
            sys::wait::{Id, WaitPidFlag, WaitStatus, waitid},
            unistd::Pid,
        };
        let pid = self.body.lock().as_ref().map(|child| child.id().cast_signed());
        // Nobody but this thread reaps it, so it is there.
        let Some(pid) = pid else { return };
        let child = || Id::Pid(Pid::from_raw(pid));
        let stops = WaitPidFlag::WSTOPPED | WaitPidFlag::WCONTINUED;
        loop {
            // What is seen is not taken: the number must stay the child's until the lock is held.
            match waitid(child(), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | stops) {
                Err(nix::errno::Errno::EINTR) => {}
                Ok(WaitStatus::Stopped(_, signal)) => {
                    let _taken = waitid(child(), WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG);
                    self.tell(ChildChange::Stopped(ChildSignal::new(signal as i32)));
                }
                Ok(WaitStatus::Continued(_)) => {
                    let _taken = waitid(child(), WaitPidFlag::WCONTINUED | WaitPidFlag::WNOHANG);
                    self.tell(ChildChange::Continued);
                }
                // Ended, or an error, which the reaping will show: nix knows no real-time signals.
                _ => {
                    if self.reap() {
                        return;
                    }
                }
            }
        }
    }

    /// Elsewhere nothing tells of a child without reaping it, so it is looked after; stops are not heard of.
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    fn run(&self) {
        const EVERY: std::time::Duration = std::time::Duration::from_millis(20);
        let (_keep, never) = mpsc::channel::<()>();
        while !self.reap() {
            let _over = never.recv_timeout(EVERY);
        }
    }
}

fn exit_of(status: ExitStatus) -> ChildExit {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => ChildExit::Code(code),
        (None, Some(signal)) => ChildExit::Signal {
            signal: ChildSignal::new(signal),
            core_dumped: status.core_dumped(),
        },
        (None, None) => ChildExit::Unknown,
    }
}
