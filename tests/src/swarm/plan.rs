//! What one seed sets out to do: sizes, listeners, and the course of every conversation.
//!
//! Invariant: a plan is drawn before anything runs and never changed, so that what is expected does
//! not depend on what happened.

use std::time::Duration;

use netproc_core::{
    address::Address,
    reactor::{CloseHow, Config, Kind},
    sim::Rng,
};

/// A time no run reaches: a graceful close may take as long as it needs.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// How the client's side of a conversation ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// `finish` behind the last byte, then read everything back, then close.
    Finish,
    /// `close(Flush)` behind the last byte.
    Flush,
    /// Close in this way once so many bytes were sent.
    CutAt(u64, CloseHow),
}

/// The course of one conversation.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) listener: usize,
    pub(crate) kind: Kind,
    /// Bytes the client sends, the four that name it included.
    pub(crate) total: u64,
    /// The most bytes of one payload, or of one record.
    pub(crate) chunk_max: usize,
    /// Whether everything comes back.
    pub(crate) echo: bool,
    pub(crate) ending: Ending,
    /// Whether the server's side closes too early, after how many bytes, and how.
    pub(crate) cut: Option<(u64, CloseHow)>,
}

impl Talk {
    /// Whether the plan itself cuts the conversation short.
    pub(crate) const fn is_rough(&self) -> bool {
        matches!(self.ending, Ending::CutAt(..)) || self.cut.is_some()
    }

    /// The length of the record that begins at byte `at` of conversation `talk`.
    pub(crate) fn record_len(&self, talk: usize, at: u64) -> usize {
        let mut rng = Rng::new(at << 16 ^ talk as u64);
        let left = usize::try_from(self.total - at).unwrap_or(usize::MAX);
        // The first record must hold the name of the conversation.
        rng.len(self.chunk_max).max(4).min(left)
    }
}

/// What one packet socket does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortPlan {
    /// Index of the server it talks to.
    pub(crate) server: usize,
    pub(crate) connected: bool,
    pub(crate) packets: u32,
}

/// Everything one seed sets out to do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) listeners: Vec<(Kind, Address)>,
    /// The listener that is closed while it is in use.
    pub(crate) doomed: Option<usize>,
    pub(crate) talks: Vec<Talk>,
    pub(crate) servers: Vec<Address>,
    pub(crate) ports: Vec<PortPlan>,
    pub(crate) steps: u64,
    /// Whether whoever stores a buffer spills it when slots are scarce.
    pub(crate) spills: bool,
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let listeners = vec![
            (Kind::Stream, address("[127 0 0 1 0]")),
            (Kind::Stream, address("[0 0 0 0 0 0 0 1 0]")),
            (Kind::Stream, address("\"/tmp/swarm\"")),
            (Kind::SeqPacket, address("\"\\x00records\"")),
            (Kind::Stream, address("[0 0 0 0 4000]")),
        ];
        let config = config(rng);
        let talks = (0..rng.between(1, 12)).map(|_| talk(rng, &listeners, &config)).collect();
        let ports = (0..rng.between(0, 4))
            .map(|_| PortPlan {
                server: rng.index(2),
                connected: rng.percent(50),
                packets: narrow(rng.between(1, 40)),
            })
            .collect();
        Self {
            config,
            doomed: rng.percent(30).then_some(listeners.len() - 1),
            listeners,
            talks,
            servers: vec![address("[127 0 0 1 0]"), address("\"\\x00packets\"")],
            ports,
            steps: rng.between(50, 400),
            spills: rng.percent(50),
        }
    }
}

fn address(text: &str) -> Address {
    text.parse().expect("the addresses of a plan are well formed")
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn config(rng: &mut Rng) -> Config {
    let mut config = Config::default();
    config.slots = u16::try_from(rng.between(4, 64)).unwrap_or(4);
    config.slot_len = narrow(rng.between(64, 4096));
    config.packet_slots = u16::try_from(rng.between(4, 32)).unwrap_or(4);
    config.packet_len = narrow(rng.between(128, 2048));
    config.events_max = narrow(rng.between(1, 64));
    config.reads_per_turn = narrow(rng.between(1, 4));
    config.accepts_per_turn = narrow(rng.between(1, 4));
    config
}

fn how(rng: &mut Rng) -> CloseHow {
    match rng.below(3) {
        0 => CloseHow::Now,
        1 => CloseHow::Reset,
        _ => CloseHow::Flush { within: Duration::from_micros(rng.below(20_000)) },
    }
}

fn talk(rng: &mut Rng, listeners: &[(Kind, Address)], config: &Config) -> Talk {
    let listener = rng.index(listeners.len());
    let kind = listeners.get(listener).map_or(Kind::Stream, |(kind, _)| *kind);
    let echo = rng.percent(80);
    let total_max = if rng.percent(20) { 60_000 } else { 6_000 };
    let total = 4 + rng.below(total_max);
    let slot = usize::try_from(config.packet_len).unwrap_or(usize::MAX);
    let chunk_max = match (kind, echo) {
        (Kind::SeqPacket, true) => slot,
        // What is not sent back may be longer than a slot: the rest must be told as lost.
        (Kind::SeqPacket, false) => slot * 2,
        (Kind::Stream | Kind::Datagram, _) => rng.len(5_000),
    };
    Talk {
        listener,
        kind,
        total,
        chunk_max,
        echo,
        ending: match rng.below(10) {
            0..=4 => Ending::Finish,
            5..=7 => Ending::Flush,
            _ => Ending::CutAt(rng.below(total), how(rng)),
        },
        cut: rng.percent(15).then(|| (rng.below(total), how(rng))),
    }
}
