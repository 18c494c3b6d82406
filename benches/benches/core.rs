//! What the pieces of the model cost without a kernel: receive pool, outbox, event queue, addresses,
//! names, and the whole engine over the simulated reactor.
//!
//! Invariant: every benchmark checks its result in the loop, so that nothing is optimised away and
//! nothing wrong is fast. As a test each runs once.

use std::{hint::black_box, io::IoSlice};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use netproc_bench::sim_echo::{Echo, MESSAGE};
use netproc_core::{
    address::Address,
    outbox::Outbox,
    pool::{Buf, Pool, Slot},
    queue::EventQueue,
    reactor::{Event, Payload, SockId},
    slots::Key,
    table::{Names, ProcessId},
};

fn fill(slot: &mut Slot) -> Buf {
    let write = |room: &mut [u8]| {
        room.copy_from_slice(MESSAGE);
        Ok::<_, ()>(room.len())
    };
    slot.fill(MESSAGE.len(), write).expect("a copy does not fail")
}

fn pool(c: &mut Criterion) {
    let pool = Pool::new(64, 64 * 1024).expect("a pool of legal size");
    c.bench_function("pool/take, fill, guard, drop", |b| {
        b.iter(|| {
            let mut slot = pool.take().expect("every slot is free");
            let buf = fill(&mut slot);
            drop(slot);
            assert_eq!(buf[..], *black_box(MESSAGE));
        });
    });
    let mut held = pool.take().expect("every slot is free");
    c.bench_function("pool/fill a held slot, drop, rewind", |b| {
        b.iter(|| {
            assert_eq!(fill(&mut held)[..], *black_box(MESSAGE));
            assert!(held.rewind());
        });
    });
    let buf = fill(&mut held);
    c.bench_function("buf/clone", |b| b.iter(|| assert_eq!(black_box(&buf).clone().len(), 64)));
    c.bench_function("buf/slice", |b| {
        b.iter(|| assert_eq!(black_box(&buf).slice(8..24)[..], MESSAGE[8..24]));
    });
    drop(buf);
    drop(held);
    assert_eq!((pool.free(), pool.guarded()), (64, 0), "no slot was lost");
}

fn outbox(c: &mut Criterion) {
    let mut outbox = Outbox::default();
    c.bench_function("outbox/push, advance", |b| {
        b.iter(|| {
            outbox.push(Payload::Static(black_box(MESSAGE)));
            outbox.advance(64);
            assert!(outbox.is_empty());
        });
    });
    c.bench_function("outbox/push 16, gather, advance in two", |b| {
        b.iter(|| {
            for _ in 0..16 {
                outbox.push(Payload::Static(black_box(MESSAGE)));
            }
            let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(16);
            outbox.gather(&mut slices, 16);
            assert_eq!(slices.iter().map(|slice| slice.len()).sum::<usize>(), 1024);
            outbox.advance(1000);
            outbox.advance(24);
            assert!(outbox.is_empty());
        });
    });
}

fn queue(c: &mut Criterion) {
    let mut queue = EventQueue::new();
    let buf = Buf::copied(MESSAGE);
    let id = SockId(Key::new(7, 1));
    let mut group = c.benchmark_group("queue");
    group.throughput(Throughput::Elements(64));
    group.bench_function("push 64 inputs, pop them", |b| {
        b.iter(|| {
            for _ in 0..64 {
                queue.push(Event::Data { id, buf: buf.clone(), lost: 0 });
            }
            let mut popped = 0;
            while let Some(event) = queue.pop() {
                assert_eq!(event.owner(), Some(id));
                popped += event.buf().map_or(0, |buf| buf.len());
            }
            assert_eq!(popped, 64 * 64);
        });
    });
    group.finish();
}

fn address(c: &mut Criterion) {
    for text in ["[127 0 0 1 8080]", "[8193 3512 0 0 0 0 0 1 25]"] {
        let address: Address = text.parse().expect("a legal vector");
        c.bench_function(&format!("address/parse {text}"), |b| {
            b.iter(|| assert_eq!(black_box(text).parse().as_ref(), Ok(&address)));
        });
        c.bench_function(&format!("address/print {text}"), |b| {
            b.iter(|| assert_eq!(black_box(&address).to_string(), text));
        });
        let vector = address.to_vector().expect("an IP address has a vector");
        let elements: Vec<i64> = vector.into_iter().map(i64::from).collect();
        c.bench_function(&format!("address/from vector {text}"), |b| {
            b.iter(|| {
                assert_eq!(Address::from_vector(black_box(&elements)).as_ref(), Ok(&address));
            });
        });
    }
}

fn names(c: &mut Criterion) {
    let owner = ProcessId(Key::new(0, 1));
    let mut names = Names::default();
    c.bench_function("names/claim a fresh one, free it", |b| {
        b.iter(|| {
            let name = names.claim(black_box("echo"), owner);
            assert_eq!(&*name, "echo");
            names.free(&name);
        });
    });
    let crowd: Vec<_> = (0..10_000).map(|_| names.claim("echo", owner)).collect();
    assert_eq!(crowd.last().map(|name| &**name), Some("echo<9999>"));
    c.bench_function("names/claim the 10,000th of a base, free it", |b| {
        b.iter(|| {
            let name = names.claim(black_box("echo"), owner);
            assert_eq!(&*name, "echo<10000>");
            names.free(&name);
        });
    });
}

fn engine(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine over the simulation");
    let mut echo = Echo::new(8);
    group.throughput(Throughput::Elements(8));
    group.bench_function("8 clients, one echo each", |b| b.iter(|| echo.round()));
    group.bench_function("start, 8 connects, one echo each", |b| {
        b.iter_batched(|| (), |()| Echo::new(8), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, pool, outbox, queue, address, names, engine);
criterion_main!(benches);
