//! Values: what arguments, properties and answers of the dynamic front are made of.
//!
//! Invariant: a value is shared, never changed in place, and prints as Lisp prints it. Reading that
//! print back is `reader.rs`'s work; no value has a meaning here.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a value is one of many kinds, and most questions concern one"
)]

use std::{any::Any, fmt, rc::Rc};

use crate::{
    address::{Address, AddressError},
    coding::{Char, Text},
};

mod reader;

pub use self::reader::ReadError;

/// A thing of an upper layer as a value: a process, a buffer, a function.
pub trait Object: Any {
    /// Prints it, as in `#<process echo>`.
    ///
    /// # Errors
    ///
    /// Those of `f`.
    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Whether `other` is the same thing.
    fn is_same(&self, other: &dyn Any) -> bool;

    /// The thing itself, to ask for its type.
    fn as_any(&self) -> &dyn Any;
}

/// A value, as Emacs Lisp has them.
///
/// # Examples
///
/// ```
/// use netproc_core::value::Value;
///
/// let value: Value = r#"(:name "echo" :server t :local [127 0 0 1 0])"#.parse()?;
/// assert_eq!(value.to_string(), r#"(:name "echo" :server t :local [127 0 0 1 0])"#);
/// assert_eq!(value.items().map(<[_]>::len), Some(6));
/// # Ok::<(), netproc_core::value::ReadError>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Value {
    /// Emacs's `nil`: nothing, off, the empty list.
    #[default]
    Nil,
    /// Emacs's `t`: on.
    True,
    /// An integer.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// A string of characters.
    String(Rc<str>),
    /// A string of characters of which some are raw bytes that no coding could make sense of.
    Text(Rc<Text>),
    /// A unibyte string: bytes, which sending does not encode.
    Bytes(Rc<[u8]>),
    /// A symbol or keyword, such as `ipv4` or `:host`.
    Symbol(Rc<str>),
    /// An address; prints and compares as its vector, string or pair.
    Address(Address),
    /// A vector.
    Vector(Rc<[Self]>),
    /// A list.
    List(Rc<[Self]>),
    /// A pair whose second half is no list.
    Pair(Rc<(Self, Self)>),
    /// A process, a buffer, a function.
    Object(Rc<dyn Object>),
    /// Anything else, kept for its owner.
    Opaque(Rc<dyn Any>),
}

impl Value {
    /// The symbol of that name; `nil` and `t` are those values.
    #[must_use]
    pub fn symbol(name: &str) -> Self {
        match name {
            "nil" => Self::Nil,
            "t" => Self::True,
            _ => Self::Symbol(name.into()),
        }
    }

    /// The list of these values.
    pub fn list(values: impl IntoIterator<Item = Self>) -> Self {
        let values: Rc<[Self]> = values.into_iter().collect();
        if values.is_empty() { Self::Nil } else { Self::List(values) }
    }

    /// The vector of these values.
    pub fn vector(values: impl IntoIterator<Item = Self>) -> Self {
        Self::Vector(values.into_iter().collect())
    }

    /// The pair of two values, which is a list if the second is one.
    #[must_use]
    pub fn pair(first: Self, second: Self) -> Self {
        match second {
            Self::Nil => Self::list([first]),
            Self::List(rest) => Self::list(std::iter::once(first).chain(rest.iter().cloned())),
            second => Self::Pair(Rc::new((first, second))),
        }
    }

    /// A thing of an upper layer.
    pub fn object(object: impl Object) -> Self {
        Self::Object(Rc::new(object))
    }

    /// Text, as the simplest kind of string that holds it.
    #[must_use]
    pub fn text(text: Text) -> Self {
        match text.as_str() {
            Some(plain) => Self::String(plain.into()),
            None => Self::Text(Rc::new(text)),
        }
    }

    /// Whether it is anything but `Nil`.
    #[must_use]
    pub const fn is_true(&self) -> bool {
        !matches!(self, Self::Nil)
    }

    /// The name of a symbol, `nil` and `t` included.
    #[must_use]
    pub fn as_symbol(&self) -> Option<&str> {
        match self {
            Self::Nil => Some("nil"),
            Self::True => Some("t"),
            Self::Symbol(name) => Some(name),
            _ => None,
        }
    }

