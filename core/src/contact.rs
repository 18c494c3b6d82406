//! What `process-contact` answers: the arguments a process was made with, corrected by what the
//! system then said.
//!
//! Invariant: the arguments are shared by a server and its connections until one of them sets a key;
//! what differs per process is computed from its addresses. No system call is made here.

use std::{fmt, rc::Rc, sync::LazyLock};

use crate::{
    address::{Address, Family},
    plist::{Plist, Value},
    proxy::ProxyHeader,
    reactor::Credentials,
};

/// Whose contact it is: that decides which keys are answered from addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Role {
    /// Connected, or tried to, by itself.
    Client,
    /// Listens, or receives packets on a bound socket.
    Server,
    /// Accepted by a server.
    Accepted,
    /// A child, or the pipe of its errors: it has no addresses.
    Child,
}

/// The contact information of one process.
///
/// # Examples
///
/// ```
/// use netproc_core::{contact::{Contact, Role}, plist::{Plist, Value}};
///
/// let asked: Plist = [(":name", "echo")].into_iter().collect();
/// let contact = Contact::new(Role::Server, asked).with_local("[127 0 0 1 4711]".parse().ok());
/// assert_eq!(contact.get(":service"), Some(Value::from(4711)));
/// assert_eq!(contact.plist().to_string(), "(:name \"echo\" :service 4711 :local [127 0 0 1 4711])");
/// assert_eq!(contact.short().to_string(), "(nil 4711)");
/// ```
///
/// # Source
///
/// Emacs Lisp manual 28.2, "Process Information" (`process-contact`).
#[derive(Clone, PartialEq)]
pub struct Contact {
    role: Role,
    asked: Plist,
    local: Option<Address>,
    remote: Option<Address>,
    credentials: Option<Credentials>,
    proxied: Option<Rc<Proxied>>,
}

/// A connection that a proxy has made for somebody.
#[derive(PartialEq, Debug)]
struct Proxied {
    /// The address of the other end as it was.
    by: Option<Address>,
    header: ProxyHeader,
}

/// The whole list, as Lisp prints it: `Contact(:name "echo" :server t :service 7)`.
impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contact{}", self.plist())
    }
}

impl Contact {
    /// A contact of the arguments alone.
    #[must_use]
    pub const fn new(role: Role, asked: Plist) -> Self {
        Self { role, asked, local: None, remote: None, credentials: None, proxied: None }
    }

    /// The contact of a connection that the owner of this one has accepted from `remote`.
    #[must_use]
    pub fn accepted(&self, local: Option<Address>, remote: Option<Address>) -> Self {
        let asked = self.asked.clone();
        Self { role: Role::Accepted, asked, local, remote, credentials: None, proxied: None }
    }

    /// The same with the address of this end.
    #[must_use]
    pub fn with_local(mut self, local: Option<Address>) -> Self {
        self.local = local;
        self
    }

    /// The same with the address of the other end.
    #[must_use]
    pub fn with_remote(mut self, remote: Option<Address>) -> Self {
        self.remote = remote;
        self
    }

    pub(crate) fn set_local(&mut self, local: Option<Address>) {
        self.local = local;
    }

    pub(crate) fn set_remote(&mut self, remote: Option<Address>) {
        self.remote = remote;
    }

    /// Sets what it shows for `key`, in place or at the end. Keys that are answered from addresses go on being
    /// answered from them.
    ///
    /// Returns what was given before, for whoever has the contact borrowed: its values may be anything, and
    /// their drops may ask for the process.
    #[must_use]
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> Plist {
        let before = self.asked.clone();
        if self.asked.get(key).is_none() {
            // What the system has said so far keeps its place: the new key comes after that.
            self.asked = self.plist();
        }
        self.asked.put(key, value);
        before
    }

    pub(crate) const fn set_peer_credentials(&mut self, credentials: Credentials) {
        self.credentials = Some(credentials);
    }

    /// A proxy has said for whom it made the connection: the client it names is the other end from now on.
    pub(crate) fn set_proxied(&mut self, header: ProxyHeader) {
        let by = match header.source() {
            Some(client) => self.remote.replace(client.clone()),
            None => self.remote.clone(),
        };
        self.proxied = Some(Rc::new(Proxied { by, header }));
    }

    /// What the proxy in front has said of the connection, if the server wanted that.
    #[must_use]
    pub fn proxy_header(&self) -> Option<&ProxyHeader> {
        self.proxied.as_ref().map(|proxied| &proxied.header)
    }

    /// The address at the other end of the wire: the proxy's where [`remote`](Self::remote) is that of the
    /// client it names, else the same.
    #[must_use]
    pub fn wire_peer(&self) -> Option<&Address> {
        self.proxied.as_ref().map_or(self.remote.as_ref(), |proxied| proxied.by.as_ref())
    }

    /// Who made a local connection, if anybody has asked the process for it.
    #[must_use]
    pub const fn peer_credentials(&self) -> Option<Credentials> {
        self.credentials
    }

    /// Whose contact it is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The address of this end; the unnamed one while there is none.
    #[must_use]
    pub fn local(&self) -> &Address {
        static UNNAMED: LazyLock<Address> = LazyLock::new(Address::unnamed);
        self.local.as_ref().unwrap_or(&UNNAMED)
    }

    /// The address of the other end, once one is known.
    #[must_use]
    pub const fn remote(&self) -> Option<&Address> {
        self.remote.as_ref()
    }

