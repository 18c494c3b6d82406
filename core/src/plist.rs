//! Values and property lists: what a process carries for its users, and what its contact is made of.
//!
//! Invariant: keys keep the order in which they first came; a key stands once. No key has a meaning
//! here.

use std::{any::Any, fmt, rc::Rc};

use crate::address::Address;

/// A value of a property list.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Value {
    /// Emacs's `nil`: nothing, or off.
    #[default]
    Nil,
    /// Emacs's `t`: on.
    True,
    /// An integer.
    Integer(i64),
    /// A string.
    String(Rc<str>),
    /// A symbol or keyword, such as `ipv4` or `:host`.
    Symbol(Rc<str>),
    /// An address.
    Address(Address),
    /// A list.
    List(Rc<[Self]>),
    /// Anything else, kept for its owner.
    Opaque(Rc<dyn Any>),
}

impl Value {
    /// Whether it is anything but `Nil`.
    #[must_use]
    pub const fn is_true(&self) -> bool {
        !matches!(self, Self::Nil)
    }
}

/// Opaque values are equal when they are the same.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nil, Self::Nil) | (Self::True, Self::True) => true,
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::String(a), Self::String(b)) | (Self::Symbol(a), Self::Symbol(b)) => a == b,
            (Self::Address(a), Self::Address(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Opaque(a), Self::Opaque(b)) => Rc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::Nil }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<Address> for Value {
    fn from(address: Address) -> Self {
        Self::Address(address)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nil, Into::into)
    }
}

/// As Lisp prints it; an opaque value as `#<opaque>`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::True => f.write_str("t"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::String(text) => write!(f, "{text:?}"),
            Self::Symbol(name) => f.write_str(name),
            Self::Address(address) => write!(f, "{address}"),
            Self::Opaque(_) => f.write_str("#<opaque>"),
            Self::List(values) => {
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "(" } else { " " })?;
                }
                f.write_str(if values.is_empty() { "nil" } else { ")" })
            }
        }
    }
}

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
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Property Lists".
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plist {
    entries: Vec<(Rc<str>, Value)>,
}

impl Plist {
    /// Makes an empty list; nothing is allocated.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find_map(|(name, value)| (&**name == key).then_some(value))
    }

    /// Sets the value of `key`, in place or at the end, and returns the value before.
    pub fn put(&mut self, key: &str, value: impl Into<Value>) -> Option<Value> {
        let value = value.into();
        match self.entries.iter_mut().find(|(name, _)| &**name == key) {
            Some((_, old)) => Some(std::mem::replace(old, value)),
            None => {
                self.entries.push((key.into(), value));
                None
            }
        }
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (&**key, value))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<K: AsRef<str>, V: Into<Value>> FromIterator<(K, V)> for Plist {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut plist = Self::new();
        for (key, value) in entries {
            plist.put(key.as_ref(), value);
        }
        plist
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
    fn values_print_as_lisp_prints_them() {
        let list = Value::List([Value::True, 2.into(), "x\"y".into()].into());
        let cases = [
            (Value::Nil, "nil"),
            (Value::from(true), "t"),
            (Value::from(-7), "-7"),
            (Value::from("a b"), "\"a b\""),
            (Value::Symbol("ipv4".into()), "ipv4"),
            (Value::from(Address::from_vector(&[127, 0, 0, 1, 7]).ok()), "[127 0 0 1 7]"),
            (list, "(t 2 \"x\\\"y\")"),
            (Value::List([].into()), "nil"),
            (Value::Opaque(Rc::new(1)), "#<opaque>"),
        ];
        for (value, text) in cases {
            assert_eq!(value.to_string(), text);
            assert_eq!(value, value.clone());
        }
        assert_ne!(Value::Opaque(Rc::new(1)), Value::Opaque(Rc::new(1)));
    }
}
