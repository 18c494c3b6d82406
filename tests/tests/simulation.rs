//! The simulation under many seeds, and the proof that its harness sees what it should.
//!
//! `NETPROC_SEEDS` says how many seeds run (200), `NETPROC_SEED` runs that one alone.

use std::env;

use netproc_core::sim::Canary;
use netproc_tests::swarm::{self, Report};

/// Seeds in which a planted breach must show.
const CANARY_SEEDS: u64 = 60;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|err| panic!("{name} is {text:?}: {err}")))
}

#[test]
fn seeds_that_failed_once_pass() {
    for seed in swarm::seeds(include_str!("../golden/seeds.txt")).unwrap() {
        swarm::check(seed, None).unwrap_or_else(|violation| panic!("{violation}"));
    }
}

#[test]
fn no_seed_breaks_the_contract() {
    let seeds = match number("NETPROC_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("NETPROC_SEEDS").unwrap_or(200),
    };
    let mut total = Report::default();
    for seed in seeds.clone() {
        match swarm::check(seed, None) {
            Ok(report) => total.add(&report),
            Err(violation) => panic!("{violation}\nagain: NETPROC_SEED={seed} cargo test"),
        }
    }
    println!("seeds {seeds:?}: {total:?}");
    if seeds.end - seeds.start >= 100 {
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
