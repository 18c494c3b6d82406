//! Whose headers are believed: a list of addresses, as text and as values.
//!
//! Invariant: an address reads one way only, and one that is written in IPv6's form of IPv4 counts as
//! what it is. Nobody is trusted who is not on the list.

use std::{fmt, net::IpAddr, str::FromStr};

use crate::address::{Address, Family};

/// Addresses that begin with the same bits: `10.0.0.0/8`, `2001:db8::/32`, or just one, `192.0.2.7`.
///
/// # Examples
///
/// ```
/// use netproc_core::proxy::IpPrefix;
///
/// let ten: IpPrefix = "10.0.0.0/8".parse()?;
/// assert!(ten.contains("10.255.0.1".parse()?) && !ten.contains("11.0.0.1".parse()?));
/// assert!(ten.contains("::ffff:10.0.0.1".parse()?), "the same address as IPv6 writes it");
/// assert_eq!("127.0.0.1/32".parse::<IpPrefix>()?.to_string(), "127.0.0.1");
/// assert!("10.0.0.1/8".parse::<IpPrefix>().is_err(), "which one is meant?");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IpPrefix {
    ip: IpAddr,
    len: u8,
}

/// Why something is no prefix.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IpPrefixError {
    /// What stands in front of `/` is no IP address.
    #[error("{0:?} is no IP address")]
    Ip(String),
    /// What stands behind it is no number of bits that the address has.
    #[error("{len:?} is no number of bits from 0 to {max}")]
    Len {
        /// What was given.
        len: String,
        /// How many bits the address has.
        max: u8,
    },
    /// The address goes on behind the prefix.
    #[error("{ip} has bits set behind the first {len}")]
    Host {
        /// The address.
        ip: IpAddr,
        /// How many bits count.
        len: u8,
    },
}

const fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The first `len` bits, to the right; an IPv4 address has its bits at the right as well.
const fn first(ip: IpAddr, len: u8) -> u128 {
    let (value, bits) = match ip {
        IpAddr::V4(ip) => (ip.to_bits() as u128, 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    match value.checked_shr(bits - len as u32) {
        Some(first) => first,
        None => 0,
    }
}

impl IpPrefix {
    /// The addresses whose first `len` bits are those of `ip`.
    ///
    /// # Errors
    ///
    /// [`IpPrefixError::Len`] for more bits than the address has, [`IpPrefixError::Host`] for an address
    /// that goes on behind them.
    pub fn new(ip: IpAddr, len: u8) -> Result<Self, IpPrefixError> {
        let max = bits(ip);
        if len > max {
            return Err(IpPrefixError::Len { len: len.to_string(), max });
        }
        let kept = first(ip, len);
        if kept.checked_shl(u32::from(max - len)).unwrap_or(0) != first(ip, max) {
            return Err(IpPrefixError::Host { ip, len });
        }
        // IPv6's form of IPv4 counts as IPv4, or a peer would have to be looked up twice.
        Ok(match (ip.to_canonical(), len.checked_sub(96)) {
            (ip @ IpAddr::V4(_), Some(len)) if max == 128 => Self { ip, len },
            _ => Self { ip, len },
        })
    }

    /// Whether `ip` begins with these bits. An IPv4 address that is written as IPv6 does
    /// (`::ffff:192.0.2.7`) is that address.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let begins =
            |ip| bits(ip) == bits(self.ip) && first(ip, self.len) == first(self.ip, self.len);
        begins(ip) || begins(ip.to_canonical())
    }
}

impl From<IpAddr> for IpPrefix {
    /// This address alone.
    fn from(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        Self { ip, len: bits(ip) }
    }
}

impl FromStr for IpPrefix {
    type Err = IpPrefixError;

    fn from_str(text: &str) -> Result<Self, IpPrefixError> {
        let (ip, len) = text.split_once('/').map_or((text, None), |(ip, len)| (ip, Some(len)));
        let shown = |text: &str| text.chars().take(64).collect::<String>();
        let ip: IpAddr = ip.parse().map_err(|_| IpPrefixError::Ip(shown(ip)))?;
        let Some(len) = len else { return Ok(ip.into()) };
        let digits = len.len() <= 3 && len.bytes().all(|byte| byte.is_ascii_digit());
        let parsed = len.parse().ok().filter(|_| digits);
        let parsed = parsed.ok_or_else(|| IpPrefixError::Len { len: shown(len), max: bits(ip) })?;
        Self::new(ip, parsed)
    }
}

/// The address, and the number of bits if it is not all of them.
impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ip)?;
        if self.len == bits(self.ip) { Ok(()) } else { write!(f, "/{}", self.len) }
    }
}

