//! The demo's clients: closed loops that compare every byte that comes back.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::LazyLock,
    time::Duration,
};

use netproc::{Input, Process, Runtime, SendError};

use super::Events;

/// Bytes of a message after the first.
pub(crate) const MESSAGE_LEN: usize = 64;
/// Bytes of the first message: many reads and writes long.
const FIRST_LEN: usize = 256 * 1024;
/// What is sent, again and again: no two places of it look alike.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let states = std::iter::successors(Some(1u32), next);
    states.map(|state| state.to_be_bytes()[0]).take(FIRST_LEN).collect()
});

/// What all clients of one server share.
#[derive(Default)]
struct Tally {
    messages: Cell<u64>,
    bytes: Cell<u64>,
    /// Clients that wait for an answer.
    waiting: Cell<usize>,
    stopping: Cell<bool>,
    problem: RefCell<Option<String>>,
}

/// The clients of one server.
pub(crate) struct Clients {
    rt: Runtime,
    processes: Vec<Process>,
    tally: Rc<Tally>,
}

impl Clients {
    pub(crate) fn start(
        rt: &Runtime,
        server: &Process,
        count: usize,
        events: Rc<RefCell<Events>>,
    ) -> netproc::Result<Self> {
        let tally = Rc::new(Tally::default());
        let mut processes = Vec::with_capacity(count);
        for number in 0..count {
            let events = Rc::clone(&events);
            let client = rt
                .client(&format!("client of {}#{number}", server.name()))
                .remote(server.contact().local().clone())
                .sentinel(move |process, event| events.borrow_mut().add(process, event))
                .start()?;
            let mut checker = Checker { tally: Rc::clone(&tally), at: 0, left: 0 };
            client.set_filter_mut(move |process, input| checker.check(process, &input))?;
            processes.push(client);
        }
        Ok(Self { rt: rt.clone(), processes, tally })
    }

    /// Lets every client talk for `span`, then waits for the last answers; says what was wrong.
    pub(crate) fn run(
        &self,
        span: Duration,
        patience: Duration,
    ) -> netproc::Result<Option<String>> {
        self.tally.waiting.set(self.processes.len());
        for process in &self.processes {
            process.send(netproc::Payload::Static(&PATTERN))?;
        }
        let tally = Rc::clone(&self.tally);
        let stop = self.rt.run_after(span, move |_| tally.stopping.set(true));
        let late = Rc::new(Cell::new(false));
        let flag = Rc::clone(&late);
        let patience = self.rt.run_after(span + patience, move |_| flag.set(true));
        while self.tally.waiting.get() > 0 && self.tally.problem.borrow().is_none() && !late.get() {
            self.rt.turn(Duration::from_secs(1))?;
        }
        let (_, _) = (stop.cancel(), patience.cancel());
        let problem = self.tally.problem.take();
        Ok(problem.or_else(|| late.get().then(|| "an answer never came".into())))
    }

    pub(crate) fn first(&self) -> Option<&Process> {
        self.processes.first()
    }

    pub(crate) fn messages(&self) -> u64 {
        self.tally.messages.get()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.tally.bytes.get()
    }

    pub(crate) fn end(self) {
        for process in &self.processes {
            process.delete();
        }
    }
}

/// Compares what comes back, and sends the next message when one is complete.
struct Checker {
    tally: Rc<Tally>,
    /// Where in the pattern the next byte comes from.
    at: usize,
    /// Bytes of the message under way that have not come back; 0 before the first.
    left: usize,
}

impl Checker {
    fn check(&mut self, process: &Process, input: &Input) -> Result<(), SendError> {
        if self.left == 0 {
            (self.at, self.left) = (0, FIRST_LEN);
        }
        let expected = PATTERN.get(self.at..self.at + input.len());
        if input.len() > self.left || expected != Some(&input[..]) {
            let problem = format!("{}: wrong bytes at {}", process.name(), self.at);
            self.tally.problem.replace(Some(problem));
            return Ok(());
        }
        self.at += input.len();
        self.left -= input.len();
        self.tally.bytes.set(self.tally.bytes.get() + input.len() as u64);
        if self.left > 0 {
            return Ok(());
        }
        self.tally.messages.set(self.tally.messages.get() + 1);
        if self.tally.stopping.get() {
            self.tally.waiting.set(self.tally.waiting.get() - 1);
            return Ok(());
        }
        self.at = (self.at + MESSAGE_LEN) % FIRST_LEN;
        if self.at + MESSAGE_LEN > FIRST_LEN {
            self.at = 0;
        }
        self.left = MESSAGE_LEN;
        let next = &PATTERN[self.at..self.at + MESSAGE_LEN];
        process.send(netproc::Payload::Static(next)).map(drop)
    }
}
