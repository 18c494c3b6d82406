//! Anything may be killed at any time: at every step of a busy runtime something is deleted, stopped,
//! reset, or the runtime itself dropped; afterwards every descriptor is back.
//!
//! A failure names its seed; `NETPROC_SEED` runs that one again.

use std::{cell::RefCell, rc::Rc, time::Duration};

use netproc::{CloseHow, Event, Process, Runtime, sim::Rng};
use netproc_tests::{
    child::descriptors,
    conformance,
    contract::pattern,
    rig::{Outcome, Rig},
};

/// Runtimes that live, and die, one after the other in one test.
const LIVES: u64 = 30;
/// Steps of one life at most.
const STEPS: usize = 120;

/// One life: a runtime and all that was ever started in it.
struct Life {
    rt: Runtime,
    rng: Rc<RefCell<Rng>>,
    servers: Vec<Process>,
    known: Vec<Process>,
    /// The ends told so far: one for each process at most.
    ended: Rc<RefCell<Vec<netproc::ProcessId>>>,
    /// What went wrong in callbacks that must not: their assertions.
    panics: Rc<RefCell<Vec<String>>>,
}

/// Deletes `process` in one of the ways there are.
fn kill(process: &Process, rng: &Rc<RefCell<Rng>>) {
    let way = rng.borrow_mut().index(5);
    match way {
        0 => process.delete_with(CloseHow::Now),
        1 => process.delete_with(CloseHow::Reset),
        2 => process.delete_with(CloseHow::Flush { within: Duration::from_millis(50) }),
        _ => process.delete(),
    }
}

/// Kills a process that is listed, whichever chance takes.
fn kill_any(rt: &Runtime, rng: &Rc<RefCell<Rng>>) {
    let listed = rt.process_list();
    if !listed.is_empty() {
        let victim = rng.borrow_mut().index(listed.len());
        kill(&listed[victim], rng);
    }
}

impl Life {
    fn new(rt: Runtime, seed: u64) -> Self {
        let rng = Rc::new(RefCell::new(Rng::new(seed)));
        let panics: Rc<RefCell<Vec<String>>> = Rc::default();
        let list = Rc::clone(&panics);
        // Refused sends and waits nested too deep are part of the game.
        rt.on_callback_error(move |err| {
            list.borrow_mut().extend(err.panicked.then(|| err.to_string()));
        });
        let (servers, known) = (Vec::new(), Vec::new());
        Self { rt, rng, servers, known, ended: Rc::default(), panics }
    }

    /// What every filter does: mostly an echo, sometimes something rash.
    fn filter(&self) -> impl Fn(&Process, netproc::Input) -> netproc::Result<()> + use<> {
        let rng = Rc::clone(&self.rng);
        move |process, input| {
            let chance = rng.borrow_mut().index(40);
            match chance {
                0 => kill(process, &rng),
                1 => kill_any(process.runtime(), &rng),
                2 => process.stop(),
                3 => drop(process.runtime().turn(Duration::ZERO)?),
                4 => drop(process.runtime().accept_output(
                    Some(process),
                    Some(Duration::ZERO),
                    true,
                )?),
                5 => process.send_eof()?,
                _ => drop(process.send(input)?),
            }
            Ok(())
        }
    }

    fn sentinel(&self) -> impl Fn(&Process, &Event) + use<> {
        let (rng, ended) = (Rc::clone(&self.rng), Rc::clone(&self.ended));
        move |process, event| {
            if let Event::Broken { .. } | Event::Deleted = event {
                assert!(!ended.borrow().contains(&process.id()), "{process:?} ended twice");
                ended.borrow_mut().push(process.id());
            }
            if rng.borrow_mut().index(30) == 0 {
                kill_any(process.runtime(), &rng);
            }
        }
    }

    fn start(&mut self) {
        let kind = self.rng.borrow_mut().index(4);
        let made = if kind == 0 || self.servers.is_empty() {
            let rng = Rc::clone(&self.rng);
            let server = self.rt.server("srv").filter(self.filter()).sentinel(self.sentinel());
            server
                .log(move |server, process, _| {
                    if rng.borrow_mut().index(20) == 0 {
                        kill(process.unwrap_or(server), &rng);
                    }
                })
                .start()
        } else {
            let server = &self.servers[self.rng.borrow_mut().index(self.servers.len())];
            let at = server.contact().local().clone();
            let client = self.rt.client("client").remote(at).nowait(kind != 1);
            client.filter(self.filter()).sentinel(self.sentinel()).start()
        };
        // A client of a server that is gone is refused, which is all right.
        if let Ok(process) = made {
            if kind == 0 || self.servers.is_empty() {
                self.servers.push(process.clone());
            }
            self.known.push(process);
        }
    }

    /// One step; an error, such as a queue that is full, is as good as anything.
    fn step(&mut self) -> netproc::Result<()> {
        let (what, number) = {
            let mut rng = self.rng.borrow_mut();
            (rng.index(12), rng.index(1_000))
        };
        let listed = self.rt.process_list();
        let Some(process) = listed.get(number % listed.len().max(1)) else {
            self.start();
            return Ok(());
        };
        match what {
            0..3 => self.start(),
            3..6 => drop(process.send(pattern(number as u64, number * 50))?),
            6 => kill(process, &self.rng),
            7 => process.stop(),
            8 => self.known.iter().for_each(Process::resume),
            9 => process.ignore_input(),
            10 => process.set_filter(self.filter()),
            _ => drop(self.rt.turn(Duration::from_millis(1))?),
        }
        self.rt.turn(Duration::ZERO)?;
        Ok(())
    }
}

fn live(rig: &Rig, seed: u64) -> Outcome {
    let mut life = Life::new(rig.another(), seed);
    let steps = life.rng.borrow_mut().index(STEPS);
    for _ in 0..steps {
        if let Err(err @ netproc::Error::Reactor(_)) = life.step() {
            return Err(err.into());
        }
    }
    assert_eq!(*life.panics.borrow(), [""; 0], "seed {seed}");
    if life.rng.borrow_mut().index(2) == 0 {
        // Dropped at work: everything goes with it.
        return Ok(());
    }
    let Life { rt, known, panics, .. } = life;
    known.iter().for_each(Process::delete);
    rt.process_list().iter().for_each(Process::delete);
    // Sentinels may have started nothing, so this is all.
    assert_eq!(rt.process_list(), [], "seed {seed}");
    rt.run()?;
    assert_eq!(*panics.borrow(), [""; 0], "seed {seed}");
    let stats = rt.stats();
    assert_eq!((stats.sockets, stats.in_flight, stats.slots_held), (0, 0, 0), "seed {seed}");
    Ok(())
}

conformance!(alone on (sim poll epoll uring): anything_may_be_killed_at_any_time, |rig| {
    let seed = std::env::var("NETPROC_SEED").ok().and_then(|seed| seed.parse().ok());
    live(rig, seed.unwrap_or(0))?;
    let before = descriptors()?;
    let seeds = seed.map_or(1..LIVES + 1, |seed| seed..seed + 1);
    for seed in seeds {
        live(rig, seed).map_err(|err| format!("seed {seed}: {err}"))?;
        assert_eq!(descriptors()?, before, "seed {seed}: descriptors left open");
    }
    Ok(())
});
