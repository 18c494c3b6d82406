//! Addresses as values and as vectors: `[A B C D P]`, nine elements for IPv6, a string for a local
//! socket, `(F . [BYTE …])` for any other family.
//!
//! Invariant: an `Address` is well formed; whatever is out of range was refused when it was made,
//! where Emacs takes elements modulo their field. Text and value convert both ways without loss but for
//! what they have no place for, the scope and the flow of an IPv6 address.
//! Name look-up is not here, nor are socket calls.

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    str::FromStr,
    sync::Arc,
};

/// The longest path of a local socket: `sun_path` less its closing NUL on Linux, which others may leave
/// out there; whose path is longer by that byte counts as having no name.
pub const LOCAL_LEN_MAX: usize = 107;
/// The most bytes a raw address can have: `sockaddr_storage` less its family.
pub const OTHER_LEN_MAX: usize = 126;

/// The family of an address or socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Family {
    /// IPv4 (`ipv4`).
    #[default]
    Ipv4,
    /// IPv6 (`ipv6`).
    Ipv6,
    /// Local, or Unix domain, sockets (`local`).
    Local,
    /// Any other, by the system's number.
    Other(u16),
}

/// Where a socket is or whom it talks to.
///
/// # Examples
///
/// ```
/// use netproc_core::address::Address;
///
/// let address: Address = "[127 0 0 1 8080]".parse()?;
/// assert_eq!(address, Address::from("127.0.0.1:8080".parse::<std::net::SocketAddr>().unwrap()));
/// assert_eq!(address.to_string(), "[127 0 0 1 8080]");
/// assert_eq!(address.network_text(false).to_string(), "127.0.0.1:8080");
/// # Ok::<(), netproc_core::address::AddressError>(())
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Network Processes" and "Misc Network". Differs: elements and ports out
/// of range are refused, abstract local names exist, the family of `(F . AV)` is kept.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Address {
    /// `[A B C D P]`.
    V4(SocketAddrV4),
    /// `[A B C D E F G H P]`, each of the first eight a group of 16 bits.
    V6(SocketAddrV6),
    /// A path, as bytes; empty for the end of a local connection that has no name.
    Local(Arc<[u8]>),
    /// A name in Linux's abstract space, without the NUL that marks it.
    Abstract(Arc<[u8]>),
    /// Any other family: its number and the bytes that follow it in the system's structure.
    Other {
        /// The system's number of the family.
        family: u16,
        /// What follows the family field.
        bytes: Arc<[u8]>,
    },
}

/// Why something is no address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// A vector has neither five nor nine elements.
    #[error("malformed address: {0} elements, an IPv4 vector has 5 and an IPv6 vector 9")]
    Length(usize),
    /// An element does not fit its field.
    #[error("malformed address: element {index} is {value}, out of the range 0 to {max}")]
    Element {
        /// Which element, from 0.
        index: usize,
        /// What was given.
        value: i64,
        /// The largest value there.
        max: u16,
    },
    /// The last element is no port.
    #[error("malformed address: port {0} is out of the range 0 to 65535")]
    Port(i64),
    /// A local path of 108 bytes or more.
    #[error("service name too long: {0} bytes, a local socket's path has at most {LOCAL_LEN_MAX}")]
    PathTooLong(usize),
    /// A NUL inside a local path, where the system would silently end it.
    #[error("a NUL at byte {0} of a local path")]
    Nul(usize),
    /// More bytes than the system's largest address structure holds.
    #[error("{0} address bytes, the largest structure holds {OTHER_LEN_MAX}")]
    TooManyBytes(usize),
    /// A family whose number no system could have.
    #[error("malformed address: family {0} is out of the range 0 to 65535")]
    Family(i64),
    /// A raw form of a family that has a form of its own.
    #[error("family {0} has a form of its own; raw bytes are for families unknown here")]
    KnownFamily(u16),
    /// Text that is none of the forms.
    #[error("not an address: {expected} expected at byte {position}")]
    Syntax {
        /// Where the reader stopped, in bytes from 0.
        position: usize,
        /// What should have stood there.
        expected: &'static str,
    },
}

