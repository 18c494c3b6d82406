//! Other threads: a handle that posts calls into a runtime and wakes it.
//!
//! Invariant: a posted call runs on the runtime's thread, between two deliveries, in the order of
//! posting; after the runtime is gone posting says so and drops the call.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use netproc_core::reactor::Wake as _;

use crate::{backend::AnyWaker, runtime::Runtime};

type Job = Box<dyn FnOnce(&Runtime) + Send>;

/// The runtime behind a handle is gone; the call was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the runtime is gone")]
#[non_exhaustive]
pub struct Gone;

/// What other threads have posted; `None` once the runtime is gone.
#[derive(Default)]
pub(crate) struct Mailbox {
    jobs: Mutex<Option<VecDeque<Job>>>,
}

impl Mailbox {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { jobs: Mutex::new(Some(VecDeque::new())) })
    }

    /// A panic cannot happen under this lock: only moves are done there.
    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest job. One at a time, so that a job that waits lets those behind it run in order.
    pub(crate) fn pop(&self) -> Option<Job> {
        self.lock().as_mut()?.pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().as_ref().map_or(0, VecDeque::len)
    }

    pub(crate) fn close(&self) {
        let jobs = self.lock().take();
        drop(jobs);
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mailbox")
    }
}

/// A handle on a runtime for other threads: `Clone`, `Send`, `Sync`.
///
/// While one exists, [`Runtime::run`] waits for what it may post.
///
/// # Examples
///
/// ```
/// let rt = netproc::Runtime::new()?;
/// let handle = rt.handle();
/// let thread = std::thread::spawn(move || handle.post(|rt| rt.shutdown()));
/// rt.run()?;
/// assert_eq!(thread.join().unwrap(), Ok(()));
/// # Ok::<(), netproc::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Handle {
    mailbox: Arc<Mailbox>,
    /// Below the mailbox, so dropped after it: who wakes up then sees one handle less.
    waker: LastCall,
}

/// The last handle may be what `run` waits for: it looks again.
#[derive(Clone, Debug)]
struct LastCall(AnyWaker);

impl Drop for LastCall {
    fn drop(&mut self) {
        self.0.wake();
    }
}

impl Handle {
    pub(crate) const fn new(mailbox: Arc<Mailbox>, waker: AnyWaker) -> Self {
        Self { mailbox, waker: LastCall(waker) }
    }

    /// Has `job` run on the runtime's thread during its next or current wait. Never blocks.
    ///
    /// # Errors
    ///
    /// [`Gone`] when there is no runtime any more; the job was dropped.
    pub fn post(&self, job: impl FnOnce(&Runtime) + Send + 'static) -> Result<(), Gone> {
        self.mailbox.lock().as_mut().ok_or(Gone)?.push_back(Box::new(job));
        self.waker.0.wake();
        Ok(())
    }

    /// Makes the runtime's current or next wait return early. Never blocks; many calls between two
    /// waits count as one.
    pub fn wake(&self) {
        self.waker.0.wake();
    }

    /// Makes [`Runtime::run`] return.
    ///
    /// # Errors
    ///
    /// [`Gone`] when there is no runtime any more.
    pub fn shutdown(&self) -> Result<(), Gone> {
        self.post(Runtime::shutdown)
    }
}
