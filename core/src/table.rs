//! The process table: ids with generations, unique names, order of birth.
//!
//! Invariant: a listed process has a name no other listed process has; a name is free as soon as
//! its process leaves. Finding, adding and removing take constant or logarithmic time, however many
//! processes share a base name. No I/O, no state of a process.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    rc::Rc,
};

use crate::slots::{Key, Slots};

/// Names one process of one runtime, for ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a newtype")]
pub struct ProcessId(pub Key);

/// What was made of one name that was asked for again.
#[derive(Debug, Default)]
struct Suffixes {
    /// Suffixes below this have been tried: each is taken or in `gaps`.
    tried: u32,
    /// Suffixes below `tried` that are free.
    gaps: BTreeSet<u32>,
}

impl Suffixes {
    /// The first that may be free.
    fn next(&mut self) -> u32 {
        self.gaps.pop_first().unwrap_or_else(|| {
            self.tried = self.tried.max(1) + 1;
            self.tried - 1
        })
    }

    /// Whether none is taken.
    fn are_free(&self) -> bool {
        self.gaps.len() == self.tried.saturating_sub(1) as usize
    }
}

/// Unique names: `NAME`, else `NAME<1>`, `NAME<2>`, … the first that is free.
#[derive(Debug, Default)]
pub struct Names {
    owners: HashMap<Rc<str>, ProcessId>,
    /// By the name they hang on. Few names have any, and every process has a name: apart, it is small.
    suffixes: HashMap<Rc<str>, Suffixes>,
}

impl Names {
    /// Makes `asked` unique, registers it for `owner` and returns it.
    pub fn claim(&mut self, asked: &str, owner: ProcessId) -> Rc<str> {
        let base = Rc::from(asked);
        if self.take(&base, owner) {
            return base;
        }
        loop {
            let number = self.suffixes.entry(Rc::clone(&base)).or_default().next();
            let name = Rc::from(format!("{asked}<{number}>"));
            if self.take(&name, owner) {
                return name;
            }
        }
    }

    /// Registers `name` if it is free; returns whether it was.
    fn take(&mut self, name: &Rc<str>, owner: ProcessId) -> bool {
        let Entry::Vacant(place) = self.owners.entry(Rc::clone(name)) else { return false };
        place.insert(owner);
        // Someone who asks for `x<1>` outright takes it from the gaps of `x`.
        if !self.suffixes.is_empty()
            && let Some((base, number)) = split_suffix(name)
            && let Some(base) = self.suffixes.get_mut(base)
        {
            base.gaps.remove(&number);
        }
        true
    }

    /// Frees `name`.
    pub fn free(&mut self, name: &str) {
        self.owners.remove(name);
        if self.suffixes.is_empty() {
            return;
        }
        self.forget_if_unused(name);
        if let Some((base, number)) = split_suffix(name)
            && let Some(suffixes) = self.suffixes.get_mut(base)
        {
            if number < suffixes.tried {
                suffixes.gaps.insert(number);
            }
            self.forget_if_unused(base);
        }
    }

    /// Drops what hangs on a name that nobody has once nobody has any of it.
    fn forget_if_unused(&mut self, name: &str) {
        let unused = self.suffixes.get(name).is_some_and(Suffixes::are_free);
        if unused && !self.owners.contains_key(name) {
            self.suffixes.remove(name);
        }
    }

    /// Who has `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<ProcessId> {
        self.owners.get(name).copied()
    }
}

/// `x<7>` as `x` and 7; `None` for what `claim` would not have written.
fn split_suffix(name: &str) -> Option<(&str, u32)> {
    // Digits first: the names of connections end in their port, and no `<` needs be looked for.
    let rest = name.strip_suffix('>')?;
    let base = rest.trim_end_matches(|char: char| char.is_ascii_digit());
    let (base, number) = (base.strip_suffix('<')?, &rest[base.len()..]);
    (!number.starts_with('0')).then(|| Some((base, number.parse().ok()?)))?
}

/// The processes in the list, by id and by name.
#[derive(Debug)]
pub struct Table<P> {
    processes: Slots<(u64, Rc<str>, P)>,
    names: Names,
    /// How many were ever listed: the order of birth.
    born: u64,
}

impl<P> Default for Table<P> {
    fn default() -> Self {
        Self { processes: Slots::new(), names: Names::default(), born: 0 }
    }
}

impl<P> Table<P> {
    /// Lists the process that `make` builds from its id and its unique name.
    #[inline]
    pub fn insert(&mut self, asked: &str, make: impl FnOnce(ProcessId, Rc<str>) -> P) -> ProcessId {
        let (names, born) = (&mut self.names, self.born);
        self.born += 1;
        ProcessId(self.processes.insert_with(|key| {
            let name = names.claim(asked, ProcessId(key));
            (born, Rc::clone(&name), make(ProcessId(key), name))
        }))
    }

