//! Client layers against server layers, in memory, with certificates made on the spot.
//!
//! Invariant: no socket and no clock but the one that checks certificates. What the engine makes of
//! a layer is tested with the engine.

mod breach;
mod certificates;
mod damage;
mod files;
mod handshake;
mod library;
mod settings;
mod wire;

use netproc_core::{
    layer::{Layer, Layers},
    pool::Buf,
    shared_error::SharedError,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

use std::any::Any;

use super::{
    HandshakeFailure, TlsClient, TlsIdentity, TlsInfo, TlsServer, TlsTrust, TlsVersion,
    session::Session,
};

const BOTH: [TlsVersion; 2] = [TlsVersion::V1_2, TlsVersion::V1_3];

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(Self::params(name), key()).unwrap())
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    /// An authority below this one.
    fn below(&self, params: CertificateParams) -> Self {
        Self(CertifiedIssuer::signed_by(params, key(), &self.0).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn trust(&self) -> TlsTrust {
        TlsTrust::from_pem(self.pem()).unwrap()
    }

    /// PEM of a certificate for `names` and of its key.
    fn pems(&self, names: &[&str]) -> (String, String) {
        self.sign(&params(names))
    }

    fn sign(&self, params: &CertificateParams) -> (String, String) {
        let key = key();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn identity(&self, names: &[&str]) -> TlsIdentity {
        self.identity_of(&params(names))
    }

    fn identity_of(&self, params: &CertificateParams) -> TlsIdentity {
        let (certificate, key) = self.sign(params);
        TlsIdentity::from_pem(certificate, key).unwrap()
    }

    fn server(&self, name: &str) -> TlsServer {
        TlsServer::builder(self.identity(&[name])).build().unwrap()
    }

    fn client(&self, name: &str) -> TlsClient {
        TlsClient::builder(name).trust(self.trust()).build().unwrap()
    }
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|it| (*it).to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

/// One end of a connection: what it has read, and why it gave up.
#[derive(Debug)]
struct End {
    layer: Box<dyn Layer>,
    plain: Vec<u8>,
    failure: Option<HandshakeFailure>,
}

impl End {
    fn new(layers: &dyn Layers) -> Self {
        Self::of(layers.make().unwrap())
    }

    fn of(layer: Box<dyn Layer>) -> Self {
        Self { layer, plain: Vec::new(), failure: None }
    }

    /// Hands it bytes of the wire; nothing more once it gave up.
    fn receive(&mut self, wire: &[u8]) {
        if self.failure.is_none() {
            let mut plain = Vec::new();
            let received = self.layer.receive(Buf::copied(wire), &mut plain);
            self.plain.extend(plain.iter().flat_map(|buf| buf.iter()));
            self.failure = received.err().map(|err| reason(&err));
        }
    }

    /// What it has to send.
    fn wire(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.layer.wire(&mut out);
        out.iter().flat_map(|payload| payload.as_slice().iter().copied()).collect()
    }

    /// Has it send `plain`, with the next [`wire`](Self::wire).
    fn send(&mut self, plain: &[u8]) {
        self.layer.send(plain).unwrap();
    }

    /// What it has to send once it sent `plain`.
    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        self.send(plain);
        self.wire()
    }

    fn session(&mut self) -> &mut Session {
        let layer: &mut dyn Any = &mut *self.layer;
        layer.downcast_mut().expect("a layer of TLS")
    }

    fn info(&self) -> TlsInfo {
        TlsInfo::of(&*self.layer).expect("the handshake is done")
    }
}

fn reason(error: &SharedError) -> HandshakeFailure {
    error.downcast::<HandshakeFailure>().expect("a layer of TLS fails for no other reason").clone()
}

/// Both ends of a connection.
#[derive(Debug)]
struct Pair {
    client: End,
    server: End,
}

impl Pair {
    fn new(client: &TlsClient, server: &TlsServer) -> Self {
        Self { client: End::new(client), server: End::new(server) }
    }

    /// Both, the handshake done.
    fn established(client: &TlsClient, server: &TlsServer) -> Self {
        let mut pair = Self::new(client, server);
        pair.settle();
        pair.assert_established();
        pair
    }

    /// Carries bytes until neither has any left, and no farther than to who gave up.
    fn settle(&mut self) {
        loop {
            let (there, back) = (self.client.wire(), self.server.wire());
            if there.is_empty() && back.is_empty() {
                break;
            }
            self.server.receive(&there);
            self.client.receive(&back);
        }
    }

    fn assert_established(&self) {
        assert_eq!((&self.client.failure, &self.server.failure), (&None, &None));
        assert!(self.client.layer.is_established() && self.server.layer.is_established());
    }

    fn failures(&self) -> (Option<HandshakeFailure>, Option<HandshakeFailure>) {
        (self.client.failure.clone(), self.server.failure.clone())
    }
}