impl Address {
    /// Makes an address from its vector of five or nine elements.
    ///
    /// # Errors
    ///
    /// [`AddressError::Length`], [`AddressError::Element`] or [`AddressError::Port`], naming what is
    /// wrong.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::address::{Address, AddressError};
    ///
    /// assert_eq!(Address::from_vector(&[127, 0, 0, 1, 9])?.to_string(), "[127 0 0 1 9]");
    /// let bad = Address::from_vector(&[127, 0, 0, 256, 9]);
    /// assert_eq!(bad, Err(AddressError::Element { index: 3, value: 256, max: 255 }));
    /// # Ok::<(), AddressError>(())
    /// ```
    pub fn from_vector(elements: &[i64]) -> Result<Self, AddressError> {
        let (groups, &port) = match (elements.len(), elements.split_last()) {
            (5 | 9, Some((port, groups))) => (groups, port),
            (len, _) => return Err(AddressError::Length(len)),
        };
        let max = if groups.len() == 4 { 255 } else { u16::MAX };
        let mut values = [0u16; 8];
        for (index, (&value, field)) in groups.iter().zip(&mut values).enumerate() {
            *field = u16::try_from(value)
                .ok()
                .filter(|&field| field <= max)
                .ok_or(AddressError::Element { index, value, max })?;
        }
        let port = u16::try_from(port).map_err(|_| AddressError::Port(port))?;
        Ok(if groups.len() == 4 {
            let [a, b, c, d, ..] = values.map(|value| value.to_be_bytes()[1]);
            Self::V4(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port))
        } else {
            Self::V6(SocketAddrV6::new(Ipv6Addr::from(values), port, 0, 0))
        })
    }

    /// The vector of an IPv4 or IPv6 address; `None` for the other forms.
    #[must_use]
    pub fn to_vector(&self) -> Option<Vec<u16>> {
        let (mut groups, port) = match self {
            Self::V4(v4) => (v4.ip().octets().map(u16::from).to_vec(), v4.port()),
            Self::V6(v6) => (v6.ip().segments().to_vec(), v6.port()),
            Self::Local(_) | Self::Abstract(_) | Self::Other { .. } => return None,
        };
        groups.push(port);
        Some(groups)
    }

    /// Makes the address of a local socket from its path.
    ///
    /// A leading NUL makes an abstract name of exactly the bytes behind it.
    ///
    /// # Errors
    ///
    /// [`AddressError::PathTooLong`] past 107 bytes, [`AddressError::Nul`] for a NUL in a path.
    ///
    /// # Examples
    ///
    /// ```
    /// use netproc_core::address::Address;
    ///
    /// assert_eq!(Address::local("/run/echo")?.to_string(), "\"/run/echo\"");
    /// assert!(matches!(Address::local("\0echo")?, Address::Abstract(_)));
    /// # Ok::<(), netproc_core::address::AddressError>(())
    /// ```
    pub fn local(path: impl AsRef<[u8]>) -> Result<Self, AddressError> {
        let path = path.as_ref();
        if path.len() > LOCAL_LEN_MAX + usize::from(path.first() == Some(&0)) {
            return Err(AddressError::PathTooLong(path.len()));
        }
        if let Some(name) = path.strip_prefix(b"\0") {
            return Ok(Self::Abstract(name.into()));
        }
        match path.iter().position(|&byte| byte == 0) {
            Some(at) => Err(AddressError::Nul(at)),
            None => Ok(Self::Local(path.into())),
        }
    }

    /// Makes an address of a family that has no form of its own here.
    ///
    /// # Errors
    ///
    /// [`AddressError::TooManyBytes`], or [`AddressError::KnownFamily`] for IPv4, IPv6 and local.
    pub fn other(family: u16, bytes: &[u8]) -> Result<Self, AddressError> {
        if is_known(family) {
            return Err(AddressError::KnownFamily(family));
        }
        if bytes.len() > OTHER_LEN_MAX {
            return Err(AddressError::TooManyBytes(bytes.len()));
        }
        Ok(Self::Other { family, bytes: bytes.into() })
    }

    /// The same from numbers that may not fit their fields.
    ///
    /// # Errors
    ///
    /// As [`other`](Self::other); [`AddressError::Family`] and [`AddressError::Element`] for what
    /// does not fit.
    pub fn from_family(family: i64, elements: &[i64]) -> Result<Self, AddressError> {
        let family = u16::try_from(family).map_err(|_| AddressError::Family(family))?;
        let byte = |(index, &value)| {
            u8::try_from(value).map_err(|_| AddressError::Element { index, value, max: 255 })
        };
        let bytes: Vec<u8> = elements.iter().enumerate().map(byte).collect::<Result<_, _>>()?;
        Self::other(family, &bytes)
    }

    /// The address of the other end of a local connection, which has no name.
    #[must_use]
    pub fn unnamed() -> Self {
        Self::Local(Arc::default())
    }

    /// The family.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::V4(_) => Family::Ipv4,
            Self::V6(_) => Family::Ipv6,
            Self::Local(_) | Self::Abstract(_) => Family::Local,
            Self::Other { family, .. } => Family::Other(*family),
        }
    }

    /// The port, where the family has one.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::V4(v4) => Some(v4.port()),
            Self::V6(v6) => Some(v6.port()),
            Self::Local(_) | Self::Abstract(_) | Self::Other { .. } => None,
        }
    }

    /// The IP address and port, where the family has them.
    #[must_use]
    pub const fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::V4(v4) => Some(SocketAddr::V4(*v4)),
            Self::V6(v6) => Some(SocketAddr::V6(*v6)),
            Self::Local(_) | Self::Abstract(_) | Self::Other { .. } => None,
        }
    }

    /// The address as Emacs's `format-network-address` writes it: `127.0.0.1:80`,
    /// `[2001:db8:0:0:0:0:0:1]:25` (never shortened), the path, `<Family 77>`.
    ///
    /// # Examples
    ///
    /// ```
    /// let address: netproc_core::address::Address = "[0 0 0 0 0 0 0 1 25]".parse()?;
    /// assert_eq!(address.network_text(false).to_string(), "[0:0:0:0:0:0:0:1]:25");
    /// assert_eq!(address.network_text(true).to_string(), "0:0:0:0:0:0:0:1");
    /// # Ok::<(), netproc_core::address::AddressError>(())
    /// ```
    ///
    /// # Source
    ///
    /// Emacs Lisp manual 28.2, "Misc Network". Differs: an abstract name is written with a leading
    /// `@`, as other tools do.
    #[must_use]
    pub const fn network_text(&self, omit_port: bool) -> NetworkText<'_> {
        NetworkText { address: self, omit_port }
    }
}