    /// The process under `id`, if it is still listed.
    #[must_use]
    pub fn get(&self, id: ProcessId) -> Option<&P> {
        self.processes.get(id.0).map(|(_, _, process)| process)
    }

    /// The process of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&P> {
        self.get(self.names.find(name)?)
    }

    /// Takes a process off the list and frees its name.
    pub fn remove(&mut self, id: ProcessId) -> Option<P> {
        let (_, name, process) = self.processes.remove(id.0)?;
        self.names.free(&name);
        Some(process)
    }

    /// How many are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// All, the newest first, as `process-list` has them.
    #[must_use]
    pub fn newest_first(&self) -> Vec<&P> {
        let mut all: Vec<_> = self.processes.iter().map(|(_, (born, _, p))| (*born, p)).collect();
        all.sort_unstable_by_key(|(born, _)| std::cmp::Reverse(*born));
        all.into_iter().map(|(_, process)| process).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table() -> Table<String> {
        Table::default()
    }

    fn add(table: &mut Table<String>, asked: &str) -> ProcessId {
        table.insert(asked, |_, name| name.to_string())
    }

    #[test]
    fn the_first_free_suffix_is_taken() {
        let mut table = table();
        let steps =
            [("n", "n"), ("n", "n<1>"), ("n", "n<2>"), ("n<1>", "n<1><1>"), ("", ""), ("", "<1>")];
        let ids: Vec<_> = steps
            .into_iter()
            .map(|(asked, given)| {
                let id = add(&mut table, asked);
                assert_eq!(table.get(id).map(String::as_str), Some(given));
                id
            })
            .collect();
        table.remove(ids[1]);
        assert!(table.find("n<1>").is_none());
        let again = add(&mut table, "n");
        assert_eq!(table.get(again).map(String::as_str), Some("n<1>"), "the gap comes first");
        table.remove(ids[0]);
        let base = add(&mut table, "n");
        assert_eq!(table.get(base).map(String::as_str), Some("n"));
    }

    #[test]
    fn a_name_asked_for_outright_is_not_given_twice() {
        let mut table = table();
        add(&mut table, "x<1>");
        add(&mut table, "x");
        let third = add(&mut table, "x");
        assert_eq!(table.get(third).map(String::as_str), Some("x<2>"));
    }

    /// Names that a peer can ask for by the thousand cost no more each than the first.
    #[test]
    fn a_hundred_thousand_of_one_name_and_nothing_left_behind() {
        let mut table = table();
        let ids: Vec<_> = (0..100_000).map(|_| add(&mut table, "same")).collect();
        assert_eq!(table.get(ids[99_999]).map(String::as_str), Some("same<99999>"));
        // Each step of the search raises this by one or takes a gap, and there was none: a step each.
        assert_eq!(table.names.suffixes["same"].tried, 100_000);
        for id in ids {
            table.remove(id);
        }
        assert!(table.names.owners.is_empty(), "{} names left", table.names.owners.len());
        assert!(table.names.suffixes.is_empty(), "{:?}", table.names.suffixes.keys());
    }

    #[test]
    fn the_list_is_newest_first_whatever_places_are_reused() {
        let mut table = table();
        let first = add(&mut table, "a");
        add(&mut table, "b");
        table.remove(first);
        add(&mut table, "c");
        assert_eq!(table.newest_first(), ["c", "b"]);
    }

    proptest! {
        /// Against the plain rule: the first of NAME, NAME<1>, NAME<2>, … that nobody has.
        #[test]
        fn names_agree_with_the_plain_rule(steps in proptest::collection::vec((0usize..6, any::<bool>(), 0usize..40), 1..200)) {
            let asked = ["a", "a<1>", "a<2>", "a<1><1>", "b", "a<01>"];
            let mut table = table();
            let mut model: Vec<(ProcessId, String)> = Vec::new();
            for (which, add_one, pick) in steps {
                if add_one || model.is_empty() {
                    let taken = |name: &str| model.iter().any(|(_, other)| other == name);
                    let base = asked[which].to_string();
                    let free = std::iter::once(base.clone())
                        .chain((1..).map(|n| format!("{base}<{n}>")))
                        .find(|name| !taken(name))
                        .unwrap();
                    let id = add(&mut table, asked[which]);
                    prop_assert_eq!(table.get(id), Some(&free));
                    model.push((id, free));
                } else {
                    let (id, name) = model.swap_remove(pick % model.len());
                    prop_assert_eq!(table.remove(id), Some(name));
                }
            }
            for (id, _) in model {
                table.remove(id);
            }
            prop_assert!(table.names.owners.is_empty() && table.names.suffixes.is_empty());
        }
    }
}
