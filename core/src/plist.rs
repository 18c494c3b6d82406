//! Property lists: what a process carries for its users, and what its contact is made of.
//!
//! Invariant: entries keep their order; a key may stand twice, and then the first one counts, as in
//! an argument list. No key has a meaning here.

use std::{fmt, rc::Rc, str::FromStr};

use crate::value::ReadError;
pub use crate::value::Value;

type Entry = (Rc<str>, Value);

/// An ordered list of keys and values.
///
/// # Examples
///
/// ```
/// use netproc_core::plist::{Plist, Value};
///
/// let mut plist = Plist::new();
/// plist.put("user", "ann");
/// plist.put("tries", 1);
/// plist.put("user", "bob");
/// assert_eq!(plist.to_string(), "(user \"bob\" tries 1)");
/// assert_eq!(plist.get("absent"), None);
/// assert_eq!("(user \"bob\" tries 1)".parse(), Ok(plist));
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Property Lists".
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plist {
    /// Shared with its clones until one of them changes, as a connection's with its server's; `None` while
    /// it is empty.
    entries: Option<Rc<Vec<Entry>>>,
}

/// Why something is no property list.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlistError {
    /// The last key has no value.
    #[error("odd argument list: {0} has no value")]
    Odd(String),
    /// What stands where a key should is no symbol.
    #[error("{0} is no key")]
    Key(String),
    /// No list at all.
    #[error("{0} is no list")]
    NoList(String),
    /// Text that cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Plist {
    /// Makes an empty list; nothing is allocated.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: None }
    }

    /// Makes the list of keys and values in turn.
    ///
    /// # Errors
    ///
    /// [`PlistError::Odd`] names the key without a value, [`PlistError::Key`] what is no symbol.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::plist::{Plist, PlistError, Value};
    ///
    /// let name = Value::symbol(":name");
    /// let plist = Plist::from_values(&[name.clone(), "echo".into()])?;
    /// assert_eq!(plist.get(":name"), Some(&"echo".into()));
    /// assert_eq!(Plist::from_values(&[name]), Err(PlistError::Odd(":name".into())));
    /// # Ok::<(), PlistError>(())
    /// ```
    pub fn from_values(values: &[Value]) -> Result<Self, PlistError> {
        let mut plist = Self::new();
        for pair in values.chunks(2) {
            let Some(key) = pair[0].as_symbol() else {
                return Err(PlistError::Key(pair[0].to_string()));
            };
            let Some(value) = pair.get(1) else { return Err(PlistError::Odd(key.into())) };
            plist.push(key, value.clone());
        }
        Ok(plist)
    }

    /// The list as one value.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let entry = |(key, value): (&str, &Value)| [Value::symbol(key), value.clone()];
        Value::list(self.iter().flat_map(entry))
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.iter().find_map(|(name, value)| (name == key).then_some(value))
    }

    /// Sets the value of `key`, in place or at the end, and returns the value before.
    pub fn put(&mut self, key: &str, value: impl Into<Value>) -> Option<Value> {
        let value = value.into();
        let entries = self.entries_mut();
        match entries.iter_mut().find(|(name, _)| &**name == key) {
            Some((_, old)) => Some(std::mem::replace(old, value)),
            None => {
                entries.push((key.into(), value));
                None
            }
        }
    }

    /// Appends a key and its value, even if the key is there already.
    pub fn push(&mut self, key: &str, value: impl Into<Value>) {
        // Before the list is touched, since it runs what its user wrote.
        let entry = (key.into(), value.into());
        self.entries_mut().push(entry);
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries().iter().map(|(key, value)| (&**key, value))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    fn entries(&self) -> &[Entry] {
        self.entries.as_ref().map_or(&[], |entries| entries)
    }

    fn entries_mut(&mut self) -> &mut Vec<Entry> {
        Rc::make_mut(self.entries.get_or_insert_default())
    }
}

/// In order; of entries with the same key the first one counts.
impl<K: AsRef<str>, V: Into<Value>> FromIterator<(K, V)> for Plist {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut plist = Self::new();
        for (key, value) in entries {
            plist.push(key.as_ref(), value);
        }
        plist
    }
}

impl TryFrom<&Value> for Plist {
    type Error = PlistError;

    fn try_from(value: &Value) -> Result<Self, PlistError> {
        let values = value.items().ok_or_else(|| PlistError::NoList(value.to_string()))?;
        Self::from_values(values)
    }
}

/// Reads what `Display` writes.
impl FromStr for Plist {
    type Err = PlistError;

    fn from_str(text: &str) -> Result<Self, PlistError> {
        Self::try_from(&text.parse::<Value>()?)
    }
}

/// As Lisp prints it: `(KEY VALUE KEY VALUE)`, `nil` when empty.
impl fmt::Display for Plist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.iter().enumerate() {
            write!(f, "{}{key} {value}", if index == 0 { "(" } else { " " })?;
        }
        f.write_str(if self.is_empty() { "nil" } else { ")" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_counts_and_both_stay() {
        let mut plist: Plist = "(:a 1 :b 2 :a 3)".parse().unwrap();
        assert_eq!(plist.get(":a"), Some(&1.into()));
        plist.put(":a", 4);
        assert_eq!(plist.to_string(), "(:a 4 :b 2 :a 3)");
        assert_eq!((plist.len(), plist.to_value().items().map(<[_]>::len)), (3, Some(6)));
    }

    #[test]
    fn what_is_no_plist_says_why() {
        let cases = [
            ("(:a)", PlistError::Odd(":a".into())),
            ("(1 2)", PlistError::Key("1".into())),
            ("foo", PlistError::NoList("foo".into())),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Plist>(), Err(error), "{text}");
        }
        assert_eq!("nil".parse(), Ok(Plist::new()));
    }
}
