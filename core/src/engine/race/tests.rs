//! Races in a simulation, looked at from within: what they keep, and that nothing stays of them.

use std::time::Duration;

use super::*;
use crate::{
    engine::{Delivery, Start},
    machine::Phase,
    plist::Plist,
    process::Limits,
    reactor::{Config, FileSpec, Kind, Wait},
    sim::{Faults, SimReactor},
};

type Sim = Engine<SimReactor, ()>;

/// Nobody is there: other hosts never answer.
const SILENT: &str = "[192 0 2 1 7]";
/// Nobody listens there.
const REFUSED: &str = "[127 0 0 1 1]";

fn engine() -> Sim {
    Engine::new(SimReactor::new(1, Faults::none(), Config::default()))
}

fn start(name: &str) -> Start<()> {
    Start {
        name: name.into(),
        kind: Kind::Stream,
        asked: Plist::new(),
        plist: Plist::new(),
        handlers: (),
        coding: None,
        layers: None,
        trusted: None,
        header: None,
        options: vec![SockOption::KeepAlive(true)],
        stopped: false,
        half_open: false,
        reuse_port: false,
        connected: true,
        file: FileSpec::default(),
        limits: Limits::default(),
    }
}

/// A server, and where it is.
fn server(engine: &mut Sim) -> Address {
    let any = "[127 0 0 1 0]".parse().unwrap();
    let server = engine.listen(start("server"), &any, 5).unwrap();
    server.borrow().contact().local().clone()
}

fn addresses(texts: &[&str]) -> Vec<Address> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn connect(engine: &mut Sim, to: Vec<Address>) -> Shared<()> {
    engine.connect(start("client"), to, None, true).unwrap()
}

/// Takes whatever comes until an hour has passed, and returns the events of `process`.
fn events_of(engine: &mut Sim, process: &Shared<()>) -> Vec<String> {
    let mut events = Vec::new();
    let end = engine.now().after(Duration::from_secs(3600));
    while engine.now() < end {
        let at = engine.next_attempt_at().map_or(end, |at| at.min(end));
        engine.poll(Wait::Until(at)).unwrap();
        while let Some(delivery) = engine.next(None) {
            if let Delivery::Event { process: whose, event } = delivery
                && Rc::ptr_eq(&whose, process)
            {
                events.push(event.to_string().trim_end().to_owned());
            }
        }
    }
    events
}

fn attempts(process: &Shared<()>) -> usize {
    let p = process.borrow();
    let racing = p.connecting.as_ref().and_then(|connecting| connecting.racing.as_ref());
    racing.map_or(0, |racing| racing.race.under_way().count())
}

/// Nothing of any race is left but the sockets that live.
#[track_caller]
fn assert_no_race(engine: &Sim, process: &Shared<()>) {
    let racing = process.borrow().connecting.as_ref().is_some_and(|it| it.racing.is_some());
    assert!(!racing, "a race goes on");
    assert!(engine.races.is_empty(), "a time is still waited for");
    let attempts = engine.owners.iter().flatten().chain(&engine.outlived);
    let attempts = attempts.filter(|(_, owner)| matches!(owner, Owner::Attempt(_)));
    assert_eq!(attempts.count(), 0, "an attempt still has an owner");
}

#[test]
fn one_address_alone_is_no_race() {
    let mut engine = engine();
    let to = server(&mut engine);
    let client = connect(&mut engine, vec![to]);
    assert_no_race(&engine, &client);
    let connecting = client.borrow().connecting.as_ref().unwrap().options.capacity();
    assert_eq!(connecting, 0, "nothing is kept for attempts that never come");
    assert_eq!(events_of(&mut engine, &client), ["open"]);
}

#[test]
fn nothing_is_left_of_a_race_that_is_won_lost_or_given_up() {
    let mut engine = engine();
    let to = server(&mut engine);
    let mut won = addresses(&[SILENT, REFUSED, SILENT]);
    won.push(to.clone());
    let client = connect(&mut engine, won.clone());
    assert_eq!(events_of(&mut engine, &client), ["open"]);
    assert_eq!(client.borrow().contact().remote(), Some(&to));
    assert_no_race(&engine, &client);
    assert_eq!(engine.reactor().counters().sockets, 3, "the server, and two ends");

    let client = connect(&mut engine, addresses(&[REFUSED, SILENT, REFUSED]));
    assert_eq!(events_of(&mut engine, &client), ["failed with code 110"]);
    assert_eq!(client.borrow().contact().remote(), Some(&SILENT.parse().unwrap()));
    assert_no_race(&engine, &client);

    let client = connect(&mut engine, won);
    engine.poll(Wait::Until(engine.next_attempt_at().unwrap())).unwrap();
    assert!(engine.next(None).is_none());
    assert_eq!(attempts(&client), 2);
    assert!(engine.delete(&client, None));
    assert_no_race(&engine, &client);
    assert_eq!(events_of(&mut engine, &client), [""; 0]);
    assert_eq!(engine.reactor().counters().sockets, 3, "no attempt has kept its socket");
}

