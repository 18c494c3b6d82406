//! The cells of the report: which service, under which load.
//!
//! Invariant: a name is unique, says all of the shape, and stays what it is: reports are compared by it.

use serde::{Deserialize, Serialize};

use crate::{
    job::{Service, Shape},
    oneway::CHUNK,
    serve::Kind,
};

/// One service under one load.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) service: Service,
    #[serde(flatten)]
    pub(crate) shape: Shape,
}

/// Messages of 64 bytes on 50 connections: what the promises are about.
pub(crate) const MAIN: &str = "tcp-50x64";

/// Idle connections of one cell.
const IDLE: usize = 100_000;

/// With so many connections in use a round takes seconds.
pub(crate) const MANY_ACTIVE: usize = 10_000;

/// And with so many bytes under way.
const MUCH_UNDER_WAY: u64 = 128 << 20;

/// Beside so many idle connections not everything is measured.
const MANY_IDLE: usize = 50_000;

/// Cells that say most in the shortest time.
const QUICK: [&str; 7] =
    [MAIN, "tcp-50x16k", "pipe-50x64x16", "churn-64", "sink-4", "unix-50x64", "udp-16x64x8"];

/// Cells in which instructions are counted.
const INSTRUCTIONS: [&str; 10] = [
    MAIN,
    "tcp-50x16k",
    "pipe-50x64x16",
    "churn-64",
    "sink-4",
    "unix-50x64",
    "tls-50x1k",
    "tls-full-16",
    "udp-50x64x1",
    "udp-16x64x8",
];

impl Cell {
    pub(crate) fn new(service: Service, shape: Shape) -> Self {
        let Shape { connections, size, pipeline, idle, .. } = shape;
        let size = size_text(size);
        let name = match service {
            _ if idle > 0 && connections == 50 => format!("idle-{idle}"),
            _ if idle > 0 => format!("idle-{idle}-{connections}"),
            Service::Tcp if pipeline > 1 => format!("pipe-{connections}x{size}x{pipeline}"),
            Service::Tcp => format!("tcp-{connections}x{size}"),
            Service::Churn => format!("churn-{connections}"),
            Service::Unix => format!("unix-{connections}x{size}"),
            Service::Tls => format!("tls-{connections}x{size}"),
            Service::TlsFull => format!("tls-full-{connections}"),
            Service::TlsResumed => format!("tls-resumed-{connections}"),
            Service::Udp => format!("udp-{connections}x{size}x{pipeline}"),
            Service::UdpApart => format!("udp-apart-{connections}x{size}x{pipeline}"),
            Service::Sink => format!("sink-{connections}"),
            Service::Source => format!("source-{connections}"),
        };
        Self { name, service, shape }
    }

    /// Every cell of the report, where a table holds so many descriptors.
    pub(crate) fn all(descriptors: usize) -> Vec<Self> {
        let mut cells = Vec::new();
        for connections in [1, 50, 1000, 10_000] {
            for size in [64, 1 << 10, 16 << 10, 64 << 10] {
                cells.push(Self::new(Service::Tcp, Shape::new(connections, size, 1)));
            }
        }
        for connections in [50, 1000] {
            for size in [64, 1 << 10, 16 << 10, 64 << 10] {
                cells.push(Self::new(Service::Tcp, Shape::deep(connections, size)));
            }
        }
        let others = [
            // Lengths at which nobody's memory ends by itself.
            (Service::Tcp, Shape::new(50, 10_000, 1)),
            (Service::Tcp, Shape::new(50, 24_000, 1)),
            (Service::Tcp, Shape::new(1000, 24_000, 1)),
            (Service::Churn, Shape::new(64, 64, 1)),
            // Four blocks are under way on each connection, so that nobody waits for the other's turn.
            (Service::Sink, Shape::new(4, CHUNK, 64)),
            (Service::Source, Shape::new(4, CHUNK, 64)),
            (Service::Unix, Shape::new(50, 64, 1)),
            (Service::Unix, Shape::new(50, 16 << 10, 1)),
            (Service::Tls, Shape::new(50, 1 << 10, 1)),
            (Service::Tls, Shape::new(50, 16 << 10, 1)),
            (Service::TlsFull, Shape::new(16, 64, 1)),
            (Service::TlsResumed, Shape::new(16, 64, 1)),
            (Service::Udp, Shape::new(50, 64, 1)),
            // No more under way than the buffer of one socket holds, so that none is lost.
            (Service::Udp, Shape::new(16, 64, 8)),
            (Service::Udp, Shape::new(8, 1200, 8)),
            (Service::UdpApart, Shape::new(16, 64, 8)),
        ];
        cells.extend(others.map(|(service, shape)| Self::new(service, shape)));
        cells.extend([50, MANY_ACTIVE].map(|connections| {
            Self::new(Service::Tcp, Shape::new(connections, 64, 1).beside(IDLE, descriptors))
        }));
        cells
    }

