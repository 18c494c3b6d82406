//! Echo of datagrams: N flows, each with a fixed number of packets under way, sent in bursts.
//!
//! Packets that follow those which came back go out in one call (`UDP_SEGMENT`), and what comes back in
//! one burst may come in one (`UDP_GRO`): so the load generator needs less for a packet than any server.
//! [`Service::UdpApart`] does neither, and each packet is a call.
//!
//! Invariant: a packet carries its number, so that one which comes twice is an error. One that is missing
//! when nothing has come for [`LOST_AFTER`] is counted as lost and followed by another.

use std::{
    collections::HashSet,
    io::{self, IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use nix::{
    cmsg_space,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg, setsockopt,
        sockopt::UdpGroSegment,
    },
};
use socket2::{Domain, Socket, Type};

use super::{Meter, PATIENCE, Traffic, poller::Poller, unless_waiting, wrong_bytes};
use crate::{
    job::{Service, Shape},
    pattern,
    serve::Place,
};

const LOST_AFTER: Duration = Duration::from_millis(500);
/// Bytes of a packet's number.
const NUMBER_LEN: usize = 8;
/// The most that joined packets can be.
const READ_LEN: usize = 64 * 1024;
/// The most packets, and bytes of them, that the system cuts one call into.
const BURST_MAX: usize = 64;
const BURST_LEN_MAX: usize = 65_000;

struct Flow {
    socket: Socket,
    /// The number of the next packet.
    next: u64,
    /// Those under way, the oldest first mostly.
    under_way: Vec<(u64, Instant)>,
    /// Those that counted as lost, and have not come since.
    given_up: HashSet<u64>,
}

pub(super) struct Packets {
    pipeline: u64,
    /// Bytes of a packet.
    size: u16,
    /// How many packets go out in one call at most.
    burst_max: usize,
    poller: Poller,
    flows: Vec<Flow>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    control: Vec<u8>,
    heard: Instant,
}

impl Packets {
    pub(super) fn new(place: &Place, service: Service, shape: Shape) -> io::Result<Self> {
        let joins = service == Service::Udp;
        let Place::Ip(to) = *place else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "datagrams need an address"));
        };
        let size = u16::try_from(shape.size).map_err(io::Error::other)?;
        if usize::from(size) < NUMBER_LEN {
            let what = format!("a packet of {size} bytes has no room for its number");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let poller = Poller::new()?;
        let mut flows = Vec::new();
        for index in 0..shape.connections {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
            setsockopt(&socket, UdpGroSegment, &joins)?;
            socket.connect(&to.into())?;
            poller.add(&socket, index)?;
            let (under_way, given_up) = (Vec::new(), HashSet::new());
            flows.push(Flow { socket, next: 0, under_way, given_up });
        }
        Ok(Self {
            pipeline: shape.pipeline,
            size,
            burst_max: if joins { joined_max(size) } else { 1 },
            poller,
            flows,
            incoming: vec![0; READ_LEN],
            outgoing: Vec::new(),
            control: cmsg_space!(i32),
            heard: Instant::now(),
        })
    }

    /// Sends so many packets of a flow.
    fn send(&mut self, index: usize, count: usize, meter: &mut Meter) -> io::Result<()> {
        let now = Instant::now();
        let mut left = count;
        while left > 0 {
            let burst = left.min(self.burst_max);
            left -= burst;
            self.outgoing.clear();
            let flow = &mut self.flows[index];
            for _ in 0..burst {
                write_packet(&mut self.outgoing, index, flow.next, self.size);
                flow.under_way.push((flow.next, now));
                flow.next += 1;
            }
            meter.sent(burst as u64);
            let segments = [ControlMessage::UdpGsoSegments(&self.size)];
            let control = if burst > 1 { &segments[..] } else { &[] };
            let bytes = [IoSlice::new(&self.outgoing)];
            let (fd, flags) = (flow.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
            let sent = sendmsg::<()>(fd, &bytes, control, flags, None);
            // Those that do not go are lost, and noticed as such.
            unless_waiting(sent.map_err(io::Error::from))?;
        }
        Ok(())
    }

    /// Reads what is there, checks it, and sends as many packets as have come.
    fn read(&mut self, index: usize, meter: &mut Meter) -> io::Result<()> {
        let mut count = 0;
        while let Some(len) = self.receive(index)? {
            for at in (0..len).step_by(usize::from(self.size)) {
                count += usize::from(self.check(index, at, meter)?);
            }
        }
        if meter.going { self.send(index, count, meter) } else { Ok(()) }
    }

    /// Reads one packet, or several joined, all of the right length; returns the length in all.
    fn receive(&mut self, index: usize) -> io::Result<Option<usize>> {
        let fd = self.flows[index].socket.as_raw_fd();
        let mut bytes = [IoSliceMut::new(&mut self.incoming)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = match recvmsg::<()>(fd, &mut bytes, Some(&mut self.control), flags) {
            Err(nix::Error::EAGAIN) => return Ok(None),
            received => received?,
        };
        let len = received.bytes;
        let mut each = len;
        for message in received.cmsgs()? {
            if let ControlMessageOwned::UdpGroSegments(size) = message {
                each = usize::try_from(size).map_err(io::Error::other)?;
            }
        }
        let size = usize::from(self.size);
        if each != size || len % size != 0 {
            return Err(wrong_bytes(index, 0, len));
        }
        Ok(Some(len))
    }

    /// Checks the packet at `at` of what was read; returns whether it was waited for.
    fn check(&mut self, index: usize, at: usize, meter: &mut Meter) -> io::Result<bool> {
        let packet = &self.incoming[at..at + usize::from(self.size)];
        let number = packet.first_chunk().map_or(u64::MAX, |it| u64::from_le_bytes(*it));
        if packet[NUMBER_LEN..] != *body(index, number, self.size) {
            return Err(wrong_bytes(index, number, packet.len()));
        }
        let flow = &mut self.flows[index];
        let place = flow.under_way.iter().position(|&(it, _)| it == number);
        let Some(place) = place else {
            // One that was given up on and comes after all does not count again.
            if flow.given_up.remove(&number) {
                return Ok(false);
            }
            let what = format!("flow {index}: packet {number} came twice, or was never sent");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        };
        let (_, started) = flow.under_way.remove(place);
        self.heard = Instant::now();
        meter.back(1, started, self.heard);
        Ok(true)
    }

    /// Gives up on everything under way.
    fn give_up(&mut self, meter: &mut Meter) -> io::Result<()> {
        if self.heard.elapsed() > PATIENCE {
            let what = format!("no packet came back for {} seconds", PATIENCE.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
        for index in 0..self.flows.len() {
            let flow = &mut self.flows[index];
            let lost = flow.under_way.len();
            flow.given_up.extend(flow.under_way.drain(..).map(|(number, _)| number));
            meter.lost(lost as u64);
            if meter.going {
                self.send(index, lost, meter)?;
            }
        }
        Ok(())
    }
}

/// How many packets of a length the system cuts one call into.
fn joined_max(size: u16) -> usize {
    BURST_MAX.min(BURST_LEN_MAX / usize::from(size)).max(1)
}

/// What follows the number of a packet.
fn body(flow: usize, number: u64, size: u16) -> &'static [u8] {
    pattern::at(flow, number, u64::from(size) - NUMBER_LEN as u64)
}

/// Appends packet number `number` of a flow.
fn write_packet(buffer: &mut Vec<u8>, flow: usize, number: u64, size: u16) {
    buffer.extend_from_slice(&number.to_le_bytes());
    buffer.extend_from_slice(body(flow, number, size));
}

impl Traffic for Packets {
    fn begin(&mut self, meter: &mut Meter) -> io::Result<()> {
        self.heard = Instant::now();
        let count = usize::try_from(self.pipeline).map_err(io::Error::other)?;
        (0..self.flows.len()).try_for_each(|index| self.send(index, count, meter))
    }

    fn turn(&mut self, meter: &mut Meter) -> io::Result<()> {
        let ready = self.poller.wait_for(LOST_AFTER)?;
        if ready.is_empty() {
            self.give_up(meter)?;
        }
        for &index in &ready {
            self.read(index, meter)?;
        }
        self.poller.reuse(ready);
        Ok(())
    }
}
