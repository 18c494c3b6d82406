//! Idle connections that one table of descriptors has no room for: a thread with a table of its own for each such
//! part of them, which does nothing but hold them, and has them answer when it is asked to.

use std::{
    io,
    ops::Range,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use super::{Shape, echo::Echo};
use crate::{job::Service, machine, serve::Place};

enum Order {
    Open(Place, Service, Shape),
    Ask(Range<usize>),
}

/// A thread with its connections, which ends when this is dropped.
pub(super) struct Table {
    orders: Sender<Order>,
    answers: Receiver<io::Result<Vec<Duration>>>,
}

impl Table {
    /// A thread with a copy of our table as it is now, and no connections yet.
    pub(super) fn new() -> io::Result<Self> {
        let ((orders, orders_in), (answers_out, answers)) = (channel(), channel());
        thread::spawn(move || {
            let mut did = machine::own_descriptors().map(|()| Vec::new());
            let mut echo = None;
            while answers_out.send(did).is_ok() {
                let Ok(order) = orders_in.recv() else { break };
                did = obey(order, &mut echo);
            }
        });
        let table = Self { orders, answers };
        table.answer()?;
        Ok(table)
    }

    /// Opens connections, each of which answers once.
    pub(super) fn open(&self, place: Place, service: Service, shape: Shape) -> io::Result<()> {
        self.order(Order::Open(place, service, shape)).map(drop)
    }

    /// Has these connections answer, as [`Echo::ask`] does.
    pub(super) fn ask(&self, which: Range<usize>) -> io::Result<Vec<Duration>> {
        self.order(Order::Ask(which))
    }

    fn order(&self, order: Order) -> io::Result<Vec<Duration>> {
        self.orders.send(order).map_err(io::Error::other)?;
        self.answer()
    }

    fn answer(&self) -> io::Result<Vec<Duration>> {
        self.answers.recv().map_err(io::Error::other)?
    }
}

fn obey(order: Order, echo: &mut Option<Echo>) -> io::Result<Vec<Duration>> {
    match order {
        Order::Open(place, service, shape) => {
            *echo = Some(Echo::connect(&place, service, shape)?);
            Ok(Vec::new())
        }
        Order::Ask(which) => match echo {
            Some(echo) => echo.ask(which),
            None => Err(io::ErrorKind::NotConnected.into()),
        },
    }
}
