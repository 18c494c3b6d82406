//! The simulation under many seeds, below and on top of the runtime, and the proof that both harnesses
//! see what they should.
//!
//! `NETPROC_SEEDS` says how many seeds run (200), `NETPROC_SEED` runs that one alone.

use std::{env, ops::Range};

use netproc_core::sim::Canary;
use netproc_tests::swarm::{
    self, Report,
    runtime::{self, Lapse, Plant},
};

/// Seeds in which a planted breach must show.
const CANARY_SEEDS: u64 = 100;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|err| panic!("{name} is {text:?}: {err}")))
}

fn seeds() -> Range<u64> {
    match number("NETPROC_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("NETPROC_SEEDS").unwrap_or(200),
    }
}

fn is_many(seeds: &Range<u64>) -> bool {
    seeds.end - seeds.start >= 100
}

#[test]
fn seeds_that_failed_once_pass() {
    for seed in swarm::seeds(include_str!("../golden/seeds.txt")).unwrap() {
        swarm::check(seed, None).unwrap_or_else(|violation| panic!("{violation}"));
    }
}

#[test]
fn no_seed_breaks_the_contract() {
    let seeds = seeds();
    let mut total = Report::default();
    for seed in seeds.clone() {
        match swarm::check(seed, None) {
            Ok(report) => total.add(&report),
            Err(violation) => panic!("{violation}\nagain: NETPROC_SEED={seed} cargo test"),
        }
    }
    println!("seeds {seeds:?}: {total:?}");
    if is_many(&seeds) {
        let Report { complete, cut, bytes, packets, starved, spilled, stale, .. } = total;
        let all = [complete, cut, bytes, packets, starved, spilled, stale];
        assert!(all.iter().all(|&count| count > 0), "what never happens is not tested: {total:?}");
    }
}

#[test]
fn every_planted_breach_is_seen() {
    for canary in Canary::ALL {
        let seen = (0..CANARY_SEEDS).find_map(|seed| swarm::check(seed, Some(canary)).err());
        match seen {
            Some(violation) => println!("{canary:?}: {violation}"),
            None => panic!("{canary:?} went unseen in {CANARY_SEEDS} seeds"),
        }
    }
}

#[test]
fn seeds_that_failed_the_runtime_once_pass() {
    for seed in swarm::seeds(include_str!("../golden/runtime_seeds.txt")).unwrap() {
        runtime::check(seed, None).unwrap_or_else(|violation| panic!("{violation}"));
    }
}

#[test]
fn no_seed_parts_the_runtime_from_its_model() {
    let seeds = seeds();
    let mut total = runtime::Report::default();
    for seed in seeds.clone() {
        match runtime::check(seed, None) {
            Ok(report) => total.add(&report),
            Err(violation) => panic!("{violation}\nagain: NETPROC_SEED={seed} cargo test"),
        }
    }
    println!("seeds {seeds:?}: {total:?}");
    if is_many(&seeds) {
        let all = total.figures();
        assert!(all.iter().all(|&count| count > 0), "what never happens is not tested: {total:?}");
    }
}

#[test]
fn every_breach_planted_under_the_runtime_is_seen_or_swallowed() {
    // The engine forgets a socket at its first `Closed`, looks only at what still waits, and keeps
    // input that comes although it was not to be read: none of these can reach a process.
    let swallowed = [Canary::DoubleClose, Canary::SentMiscount, Canary::DeafToPause];
    for canary in Canary::ALL {
        let plant = Some(Plant::Reactor(canary));
        let seen = (0..CANARY_SEEDS).find_map(|seed| runtime::check(seed, plant).err());
        println!("{canary:?}: {seen:?}");
        assert_eq!(seen.is_some(), !swallowed.contains(&canary), "{canary:?}: {seen:?}");
    }
}

#[test]
fn every_lapse_of_the_runtime_is_seen() {
    for lapse in Lapse::ALL {
        let plant = Some(Plant::Runtime(lapse));
        let seen = (0..CANARY_SEEDS).find_map(|seed| runtime::check(seed, plant).err());
        match seen {
            Some(violation) => println!("{lapse:?}: {violation}"),
            None => panic!("{lapse:?} went unseen in {CANARY_SEEDS} seeds"),
        }
    }
}
