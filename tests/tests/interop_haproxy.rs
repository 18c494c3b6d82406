//! PROXY headers with a program no one here wrote: HAProxy, in front of a server, and behind a client.
//!
//! It is run by the test with a configuration of its own, on ports of the loopback address, and ended with
//! it.
#![cfg(target_os = "linux")]

use std::path::Path;

use netproc::{
    Address, Event, Process, ProxyOut, ProxyVersion, TlsClient, TlsIdentity, TlsServer, TlsTrust,
    proxy::tlv,
};
use netproc_tests::{
    conformance, others,
    program::{Run, command},
    rig::{PATIENCE, Rig},
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// What HAProxy is told: it passes on to us what comes at one port, with a header; and says itself what the
/// headers name that come at another.
const CONFIGURATION: &str = "\
defaults
  mode tcp
  timeout connect 20s
  timeout client 20s
  timeout server 20s
frontend in
  bind 127.0.0.1:@IN
  default_backend ours
backend ours
  server ours 127.0.0.1:@OURS @HOW
frontend out
  mode http
  bind 127.0.0.1:@OUT accept-proxy
  http-request return status 200 content-type text/plain lf-string \
\"from %[src]:%[src_port] to %[dst]:%[dst_port] for <%[fc_pp_authority]>\\n\"
";

/// HAProxy, as long as the test has it.
struct Haproxy {
    run: Option<Run>,
    /// Where it passes on.
    inward: u16,
    /// Where it takes headers.
    outward: u16,
    _folder: TempDir,
}

/// It ends at once, and its worker with it.
impl Drop for Haproxy {
    fn drop(&mut self) {
        if let Some(run) = self.run.take()
            && !std::thread::panicking()
        {
            run.signal(Signal::SIGTERM);
            let _ = run.end();
        }
    }
}

/// Starts it in front of the server at `ours`, to which it sends headers as `how` says.
fn haproxy(program: &Path, ours: u16, how: &str) -> Haproxy {
    others::on_free_ports(|[inward, outward]| {
        let folder = tempfile::tempdir().expect("there is a place for files");
        let values = [
            ("@IN", inward.to_string()),
            ("@OURS", ours.to_string()),
            ("@OUT", outward.to_string()),
            ("@HOW", how.to_owned()),
        ];
        let text = values
            .iter()
            .fold(CONFIGURATION.to_owned(), |text, (name, value)| text.replace(name, value));
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, text).expect("the folder is ours");
        let mut command = command(program);
        command.arg("-W").arg("-db").arg("-f").arg(file);
        let mut run = Run::of(command);
        let stands = run.complains("Loading success");
        stands.then(|| Haproxy { run: Some(run), inward, outward, _folder: folder })
    })
}

/// Where a port of the loopback address is.
fn at(port: u16) -> Address {
    ([127, 0, 0, 1].into(), port).into()
}

/// Reads what comes until `done` says so.
fn read(
    rig: &Rig,
    client: &Process,
    done: impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut got = Vec::new();
    while !done(&got) {
        match rig.rt.next_event_of(client, PATIENCE)? {
            Some(Event::Input(input)) => got.extend_from_slice(&input),
            other => return Err(format!("{other:?} behind {:?}", got.escape_ascii()).into()),
        }
    }
    Ok(got)
}

conformance!(on (poll epoll uring): a_server_knows_who_is_in_front_of_haproxy, |rig| {
    let Some(program) = others::find(module_path!(), "haproxy") else { return Ok(()) };
    let hows = [
        ("send-proxy", ProxyVersion::V1),
        ("send-proxy-v2", ProxyVersion::V2),
        ("send-proxy-v2 proxy-v2-options crc32c", ProxyVersion::V2),
    ];
    for (how, version) in hows {
        let server = rig.echo().proxy_protocol("127.0.0.1".parse()?).start()?;
        let ours = server.contact().local().port().ok_or("a port")?;
        let proxy = haproxy(&program, ours, how);
        let client = rig.rt.client("c").remote(at(proxy.inward)).start()?;
        client.send("hello")?;
        assert_eq!(read(rig, &client, |got| got.len() >= 5)?, b"hello");
        let child = rig.child(&server);
        let header = child.proxy_header().ok_or("it had one")?;
        assert_eq!((header.version(), header.source()), (version, Some(client.contact().local())));
        assert_eq!(header.destination(), Some(&at(proxy.inward)));
        assert_eq!(header.tlv(tlv::CRC32C).is_some(), how.ends_with("crc32c"), "{header:?}");
        assert_eq!(child.contact().remote(), Some(client.contact().local()));
        assert_ne!(child.wire_peer().as_ref(), Some(client.contact().local()));
        [client, server].iter().for_each(Process::delete);
        rig.until("the end", || child.status() == netproc::Status::Closed);
    }
    Ok(())
});