/// Whether a family has a form of its own.
pub(crate) fn is_known(family: u16) -> bool {
    [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX].contains(&i32::from(family))
}

/// Prints an address as [`Address::network_text`] describes.
#[derive(Clone, Copy, Debug)]
pub struct NetworkText<'a> {
    address: &'a Address,
    omit_port: bool,
}

impl fmt::Display for NetworkText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Address::V4(v4) if self.omit_port => write!(f, "{}", v4.ip()),
            Address::V4(v4) => write!(f, "{v4}"),
            Address::V6(v6) => write_v6(f, v6, self.omit_port),
            Address::Local(path) => f.write_str(&String::from_utf8_lossy(path)),
            Address::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
            Address::Other { family, .. } => write!(f, "<Family {family}>"),
        }
    }
}

fn write_v6(out: &mut fmt::Formatter<'_>, v6: &SocketAddrV6, omit_port: bool) -> fmt::Result {
    if !omit_port {
        out.write_char('[')?;
    }
    for (index, group) in v6.ip().segments().into_iter().enumerate() {
        write!(out, "{}{group:x}", if index == 0 { "" } else { ":" })?;
    }
    if omit_port { Ok(()) } else { write!(out, "]:{}", v6.port()) }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self::V4(v4),
            SocketAddr::V6(v6) => Self::V6(v6),
        }
    }
}

impl From<(IpAddr, u16)> for Address {
    fn from((ip, port): (IpAddr, u16)) -> Self {
        SocketAddr::new(ip, port).into()
    }
}

/// Fails, giving the address back, for families without IP addresses.
impl TryFrom<Address> for SocketAddr {
    type Error = Address;

    fn try_from(address: Address) -> Result<Self, Address> {
        address.socket_addr().ok_or(address)
    }
}

