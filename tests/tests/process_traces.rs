//! Random operations against a model: what each process is told is what the model says, to the line,
//! on every backend; so the traces of all backends agree.
//!
//! The model is a page of Emacs's rules, not of our code: what is sent arrives unless its receiver
//! takes no input, the end comes behind it and ends both sides, a stopped server accepts later,
//! `deleted` is the deleted side's only end. Left out is what the system may decide either way, such as
//! input lost because its receiver was deleted with some unread. A failure names its seed;
//! `NETPROC_SEED` runs that one again.

use std::{cell::RefCell, rc::Rc, time::Duration};

use netproc::{Address, Process, Status, sim::Rng};
use netproc_tests::{
    conformance,
    rig::{Outcome, Rig},
};

const SEEDS: std::ops::Range<u64> = 1..41;
const STEPS: usize = 60;
/// The most bytes of one send: all that wait in one connection fit the system's buffers.
const SEND_MAX: usize = 2_000;

const CLIENT: usize = 0;
const CHILD: usize = 1;

/// A line of a log: words, or input that joins with input before it.
#[derive(Clone, PartialEq, Debug)]
enum Line {
    Words(&'static str),
    Input(Vec<u8>),
}

/// One side of a connection as the model has it.
#[derive(Debug, Default)]
struct End {
    told: Vec<Line>,
    born: bool,
    over: bool,
    stopped: bool,
    deaf: bool,
    finished: bool,
    /// What was sent to it and not read.
    unread: Vec<u8>,
    /// The end stands behind that.
    end_unread: bool,
}

impl End {
    fn tell(&mut self, words: &'static str) {
        self.told.push(Line::Words(words));
    }

    const fn reads(&self) -> bool {
        self.born && !self.over && !self.stopped && !self.deaf
    }

    const fn lives(&self) -> bool {
        self.born && !self.over
    }

