//! Other threads: a handle that posts calls into a runtime and wakes it.
//!
//! Invariant: a posted call runs on the runtime's thread, between two deliveries, in the order of
//! posting; after the runtime is gone posting says so and drops the call. No call gives an answer back
//! to the thread that posted it: that thread would have to wait for it.

use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use netproc_core::{engine::SendError, reactor::Wake as _, socket::AdoptError, table::ProcessId};

use crate::{
    backend::AnyWaker, handlers::BoxError, process::Process, runtime::Runtime, shards::Handed,
};

/// A posted call; what it returns goes to the hook of callback errors.
type Job = Box<dyn FnOnce(&Runtime) -> Option<BoxError> + Send>;

/// The runtime behind a handle is gone; the call was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the runtime is gone")]
#[non_exhaustive]
pub struct Gone;

/// Why bytes that another thread sent by [`Handle::send`] were dropped: the
/// [`error`](crate::CallbackError::error) that the hook of
/// [`Runtime::on_callback_error`] then gets.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostedSendError {
    /// No process of this id is listed any more, or none of this runtime ever was.
    #[error("{len} bytes sent from another thread were dropped: their process has ended")]
    Ended {
        /// The id given.
        id: ProcessId,
        /// How many bytes there were.
        len: usize,
    },
    /// The process took no bytes.
    #[error("{len} bytes sent to {process:?} from another thread were refused")]
    Refused {
        /// The name of the process.
        process: String,
        /// How many bytes there were.
        len: usize,
        /// What is wrong.
        source: SendError,
    },
}

/// What to do with an answer of the resolver: nothing that could call anybody.
type AnswerJob = Box<dyn FnOnce(&Runtime) + Send>;

/// What waits for the runtime's thread.
#[derive(Default)]
struct Mail {
    jobs: VecDeque<Job>,
    answers: VecDeque<AnswerJob>,
}

/// What other threads have posted; `None` once the runtime is gone.
pub(crate) struct Mailbox {
    mail: Mutex<Option<Mail>>,
}

