//! What a process has to do with its child, if it stands for one.
//!
//! Invariant: nothing is told of a child once its process has ended.

use super::Process;
use crate::child::{ChildInfo, ProcessType};

impl<H> Process<H> {
    /// What it stands for.
    #[must_use]
    pub const fn process_type(&self) -> ProcessType {
        self.process_type
    }

    /// What is known of its child, if it has one.
    #[must_use]
    pub fn child(&self) -> Option<&ChildInfo> {
        self.child.as_ref().map(|child| &child.info)
    }

    /// Whether the end of its child is known, told or not.
    pub(crate) fn child_has_ended(&self) -> bool {
        self.child.as_ref().is_some_and(|child| child.end.is_some())
    }

    /// Nothing is told of its child any more; returns whether it stands for one.
    pub(crate) fn forget_child_news(&mut self) -> bool {
        if let Some(child) = &mut self.child {
            child.stopped_by = None;
            child.news.clear();
        }
        self.child.is_some()
    }

    /// Whether there is something to tell of its child, and nothing in its inbox that comes first.
    pub(crate) fn has_child_news(&self) -> bool {
        let news = self.child.as_ref().is_some_and(|child| !child.news.is_empty());
        news && !self.busy && !self.inbox.front().is_some_and(|event| self.admits_next(event))
    }
}
