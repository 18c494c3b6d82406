//! Servers of several shards that are one service.
//!
//! Invariant: outside of shards nothing changes: there a server has nobody to share with.

use netproc_core::{
    address::Address,
    socket::{self, AdoptError},
};

use super::ServerBuilder;
use crate::{
    activation::Offer,
    error::StartError,
    process::Process,
    shards::{Offered, Seat},
};

impl ServerBuilder {
    /// Whether a server started in one of several [`Shards`](crate::Shards) is one service with those of the
    /// same name, kind and address that the others start. Default: in their set-up `true`, later `false`.
    ///
    /// The first of them opens the service, with [`Service::Any`](crate::Service::Any) on a free port, and the
    /// others have the same. Each has its own callbacks, bounds and connections;
    /// [`max_connections`](Self::max_connections) is for each. Where connections are handed over, the shard
    /// with the fewest waiting gets the next: for a server that is stopped or full up to 64 of them wait, the
    /// more the busier the others are. Where the system balances, all that it gives to that one wait.
    /// Deleted, it leaves the service to the others; the last one ends it.
    ///
    /// An address is one service's of its kind, and so are those it covers: none can be at 127.0.0.1 and a port that
    /// another has at 0.0.0.0, here or in another program; who is not of these shards may be let in by
    /// [`reuse_port`](Self::reuse_port) on both sides. Streams and packets may have one port, as anywhere.
    ///
    /// Packet servers are shared where the system balances only. One that is not belongs in one shard, or the next
    /// shard's may take its packets ([`reuseaddr`](Self::reuseaddr)). Outside of shards nothing is shared.
    pub const fn shared(mut self, shared: bool) -> Self {
        self.shared = Some(shared);
        self
    }

    /// Whether this runtime's seat among shards has a say in it.
    pub(super) fn shares(&self, seat: &Seat) -> bool {
        seat.shares(self.shared)
    }

    /// Starts on a socket handed to this program together with the other shards; gives itself back where there
    /// is none.
    pub(super) fn start_external(
        self,
        seat: &Seat,
        name: Option<&str>,
    ) -> Result<Result<Process, Box<Self>>, StartError> {
        let kind = self.common.kind;
        // A drop of it may run anything, which must find neither the services locked nor the sockets.
        let _kept = self.common.kept();
        let offered = || {
            let Some(offer) = Offer::find(name, kind) else { return Ok(None) };
            let fd = offer.duplicate()?;
            socket::check_server(&fd, kind).map_err(StartError::Adopt)?;
            let described = socket::describe(&fd);
            let (_, local) = described.map_err(|err| StartError::Adopt(AdoptError::Sys(err)))?;
            Ok(Some(Offered { offer, fd, local }))
        };
        let Some(external) = seat.external(&self.common.name, kind, name, offered)? else {
            return Ok(Err(Box::new(self)));
        };
        let local: Address = external.local().clone();
        let started =
            self.start_at(&local, true, |rt, start, _| seat.start_external(rt, start, external));
        started.map(Ok)
    }
}
