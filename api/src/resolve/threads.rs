//! Threads that ask the resolver, so that nobody else has to wait for it.
//!
//! Invariant: there are few, made when first needed, shared by all runtimes of the program; they are
//! never joined: one that the resolver holds up dies with the program. Questions wait in order.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Condvar, Mutex, PoisonError},
    thread,
};

use super::system::{Question, ask};
use crate::error::ResolverError;

/// At most so many questions are asked at a time. The resolver waits for others most of its time, and a
/// name server that does not answer holds up one thread for each of its names.
const THREADS_MAX: usize = 8;

/// What the resolver said.
pub(crate) type Answer = Result<Vec<SocketAddr>, ResolverError>;
type Job = (Question, Box<dyn FnOnce(Answer) + Send>);

#[derive(Default)]
struct Desk {
    waiting: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static DESK: Mutex<Desk> = Mutex::new(Desk { waiting: VecDeque::new(), threads: 0, idle: 0 });
static WORK: Condvar = Condvar::new();

/// Has another thread ask the resolver and call `then` with what it said. Never blocks.
pub(crate) fn ask_elsewhere(question: Question, then: impl FnOnce(Answer) + Send + 'static) {
    // Nothing that can panic runs under this lock.
    let mut desk = DESK.lock().unwrap_or_else(PoisonError::into_inner);
    desk.waiting.push_back((question, Box::new(then)));
    let more = desk.idle < desk.waiting.len() && desk.threads < THREADS_MAX;
    desk.threads += usize::from(more);
    drop(desk);
    WORK.notify_one();
    if more && thread::Builder::new().name("netproc-resolver".into()).spawn(work).is_err() {
        let mut desk = DESK.lock().unwrap_or_else(PoisonError::into_inner);
        desk.threads -= 1;
        // Without any thread somebody has to: this one, then.
        let alone = if desk.threads == 0 { desk.waiting.pop_back() } else { None };
        drop(desk);
        if let Some((question, then)) = alone {
            then(ask(&question));
        }
    }
}

fn work() {
    let mut desk = DESK.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some((question, then)) = desk.waiting.pop_front() {
            drop(desk);
            then(ask(&question));
            desk = DESK.lock().unwrap_or_else(PoisonError::into_inner);
        } else {
            desk.idle += 1;
            desk = WORK.wait(desk).unwrap_or_else(PoisonError::into_inner);
            desk.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use netproc_core::reactor::Kind;

    use super::*;

    #[test]
    fn every_question_is_answered_once() {
        let (sender, receiver) = channel();
        for number in 0..100_u8 {
            let (host, sender) = (format!("127.0.0.{number}"), sender.clone());
            let question =
                Question { host, service: None, family: None, kind: Kind::Stream, numeric: true };
            ask_elsewhere(question, move |answer| {
                sender.send((number, answer)).expect("the test waits");
            });
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
}
