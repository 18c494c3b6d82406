//! Threads that ask the resolver, so that nobody else has to wait for it.
//!
//! Invariant: there are at most [`THREADS_MAX`], made when needed, shared by all runtimes of the program,
//! gone when idle for a while, and never joined: one that the resolver holds up dies with the program.
//! Questions wait in order; one that waits for nobody any more is not asked.

use std::{
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::system::{Question, ask};
use crate::error::ResolverError;

/// At most so many questions are asked at a time. The resolver waits for others most of its time, and a
/// name server that does not answer holds up one thread for each of its names.
const THREADS_MAX: usize = 8;
/// A thread that had nothing to ask for so long ends.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// What the resolver said.
pub(crate) type Answer = Result<Vec<SocketAddr>, ResolverError>;
type Ask = dyn Fn(&Question) -> Answer + Sync;

static DESK: Desk = Desk::new(&ask, IDLE_MAX);

/// Has another thread ask the resolver and call `then` with what it said. Never blocks.
pub(crate) fn ask_elsewhere(
    question: Question,
    then: impl FnOnce(Answer) + Send + 'static,
) -> Asked {
    DESK.take(question, Box::new(then))
}

/// A question for as long as somebody waits for its answer. Dropped before a thread has taken it up, it
/// is not asked; afterwards the answer comes all the same.
#[must_use = "a question that is dropped may not be asked"]
pub(crate) struct Asked {
    desk: &'static Desk,
    number: u64,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asked({})", self.number)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut state = self.desk.lock();
        // They are taken from the front and numbered as they come.
        let at = state.waiting.binary_search_by_key(&self.number, |job| job.number);
        let withdrawn = at.ok().and_then(|at| state.waiting.remove(at));
        drop(state);
        drop(withdrawn);
    }
}

struct Job {
    number: u64,
    question: Question,
    then: Box<dyn FnOnce(Answer) + Send>,
}

/// Where questions wait, and who asks them.
struct Desk {
    state: Mutex<State>,
    work: Condvar,
    ask: &'static Ask,
    idle_max: Duration,
}

struct State {
    waiting: VecDeque<Job>,
    /// The number of the last question.
    last: u64,
    threads: usize,
    idle: usize,
}

impl Desk {
    const fn new(ask: &'static Ask, idle_max: Duration) -> Self {
        let state = State { waiting: VecDeque::new(), last: 0, threads: 0, idle: 0 };
        Self { state: Mutex::new(state), work: Condvar::new(), ask, idle_max }
    }

