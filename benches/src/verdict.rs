//! What a cell says: who is cheapest, where a peer is equal or ahead, where readiness beats io_uring.
//!
//! Invariant: everything is about the server's CPU per message, the figure that swings least, and a
//! difference under [`NOISE`](crate::figures::NOISE) counts as none.

use crate::{figures::is_less, measure::Measured, serve::Kind};

/// A server with its CPU per message, in microseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Cost {
    pub(crate) server: Kind,
    pub(crate) cpu: f64,
}

/// How one cost compares with another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    Less,
    Equal,
    More,
}

impl Standing {
    pub(crate) fn of(found: f64, other: f64) -> Self {
        if is_less(found, other) {
            Self::Less
        } else if is_less(other, found) {
            Self::More
        } else {
            Self::Equal
        }
    }

    /// What stands in a page for a server that costs this, compared with others.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Less => "cheaper",
            Self::Equal => "equal",
            Self::More => "dearer",
        }
    }
}

/// netproc on one mechanism beside a server written by hand for it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct ByHand {
    pub(crate) server: Kind,
    pub(crate) ratio: f64,
    pub(crate) standing: Standing,
}

impl Measured {
    fn costs(&self, wanted: impl Fn(Kind) -> bool) -> Vec<Cost> {
        let servers = self.rows.iter().map(|row| row.server).filter(|&server| wanted(server));
        let cost = |server| Some(Cost { server, cpu: self.cpu_of(server)? });
        servers.filter_map(cost).collect()
    }

    /// The cheapest of the servers that are wanted.
    pub(crate) fn cheapest(&self, wanted: impl Fn(Kind) -> bool) -> Option<Cost> {
        self.costs(wanted).into_iter().min_by(|a, b| a.cpu.total_cmp(&b.cpu))
    }

    /// The peers that cost no more than `own`, with how they stand to it.
    pub(crate) fn peers_at_par(&self, own: Kind) -> Vec<(Cost, Standing)> {
        let Some(own) = self.cpu_of(own) else { return Vec::new() };
        let stand = |cost: Cost| (cost, Standing::of(cost.cpu, own));
        let peers = self.costs(Kind::is_peer).into_iter().map(stand);
        peers.filter(|(_, standing)| *standing != Standing::More).collect()
    }

    /// netproc on epoll or poll(2), where it is cheaper than netproc on io_uring.
    pub(crate) fn readiness_wins(&self) -> Option<Cost> {
        let uring = self.cpu_of(Kind::NetprocUring)?;
        let best = self.cheapest(|it| matches!(it, Kind::NetprocEpoll | Kind::NetprocPoll))?;
        is_less(best.cpu, uring).then_some(best)
    }

    /// Whether netproc on poll(2) is cheaper than on epoll.
    pub(crate) fn poll_beats_epoll(&self) -> bool {
        let costs = self.cpu_of(Kind::NetprocPoll).zip(self.cpu_of(Kind::NetprocEpoll));
        costs.is_some_and(|(poll, epoll)| is_less(poll, epoll))
    }

    /// netproc beside what is written by hand for the same mechanism.
    pub(crate) fn by_hand(&self) -> Vec<ByHand> {
        let compare = |server: Kind| {
            let (cpu, raw) = (self.cpu_of(server)?, self.cpu_of(server.raw())?);
            Some(ByHand { server, ratio: cpu / raw, standing: Standing::of(cpu, raw) })
        };
        [Kind::NetprocUring, Kind::NetprocEpoll].into_iter().filter_map(compare).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        cell::Cell,
        job::{Service, Shape},
        load::Window,
        measure::Row,
    };

    /// A cell in which each server took so many nanoseconds of CPU for each message, in each round.
    pub(crate) fn measured(costs: &[(Kind, &[u64])]) -> Measured {
        let window = |&cpu: &u64| Window {
            messages: 1000,
            messages_total: 1000,
            elapsed: 10_000_000,
            elapsed_total: 10_000_000,
            p50: 10_000,
            p99: 20_000,
            p999: 30_000,
            server_cpu: cpu * 1000,
            ..Window::default()
        };
        let row = |&(server, costs): &(Kind, &[u64])| Row {
            rounds: costs.iter().map(window).collect(),
            ..Row::new(server)
        };
        let cell = Cell::new(Service::Tcp, Shape::new(50, 64, 1));
        Measured { cell, rows: costs.iter().map(row).collect() }
    }

    #[test]
    fn differences_under_the_noise_are_none() {
        let cell = measured(&[
            (Kind::NetprocUring, &[4000]),
            (Kind::NetprocEpoll, &[3700]),
            (Kind::NetprocPoll, &[3500]),
            (Kind::RawUring, &[3900]),
            (Kind::RawEpoll, &[3000]),
            (Kind::Tokio, &[4100]),
            (Kind::Mio, &[3300]),
            (Kind::Monoio, &[5000]),
        ]);
        let at_par = cell.peers_at_par(Kind::NetprocUring);
        let found = at_par.iter().map(|(cost, standing)| (cost.server, *standing));
        assert!(found.eq([(Kind::Tokio, Standing::Equal), (Kind::Mio, Standing::Less)]));
        let wins = Some(Cost { server: Kind::NetprocPoll, cpu: 3.5 });
        assert_eq!(cell.readiness_wins(), wins);
        assert!(cell.poll_beats_epoll(), "3.5 is less than 95 % of 3.7");
        let standings = cell.by_hand().into_iter().map(|it| it.standing);
        assert!(standings.eq([Standing::Equal, Standing::More]));
        assert_eq!(cell.cheapest(Kind::is_peer).map(|it| it.server), Some(Kind::Mio));
    }

    #[test]
    fn a_server_that_did_not_run_wins_nothing() {
        let cell = measured(&[(Kind::NetprocUring, &[]), (Kind::Tokio, &[3600])]);
        assert_eq!(cell.peers_at_par(Kind::NetprocUring), []);
        assert_eq!((cell.readiness_wins(), cell.by_hand()), (None, Vec::new()));
        assert_eq!(cell.cheapest(Kind::is_netproc), None);
    }
}