#[test]
fn a_race_lost_at_once_starts_nothing() {
    let mut engine = engine();
    let unbound = Some("[192 0 2 9 0]".parse().unwrap());
    let to = addresses(&[REFUSED, SILENT, REFUSED, "[0 0 0 0 0 0 0 1 7]"]);
    let refused = engine.connect(start("client"), to, unbound, true).unwrap_err();
    assert_eq!(refused.address, Some(REFUSED.parse().unwrap()), "the family of IPv6 had its turn");
    assert_eq!((refused.source.op, refused.source.errno), (Op::Bind, libc::EADDRNOTAVAIL));
    let nowhere = engine.connect(start("client"), Vec::new(), None, true).unwrap_err();
    assert_eq!((nowhere.address, nowhere.source.errno), (None, libc::EDESTADDRREQ));
    assert!(engine.is_empty() && engine.races.is_empty());
}

#[test]
fn an_address_waits_for_a_descriptor_while_another_is_tried() {
    let mut engine = engine();
    let mut faults = Faults::none();
    let to = server(&mut engine);
    let client = connect(&mut engine, vec![SILENT.parse().unwrap(), to.clone()]);
    faults.emfile = 100;
    engine.reactor_mut().set_faults(faults);
    for round in 0..3 {
        let at = engine.next_attempt_at().unwrap();
        engine.poll(Wait::Until(at)).unwrap();
        assert!(engine.next(None).is_none());
        assert_eq!(attempts(&client), 1, "in round {round}");
        assert!(engine.next_attempt_at() > Some(at), "tried again later, not at once");
    }
    engine.reactor_mut().set_faults(Faults::none());
    assert_eq!(events_of(&mut engine, &client), ["open"]);
    assert_eq!(client.borrow().contact().remote(), Some(&to));
}

#[test]
fn the_last_refusal_counts_whether_or_not_there_was_a_socket() {
    let mut engine = engine();
    let client = connect(&mut engine, addresses(&[REFUSED, SILENT]));
    let mut faults = Faults::none();
    faults.emfile = 100;
    engine.reactor_mut().set_faults(faults);
    assert_eq!(events_of(&mut engine, &client), ["failed with code 24"]);
    assert_eq!(client.borrow().contact().remote(), Some(&SILENT.parse().unwrap()));
    assert_no_race(&engine, &client);
}

#[test]
fn an_option_is_set_on_every_attempt() {
    let mut engine = engine();
    let client = connect(&mut engine, addresses(&[SILENT, SILENT, SILENT]));
    engine.poll(Wait::Until(engine.next_attempt_at().unwrap())).unwrap();
    assert!(engine.next(None).is_none());
    engine.set_option(&client, &SockOption::NoDelay(true)).unwrap();
    let options = client.borrow().connecting.as_ref().unwrap().options.clone();
    assert_eq!(options, [SockOption::KeepAlive(true), SockOption::NoDelay(true)], "for the third");
    let unknown = SockOption::BindToDevice(Some("none".into()));
    assert_eq!(engine.set_option(&client, &unknown).unwrap_err().errno, libc::ENODEV);
    let options = client.borrow().connecting.as_ref().unwrap().options.len();
    assert_eq!((options, attempts(&client)), (2, 2), "what was refused is not kept");
}

/// A stopped server whose backlog is full, so that it does not answer until it is resumed.
fn full_server(engine: &mut Sim) -> (Shared<()>, Address) {
    let any = "[127 0 0 1 0]".parse().unwrap();
    let server = engine.listen(Start { stopped: true, ..start("full") }, &any, 0).unwrap();
    let to = server.borrow().contact().local().clone();
    let filler = connect(engine, vec![to.clone()]);
    assert_eq!(events_of(engine, &filler), ["open"]);
    (server, to)
}

#[test]
fn of_two_that_connect_in_one_poll_the_first_wins_and_the_other_is_closed_unheard() {
    let mut engine = engine();
    let (first, to_first) = full_server(&mut engine);
    let (second, to_second) = full_server(&mut engine);
    let client = connect(&mut engine, vec![to_first, to_second]);
    engine.poll(Wait::Until(engine.next_attempt_at().unwrap())).unwrap();
    assert!(engine.next(None).is_none());
    let socks: Vec<_> = {
        let p = client.borrow();
        let racing = p.connecting.as_ref().unwrap().racing.as_ref().unwrap();
        racing.race.under_way().collect()
    };
    engine.resume(&first);
    engine.resume(&second);
    let mut connected = Vec::new();
    while connected.len() < 2 {
        // Looked at before the engine sorts them, and in the same order.
        engine.reactor.poll(Wait::No, &mut engine.queue).unwrap();
        let all: Vec<_> = std::iter::from_fn(|| engine.queue.pop()).collect();
        connected.extend(all.iter().filter_map(|event| {
            let reactor::Event::Connected { id } = event else { return None };
            Some(*id)
        }));
        all.into_iter().for_each(|event| engine.queue.push(event));
    }
    assert!(connected.iter().all(|id| socks.contains(id)), "both attempts are through");
    assert_eq!(events_of(&mut engine, &client), ["open"]);
    assert_eq!(client.borrow().sock, Some(connected[0]));
    assert_no_race(&engine, &client);
    let ends = engine.list().iter().filter(|p| p.borrow().phase == Phase::Open).count();
    assert_eq!(
        ends, 6,
        "two fillers and the winner, at both ends: the other end of the loser broke"
    );
}
