//! Functions about the network as such: features, addresses, interfaces, names.

use std::fmt::Write as _;

use netproc_core::{address::Family, options::SockOption, plist::Value};

use super::{Answer, Emacs, Signal};
use crate::{
    interfaces::{
        Interface, InterfaceError, InterfaceFlag, network_interface_info as info,
        network_interface_list as list,
    },
    lookup::{LookupError, network_lookup_address_info as lookup},
};

/// Whether `make-network-process` can do that here: `(:nowait t)`, `(:type datagram)`, `:linger`, …
pub(super) fn featurep(emacs: &Emacs, args: &[Value]) -> Answer {
    let feature = args[0].as_symbol();
    let feature = feature.ok_or_else(|| Signal::wrong_type("symbolp", args[0].clone()))?;
    if feature != "make-network-process" {
        return Ok(Value::Nil);
    }
    Ok(match (&args[1], args[1].items()) {
        (Value::Nil, _) => Value::True,
        (_, Some([key, value])) => emacs.supports(key, value).into(),
        (option, None) => option.as_symbol().is_some_and(has_option).into(),
        _ => Value::Nil,
    })
}

fn has_option(keyword: &str) -> bool {
    let linux = cfg!(any(target_os = "linux", target_os = "android"));
    let only_there = matches!(keyword, ":bindtodevice" | ":priority");
    SockOption::KEYWORDS.contains(&keyword) && (linux || !only_there)
}

impl Emacs {
    fn supports(&self, key: &Value, value: &Value) -> bool {
        let (Some(key), Some(value)) = (key.as_symbol(), value.as_symbol()) else { return false };
        match (key, value) {
            (":nowait" | ":server" | ":service", "t")
            | (":type", "datagram")
            | (":family", "local" | "ipv4" | "ipv6") => true,
            (":type", "seqpacket") => self.rt.capabilities().seqpacket,
            _ => false,
        }
    }
}

/// A vector of any length Emacs prints, a string, or a pair with a family; `nil` for all else.
pub(super) fn format_network_address(_: &Emacs, args: &[Value]) -> Answer {
    let omit_port = args[1].is_true();
    match &args[0] {
        string if string.is_string() => Ok(string.clone()),
        Value::Address(address) => Ok(address.network_text(omit_port).to_string().into()),
        Value::Vector(elements) => Ok(vector_text(elements, omit_port).into()),
        Value::Pair(pair) => family_text(&pair.0),
        Value::List(values) => values.first().map_or(Ok(Value::Nil), family_text),
        _ => Ok(Value::Nil),
    }
}

fn family_text(family: &Value) -> Answer {
    match family.as_integer() {
        Some(family) => Ok(format!("<Family {family}>").into()),
        None => Err(Signal::error("Format specifier doesn\u{2019}t match argument type")),
    }
}

fn vector_text(elements: &[Value], omit_port: bool) -> Option<String> {
    let (groups, port) = match elements.len() {
        4 | 8 => (elements, None),
        5 | 9 => (&elements[..elements.len() - 1], elements.last()),
        _ => return None,
    };
    let v4 = groups.len() == 4;
    let max = if v4 { 255 } else { 65535 };
    let mut text = String::new();
    for (index, group) in groups.iter().enumerate() {
        let group = group.as_integer().filter(|group| (0..=max).contains(group))?;
        let point = match (index, v4) {
            (0, _) => "",
            (_, true) => ".",
            (_, false) => ":",
        };
        let written =
            if v4 { write!(text, "{point}{group}") } else { write!(text, "{point}{group:x}") };
        debug_assert!(written.is_ok(), "a string takes all");
    }
    let Some(port) = port.filter(|_| !omit_port) else { return Some(text) };
    let port = port.as_integer().filter(|port| (0..=65535).contains(port))?;
    Some(if v4 { format!("{text}:{port}") } else { format!("[{text}]:{port}") })
}

/// The family a symbol names; `complaint` is Emacs's for all others.
fn family(value: &Value, complaint: &str) -> Result<Option<Family>, Signal> {
    match value.as_symbol() {
        Some("nil") => Ok(None),
        Some("ipv4") => Ok(Some(Family::Ipv4)),
        Some("ipv6") => Ok(Some(Family::Ipv6)),
        _ => Err(Signal::error(complaint)),
    }
}

fn interface_error(err: InterfaceError) -> Signal {
    Signal::error(err.emacs_message().map_or_else(|| err.to_string(), Into::into))
}

pub(super) fn network_interface_list(_: &Emacs, args: &[Value]) -> Answer {
    let family = family(&args[1], "Unsupported address family")?;
    let found = list(family).map_err(interface_error)?;
    let entry = |interface: Interface| {
        let name = Value::from(&*interface.name);
        if args[0].is_true() {
            let (broadcast, netmask) = (interface.broadcast.into(), interface.netmask.into());
            Value::list([name, interface.address.into(), broadcast, netmask])
        } else {
            Value::Pair(std::rc::Rc::new((name, interface.address.into())))
        }
    };
    Ok(Value::list(found.into_iter().map(entry)))
}

/// A name; `None` if there are raw bytes in it, which nothing is called by.
fn name(value: &Value) -> Result<Option<&str>, Signal> {
    match value.as_str() {
        None if !value.is_string() => Err(Signal::wrong_type("stringp", value.clone())),
        name => Ok(name),
    }
}

pub(super) fn network_interface_info(_: &Emacs, args: &[Value]) -> Answer {
    let Some(name) = name(&args[0])? else { return Ok(Value::Nil) };
    let Some(found) = info(name).map_err(interface_error)? else { return Ok(Value::Nil) };
    let hardware = found.hardware.map(|hardware| {
        let bytes = hardware.bytes.iter().map(|&byte| Value::from(i64::from(byte)));
        Value::pair(i64::from(hardware.kind).into(), Value::vector(bytes))
    });
    let flags = found.flags.iter().map(|flag| match flag {
        InterfaceFlag::Other(bit) => i64::from(*bit).into(),
        known => Value::symbol(&known.to_string()),
    });
    Ok(Value::list([
        found.address.into(),
        found.broadcast.into(),
        found.netmask.into(),
        hardware.unwrap_or_default(),
        Value::list(flags),
    ]))
}

pub(super) fn network_lookup_address_info(_: &Emacs, args: &[Value]) -> Answer {
    let name = name(&args[0])?;
    let family = family(&args[1], "Unsupported lookup type")?;
    let failed =
        |err: LookupError| Signal::error(err.emacs_message().unwrap_or_else(|| err.to_string()));
    let Some(name) = name else { return Ok(Value::Nil) };
    let found = lookup(name, family).map_err(failed)?;
    Ok(Value::list(found.into_iter().map(Value::from)))
}