impl Mailbox {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { mail: Mutex::new(Some(Mail::default())) })
    }

    /// A panic cannot happen under this lock: only moves are done there.
    fn lock(&self) -> MutexGuard<'_, Option<Mail>> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest job. One at a time, so that a job that waits lets those behind it run in order.
    pub(crate) fn pop(&self) -> Option<Job> {
        self.lock().as_mut()?.jobs.pop_front()
    }

    /// The oldest answer.
    pub(crate) fn pop_answer(&self) -> Option<AnswerJob> {
        self.lock().as_mut()?.answers.pop_front()
    }

    /// How many jobs there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().as_ref().map_or(0, |mail| mail.jobs.len())
    }

    pub(crate) fn close(&self) {
        let Some(Mail { jobs, answers }) = self.lock().take() else { return };
        for job in jobs {
            // One by one: two that fail in one drop end the program. Nobody is left to tell of it.
            let _panic = catch_unwind(AssertUnwindSafe(|| drop(job)));
        }
        drop(answers);
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

/// Where a thread of our own leaves an answer. Unlike a [`Handle`] it keeps nobody waiting for it.
#[derive(Clone, Debug)]
pub(crate) struct Postbox {
    mailbox: Weak<Mailbox>,
    waker: AnyWaker,
}

impl Postbox {
    pub(crate) fn new(mailbox: &Arc<Mailbox>, waker: AnyWaker) -> Self {
        Self { mailbox: Arc::downgrade(mailbox), waker }
    }

    /// Has `job` run on the runtime's thread, if there is a runtime, in a wait however deep: so it must
    /// not call anybody.
    pub(crate) fn post(&self, job: impl FnOnce(&Runtime) + Send + 'static) {
        let Some(mailbox) = self.mailbox.upgrade() else { return };
        if let Some(mail) = mailbox.lock().as_mut() {
            mail.answers.push_back(Box::new(job));
        }
        // Before the wake: `run` counts who holds the mailbox.
        drop(mailbox);
        self.waker.wake();
    }
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
        self.push(Box::new(|rt| {
            job(rt);
            None
        }))
    }

    /// Hands over a connection that was accepted for a server of the runtime.
    pub(crate) fn hand(&self, handed: Handed) -> Result<(), Gone> {
        self.post(move |rt| rt.take_in(handed))
    }

    fn push(&self, job: Job) -> Result<(), Gone> {
        self.mailbox.lock().as_mut().ok_or(Gone)?.jobs.push_back(job);
        self.waker.0.wake();
        Ok(())
    }

    /// Has `call` run with the process of this id, if it still is listed then.
    fn with(
        &self,
        id: ProcessId,
        call: impl FnOnce(&Process) + Send + 'static,
    ) -> Result<(), Gone> {
        self.post(move |rt| {
            if let Some(process) = rt.process_by_id(id) {
                call(&process);
            }
        })
    }

    /// Sends `data` to the peer of the process of this id, behind what was posted before; as
    /// [`Process::send`], which the runtime's thread calls during its next or current wait. Never
    /// blocks.
    ///
    /// Whether the process takes the bytes shows only there. If it does not, all of them are dropped,
    /// and the hook of [`Runtime::on_callback_error`] gets a [`PostedSendError`]. Ids are those of this
    /// runtime.
    ///
    /// # Errors
    ///
    /// [`Gone`] when there is no runtime any more; the bytes were dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use netproc::{Event, Runtime};
    ///
    /// let rt = Runtime::new()?;
    /// let echo = rt.server("echo").filter(|process, input| process.send(input)).start()?;
    /// let client = rt.client("c").remote(echo.contact().local().clone()).start()?;
    /// let (handle, id) = (rt.handle(), client.id());
    /// let thread = std::thread::spawn(move || handle.send(id, "from afar"));
    /// let answer = rt.next_event_of(&client, Duration::from_secs(5))?;
    /// assert!(matches!(answer, Some(Event::Input(input)) if input[..] == *b"from afar"));
    /// assert_eq!(thread.join().unwrap(), Ok(()));
    /// # Ok::<(), netproc::Error>(())
    /// ```
    pub fn send(&self, id: ProcessId, data: impl Into<Vec<u8>>) -> Result<(), Gone> {
        let data = data.into();
        self.push(Box::new(move |rt| {
            let len = data.len();
            let Some(process) = rt.process_by_id(id) else {
                return Some(PostedSendError::Ended { id, len }.into());
            };
            let source = process.send(data).err()?;
            let process = process.name().to_string();
            Some(PostedSendError::Refused { process, len, source }.into())
        }))
    }

    /// Deletes the process of this id, as [`Process::delete`]; one that has ended already is as it
    /// should be. Never blocks; the sentinel runs on the runtime's thread.
    ///
    /// # Errors
    ///
    /// [`Gone`] when there is no runtime any more, and so no process.
    pub fn delete(&self, id: ProcessId) -> Result<(), Gone> {
        self.with(id, Process::delete)
    }

    /// Stops the process of this id, as [`Process::stop`]: what it was given before this is taken up
    /// stays given. Nothing happens to one that has ended. Never blocks.
    ///
    /// # Errors
    ///
    /// [`Gone`] when there is no runtime any more.
    pub fn stop(&self, id: ProcessId) -> Result<(), Gone> {
        self.with(id, Process::stop)
    }

    /// Lets the process of this id go on, as [`Process::resume`]. Nothing happens to one that has
    /// ended. Never blocks.
    ///
    /// # Errors
    ///
    /// [`Gone`] when there is no runtime any more.
    pub fn resume(&self, id: ProcessId) -> Result<(), Gone> {
        self.with(id, Process::resume)
    }

    /// Has the server of this id take over a connection that somebody else has accepted, as
    /// [`Process::adopt`], which the runtime's thread calls during its next or current wait. Never blocks.
    ///
    /// Whether the server takes it shows only there. If it does not, the connection is closed, and the hook
    /// of [`Runtime::on_callback_error`] gets an [`AdoptError`].
    ///
    /// # Errors
    ///
    /// [`Gone`] when there is no runtime any more; the connection was closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{io::Read, net::{TcpListener, TcpStream}, time::Duration};
    ///
    /// let rt = netproc::Runtime::new()?;
    /// let greeter = rt.server("s").on_accept(|_, connection| connection.send("hello")).start()?;
    /// let (handle, id) = (rt.handle(), greeter.id());
    /// let thread = std::thread::spawn(move || {
    ///     let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    ///     let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    ///     handle.adopt(id, listener.accept().unwrap().0).unwrap();
    ///     let mut answer = [0; 5];
    ///     client.read_exact(&mut answer).map(|()| answer)
    /// });
    /// while !thread.is_finished() {
    ///     rt.turn(Duration::from_millis(10))?;
    /// }
    /// assert_eq!(&thread.join().unwrap().unwrap(), b"hello");
    /// # Ok::<(), netproc::Error>(())
    /// ```
    pub fn adopt(&self, server: ProcessId, connection: impl Into<OwnedFd>) -> Result<(), Gone> {
        let connection = connection.into();
        self.push(Box::new(move |rt| match rt.process_by_id(server) {
            Some(server) => server.adopt(connection).err().map(Into::into),
            None => Some(AdoptError::NotAccepting.into()),
        }))
    }

    /// Makes the runtime's current wait look again, or the next one. Never blocks; many calls between two
    /// looks count as one.
    ///
    /// [`Runtime::turn`] returns then, before its time; every other wait, of [`Runtime::run`],
    /// [`Runtime::next_event`], [`Runtime::accept_output`], [`Process::send_wait`](crate::Process::send_wait)
    /// and their like, goes on as long as what it waits for is not there.
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