/// The vector form; a local path as a quoted string with `\xNN` for what is not printable ASCII.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(v4) => {
                let [a, b, c, d] = v4.ip().octets();
                write!(f, "[{a} {b} {c} {d} {}]", v4.port())
            }
            Self::V6(v6) => {
                let [a, b, c, d, e, g, h, i] = v6.ip().segments();
                write!(f, "[{a} {b} {c} {d} {e} {g} {h} {i} {}]", v6.port())
            }
            Self::Local(path) => write_quoted(f, "", path),
            Self::Abstract(name) => write_quoted(f, "\\x00", name),
            Self::Other { family, bytes } => {
                write!(f, "({family} . [")?;
                for (index, byte) in bytes.iter().enumerate() {
                    write!(f, "{}{byte}", if index == 0 { "" } else { " " })?;
                }
                f.write_str("])")
            }
        }
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, prefix: &str, bytes: &[u8]) -> fmt::Result {
    write!(f, "\"{prefix}")?;
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => write!(f, "\\{}", char::from(byte))?,
            b' '..=b'~' => f.write_char(char::from(byte))?,
            _ => write!(f, "\\x{byte:02x}")?,
        }
    }
    f.write_char('"')
}

/// Reads what `Display` writes; only ASCII digits count as digits, and nothing may follow.
impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let mut reader = Reader { bytes: text.as_bytes(), position: 0 };
        let address = match reader.peek() {
            Some(b'[') => Self::from_vector(&reader.vector()?)?,
            Some(b'"') => Self::local(reader.string()?)?,
            Some(b'(') => reader.pair()?,
            _ => return Err(reader.expected("'[', '(' or '\"'")),
        };
        if reader.position == text.len() { Ok(address) } else { Err(reader.expected("the end")) }
    }
}

/// Reads the printed forms byte by byte and knows where it stopped.
struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    const fn expected(&self, expected: &'static str) -> AddressError {
        AddressError::Syntax { position: self.position, expected }
    }

    fn eat(&mut self, literal: &'static str) -> Result<(), AddressError> {
        if !self.bytes[self.position..].starts_with(literal.as_bytes()) {
            return Err(self.expected(literal));
        }
        self.position += literal.len();
        Ok(())
    }

    /// An integer of at most 18 digits, so that it always fits.
    fn integer(&mut self) -> Result<i64, AddressError> {
        let start = self.position;
        let negative = self.peek() == Some(b'-');
        self.position += usize::from(negative);
        let mut value = 0;
        let digits = self.position;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            if self.position - digits == 18 {
                return Err(self.expected("at most 18 digits"));
            }
            value = value * 10 + i64::from(digit - b'0');
            self.position += 1;
        }
        if self.position == digits {
            self.position = start;
            return Err(self.expected("an integer"));
        }
        Ok(if negative { -value } else { value })
    }

    fn vector(&mut self) -> Result<Vec<i64>, AddressError> {
        self.eat("[")?;
        let mut elements = Vec::new();
        while self.peek() != Some(b']') {
            if !elements.is_empty() {
                self.eat(" ")?;
            }
            elements.push(self.integer()?);
        }
        self.eat("]")?;
        Ok(elements)
    }

    fn string(&mut self) -> Result<Vec<u8>, AddressError> {
        self.eat("\"")?;
        let mut bytes = Vec::new();
        loop {
            match self.peek() {
                None => return Err(self.expected("a closing '\"'")),
                Some(b'"') => break,
                Some(b'\\') => bytes.push(self.escape()?),
                Some(byte) => {
                    self.position += 1;
                    bytes.push(byte);
                }
            }
        }
        self.eat("\"")?;
        Ok(bytes)
    }

    fn escape(&mut self) -> Result<u8, AddressError> {
        self.eat("\\")?;
        if let Some(byte @ (b'"' | b'\\')) = self.peek() {
            self.position += 1;
            return Ok(byte);
        }
        self.eat("x")?;
        let digits = self.bytes.get(self.position..self.position + 2);
        let byte = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or_else(|| self.expected("two hexadecimal digits"))?;
        self.position += 2;
        Ok(byte)
    }

    fn pair(&mut self) -> Result<Address, AddressError> {
        self.eat("(")?;
        let family = self.integer()?;
        self.eat(" . ")?;
        let elements = self.vector()?;
        self.eat(")")?;
        Address::from_family(family, &elements)
    }
}

#[cfg(test)]
mod tests;