    /// Nothing that can panic runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&'static self, question: Question, then: Box<dyn FnOnce(Answer) + Send>) -> Asked {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.waiting.push_back(Job { number, question, then });
        let more = state.idle < state.waiting.len() && state.threads < THREADS_MAX;
        state.threads += usize::from(more);
        drop(state);
        self.work.notify_one();
        if more {
            let thread = thread::Builder::new().name("netproc-resolver".into());
            if crate::thread::start(thread, || self.serve()).is_err() {
                self.serve_alone();
            }
        }
        Asked { desk: self, number }
    }

    /// There is one thread less than was counted on. Without any somebody has to ask: this one, then.
    fn serve_alone(&self) {
        let mut state = self.lock();
        state.threads -= 1;
        let alone =
            if state.threads == 0 { std::mem::take(&mut state.waiting) } else { VecDeque::new() };
        drop(state);
        for Job { question, then, .. } in alone {
            then((self.ask)(&question));
        }
    }

    /// The life of a thread.
    fn serve(&self) {
        let mut state = self.lock();
        loop {
            if let Some(Job { question, then, .. }) = state.waiting.pop_front() {
                drop(state);
                then((self.ask)(&question));
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let waited = self.work.wait_timeout(state, self.idle_max);
            let (after, wait) = waited.unwrap_or_else(PoisonError::into_inner);
            state = after;
            state.idle -= 1;
            if wait.timed_out() && state.waiting.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::mpsc::{Receiver, Sender, channel},
        time::Instant,
    };

    use netproc_core::reactor::Kind;

    use super::*;

    /// Longer than anything here takes, however busy the machine is.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn question(host: &str) -> Question {
        Question {
            host: host.into(),
            service: None,
            family: None,
            kind: Kind::Stream,
            numeric: true,
        }
    }

    /// A desk whose resolver tells which hosts it is asked for, and answers as often as it is let.
    struct Stalled {
        desk: &'static Desk,
        asked: Receiver<String>,
        go_on: Sender<()>,
    }

    impl Stalled {
        fn new() -> Self {
            let (tell, asked) = channel();
            let (go_on, wait) = channel();
            let wait = Mutex::new(wait);
            let ask = move |question: &Question| {
                tell.send(question.host.clone()).expect("the test listens");
                wait.lock().unwrap().recv().expect("the test lets it go on");
                Ok(Vec::new())
            };
            let ask: &'static Ask = Box::leak(Box::new(ask));
            let desk = Box::leak(Box::new(Desk::new(ask, Duration::from_millis(20))));
            Self { desk, asked, go_on }
        }

        /// Has these hosts asked for; each that was answered is sent back.
        fn take(&self, hosts: impl IntoIterator<Item = String>) -> (Vec<Asked>, Receiver<String>) {
            let (sender, answered) = channel();
            let mut asked = Vec::new();
            for host in hosts {
                let (question, sender) = (question(&host), sender.clone());
                let then = move |_| sender.send(host).expect("the test waits");
                asked.push(self.desk.take(question, Box::new(then)));
            }
            (asked, answered)
        }

        /// The next so many hosts that a thread has begun to ask for.
        fn begun(&self, count: usize) -> BTreeSet<String> {
            let next = |_| self.asked.recv_timeout(PATIENCE).expect("a thread asks for it");
            (0..count).map(next).collect()
        }
    }

    fn hosts(numbers: std::ops::Range<usize>) -> BTreeSet<String> {
        numbers.map(|number| format!("host-{number:02}")).collect()
    }

    #[test]
    fn every_question_is_answered_once() {
        let (sender, receiver) = channel();
        let mut asked = Vec::new();
        for number in 0..100_u8 {
            let sender = sender.clone();
            asked.push(ask_elsewhere(question(&format!("127.0.0.{number}")), move |answer| {
                sender.send((number, answer)).expect("the test waits");
            }));
        }
        drop(sender);
        let mut answers: Vec<_> = receiver.iter().collect();
        answers.sort_by_key(|(number, _)| *number);
        for (number, (asked, answer)) in (0..).zip(&answers) {
            let ip = format!("127.0.0.{number}:0").parse().unwrap();
            assert_eq!((*asked, answer.as_ref().unwrap()), (number, &vec![ip]));
        }
        assert_eq!(answers.len(), 100);
    }

    #[test]
    fn eight_are_asked_at_a_time_and_the_others_wait_in_order() {
        let stalled = Stalled::new();
        let (_asked, answered) = stalled.take(hosts(0..20));
        assert_eq!(stalled.begun(8), hosts(0..8));
        assert_eq!(stalled.desk.lock().waiting.len(), 12, "and no other");
        for next in 8..20 {
            stalled.go_on.send(()).unwrap();
            assert_eq!(stalled.begun(1), hosts(next..next + 1));
        }
        for _ in 0..8 {
            stalled.go_on.send(()).unwrap();
        }
        assert_eq!(answered.iter().take(20).collect::<BTreeSet<_>>(), hosts(0..20));
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_asked() {
        let stalled = Stalled::new();
        let (mut asked, answered) = stalled.take(hosts(0..12));
        assert_eq!(stalled.begun(8), hosts(0..8));
        asked.drain(9..11);
        drop(asked.remove(0));
        for _ in 0..10 {
            stalled.go_on.send(()).unwrap();
        }
        let mut expected = hosts(0..9);
        expected.extend(hosts(11..12));
        let all = answered.iter().take(10).collect::<BTreeSet<_>>();
        assert_eq!(all, expected, "the first was under way already");
        assert_eq!(stalled.desk.lock().waiting.len(), 0);
    }

    #[test]
    fn threads_end_when_there_is_nothing_to_ask() {
        let stalled = Stalled::new();
        for _ in 0..2 {
            let (_asked, answered) = stalled.take(hosts(0..3));
            assert_eq!(stalled.begun(3), hosts(0..3));
            for _ in 0..3 {
                stalled.go_on.send(()).unwrap();
            }
            assert_eq!(answered.iter().take(3).count(), 3);
            let begin = Instant::now();
            while stalled.desk.lock().threads > 0 {
                assert!(begin.elapsed() < PATIENCE, "a thread stays for ever");
                thread::yield_now();
            }
        }
        assert_eq!(stalled.desk.lock().idle, 0);
    }
}
