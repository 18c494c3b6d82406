//! A name server that is silent, or late: nobody waits longer for it than they said, others not at all;
//! and names that have several addresses.
//!
//! Each test has a network of its own, whose name server it is itself. Emacs Lisp manual 28.2, "Network
//! Processes" (`:nowait`).
#![cfg(target_os = "linux")]

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    rc::Rc,
    time::{Duration, Instant},
};

use netproc::{
    Exit, Failure, Family, Process, SendError, StartError, Status, Value, emacs::Emacs,
    stream::OpenStreamError,
};
use netproc_tests::{
    conformance, lisp,
    rig::{Outcome, PATIENCE, Rig, Subject, run_apart},
};

/// How long a start waits that is to give up.
const BRIEF: Duration = Duration::from_millis(50);
/// No program waits that long for threads of ours: the resolver takes twice as long to give up.
const AT_ONCE: Duration = Duration::from_secs(60);

/// The one name server of this network, which keeps what it is asked to itself until it is told to answer.
struct NameServer {
    socket: UdpSocket,
    asked: RefCell<Vec<(Vec<u8>, SocketAddr)>>,
    names: RefCell<BTreeSet<Vec<u8>>>,
}

impl NameServer {
    fn new() -> std::io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:53")?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, asked: RefCell::default(), names: RefCell::default() })
    }

    /// How many different names it has been asked for so far.
    fn names(&self) -> usize {
        let mut buf = [0; 512];
        while let Ok((len, from)) = self.socket.recv_from(&mut buf) {
            self.names.borrow_mut().insert(name(&buf[..len]).to_vec());
            self.asked.borrow_mut().push((buf[..len].to_vec(), from));
        }
        self.names.borrow().len()
    }

    /// Says of everything it was asked that there is no such name.
    fn deny(&self) -> std::io::Result<()> {
        self.answer(|query| {
            // NXDOMAIN.
            query[3] = (query[3] & 0xF0) | 3;
        })
    }

    /// Says of everything it was asked that its only address is this one.
    fn tell(&self, address: [u8; 4]) -> std::io::Result<()> {
        self.answer(|query| {
            let kind = query[12 + name(query).len()..][..2].to_vec();
            if kind == [0, 1] {
                query[7] = 1;
                // The name as in the question, A, IN, a minute, four bytes.
                query.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                query.extend(address);
            }
        })
    }

    fn answer(&self, make: impl Fn(&mut Vec<u8>)) -> std::io::Result<()> {
        self.names();
        for (mut query, from) in self.asked.take() {
            let end = 12 + name(&query).len() + 4;
            // Without what may follow the question.
            query.truncate(end);
            query[2] |= 0x80;
            (query[7], query[9], query[11]) = (0, 0, 0);
            make(&mut query);
            self.socket.send_to(&query, from)?;
        }
        Ok(())
    }
}

/// The name in a query, as its labels stand there.
fn name(query: &[u8]) -> &[u8] {
    let labels = &query[12..];
    let end = labels.iter().position(|&byte| byte == 0).expect("a name ends");
    &labels[..=end]
}

/// A client of a name that is looked up in the background; it logs what it is told.
fn looking_up(rig: &Rig, host: &str) -> Result<Process, StartError> {
    let client = rig.rt.client("client").host(host).service(7).nowait(true);
    client.filter(rig.log.filter()).sentinel(rig.log.sentinel()).start()
}

/// How many threads of this program ask the resolver.
fn resolver_threads() -> std::io::Result<usize> {
    let mut count = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let name = std::fs::read_to_string(task?.path().join("comm")).unwrap_or_default();
        // The system cuts the names of threads.
        count += usize::from(name.starts_with("netproc-resolve"));
    }
    Ok(count)
}

conformance!(apart on (poll epoll uring): a_start_gives_up_a_silent_name_server, |rig| {
    let _silent = NameServer::new()?;
    let (_server, client, child) = rig.pair()?;
    client.send("meanwhile")?;
    let before = rig.rt.process_list();
    let given_up = rig.rt.client("c").host("stuck.slow").service(7).within(BRIEF).start();
    let Err(StartError::LookupTimedOut { host }) = given_up else {
        return Err(format!("{given_up:?}").into());
    };
    assert_eq!(host, "stuck.slow");
    assert_eq!(rig.rt.process_list(), before);
    assert_eq!(rig.log.bytes_of(&child), b"meanwhile", "others were served");
    let given_up = rig.rt.open_stream("s", "stuck.slow", 7).within(BRIEF).start();
    let Err(OpenStreamError::Start(StartError::LookupTimedOut { .. })) = given_up else {
        return Err(format!("{given_up:?}").into());
    };
    assert_eq!(rig.rt.process_list(), before);
    Ok(())
});

