//! The servers of these tests: scripts over a socket and rustls itself, a thread a connection.
//!
//! Invariant: a script ends when its client hangs up; a server ends, with all its connections, when it is
//! dropped.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use netproc_tests::program::{accept, listener};
use nix::{
    libc::linger,
    sys::socket::{setsockopt, sockopt::Linger},
};
use rustls::{
    ServerConfig, ServerConnection,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::{OFFER, PKI};

/// One connection, as a script has it.
pub(crate) struct Peer {
    pub(crate) tcp: TcpStream,
    pub(crate) tls: Option<ServerConnection>,
    /// All that came in clear.
    pub(crate) clear: Vec<u8>,
    /// All that came inside TLS.
    pub(crate) inside: Vec<u8>,
    /// How much of the layer in use was looked at.
    looked_at: usize,
}

/// The client has hung up, which ends a script.
pub(crate) struct Gone;

pub(crate) type Played = Result<(), Gone>;

impl Peer {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        tcp.set_nodelay(true).expect("a socket has this option");
        Self { tcp, tls: None, clear: Vec::new(), inside: Vec::new(), looked_at: 0 }
    }

    pub(crate) fn say(&mut self, text: &str) -> Played {
        let Some(tls) = &mut self.tls else {
            return self.tcp.write_all(text.as_bytes()).map_err(|_| Gone);
        };
        tls.writer().write_all(text.as_bytes()).map_err(|_| Gone)?;
        self.flush()
    }

    /// What the layer has to send goes out.
    pub(crate) fn flush(&mut self) -> Played {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            tls.write_tls(&mut self.tcp).map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// Reads what comes next.
    pub(crate) fn read(&mut self) -> Played {
        let Some(tls) = &mut self.tls else {
            let mut piece = [0; 4096];
            return match self.tcp.read(&mut piece) {
                Ok(len @ 1..) => {
                    self.clear.extend_from_slice(&piece[..len]);
                    Ok(())
                }
                _ => Err(Gone),
            };
        };
        match tls.read_tls(&mut self.tcp) {
            Ok(1..) => {}
            _ => return Err(Gone),
        }
        let state = tls.process_new_packets().map_err(|_| Gone);
        if let Ok(state) = &state {
            let before = self.inside.len();
            self.inside.resize(before + state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut self.inside[before..]).map_err(|_| Gone)?;
        }
        self.flush()?;
        if state?.peer_has_closed() { Err(Gone) } else { Ok(()) }
    }

    /// The next line of the client.
    pub(crate) fn hear(&mut self) -> Result<String, Gone> {
        loop {
            // Who speaks TLS where there is none yet says no lines.
            if self.tls.is_none() && self.clear.first() == Some(&22) {
                return Err(Gone);
            }
            let all = if self.tls.is_some() { &self.inside } else { &self.clear };
            let fresh = &all[self.looked_at..];
            if let Some(len) = fresh.iter().position(|&byte| byte == b'\n') {
                let line = String::from_utf8_lossy(&fresh[..len]).trim_end().to_owned();
                self.looked_at += len + 1;
                return Ok(line);
            }
            self.read()?;
        }
    }

    /// Greets, offers TLS and starts it as `answer` says.
    pub(crate) fn until_answer(&mut self, answer: &str) -> Played {
        self.say("220 hello\r\n")?;
        self.expect("EHLO me");
        self.say(OFFER)?;
        self.expect("STARTTLS");
        self.say(answer)
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, line: &str) {
        if let Ok(heard) = self.hear() {
            assert_eq!(heard, line);
        }
    }

    /// Shakes hands, with this identity; returns once that is done.
    pub(crate) fn secure(&mut self, identity: &str) -> Played {
        self.begin_tls(identity);
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            self.read()?;
        }
        self.flush()
    }

    pub(crate) fn begin_tls(&mut self, identity: &str) {
        self.tls =
            Some(ServerConnection::new(config(identity)).expect("the configuration is good"));
        self.looked_at = 0;
    }

    /// Says nothing more, and waits until the client has had enough.
    pub(crate) fn wait(&mut self) -> Played {
        loop {
            self.read()?;
        }
    }

    pub(crate) fn close_notify(&mut self) -> Played {
        self.tls.as_mut().expect("TLS runs").send_close_notify();
        self.flush()
    }

    pub(crate) fn reset(&mut self) {
        let option = linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.tcp, Linger, &option).expect("a socket has this option");
    }
}

pub(crate) fn config(identity: &str) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(PKI.path(&format!("{identity}.pem")));
    let chain = chain.expect("it was written").map(|it| it.expect("it is PEM")).collect();
    let key = PrivateKeyDer::from_pem_file(PKI.path(&format!("{identity}.key")));
    let config = ServerConfig::builder_with_provider(ring::default_provider().into());
    let config = config.with_safe_default_protocol_versions().expect("it knows them");
    let config = config.with_no_client_auth();
    Arc::new(config.with_single_cert(chain, key.expect("it is PEM")).expect("they fit"))
}

pub(crate) type Script = fn(&mut Peer, &str) -> Played;

/// A server whose every connection follows `script`, until it is dropped.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Peer>>>,
}

impl Server {
    pub(crate) fn new(script: Script, kind: &'static str) -> Self {
        let (listener, endpoint) = listener();
        let closing = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&closing);
        let thread = thread::spawn(move || serve(&listener, &flag, script, kind));
        Self { endpoint, closing, thread: Some(thread) }
    }

    /// What its connections were told.
    pub(crate) fn heard(mut self) -> Vec<Peer> {
        self.closing.store(true, Ordering::SeqCst);
        let _wakes_it = TcpStream::connect(&self.endpoint);
        self.thread.take().expect("joined once").join().expect("no script fails")
    }
}

fn serve(
    listener: &TcpListener,
    closing: &AtomicBool,
    script: Script,
    kind: &'static str,
) -> Vec<Peer> {
    let mut peers = Vec::new();
    loop {
        let mut peer = Peer::new(accept(listener));
        if closing.load(Ordering::SeqCst) {
            return peers;
        }
        let _ended = script(&mut peer, kind);
        let _ = peer.flush();
        let _ = peer.tcp.shutdown(Shutdown::Write);
        peers.push(peer);
    }
}
