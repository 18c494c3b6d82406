//! What a message costs in memory: nothing. In steady state an echo allocates not once, the bytes
//! stay in the slot the kernel wrote them to, and none is copied out of it. Nor is a connection large that does nothing.
//!
//! With TLS a record costs what it is sealed into, and nothing when it comes: it is opened in its slot,
//! and only one that straddles two reads is put together elsewhere.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::TcpStream,
    rc::Rc,
};

use netproc::{Payload, Plist, Process, TlsClient, TlsIdentity, TlsServer, TlsTrust};
use netproc_tests::{conformance, rig::Subject};

thread_local! {
    /// Allocations of this thread: a test's own, and no other's.
    static COUNT: Cell<u64> = const { Cell::new(0) };
    /// Bytes that it has allocated and not freed.
    static HELD: Cell<isize> = const { Cell::new(0) };
}

/// Notes that `len` bytes more are held.
fn hold(len: isize) {
    // A thread on its way out has no count left, and frees more.
    let _ = HELD.try_with(|held| held.set(held.get() + len));
}

/// Counts every allocation, and every growth of one.
struct Counting;

#[expect(unsafe_code, reason = "a global allocator is unsafe by its trait")]
// SAFETY: every method hands its arguments to `System` unchanged; the count touches no memory that
// is allocated.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        hold(layout.size().cast_signed());
        // SAFETY: the caller's promise on `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        hold(-layout.size().cast_signed());
        // SAFETY: `place` came from `System` by way of `alloc` or `realloc`, with this layout.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        hold(len.cast_signed() - layout.size().cast_signed());
        // SAFETY: as for `dealloc`, and the caller's promise on `len` is passed on.
        unsafe { System.realloc(place, layout, len) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static MESSAGE: [u8; 64] = [b'm'; 64];
static KILOBYTE: [u8; 1024] = [b'k'; 1024];
/// A message longer than a slot comes in pieces; this one does not.
static LONG: [u8; 16 * 1024] = [b'l'; 16 * 1024];

/// Messages until everything has the size it keeps.
const WARM_UP: u64 = 2_000;
/// Messages that must not cost anything.
const MEASURED: u64 = 8_000;
/// Connections that do nothing; a little less than tables have room for.
const IDLE: usize = 240;

/// Has one client send `message` to an echo and again whenever it is back, and counts.
fn echo_costs_nothing(
    rig: &netproc_tests::rig::Rig,
    message: &'static [u8],
) -> netproc_tests::rig::Outcome {
    let outside = Rc::new(Cell::new(0));
    let strays = Rc::clone(&outside);
    let server = rig.rt.server("srv").sentinel(|_, _| ()).filter(move |process, input| {
        let buf = input.into_buf();
        strays.set(strays.get() + u64::from(!buf.in_slot()));
        process.send(buf)
    });
    let server = server.start()?;
    let (round, missing) = (Rc::new(Cell::new(0)), Cell::new(message.len()));
    let done = Rc::clone(&round);
    let client = rig.client(&server).filter(move |process: &Process, input| {
        missing.set(missing.get() - input.len());
        if missing.get() > 0 {
            return Ok(());
        }
        missing.set(message.len());
        done.set(done.get() + 1);
        process.send(Payload::Static(message)).map(drop)
    });
    let client = client.start()?;
    client.send(Payload::Static(message))?;
    rig.until("the warm-up", || round.get() >= WARM_UP);
    let (first, before) = (round.get(), COUNT.get());
    rig.until("the messages", || round.get() >= first + MEASURED);
    let allocations = COUNT.get() - before;
    let stats = rig.rt.stats();
    assert_eq!(
        (allocations, outside.get(), stats.spilled),
        (0, 0, 0),
        "(allocations, messages outside of a slot, spilled) in {MEASURED} messages: {stats:?}"
    );
    Ok(())
}

conformance!(on (poll epoll uring): an_echo_allocates_nothing, |rig| {
    echo_costs_nothing(rig, &MESSAGE)
});

conformance!(on (poll epoll uring): an_echo_of_sixteen_kilobytes_allocates_nothing, |rig| {
    echo_costs_nothing(rig, &LONG)
});

conformance!(on (poll epoll uring): fifty_echoes_side_by_side_allocate_nothing, |rig| {
    let server = rig.rt.server("srv").sentinel(|_, _| ()).filter(Process::send).start()?;
    let round = Rc::new(Cell::new(0));
    for _ in 0..50 {
        let done = Rc::clone(&round);
        let client = rig.client(&server).filter(move |process: &Process, _| {
            done.set(done.get() + 1);
            process.send(Payload::Static(&MESSAGE)).map(drop)
        });
        client.start()?.send(Payload::Static(&MESSAGE))?;
    }
    rig.until("the warm-up", || round.get() >= 20 * WARM_UP);
    let (first, before) = (round.get(), COUNT.get());
    rig.until("the messages", || round.get() >= first + MEASURED);
    let allocations = COUNT.get() - before;
    assert_eq!((allocations, rig.rt.stats().spilled), (0, 0), "{:?}", rig.rt.stats());
    Ok(())
});

conformance!(on (poll epoll uring): an_idle_connection_takes_less_than_a_kibibyte, |rig| {
    let server = rig.rt.server("srv").filter(Process::send).sentinel(|_, _| ()).log(|_, _, _| ());
    let server = server.plist(Plist::from_iter([("key", 1)])).start()?;
    let at = server.contact().local().socket_addr().ok_or("it is over IP")?;
    let mut peers = Vec::with_capacity(IDLE);
    let mut held_by = |count| -> Result<isize, Box<dyn std::error::Error>> {
        while peers.len() < count {
            peers.push(TcpStream::connect(at)?);
        }
        rig.until("they are accepted", || rig.rt.process_list().len() > count);
        Ok(HELD.get())
    };
    // Tables double; both times they are nearly full.
    let (few, all) = (held_by(IDLE / 2)?, held_by(IDLE)?);
    let each = (all - few) / (IDLE / 2).cast_signed();
    assert!((0..1024).contains(&each), "{each} bytes");
    Ok(())
});

/// The same between two with TLS: each message is sealed twice and opened twice.
fn tls_echo_costs_what_it_is_sealed_into(
    rig: &netproc_tests::rig::Rig,
    message: &'static [u8],
) -> netproc_tests::rig::Outcome {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let identity = TlsIdentity::from_pem(pair.cert.pem(), pair.signing_key.serialize_pem())?;
    let trust = TlsTrust::from_pem(pair.cert.pem())?;
    // Records put together: they were not in a slot when they came to a filter.
    let joined = Rc::new(Cell::new(0));
    let strays = Rc::clone(&joined);
    let server = rig.rt.server("srv").tls(TlsServer::builder(identity).build()?);
    let server = server.sentinel(|_, _| ()).filter(move |process, input| {
        let buf = input.into_buf();
        strays.set(strays.get() + u64::from(!buf.in_slot()));
        process.send(buf)
    });
    let server = server.start()?;
    let (round, missing) = (Rc::new(Cell::new(0)), Cell::new(message.len()));
    let (done, strays) = (Rc::clone(&round), Rc::clone(&joined));
    let client = rig.client(&server).tls(TlsClient::builder("localhost").trust(trust).build()?);
    let client = client.filter(move |process: &Process, input| {
        missing.set(missing.get() - input.len());
        let buf = input.into_buf();
        strays.set(strays.get() + u64::from(!buf.in_slot()));
        if missing.get() > 0 {
            return Ok(());
        }
        missing.set(message.len());
        done.set(done.get() + 1);
        process.send(Payload::Static(message)).map(drop)
    });
    let client = client.start()?;
    client.send(Payload::Static(message))?;
    rig.until("the warm-up", || round.get() >= WARM_UP);
    let (first, before, joined_before) = (round.get(), COUNT.get(), joined.get());
    rig.until("the messages", || round.get() >= first + MEASURED);
    let (allocations, joined) = (COUNT.get() - before, joined.get() - joined_before);
    let (messages, stats) = (round.get() - first, rig.rt.stats());
    // A record more or less may be on its way at either end of the count, and be put together.
    let sealed = 2 * messages + 2;
    assert!(
        allocations <= sealed + 2 * (joined + 2) && stats.spilled == 0,
        "{allocations} allocations in {messages} messages, {joined} put together: {stats:?}"
    );
    // What a message needs of a slot, and the most that fit behind each other in one.
    let fit = 65_536 / (message.len() as u64 + 22);
    assert!(joined * fit <= sealed, "{joined} of {messages} messages were put together");
    if rig.subject != Subject::Uring {
        assert_eq!(joined, 0, "a slot is begun anew for each read");
    }
    Ok(())
}

conformance!(on (poll epoll uring): a_tls_echo_allocates_what_it_is_sealed_into, |rig| {
    tls_echo_costs_what_it_is_sealed_into(rig, &KILOBYTE)
});

conformance!(on (poll epoll uring): a_tls_echo_of_whole_records_copies_none_but_those_that_straddle, |rig| {
    tls_echo_costs_what_it_is_sealed_into(rig, &LONG)
});