conformance!(apart on (poll epoll uring): deleted_while_the_name_server_is_silent, |rig| {
    let server = NameServer::new()?;
    let client = looking_up(rig, "stuck.slow")?;
    client.send("never")?;
    rig.until("the question", || server.names() == 1);
    assert_eq!((client.status(), client.contact().remote()), (Status::Connect, None));
    client.delete();
    assert_eq!(rig.log.of(&client), ["deleted (closed)"]);
    // Nothing is left that could happen, so this ends.
    rig.rt.run()?;
    server.tell([127, 0, 0, 1])?;
    rig.settle();
    assert_eq!(rig.log.of(&client).len(), 1, "the answer is for nobody");
    assert_eq!(rig.rt.stats().sockets, 0);
    Ok(())
});

conformance!(apart on (poll epoll uring): a_late_refusal_of_the_name_server_is_one_event, |rig| {
    let server = NameServer::new()?;
    let client = looking_up(rig, "nowhere.slow")?;
    client.send("never")?;
    rig.until("the question", || server.names() == 1);
    let (_echo, probe, child) = rig.pair_at(rig.echo())?;
    probe.send("probe")?;
    rig.until_bytes(&probe, b"probe");
    assert_eq!((client.status(), rig.log.of(&client).len()), (Status::Connect, 0));
    rig.until("the failure", || {
        server.deny().expect("the resolver hears it");
        client.status() == Status::Failed
    });
    rig.settle();
    let told = "failed with code Name lookup of nowhere.slow failed (failed)";
    assert_eq!(rig.log.of(&client), [told]);
    let Exit::Failed(Failure::Lookup { host, .. }) = client.exit() else {
        return Err(format!("{:?}", client.exit()).into());
    };
    assert_eq!(&*host, "nowhere.slow");
    assert_eq!(client.send("x"), Err(SendError::NotOpen(Status::Failed)));
    assert_eq!((child.status(), rig.rt.get_process("client")), (Status::Open, Some(client)));
    Ok(())
});

conformance!(apart on (poll epoll uring): a_late_answer_of_the_name_server_connects, |rig| {
    let server = NameServer::new()?;
    let echo = rig.echo().start()?;
    let port = echo.contact().local().port().ok_or("a port")?;
    let client = rig.rt.client("client").host("late.slow").service(port).nowait(true);
    let client = client.filter(rig.log.filter()).sentinel(rig.log.sentinel()).start()?;
    client.send("early")?;
    rig.until("the question", || server.names() == 1);
    rig.until("the connection", || {
        server.tell([127, 0, 0, 1]).expect("the resolver hears it");
        client.status() == Status::Open
    });
    rig.until_bytes(&client, b"early");
    assert_eq!(client.contact().remote(), Some(echo.contact().local()));
    Ok(())
});

// The look-up takes nearly all the time there is, and what is left is for the connection, which never
// stands: had that the whole time once more, the timer would run.
conformance!(apart on (epoll): look_up_and_connection_share_one_limit, |rig| {
    let server = NameServer::new()?;
    let (silent, _filler) = rig.silent()?;
    let port = silent.contact().local().port().ok_or("a port")?;
    let within = Duration::from_secs(5);
    let (asked, late) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    let (told, over) = (Rc::clone(&asked), Rc::clone(&late));
    rig.rt.run_after(within / 2, move |_| {
        told.set(server.names() == 1);
        server.tell([127, 0, 0, 1]).expect("the resolver hears it");
    });
    let timer = rig.rt.run_after(within + Duration::from_secs(2), move |_| over.set(true));
    let given_up = rig.rt.client("c").host("late.slow").service(port).within(within).start();
    assert!(matches!(given_up, Err(StartError::TimedOut { .. })), "{given_up:?}");
    assert_eq!((asked.get(), late.get()), (true, false));
    assert!(timer.cancel());
    Ok(())
});

