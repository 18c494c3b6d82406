//! An echo server and its clients over the simulated reactor: the engine without a kernel.
//!
//! Invariant: every byte that comes back is checked, so that nothing is optimised away and nothing
//! wrong is fast.

use std::rc::Rc;

use netproc_core::{
    address::{Address, Family},
    engine::{Delivery, Engine, Start},
    plist::Plist,
    process::{Limits, Shared},
    reactor::{Config, FileSpec, Kind, Payload, Wait},
    sim::{Faults, SimReactor},
};

/// What every client sends.
pub const MESSAGE: &[u8; 64] = &[0x5a; 64];

fn start(name: &str) -> Start<()> {
    Start {
        name: name.into(),
        kind: Kind::Stream,
        asked: Plist::default(),
        plist: Plist::default(),
        handlers: (),
        coding: None,
        layers: None,
        trusted: None,
        header: None,
        options: Vec::new(),
        stopped: false,
        half_open: false,
        reuse_port: false,
        connected: true,
        file: FileSpec::default(),
        limits: Limits::default(),
    }
}

/// An echo server and its clients on one simulated host.
#[derive(Debug)]
pub struct Echo {
    engine: Engine<SimReactor, ()>,
    clients: Vec<Shared<()>>,
}

impl Echo {
    /// Connects `clients` clients and lets each have an echo.
    ///
    /// # Panics
    ///
    /// Panics when something is not as in a simulation without faults.
    #[must_use]
    pub fn new(clients: usize) -> Self {
        let mut engine = Engine::new(SimReactor::new(1, Faults::none(), Config::default()));
        let any: Address = "[127 0 0 1 0]".parse().expect("a legal vector");
        assert_eq!(any.family(), Family::Ipv4);
        let server = engine.listen(start("echo"), &any, 128).expect("the port is free");
        let to = server.borrow().contact().local().clone();
        let connect = |_| {
            let to = vec![to.clone()];
            engine.connect(start("client"), to, None, false).expect("the simulation has sockets")
        };
        let clients: Vec<_> = (0..clients).map(connect).collect();
        let mut echo = Self { engine, clients };
        echo.round(); // connects them too
        echo
    }

    /// One message of every client, to the server and back.
    ///
    /// # Panics
    ///
    /// Panics when something is not as in a simulation without faults.
    pub fn round(&mut self) {
        for client in &self.clients {
            self.engine.send(client, Payload::Static(MESSAGE)).expect("an open queue has room");
        }
        let mut back = 0;
        while back < self.clients.len() * MESSAGE.len() {
            self.engine.poll(Wait::Forever).expect("a simulation does not break");
            while let Some(delivery) = self.engine.next(None) {
                let Delivery::Input { process, input } = delivery else { continue };
                if self.clients.iter().any(|client| Rc::ptr_eq(client, &process)) {
                    assert!(input.iter().all(|&byte| byte == MESSAGE[0]));
                    back += input.len();
                } else {
                    let buf = input.into_buf();
                    self.engine.send(&process, buf.into()).expect("an open queue has room");
                }
            }
        }
    }
}
