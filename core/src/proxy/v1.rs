//! Version 1: `PROXY TCP4 192.0.2.7 198.51.100.1 4711 443`, a line of at most 107 bytes.
//!
//! Invariant: one space where there is a space, no zero before a digit, CR and LF at the end, as the
//! protocol says: what is read in two ways by two readers is a way around the one that decides.

use std::{
    fmt::{Display, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use super::{ProxyHeader, ProxyHeaderError, ProxyOrigin, ProxyVersion, V1_LEN_MAX};
use crate::reactor::Kind;

const PREFIX: &[u8] = b"PROXY ";
const LINE_END: &[u8] = b"\r\n";

pub(super) fn parse(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    let begun = bytes.len().min(PREFIX.len());
    if bytes[..begun] != PREFIX[..begun] {
        return Err(ProxyHeaderError::Missing);
    }
    // Not looked for behind the bound: how much has come must not decide what is too long.
    let line = &bytes[..bytes.len().min(V1_LEN_MAX)];
    let Some(end) = line.windows(LINE_END.len()).position(|pair| pair == LINE_END) else {
        let too_long = Err(ProxyHeaderError::TooLong { max: V1_LEN_MAX });
        return if line.len() < V1_LEN_MAX { Ok(None) } else { too_long };
    };
    let origin = origin(&line[PREFIX.len()..end])?;
    let header = ProxyHeader { version: ProxyVersion::V1, origin, tlvs: Box::default() };
    Ok(Some((header, end + LINE_END.len())))
}

/// What stands between `PROXY ` and the line end.
fn origin(line: &[u8]) -> Result<ProxyOrigin, ProxyHeaderError> {
    // Whatever follows is to be ignored, other characters included.
    if let Some(rest) = line.strip_prefix(b"UNKNOWN")
        && rest.first().is_none_or(|&byte| byte == b' ')
    {
        return Ok(ProxyOrigin::Unknown);
    }
    let line = std::str::from_utf8(line).map_err(|_| ProxyHeaderError::Line("ASCII text"))?;
    let mut words = line.split(' ');
    let (source, destination) = match words.next() {
        Some("TCP4") => ips::<Ipv4Addr>(&mut words)?,
        Some("TCP6") => ips::<Ipv6Addr>(&mut words)?,
        _ => return Err(ProxyHeaderError::Line("TCP4, TCP6 or UNKNOWN")),
    };
    let source = (source, port(words.next(), "port of the client")?);
    let destination = (destination, port(words.next(), "port of the destination")?);
    if words.next().is_some() {
        return Err(ProxyHeaderError::Line("line end"));
    }
    let (source, destination) = (source.into(), destination.into());
    Ok(ProxyOrigin::Client { kind: Kind::Stream, source, destination })
}

fn ips<'a, T: FromStr + Into<IpAddr>>(
    words: &mut impl Iterator<Item = &'a str>,
) -> Result<(IpAddr, IpAddr), ProxyHeaderError> {
    let mut ip = |what| {
        let parsed = words.next().and_then(|word| word.parse::<T>().ok());
        parsed.map(Into::into).ok_or(ProxyHeaderError::Line(what))
    };
    Ok((ip("address of the client")?, ip("address of the destination")?))
}

fn port(word: Option<&str>, what: &'static str) -> Result<u16, ProxyHeaderError> {
    let plain = |word: &&str| {
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        digits && (*word == "0" || !word.starts_with('0'))
    };
    let port = word.filter(plain).and_then(|word| word.parse().ok());
    port.ok_or(ProxyHeaderError::Line(what))
}

/// The line for `origin`; `None` where version 1 has no words for it.
pub(super) fn written(origin: &ProxyOrigin) -> Option<Vec<u8>> {
    let ProxyOrigin::Client { kind: Kind::Stream, source, destination } = origin else {
        let nobody = matches!(origin, ProxyOrigin::Proxy | ProxyOrigin::Unknown);
        return nobody.then(|| b"PROXY UNKNOWN\r\n".to_vec());
    };
    Some(match (source.socket_addr()?, destination.socket_addr()?) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            line("TCP4", from.ip(), to.ip(), from.port(), to.port())
        }
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            line("TCP6", from.ip(), to.ip(), from.port(), to.port())
        }
        _ => return None,
    })
}

fn line(family: &str, from: impl Display, to: impl Display, sport: u16, dport: u16) -> Vec<u8> {
    let mut line = String::with_capacity(V1_LEN_MAX);
    let wrote = write!(line, "PROXY {family} {from} {to} {sport} {dport}\r\n");
    debug_assert!(wrote.is_ok() && line.len() <= V1_LEN_MAX, "a string takes all");
    line.into_bytes()
}