conformance!(apart on (poll epoll uring): eight_names_are_looked_up_at_a_time, |rig| {
    let server = NameServer::new()?;
    let clients: Vec<Process> = (0..20)
        .map(|number| looking_up(rig, &format!("stuck-{number}.slow")))
        .collect::<Result<_, _>>()?;
    rig.until("eight questions", || server.names() == 8);
    rig.settle();
    assert_eq!((server.names(), resolver_threads()?), (8, 8));
    for client in &clients {
        assert_eq!(client.status(), Status::Connect);
        client.delete();
        assert_eq!(rig.log.of(client), ["deleted (closed)"]);
    }
    // The others are not asked for any more, so these eight go on with nothing.
    server.deny()?;
    rig.rt.run()?;
    let here = rig.rt.client("c").host("four").service(1).nowait(true);
    let here = here.sentinel(rig.log.sentinel()).start()?;
    rig.until("the next look-up", || {
        server.deny().expect("the resolver hears it");
        here.status() == Status::Failed
    });
    assert_eq!(server.names(), 8, "nobody has asked for the others since");
    Ok(())
});

mod a_program_ends_while_its_name_server_is_silent {
    use super::*;

    #[test]
    fn epoll() -> Outcome {
        let test = concat!(module_path!(), "::epoll");
        let begin = Instant::now();
        let body = |rig: &Rig| -> Outcome {
            // Until the end of this process, and it never answers.
            let server = Box::leak(Box::new(NameServer::new()?));
            let client = looking_up(rig, "stuck.slow")?;
            rig.until("the question", || server.names() == 1);
            client.delete();
            Ok(())
        };
        run_apart(test, Subject::Epoll, |_| {}, body)?;
        assert!(begin.elapsed() < AT_ONCE, "somebody has waited for the resolver");
        Ok(())
    }
}

/// A server with this port or any, of one family.
fn server(rig: &Rig, family: Family, port: u16) -> Result<(Process, u16), StartError> {
    let server = rig.server().family(family).service(port).start()?;
    let port = server.contact().local().port().expect("an IP address");
    Ok((server, port))
}

conformance!(apart on (poll epoll uring): a_name_of_both_families_leads_to_whoever_is_there, |rig| {
    for family in [Family::Ipv4, Family::Ipv6] {
        let (server, port) = server(rig, family, 0)?;
        for nowait in [false, true] {
            let client = rig.rt.client("client").host("here").service(port).nowait(nowait);
            let client = client.sentinel(rig.log.sentinel()).start()?;
            rig.until("the connection", || client.status() == Status::Open);
            assert_eq!(client.contact().remote(), Some(server.contact().local()));
            let short = client.contact().short().to_string();
            assert_eq!(short, format!("(\"here\" {port})"));
            assert_eq!(rig.log.of(&client).len(), usize::from(nowait));
        }
    }
    Ok(())
});

conformance!(apart on (poll epoll uring): the_dynamic_front_races_as_well, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let (alive, port) = server(rig, Family::Ipv4, 0)?;
    // The resolver puts IPv6 first, as the RFC on that has it.
    let silent = rig.server().family(Family::Ipv6).service(port).backlog(0).stop(true).start()?;
    let _filler = rig.connect(&silent)?;
    for nowait in [false, true] {
        let name = format!("client-{nowait}");
        let port = i64::from(port);
        let args = lisp![:name &*name, :host "here", :service port, :nowait nowait];
        let client = emacs.call("make-network-process", &args)?;
        let process = rig.rt.get_process(&name).ok_or("it is listed")?;
        rig.until("the connection", || process.status() == Status::Open);
        let contact = |key: &str| {
            emacs.call("process-contact", &[client.clone(), Value::symbol(key)])
        };
        assert_eq!(contact(":remote")?.to_address().ok().as_ref(), Some(alive.contact().local()));
        assert_eq!(contact(":host")?, "here".into());
    }
    Ok(())
});

conformance!(apart on (poll epoll uring): a_family_asked_for_is_the_only_one_tried, |rig| {
    let (_four, port) = server(rig, Family::Ipv4, 0)?;
    let refused = rig.rt.client("c").host("here").service(port).family(Family::Ipv6).start();
    let Err(StartError::Sys { address: Some(address), source }) = refused else {
        return Err(format!("{refused:?}").into());
    };
    assert_eq!((address.family(), source.errno), (Family::Ipv6, 111));
    Ok(())
});

conformance!(apart on (poll epoll uring): a_stream_by_name_races_too, |rig| {
    let (alive, port) = server(rig, Family::Ipv4, 0)?;
    let opened = rig.rt.open_stream("s", "here", port).start()?;
    assert_eq!(opened.process.contact().remote(), Some(alive.contact().local()));
    let silent = rig.server().family(Family::Ipv6).service(port).backlog(0).stop(true).start()?;
    let _filler = rig.connect(&silent)?;
    let opened = rig.rt.open_stream("s", "here", port).within(PATIENCE).start()?;
    assert_eq!(opened.process.contact().remote(), Some(alive.contact().local()));
    Ok(())
});