    /// The characters of a string that has no raw bytes.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Bytes(bytes) if bytes.is_ascii() => str::from_utf8(bytes).ok(),
            Self::Address(Address::Local(path)) => str::from_utf8(path).ok(),
            _ => None,
        }
    }

    /// The bytes a string stands for where the system wants some, as in a path: characters in UTF-8,
    /// raw bytes as they are.
    #[must_use]
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::String(text) => Some(text.as_bytes().to_vec()),
            Self::Text(text) => Some(text.to_bytes()),
            Self::Bytes(bytes) => Some(bytes.to_vec()),
            Self::Address(Address::Local(path)) => Some(path.to_vec()),
            Self::Address(Address::Abstract(name)) => Some([b"\0", &**name].concat()),
            _ => None,
        }
    }

    /// Whether it is a string of any kind.
    #[must_use]
    pub const fn is_string(&self) -> bool {
        let local = matches!(self, Self::Address(Address::Local(_) | Address::Abstract(_)));
        local || matches!(self, Self::String(_) | Self::Text(_) | Self::Bytes(_))
    }

    /// The elements of a list; none for `nil`.
    #[must_use]
    pub fn items(&self) -> Option<&[Self]> {
        match self {
            Self::Nil => Some(&[]),
            Self::List(values) => Some(values),
            _ => None,
        }
    }

    /// The integer it is.
    #[must_use]
    pub const fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(value) = self { Some(*value) } else { None }
    }

    /// The thing of type `T` it is.
    #[must_use]
    pub fn downcast<T: Any>(&self) -> Option<&T> {
        match self {
            Self::Object(object) => object.as_any().downcast_ref(),
            Self::Opaque(object) => object.downcast_ref(),
            _ => None,
        }
    }

    /// The address it describes: a vector of five or nine integers, a string, a pair of a family and
    /// a vector of bytes.
    ///
    /// # Errors
    ///
    /// `Err(None)` for a value of another shape, else the [`AddressError`] that says what is wrong.
    pub fn to_address(&self) -> Result<Address, Option<AddressError>> {
        match self {
            Self::Address(address) => Ok(address.clone()),
            Self::String(_) | Self::Text(_) | Self::Bytes(_) => {
                Ok(Address::local(self.to_bytes().unwrap_or_default())?)
            }
            Self::Vector(elements) => {
                let elements = integers(elements).ok_or(None)?;
                Ok(Address::from_vector(&elements)?)
            }
            Self::Pair(pair) => {
                let (Self::Integer(family), Self::Vector(bytes)) = &**pair else {
                    return Err(None);
                };
                let bytes = integers(bytes).ok_or(None)?;
                Ok(Address::from_family(*family, &bytes)?)
            }
            _ => Err(None),
        }
    }

    /// An address in its general form, so that it compares with what a caller wrote.
    fn spelled_out(address: &Address) -> Self {
        let integer = |value: u16| Self::Integer(value.into());
        match address {
            Address::V4(_) | Address::V6(_) => {
                Self::vector(address.to_vector().unwrap_or_default().into_iter().map(integer))
            }
            Address::Local(path) => Self::path(path),
            Address::Abstract(name) => Self::path(&[b"\0", &**name].concat()),
            Address::Other { family, bytes } => Self::Pair(Rc::new((
                integer(*family),
                Self::vector(bytes.iter().map(|&byte| integer(byte.into()))),
            ))),
        }
    }

    fn path(bytes: &[u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => Self::Bytes(bytes.into()),
        }
    }
}

fn integers(values: &[Value]) -> Option<Vec<i64>> {
    values.iter().map(Value::as_integer).collect()
}