/// The proxies whose headers a server believes. Whoever is not one of them is refused.
///
/// As text: addresses and prefixes, and `local` for every local socket, with commas or spaces between.
///
/// # Examples
///
/// ```
/// use netproc_core::proxy::TrustedProxies;
///
/// let trusted: TrustedProxies = "127.0.0.1, 2001:db8::/32 local".parse()?;
/// assert!(trusted.contains(&"[8193 3512 0 0 0 0 0 1 80]".parse()?));
/// assert!(!trusted.contains(&"[127 0 0 2 80]".parse()?));
/// assert_eq!(trusted.to_string(), "127.0.0.1,2001:db8::/32,local");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
///
/// "The PROXY protocol", section 5: a receiver has to know from whom it takes headers, or any client
/// could come from anywhere.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrustedProxies {
    prefixes: Vec<IpPrefix>,
    local: bool,
}

/// Why text is no list of proxies: one of its words is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a list of trusted proxies")]
#[non_exhaustive]
pub struct TrustedProxiesError(#[from] pub IpPrefixError);

impl TrustedProxies {
    /// Nobody yet; a server that trusts nobody does not start.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// And this address, or all with this prefix.
    #[must_use]
    pub fn with(mut self, prefix: impl Into<IpPrefix>) -> Self {
        self.prefixes.push(prefix.into());
        self
    }

    /// And whoever can connect to a local socket, or not. Its file decides who that is.
    #[must_use]
    pub const fn local(mut self, on: bool) -> Self {
        self.local = on;
        self
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty() && !self.local
    }

    /// Whether whoever is at `peer` is trusted.
    #[must_use]
    pub fn contains(&self, peer: &Address) -> bool {
        match peer.socket_addr() {
            Some(peer) => self.prefixes.iter().any(|prefix| prefix.contains(peer.ip())),
            None => self.local && peer.family() == Family::Local,
        }
    }
}

impl<T: Into<IpPrefix>> FromIterator<T> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = T>>(prefixes: I) -> Self {
        let prefixes = prefixes.into_iter().map(Into::into).collect();
        Self { prefixes, local: false }
    }
}

impl From<IpAddr> for TrustedProxies {
    fn from(ip: IpAddr) -> Self {
        Self::new().with(ip)
    }
}

impl From<IpPrefix> for TrustedProxies {
    fn from(prefix: IpPrefix) -> Self {
        Self::new().with(prefix)
    }
}

impl FromStr for TrustedProxies {
    type Err = TrustedProxiesError;

    fn from_str(text: &str) -> Result<Self, TrustedProxiesError> {
        let mut trusted = Self::new();
        let words = text.split(|c: char| c == ',' || c.is_ascii_whitespace());
        for word in words.filter(|word| !word.is_empty()) {
            trusted = match word {
                "local" => trusted.local(true),
                word => trusted.with(word.parse::<IpPrefix>()?),
            };
        }
        Ok(trusted)
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for prefix in &self.prefixes {
            write!(f, "{between}{prefix}")?;
            between = ",";
        }
        if self.local { write!(f, "{between}local") } else { Ok(()) }
    }
}