conformance!(on (poll epoll uring): tls_goes_through_haproxy_behind_its_header, |rig| {
    let Some(program) = others::find(module_path!(), "haproxy") else { return Ok(()) };
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let identity = TlsIdentity::from_pem(pair.cert.pem(), pair.signing_key.serialize_pem())?;
    let tls = TlsClient::builder("localhost").trust(TlsTrust::from_pem(pair.cert.pem())?).build()?;
    let server = rig.echo().proxy_protocol("127.0.0.1".parse()?);
    let server = server.tls(TlsServer::builder(identity).build()?).start()?;
    let ours = server.contact().local().port().ok_or("a port")?;
    let proxy = haproxy(&program, ours, "send-proxy-v2");
    let client = rig.rt.client("c").remote(at(proxy.inward)).tls(tls).start()?;
    client.send("secret")?;
    assert_eq!(read(rig, &client, |got| got.len() >= 6)?, b"secret");
    let child = rig.child(&server);
    assert_eq!(child.contact().remote(), Some(client.contact().local()));
    assert!(child.tls_info().is_some());
    Ok(())
});

conformance!(on (poll epoll uring): haproxy_believes_what_a_client_says, |rig| {
    let Some(program) = others::find(module_path!(), "haproxy") else { return Ok(()) };
    let proxy = haproxy(&program, 9, "send-proxy");
    let four: [Address; 2] = ["[192 0 2 7 4711]".parse()?, "[198 51 100 1 80]".parse()?];
    let six: [Address; 2] =
        ["[8193 3512 0 0 0 0 0 7 4711]".parse()?, "[8193 3512 0 0 0 0 0 8 80]".parse()?];
    let naming = |version, [from, to]: [Address; 2]| ProxyOut::naming(version, from, to);
    let (four_text, six_text) =
        ("from 192.0.2.7:4711 to 198.51.100.1:80", "from 2001:db8::7:4711 to 2001:db8::8:80");
    let authority = |out: ProxyOut| out.tlv(tlv::AUTHORITY, "www.example").checksum(true);
    let cases = [
        (naming(ProxyVersion::V1, four.clone()), format!("{four_text} for <>")),
        (naming(ProxyVersion::V1, six.clone()), format!("{six_text} for <>")),
        (naming(ProxyVersion::V2, four.clone()), format!("{four_text} for <>")),
        (authority(naming(ProxyVersion::V2, six)), format!("{six_text} for <www.example>")),
        (ProxyOut::own(ProxyVersion::V1), String::new()),
        (ProxyOut::own(ProxyVersion::V2).checksum(true), String::new()),
        (ProxyOut::local(ProxyVersion::V2), String::new()),
    ];
    for (out, expected) in cases {
        let client = rig.rt.client("c").remote(at(proxy.outward)).proxy_header(out.clone());
        let client = client.start()?;
        let own = client.contact().local().port().ok_or("a port")?;
        let named = format!("from 127.0.0.1:{own} to 127.0.0.1:{} for <>", proxy.outward);
        let expected = if expected.is_empty() { named } else { expected };
        client.send("GET / HTTP/1.0\r\n\r\n")?;
        let answer = read(rig, &client, |got| got.ends_with(b">\n"))?;
        let answer = String::from_utf8(answer)?;
        assert!(answer.ends_with(&format!("\r\n\r\n{expected}\n")), "{out:?}: {answer}");
        client.delete();
    }
    Ok(())
});
