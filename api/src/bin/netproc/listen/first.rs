//! `netproc listen --stdio`: the first who connects gets standard input, and is heard on standard output.
//!
//! Invariant: a connection is the first only once it stands, behind its header and its handshake; from
//! then on nobody else is served.

use std::{cell::RefCell, fs::File, rc::Rc};

use netproc::{Event, Process, Role};

use crate::{
    Context,
    talk::{Talk, Terms, stdio},
};

/// What waits for the first.
pub(super) struct First {
    terms: Terms,
    /// Theirs, until it is the first's.
    output: RefCell<Option<File>>,
    talk: RefCell<Option<Rc<Talk>>>,
}

impl First {
    pub(super) fn new(terms: Terms) -> Result<Rc<Self>, Context> {
        let output = stdio::unbuffered(std::io::stdout());
        let output = output.map_err(|err| Context::new("standard output", err))?;
        Ok(Rc::new(Self { terms, output: Some(output).into(), talk: RefCell::default() }))
    }

    /// Looks whether it is the first that stands now. Whoever comes behind it is sent away.
    pub(super) fn hear(&self, process: &Process, event: &Event) {
        if !matches!(event, Event::OpenFrom(_)) {
            return;
        }
        let Some(output) = self.output.take() else { return process.delete() };
        let rt = process.runtime();
        for server in rt.process_list() {
            if server.contact().role() == Role::Server {
                server.delete();
            }
        }
        let talk = Talk::new(process.name().to_string());
        let begun = talk.listen(process, output).and_then(|()| talk.begin(process, &self.terms));
        if let Err(err) = begun {
            talk.give_up(process, &err);
        }
        self.talk.replace(Some(talk));
    }

    /// The talk with the first, if there was one.
    pub(super) fn talk(&self) -> Option<Rc<Talk>> {
        self.talk.borrow().clone()
    }
}
