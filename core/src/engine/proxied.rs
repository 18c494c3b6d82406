//! What a proxy says of a connection before it begins: wanted of whom, read once, never handed on.
//!
//! Invariant: a process of a server that wants headers is connecting until its header is there, and
//! nothing of what came before that reaches anybody. The reader is a layer that goes when it is done, so
//! that bytes take no way round afterwards.

use std::{any::Any, rc::Rc};

use super::{Admit, Delivery, Engine};
use crate::{
    address::Address,
    event::{LogEntry, ProxyRefusal},
    pool::Buf,
    process::{LayerState, Process, Shared},
    proxy::{HeaderReader, ProxyHeader, ProxyHeaderError},
    reactor::{self, CloseHow, Reactor, SockId},
    shared_error::SharedError,
};

impl<R: Reactor, H: Clone> Engine<R, H> {
    /// Ends a connection of somebody whose header would not be believed.
    pub(super) fn refuse_stranger(
        &mut self,
        server: &Shared<H>,
        id: SockId,
        from: Option<Address>,
    ) -> Option<Delivery<H>> {
        self.drop_unborn(id);
        // Gone before anybody could see who it was: as proxies do that look whether somebody listens.
        self.proxy_refusal(server, from?, ProxyRefusal::Untrusted)
    }

    /// What to log of it, if it is time to.
    fn proxy_refusal(
        &self,
        server: &Shared<H>,
        from: Address,
        why: ProxyRefusal,
    ) -> Option<Delivery<H>> {
        let mut s = server.borrow_mut();
        let every = s.limits.log_every;
        let count = s.serving.get_or_insert_default().refusals.note(self.now, every)?;
        let entry = LogEntry::ProxyRefused { from, why, count };
        Some(Delivery::Log { server: Rc::clone(server), entry })
    }

    /// A connection just accepted waits for its header, within the time of a handshake.
    pub(super) fn await_proxy_header(&mut self, process: &Shared<H>) {
        let mut p = process.borrow_mut();
        let reader = HeaderReader::new(p.limits.proxy_header_len_max);
        p.layer = Some(Box::new(LayerState::new(Box::new(reader))));
        Self::update_reading(&mut self.reactor, &mut p);
        drop(p);
        self.shaking.push(Rc::clone(process));
    }

    /// The header is there, with `rest` behind it: the connection begins, and its contact shows the client
    /// when that is told.
    pub(super) fn proxied(
        &mut self,
        process: &Shared<H>,
        id: SockId,
        header: ProxyHeader,
        rest: Option<Buf>,
        admit: Admit<'_, H>,
    ) -> Option<Delivery<H>> {
        let mut p = process.borrow_mut();
        p.layer = None;
        p.connecting.get_or_insert_default().proxied = Some(header);
        drop(p);
        self.shake_hands(process, id);
        let buf = rest?;
        // Where the connection cannot begin, nothing is read either.
        if process.borrow().layers.is_some() {
            return self.unwrap_data(process, id, buf, admit);
        }
        self.store(process, reactor::Event::Data { id, buf, lost: 0 });
        None
    }

    /// There is no header, or none that can be believed: the connection is over at once, since nothing is
    /// to be said to whoever sent that.
    pub(super) fn refuse_proxy_header(
        &mut self,
        process: &Shared<H>,
        sock: SockId,
        err: SharedError,
    ) {
        let mut p = process.borrow_mut();
        if p.layer_failed.is_some() {
            return;
        }
        let why = err.downcast::<ProxyHeaderError>().copied().map(ProxyRefusal::Header);
        p.layer_failed = Some(err);
        let (from, server) = (p.contact.remote().cloned(), p.counted_by);
        drop(p);
        self.reactor.close(sock, CloseHow::Now);
        let server = server.and_then(|server| self.table.get(server)).cloned();
        if let (Some(server), Some(from), Some(why)) = (server, from, why) {
            let entry = self.proxy_refusal(&server, from, why);
            self.notices.extend(entry);
        }
    }

    /// A client's connection stands: its header goes out before anything else.
    pub(super) fn send_proxy_header(&mut self, process: &Shared<H>, sock: SockId) {
        let mut p = process.borrow_mut();
        let Some(out) = p.connecting.as_mut().and_then(|connecting| connecting.header.take())
        else {
            return;
        };
        let local = self.reactor.local_addr(sock).ok();
        let bytes = out.bytes(local.as_ref(), p.contact.remote());
        debug_assert!(bytes.is_ok(), "its start has tried");
        if let Ok(bytes) = bytes {
            self.reactor.send(sock, bytes.into());
        }
    }
}

impl<H> Process<H> {
    /// Whether it is a server whose connections have to begin with a header.
    pub(crate) fn wants_proxy_headers(&self) -> bool {
        self.serving.as_ref().is_some_and(|serving| serving.trusted.is_some())
    }

    /// Whether it believes the header of whoever is there.
    pub(super) fn trusts(&self, from: Option<&Address>) -> bool {
        let trusted = self.serving.as_ref().and_then(|serving| serving.trusted.as_ref());
        trusted.zip(from).is_some_and(|(trusted, from)| trusted.contains(from))
    }

    /// What reads its header, as long as it waits for one.
    pub(super) fn proxy_header_reader(&self) -> Option<&HeaderReader> {
        self.layer.as_ref()?.header_reader()
    }

    /// Its contact shows whom the proxy has named, now that something is told of it.
    pub(super) fn show_proxied(&mut self) {
        let header = self.connecting.as_mut().and_then(|connecting| connecting.proxied.take());
        if let Some(header) = header {
            self.contact.set_proxied(header);
        }
    }
}

impl LayerState {
    /// The reader of a header that is not there yet.
    pub(super) fn header_reader(&self) -> Option<&HeaderReader> {
        let layer: &dyn Any = &*self.layer;
        layer.downcast_ref().filter(|_| !self.established)
    }

    /// The header that this has been waiting for.
    pub(super) fn proxy_header(&self) -> Option<&ProxyHeader> {
        self.header_reader().and_then(HeaderReader::header)
    }
}
