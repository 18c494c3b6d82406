//! What one seed sets out to do: sizes, servers, how many clients, how lively.
//!
//! Invariant: drawn before anything runs and never changed.

use std::time::Duration;

use netproc::{Address, Config, Kind, Limits};
use netproc_core::sim::{Faults, Rng};

/// A time no run reaches.
pub(super) const LONG: Duration = Duration::from_secs(24 * 3600);

/// How a server treats its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Style {
    /// One filter for all sends everything back, without a copy.
    Echo,
    /// `on_accept` gives each connection a filter with state of its own, which answers otherwise.
    Talker,
    /// No callback at all: its connections are pulled, and everything is sent back.
    Pull,
}

/// One server.
#[derive(Clone, Debug)]
pub(super) struct ServerPlan {
    pub(super) style: Style,
    pub(super) kind: Kind,
    pub(super) local: Address,
    pub(super) half_open: bool,
    pub(super) log: bool,
}

/// Everything one seed sets out to do.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) faults: Faults,
    pub(super) limits: Limits,
    pub(super) servers: Vec<ServerPlan>,
    pub(super) clients_max: usize,
    pub(super) packet_clients: usize,
    pub(super) steps: u64,
    /// Waits that drop what no callback takes are used; then everybody has callbacks.
    pub(super) drops: bool,
    /// The percentage of callbacks inside of which something else is done.
    pub(super) lively: u8,
    /// The percentage of acts that delete somebody.
    pub(super) deadly: u8,
    /// The longest payload.
    pub(super) chunk_max: usize,
    /// What is queued at the end may run out of time.
    pub(super) hasty: bool,
}

impl Plan {
    pub(super) fn draw(seed: u64, rng: &mut Rng) -> Self {
        let drops = rng.percent(40);
        let hasty = rng.percent(10);
        let names = [
            "[127 0 0 1 0]",
            "[0 0 0 0 0 0 0 1 0]",
            "\"/tmp/runtime\"",
            "\"\\x00records\"",
            "[0 0 0 0 0]",
        ];
        let count = rng.between(1, 4);
        let first = rng.index(names.len());
        let servers = (0..).map(|at| names[(first + at) % names.len()]).take(narrow(count));
        let servers = servers
            .map(|name| ServerPlan {
                style: match rng.below(if drops { 2 } else { 3 }) {
                    0 => Style::Echo,
                    1 => Style::Talker,
                    _ => Style::Pull,
                },
                kind: if name.contains("records") { Kind::SeqPacket } else { Kind::Stream },
                local: name.parse().expect("the addresses of a plan are well formed"),
                half_open: rng.percent(30),
                log: rng.percent(60),
            })
            .collect();
        Self {
            config: config(rng),
            faults: if rng.percent(25) { Faults::none() } else { Faults::swarm(seed) },
            limits: limits(rng, hasty),
            servers,
            clients_max: narrow(rng.between(1, 14)),
            packet_clients: narrow(rng.below(4)),
            steps: rng.between(30, 250),
            drops,
            lively: small(rng.between(0, 40)),
            deadly: if rng.percent(50) { small(rng.between(1, 10)) } else { 0 },
            chunk_max: rng.len(2_000),
            hasty,
        }
    }
}

pub(super) fn narrow(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn small(number: u64) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

fn config(rng: &mut Rng) -> Config {
    let word = |number| u32::try_from(number).unwrap_or(u32::MAX);
    let slots = |rng: &mut Rng| u16::try_from(rng.between(2, 64)).unwrap_or(2);
    let mut config = Config::default();
    config.slots = slots(rng);
    config.slot_len = word(rng.between(64, 4096));
    config.packet_slots = slots(rng);
    config.packet_len = word(rng.between(128, 2048));
    config.events_max = word(rng.between(1, 64));
    config.accepts_per_turn = word(rng.between(1, 4));
    config
}

fn limits(rng: &mut Rng, hasty: bool) -> Limits {
    let mut limits = Limits::default();
    if rng.percent(80) {
        limits.queue_len_max = rng.between(1, 6_000);
        limits.queue_len_low = rng.below(limits.queue_len_max);
        limits.inbox_len_max = rng.between(1, 6_000);
    }
    limits.flush_within = if hasty { Duration::from_micros(rng.below(10_000)) } else { LONG };
    limits
}