    /// The lines as the rig's log writes them.
    fn lines(&self) -> Vec<String> {
        let line = |line: &Line| match line {
            Line::Words(words) => (*words).to_owned(),
            Line::Input(bytes) if bytes.len() > 80 => format!("{} bytes (open)", bytes.len()),
            Line::Input(bytes) => format!("\"{}\" (open)", bytes.escape_ascii()),
        };
        self.told.iter().map(line).collect()
    }
}

/// A client and the connection its server accepted, or a client that nobody answered.
#[derive(Debug)]
struct Pair {
    client: Process,
    /// Which connection of the server it is.
    at: Address,
    server: usize,
    ends: [End; 2],
}

/// Input that can be read is read; an end behind it is the end of both sides.
fn deliver(ends: &mut [End; 2]) {
    loop {
        let mut changed = false;
        for side in [CLIENT, CHILD] {
            let end = &mut ends[side];
            if !end.reads() {
                continue;
            }
            if !end.unread.is_empty() {
                let bytes = std::mem::take(&mut end.unread);
                match end.told.last_mut() {
                    Some(Line::Input(before)) => before.extend(bytes),
                    _ => end.told.push(Line::Input(bytes)),
                }
            }
            if end.end_unread {
                end.over = true;
                end.tell("connection broken by remote peer (closed)");
                ends[1 - side].end_unread = true;
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

struct Server {
    process: Process,
    told: Vec<String>,
    stopped: bool,
    deleted: bool,
}

struct Trial<'a> {
    rig: &'a Rig,
    rng: Rng,
    children: Rc<RefCell<Vec<Process>>>,
    servers: Vec<Server>,
    pairs: Vec<Pair>,
    /// Seed and step, for whoever reads of a failure.
    place: String,
}

impl Trial<'_> {
    fn server(&mut self) -> Outcome {
        let children = Rc::clone(&self.children);
        let server = self.rig.server().on_accept(move |_, child| {
            children.borrow_mut().push(child.clone());
        });
        let process = server.start()?;
        self.servers.push(Server { process, told: Vec::new(), stopped: false, deleted: false });
        Ok(())
    }

    /// The processes of a pair, the accepted one once it is there.
    fn process(&self, pair: &Pair, side: usize) -> Option<Process> {
        if side == CLIENT {
            return Some(pair.client.clone());
        }
        let server = &self.servers[pair.server].process;
        let is_it = |child: &&Process| {
            let contact = child.contact();
            contact.remote() == Some(&pair.at) && contact.local() == server.contact().local()
        };
        self.children.borrow().iter().find(is_it).cloned()
    }

    /// The child of a pair is born if its server accepts.
    fn accept(server: &mut Server, ends: &mut [End; 2]) {
        if !server.stopped && !server.deleted && !ends[CHILD].born {
            server.told.push("log: accept from 127.0.0.1 (listen)".into());
            ends[CHILD].born = true;
            ends[CHILD].tell("open from 127.0.0.1 (open)");
        }
        deliver(ends);
    }

    fn connect(&mut self) -> Outcome {
        let nowait = self.rng.index(2) == 0;
        let at = self.servers.len() - 1;
        let client = self.rig.client(&self.servers[at].process).nowait(nowait).start()?;
        let mut ends = [End { born: true, ..End::default() }, End::default()];
        if nowait {
            self.rig.until("connected", || client.status() != Status::Connect);
            ends[CLIENT].tell("open (open)");
        }
        Self::accept(&mut self.servers[at], &mut ends);
        let local = client.contact().local().clone();
        self.pairs.push(Pair { client, at: local, server: at, ends });
        Ok(())
    }

    fn refused(&mut self) -> Outcome {
        let nobody = self.rig.dead_end()?;
        let client = self.rig.client_at(nobody.clone()).nowait(true).start()?;
        let mut ends = [End { born: true, over: true, ..End::default() }, End::default()];
        ends[CLIENT].tell("failed with code 111 (failed)");
        ends[CHILD].over = true;
        self.pairs.push(Pair { client, at: nobody, server: self.servers.len() - 1, ends });
        Ok(())
    }

    /// Something happens to one side of a pair, if it may.
    fn act(&mut self, number: usize, side: usize, what: usize) -> Outcome {
        let Some(process) = self.process(&self.pairs[number], side) else { return Ok(()) };
        let sent = {
            let len = 1 + self.rng.index(SEND_MAX);
            let first = self.rng.index(26);
            (0..len).map(|at| b"abcdefghijklmnopqrstuvwxyz"[(first + at) % 26]).collect::<Vec<_>>()
        };
        let ends = &mut self.pairs[number].ends;
        if !ends[side].lives() {
            return Ok(());
        }
        // What is sent to a side that is gone may or may not cost the sender its unread input.
        let answered = !ends[1 - side].over;
        match what {
            0..5 if answered && !ends[side].finished => {
                process.send(sent.clone())?;
                ends[1 - side].unread.extend(sent);
            }
            5 if answered => {
                process.send_eof()?;
                ends[side].finished = true;
                ends[1 - side].end_unread = true;
            }
            6 => {
                process.stop();
                ends[side].stopped = true;
            }
            7 | 8 => {
                process.resume();
                ends[side].stopped = false;
            }
            9 => {
                process.ignore_input();
                ends[side].deaf = true;
            }
            10 => {
                process.set_filter(self.rig.log.filter());
                ends[side].deaf = false;
            }
            // With unread input the system resets, and what the other side had unread is lost.
            11 if ends[side].unread.is_empty() => {
                process.delete();
                ends[side].over = true;
                ends[side].tell("deleted (closed)");
                ends[1 - side].end_unread = true;
            }
            _ => {}
        }
        deliver(ends);
        Ok(())
    }

    fn act_on_server(&mut self, what: usize) -> Outcome {
        let at = self.servers.len() - 1;
        let server = &mut self.servers[at];
        match what {
            0 => {
                server.process.stop();
                server.stopped = true;
            }
            1..4 => {
                server.process.resume();
                server.stopped = false;
                for pair in self.pairs.iter_mut().filter(|pair| pair.server == at) {
                    if !pair.ends[CHILD].over {
                        Self::accept(server, &mut pair.ends);
                    }
                }
            }
            _ => {
                server.process.delete();
                server.deleted = true;
                server.told.push("deleted (closed)".into());
                for pair in self.pairs.iter_mut().filter(|pair| pair.server == at) {
                    if !pair.ends[CHILD].born {
                        // Never accepted: the system resets it.
                        pair.ends[CHILD].over = true;
                        pair.ends[CLIENT].end_unread |= pair.ends[CLIENT].lives();
                        deliver(&mut pair.ends);
                    }
                }
                self.server()?;
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Outcome {
        match self.rng.index(20) {
            0..3 => self.connect()?,
            3 => self.refused()?,
            4 => {
                let what = self.rng.index(5);
                self.act_on_server(what)?;
            }
            _ if self.pairs.is_empty() => self.connect()?,
            _ => {
                let number = self.rng.index(self.pairs.len());
                let (side, what) = (self.rng.index(2), self.rng.index(12));
                self.act(number, side, what)?;
            }
        }
        // What was asked for leaves now; then everybody hears what the model says.
        self.rig.rt.turn(Duration::ZERO)?;
        self.rig.until(&self.place, || self.disagreement().is_none());
        Ok(())
    }

    /// The first process that was told something else than the model says.
    fn disagreement(&self) -> Option<String> {
        let log = &self.rig.log;
        for server in &self.servers {
            let told = log.of(&server.process);
            if told != server.told {
                return Some(format!("server: model {:?}, told {told:?}", server.told));
            }
        }
        for (number, pair) in self.pairs.iter().enumerate() {
            for side in [CLIENT, CHILD] {
                let told = self.process(pair, side).map(|process| log.of(&process));
                let (told, model) = (told.unwrap_or_default(), pair.ends[side].lines());
                if told != model {
                    return Some(format!("{number}.{side}: model {model:?}, told {told:?}"));
                }
            }
        }
        None
    }
}

fn trial(rig: &Rig, seed: u64) -> Outcome {
    let mut trial = Trial {
        rig,
        rng: Rng::new(seed),
        children: Rc::default(),
        servers: Vec::new(),
        pairs: Vec::new(),
        place: String::new(),
    };
    trial.server()?;
    for step in 0..STEPS {
        trial.place = format!("what the model says, seed {seed}, step {step}");
        trial.step().map_err(|err| format!("seed {seed}, step {step}: {err}"))?;
    }
    rig.settle();
    assert_eq!(trial.disagreement(), None, "seed {seed}");
    for process in rig.rt.process_list() {
        process.delete();
    }
    rig.settle();
    rig.log.clear();
    Ok(())
}

conformance!(what_a_process_is_told_is_what_the_model_says, |rig| {
    let seed = std::env::var("NETPROC_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in seed.map_or(SEEDS, |seed| seed..seed + 1) {
        trial(rig, seed)?;
    }
    Ok(())
});