    /// Those of `kinds` that offer what is asked for here. poll(2), which looks at every descriptor each
    /// time, would spend a minute on opening so many idle connections.
    pub(crate) fn servers(&self, kinds: &[Kind]) -> Vec<Kind> {
        let is_in = |kind: &Kind| {
            kind.offers(self.service)
                && (*kind != Kind::NetprocPoll || self.shape.idle_in(0) < MANY_IDLE)
        };
        kinds.iter().copied().filter(is_in).collect()
    }

    /// Whether everything under way, which comes back twice in a window at least, is so much that this takes seconds.
    const fn is_slow(&self) -> bool {
        self.shape.under_way() * self.shape.size >= MUCH_UNDER_WAY
    }

    /// How many of so many rounds are run here: those of many connections, or of much under way, take seconds.
    pub(crate) fn rounds(&self, rounds: u32) -> u32 {
        match (
            self.shape.idle >= MANY_IDLE,
            self.shape.connections >= MANY_ACTIVE || self.is_slow(),
        ) {
            (true, true) => rounds.min(6),
            (false, false) => rounds,
            _ => rounds.min(10),
        }
    }

    /// In how many sets of processes these run: opening many connections takes seconds.
    pub(crate) const fn lives(&self) -> u32 {
        match (self.shape.idle >= MANY_IDLE, self.shape.connections >= MANY_ACTIVE) {
            (true, true) => 2,
            (true, false) => 3,
            _ => 5,
        }
    }

    /// How many servers, with their connections, are there at a time: very many idle ones take memory.
    pub(crate) const fn servers_at_a_time(&self) -> usize {
        if self.shape.idle >= MANY_IDLE { 1 } else { usize::MAX }
    }

    /// Those that one of `names` is, or is the beginning of up to a dash.
    pub(crate) fn chosen(names: &[String], quick: bool, descriptors: usize) -> Vec<Self> {
        let is_asked = |cell: &Self| {
            if names.is_empty() {
                !quick || QUICK.contains(&cell.name.as_str())
            } else {
                cell.is_any(names)
            }
        };
        Self::all(descriptors).into_iter().filter(is_asked).collect()
    }