/// As Lisp's `equal`: by content; objects are equal when they are the same.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nil, Self::Nil) | (Self::True, Self::True) => true,
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::String(a), Self::String(b)) | (Self::Symbol(a), Self::Symbol(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Bytes(bytes), Self::String(text)) | (Self::String(text), Self::Bytes(bytes)) => {
                bytes.is_ascii() && **bytes == *text.as_bytes()
            }
            (Self::Address(a), Self::Address(b)) => a == b,
            (Self::Address(a), b) | (b, Self::Address(a)) => Self::spelled_out(a) == *b,
            (Self::Vector(a), Self::Vector(b)) | (Self::List(a), Self::List(b)) => a == b,
            (Self::List(list), Self::Nil) | (Self::Nil, Self::List(list)) => list.is_empty(),
            (Self::Pair(a), Self::Pair(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a.is_same(b.as_any()),
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

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
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

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

/// A unibyte string.
impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.into())
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
            Self::Float(value) => write!(f, "{value:?}"),
            Self::String(text) => write_string(f, text.chars().map(Char::Unicode)),
            Self::Text(text) => write_string(f, text.chars()),
            Self::Bytes(bytes) => write_string(f, Text::from_bytes(bytes).chars()),
            Self::Symbol(name) => f.write_str(name),
            Self::Address(address) => write!(f, "{}", Self::spelled_out(address)),
            Self::Vector(values) => write_all(f, '[', values, ']'),
            Self::List(values) if values.is_empty() => f.write_str("nil"),
            Self::List(values) => write_all(f, '(', values, ')'),
            Self::Pair(pair) => write_pair(f, pair),
            Self::Object(object) => object.print(f),
            Self::Opaque(_) => f.write_str("#<opaque>"),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A string in quotes; a raw byte as an octal escape.
fn write_string(f: &mut fmt::Formatter<'_>, characters: impl Iterator<Item = Char>) -> fmt::Result {
    use fmt::Write as _;
    f.write_char('"')?;
    for character in characters {
        match character {
            Char::Unicode(quoted @ ('"' | '\\')) => write!(f, "\\{quoted}")?,
            Char::Unicode(character) => f.write_char(character)?,
            Char::Raw(byte) => write!(f, "\\{byte:03o}")?,
        }
    }
    f.write_char('"')
}

fn write_pair(f: &mut fmt::Formatter<'_>, mut pair: &(Value, Value)) -> fmt::Result {
    write!(f, "({}", pair.0)?;
    while let Value::Pair(rest) = &pair.1 {
        pair = rest;
        write!(f, " {}", pair.0)?;
    }
    write!(f, " . {})", pair.1)
}

fn write_all(f: &mut fmt::Formatter<'_>, open: char, values: &[Value], close: char) -> fmt::Result {
    use fmt::Write as _;
    f.write_char(open)?;
    for (index, value) in values.iter().enumerate() {
        write!(f, "{}{value}", if index == 0 { "" } else { " " })?;
    }
    f.write_char(close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Thing(u8);

    impl Object for Thing {
        fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "#<thing {}>", self.0)
        }

        fn is_same(&self, other: &dyn Any) -> bool {
            other.downcast_ref::<Self>().is_some_and(|other| other.0 == self.0)
        }

        fn as_any(&self) -> &dyn Any {
            self
        }
    }

    #[test]
    fn values_print_as_lisp_prints_them() {
        let mut raw = Text::from_bytes(b"\xff");
        raw.push_str("\u{e9}");
        let cases = [
            (Value::Nil, "nil"),
            (Value::from(true), "t"),
            (Value::from(-7), "-7"),
            (Value::from(1.5), "1.5"),
            (Value::from(2.0), "2.0"),
            (Value::from("a b\n"), "\"a b\n\""),
            (Value::from(&b"\xe9\""[..]), "\"\\351\\\"\""),
            (Value::text(raw), "\"\\377\u{e9}\""),
            (Value::symbol("ipv4"), "ipv4"),
            (Value::symbol("nil"), "nil"),
            (Value::from(Address::from_vector(&[127, 0, 0, 1, 7]).ok()), "[127 0 0 1 7]"),
            (Value::from(Address::other(77, &[1, 2]).ok()), "(77 . [1 2])"),
            (Value::list([Value::True, 2.into(), "x\"y".into()]), "(t 2 \"x\\\"y\")"),
            (Value::List([].into()), "nil"),
            (Value::pair(1.into(), 2.into()), "(1 . 2)"),
            (Value::pair(1.into(), Value::list([2.into()])), "(1 2)"),
            (Value::pair(1.into(), Value::Nil), "(1)"),
            (Value::vector([]), "[]"),
            (Value::object(Thing(3)), "#<thing 3>"),
            (Value::Opaque(Rc::new(1)), "#<opaque>"),
        ];
        for (value, text) in cases {
            assert_eq!(value.to_string(), text);
            assert_eq!(value, value.clone());
        }
        assert_ne!(Value::Opaque(Rc::new(1)), Value::Opaque(Rc::new(1)));
        assert_eq!(Value::object(Thing(3)), Value::object(Thing(3)));
        assert_ne!(Value::object(Thing(3)), Value::object(Thing(4)));
    }

    #[test]
    fn addresses_compare_with_what_callers_write() {
        let cases = ["[127 0 0 1 80]", "[0 0 0 0 0 0 0 1 80]", "\"/run/x\"", "(77 . [1 2 3])"];
        for text in cases {
            let address = Value::Address(text.parse().unwrap());
            let written: Value = text.parse().unwrap();
            assert_eq!(address, written);
            assert_eq!(Ok(address), written.to_address().map(Value::Address), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        let shapeless = ["[1 2 x 4 5]", "x", "12", "(a . [1])", "(2 . \"a\")", "nil"];
        for text in shapeless {
            assert_eq!(text.parse::<Value>().unwrap().to_address(), Err(None), "{text}");
        }
        let wrong = [
            ("[127 0 0 256 9]", AddressError::Element { index: 3, value: 256, max: 255 }),
            ("[1 2 3]", AddressError::Length(3)),
            ("[]", AddressError::Length(0)),
            ("[1 2 3 4 -1]", AddressError::Port(-1)),
            ("(77 . [1 256])", AddressError::Element { index: 1, value: 256, max: 255 }),
            ("(2 . [1])", AddressError::KnownFamily(2)),
            ("(70000 . [1])", AddressError::Family(70000)),
        ];
        for (text, error) in wrong {
            assert_eq!(text.parse::<Value>().unwrap().to_address(), Err(Some(error)), "{text}");
        }
    }
}