    /// The value of one key, such as `:host`; `None` for a key the contact has not.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value> {
        let corrected = self.corrections().into_iter().find(|(name, _)| *name == key);
        corrected.map(|(_, value)| value).or_else(|| self.asked.get(key).cloned())
    }

    /// The whole list: the arguments in their order, corrected in place, new keys at the end.
    #[must_use]
    pub fn plist(&self) -> Plist {
        let mut plist = self.asked.clone();
        for (key, value) in self.corrections() {
            plist.put(key, value);
        }
        plist
    }

    /// Host and service as a list of two, which is what the contact is without a key.
    #[must_use]
    pub fn short(&self) -> Value {
        let value = |key| self.get(key).unwrap_or_default();
        Value::List([value(":host"), value(":service")].into())
    }

    /// What the system knows better than the arguments, in the order new keys are appended.
    fn corrections(&self) -> Vec<(&'static str, Value)> {
        let mut list = Vec::with_capacity(5);
        let address = |address: &Option<Address>| Value::from(address.clone());
        match self.role {
            Role::Child => {}
            Role::Client => {
                if self.remote.is_some() {
                    list.push((":remote", address(&self.remote)));
                }
                if self.local.is_some() {
                    list.push((":local", address(&self.local)));
                }
            }
            Role::Server => {
                if let Some(port) = self.local.as_ref().and_then(Address::port) {
                    list.push((":service", Value::from(i64::from(port))));
                }
                if self.local.is_some() {
                    list.push((":local", address(&self.local)));
                }
                // A peer that was asked for and is none is not shown, but a server of streams keeps what it was given.
                let is_of_packets =
                    self.asked.get(":type").and_then(Value::as_symbol) == Some("datagram");
                if self.remote.is_some() || is_of_packets && self.asked.get(":remote").is_some() {
                    list.push((":remote", address(&self.remote)));
                }
            }
            Role::Accepted => {
                list.push((":server", Value::Nil));
                if let Some(port) = self.remote.as_ref().and_then(Address::port) {
                    list.push((":service", Value::from(i64::from(port))));
                }
                list.push((":local", address(&self.local)));
                list.push((":host", peer_host(self.remote.as_ref())));
                list.push((":remote", address(&self.remote)));
            }
        }
        if let Some(Credentials { pid, uid, gid }) = self.credentials {
            let pid = Value::from(pid.map(i64::from));
            let list_of = [pid, i64::from(uid).into(), i64::from(gid).into()];
            list.push((":peer-credentials", Value::List(list_of.into())));
        }
        if let Some(proxied) = &self.proxied {
            list.push((":proxied-by", address(&proxied.by)));
        }
        list
    }
}

/// The peer as `:host` shows it: a numeric address, or `t` for a local socket.
fn peer_host(remote: Option<&Address>) -> Value {
    match remote {
        Some(address) if address.family() == Family::Local => Value::True,
        Some(address) => Value::from(&*address.network_text(true).to_string()),
        None => Value::Nil,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(keys: &[(&str, Value)]) -> Plist {
        keys.iter().cloned().collect()
    }

    fn address(text: &str) -> Option<Address> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn each_role_shows_what_the_manual_says() {
        let server = Contact::new(
            Role::Server,
            asked(&[(":name", "s".into()), (":server", Value::True), (":service", Value::True)]),
        )
        .with_local(address("[127 0 0 1 40]"));
        let child = server.accepted(address("[127 0 0 1 40]"), address("[127 0 0 1 99]"));
        let local = Contact::new(Role::Server, asked(&[(":service", "/s".into())]));
        let client = Contact::new(
            Role::Client,
            asked(&[(":host", "127.0.0.1".into()), (":service", 7.into())]),
        )
        .with_remote(address("[127 0 0 1 7]"))
        .with_local(address("[127 0 0 1 50]"));
        let cases = [
            (&server, "(:name \"s\" :server t :service 40 :local [127 0 0 1 40])", "(nil 40)"),
            (
                &child,
                "(:name \"s\" :server nil :service 99 :local [127 0 0 1 40] :host \"127.0.0.1\" :remote [127 0 0 1 99])",
                "(\"127.0.0.1\" 99)",
            ),
            (
                &local.accepted(address("\"/s\""), address("\"\"")),
                "(:service \"/s\" :server nil :local \"/s\" :host t :remote \"\")",
                "(t \"/s\")",
            ),
            (
                &client,
                "(:host \"127.0.0.1\" :service 7 :remote [127 0 0 1 7] :local [127 0 0 1 50])",
                "(\"127.0.0.1\" 7)",
            ),
        ];
        for (contact, plist, short) in cases {
            assert_eq!(contact.plist().to_string(), plist);
            assert_eq!(format!("{contact:?}"), format!("Contact{plist}"));
            assert_eq!(contact.short().to_string(), short);
        }
        assert_eq!(child.get(":absent"), None);
    }

    #[test]
    fn a_key_set_later_comes_after_what_the_system_said() {
        let asked = asked(&[(":server", Value::True), (":service", Value::True)]);
        let mut server = Contact::new(Role::Server, asked).with_local(address("[127 0 0 1 40]"));
        drop(server.set(":priority", 5));
        drop(server.set(":service", 6));
        let child = server.accepted(address("[127 0 0 1 40]"), address("[127 0 0 1 99]"));
        server.set_local(address("[127 0 0 1 41]"));
        let cases = [
            (&server, "(:server t :service 41 :local [127 0 0 1 41] :priority 5)"),
            (
                &child,
                "(:server nil :service 99 :local [127 0 0 1 40] :priority 5 \
                 :host \"127.0.0.1\" :remote [127 0 0 1 99])",
            ),
        ];
        for (contact, plist) in cases {
            assert_eq!(contact.plist().to_string(), plist);
        }
    }
}