    fn is_any(&self, names: &[String]) -> bool {
        names.iter().any(|name| {
            let rest = self.name.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    }

    /// Whether system calls are counted: of a try they are in one cell; and idle connections make none.
    pub(crate) fn counts_calls(&self, quick: bool) -> bool {
        if quick { self.name == MAIN } else { self.shape.idle < MANY_IDLE }
    }

    /// Whether instructions are counted: only where they say something new, since a server under
    /// callgrind takes seconds.
    pub(crate) fn counts_instructions(&self) -> bool {
        INSTRUCTIONS.contains(&self.name.as_str())
    }

    /// What is not plain here, such as what counts as a message.
    pub(crate) fn remark(&self) -> Option<String> {
        let remark = match self.service {
            _ if self.shape.tables > 1 => {
                return Some(format!(
                    "{} threads of one process, each with a server, and a table of descriptors, of its own, since \
                     no table holds as many here; the busy connections are in one of them",
                    self.shape.tables
                ));
            }
            Service::Churn | Service::TlsFull | Service::TlsResumed => {
                "a message is a connection with all that belongs to it"
            }
            Service::Udp | Service::UdpApart => "a message is a packet",
            Service::Sink | Service::Source => "a message is 64 KiB",
            Service::Tcp | Service::Unix | Service::Tls => return None,
        };
        Some(remark.into())
    }

    /// What happens in it, in words.
    pub(crate) fn title(&self) -> String {
        let Shape { connections, size, pipeline, idle, tables } = self.shape;
        let size = size_words(size);
        let many = if connections == 1 {
            "1 connection".into()
        } else {
            format!("{connections} connections")
        };
        match self.service {
            _ if idle > 0 => {
                let threads =
                    if tables > 1 { format!(" in {tables} threads") } else { String::new() };
                format!("TCP echo, {many} × {size} beside {idle} idle connections{threads}")
            }
            Service::Tcp if pipeline > 1 => format!("TCP echo, {many} × {size}, {pipeline} deep"),
            Service::Tcp => format!("TCP echo, {many} × {size}"),
            Service::Churn => {
                format!("connect, one echo of {size}, close; {connections} at a time")
            }
            Service::Unix => format!("Unix stream echo, {many} × {size}"),
            Service::Tls => format!("TLS echo, {many} × {size}"),
            Service::Udp if pipeline > 1 => {
                format!("UDP echo, {connections} flows × {size}, {pipeline} deep, in bursts")
            }
            Service::Udp => format!("UDP echo, {connections} flows × {size}"),
            Service::UdpApart => {
                format!("UDP echo, {connections} flows × {size}, {pipeline} deep, one by one")
            }
            Service::TlsFull => {
                format!("TLS: full handshake, one echo of {size}, close; {connections} at a time")
            }
            Service::TlsResumed => {
                format!(
                    "TLS: resumed handshake, one echo of {size}, close; {connections} at a time"
                )
            }
            Service::Sink => format!("one way to the server, {many}"),
            Service::Source => format!("one way from the server, {many}"),
        }
    }
}

fn size_text(size: u64) -> String {
    if size.is_multiple_of(1024) { format!("{}k", size / 1024) } else { size.to_string() }
}

fn size_words(size: u64) -> String {
    if size.is_multiple_of(1024) { format!("{} KiB", size / 1024) } else { format!("{size} B") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn whoever_is_compared_is_so_with_and_without_pipelining() {
        let all = Cell::all(1 << 20);
        for connections in [50, 1000] {
            for size in [64, 1 << 10, 16 << 10, 64 << 10] {
                for shape in [Shape::new(connections, size, 1), Shape::deep(connections, size)] {
                    let cell = Cell::new(Service::Tcp, shape);
                    assert!(all.contains(&cell), "{}", cell.name);
                    let is_slow = connections == 1000 && size > 1 << 10 && shape.pipeline > 1;
                    assert_eq!(cell.rounds(40), if is_slow { 10 } else { 40 }, "{}", cell.name);
                }
            }
        }
    }

    #[test]
    fn names_are_unique_and_choose_cells_by_whole_parts() {
        let all = Cell::all(1 << 20);
        let names: BTreeSet<&str> = all.iter().map(|cell| cell.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        let chosen = |names: &[&str], quick| {
            let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
            Cell::chosen(&names, quick, 1 << 20)
                .into_iter()
                .map(|cell| cell.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(chosen(&["tcp-50x64"], false), ["tcp-50x64"]);
        assert_eq!(chosen(&["tcp"], true).len(), 19);
        assert_eq!(chosen(&["tc"], false), [""; 0]);
        assert_eq!(chosen(&["idle"], false), ["idle-100000", "idle-100000-10000"]);
        let tables = |descriptors| {
            let idle = Cell::all(descriptors).into_iter().filter(|cell| cell.shape.idle > 0);
            idle.map(|cell| cell.shape.tables).collect::<Vec<_>>()
        };
        assert_eq!(tables(1 << 20), [1, 1]);
        assert_eq!(tables(20_000), [6, 11], "not everything is a connection");
        assert_eq!(chosen(&[], true).len(), QUICK.len());
        for name in INSTRUCTIONS {
            assert!(names.contains(name), "{name}");
        }
    }
}
