//! STARTTLS with mail servers no one here wrote: Dovecot for IMAP and POP3, aiosmtpd for SMTP.
//!
//! Each is run by the test with a configuration of its own in a folder of its own, on ports of the loopback
//! address, and ended with it. Nothing of the system's own mail is touched.
#![cfg(target_os = "linux")]

use std::{
    error::Error,
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    sync::LazyLock,
};

use netproc::{
    Event, Process, Reason, TlsClient, TlsTrust, TlsVersion,
    stream::{
        DialogueReason, OpenStreamError, Opened, Protocol, StreamKind, StreamType, Unencrypted,
    },
};
use netproc_tests::{
    conformance, others,
    pki::Pki,
    program::{Run, backends, command},
    rig::{PATIENCE, Rig},
};
use nix::{
    sys::signal::Signal,
    unistd::{Uid, User},
};
use tempfile::TempDir;

static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);

/// A server of the test's own, with its port.
struct Server {
    run: Option<Run>,
    port: u16,
    /// Where it speaks TLS from the start; 0 if nowhere.
    secure: u16,
    /// Goes after the server that lives in it.
    _folder: Option<TempDir>,
}

/// It ends in order, and its children with it.
impl Drop for Server {
    fn drop(&mut self) {
        if let Some(run) = self.run.take()
            && !std::thread::panicking()
        {
            run.signal(Signal::SIGTERM);
            let _ = run.end();
        }
    }
}

/// What Dovecot is told; it serves one protocol, all as one user, to whom one password is right.
const CONFIGURATION: &str = "\
base_dir = @FOLDER/base
state_dir = @FOLDER/state
log_path = /dev/stderr
protocols = @PROTOCOL
listen = 127.0.0.1
ssl = @SSL
ssl_cert = <@FOLDER/cert.pem
ssl_key = <@FOLDER/cert.key
ssl_min_protocol = TLSv1.2
default_internal_user = @USER
default_internal_group = @GROUP
default_login_user = @USER
first_valid_uid = 1
first_valid_gid = 0
mail_location = maildir:~/Maildir
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = static
  args = uid=@UID gid=@GID home=@FOLDER/mail/%u
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
service @PROTOCOL-login {
  chroot =
  inet_listener @PROTOCOL {
    port = @PLAIN
  }
  inet_listener @PROTOCOLs {
    port = @SECURE
    ssl = yes
  }
}
";

/// Starts Dovecot for `protocol`; with `ssl` `no` it offers no TLS, with `yes` it does at one port and
/// speaks it from the start at another.
fn dovecot(dovecot: &Path, protocol: &str, identity: &str, ssl: &str) -> Server {
    // Dovecot drops root's powers; whoever has none stays what he is.
    let name = if Uid::effective().is_root() { "nobody" } else { "" };
    let user = match name {
        "" => User::from_uid(Uid::effective()),
        name => User::from_name(name),
    };
    let user = user.expect("there is a list of users").expect("this one is on it");
    let group = nix::unistd::Group::from_gid(user.gid).expect("there is a list of groups");
    let group = group.expect("this one is on it");
    others::on_free_ports(|[port, secure]| {
        let folder = tempfile::tempdir().expect("there is a place for files");
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), everybody).expect("the folder is ours");
        let at = |name: &str| folder.path().join(name);
        for name in ["base", "state", "mail"] {
            fs::create_dir(at(name)).expect("the folder is ours");
        }
        chown(at("mail"), Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("it is ours");
        for end in ["pem", "key"] {
            let from = PKI.path(&format!("{identity}.{end}"));
            fs::copy(from, at(&format!("cert.{end}"))).expect("it was written");
        }
        let secure = if ssl == "yes" { secure } else { 0 };
        let values = [
            ("FOLDER", folder.path().display().to_string()),
            ("PROTOCOL", protocol.to_owned()),
            ("SSL", ssl.to_owned()),
            ("USER", user.name.clone()),
            ("GROUP", group.name.clone()),
            ("UID", user.uid.to_string()),
            ("GID", user.gid.to_string()),
            ("PLAIN", port.to_string()),
            ("SECURE", secure.to_string()),
        ];
        let mut text = CONFIGURATION.to_owned();
        for (name, value) in values {
            text = text.replace(&format!("@{name}"), &value);
        }
        fs::write(at("dovecot.conf"), text).expect("the folder is ours");
        let mut command = command(dovecot);
        command.arg("-F").arg("-c").arg(at("dovecot.conf")).current_dir(folder.path());
        let mut run = Run::of(command);
        let stands = run.complains("starting up for ");
        stands.then(|| Server { run: Some(run), port, secure, _folder: Some(folder) })
    })
}

/// Starts aiosmtpd, which prints what mail it gets.
fn aiosmtpd(python: &Path, identity: Option<&str>) -> Server {
    others::on_free_ports(|[port]| {
        let mut command = command(python);
        command.args(["-u", "-m", "aiosmtpd", "--nosetuid", "--debug"]);
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        if let Some(identity) = identity {
            command.args(["--tlscert", &PKI.path(&format!("{identity}.pem"))]);
            command.args(["--tlskey", &PKI.path(&format!("{identity}.key"))]);
        }
        command.args(["--class", "aiosmtpd.handlers.Debugging", "stdout"]);
        let mut run = Run::of(command);
        let stands = run.complains("Server is listening on");
        stands.then_some(Server { run: Some(run), port, secure: 0, _folder: None })
    })
}

fn tls(name: &str) -> TlsClient {
    let trust = TlsTrust::from_file(PKI.path("ca.pem")).expect("it was written");
    TlsClient::builder(name).trust(trust).build().expect("the name is good")
}

fn open(
    rig: &Rig,
    server: &Server,
    protocol: Protocol,
    kind: StreamType,
    tls: TlsClient,
) -> Result<Opened, OpenStreamError> {
    let port = if kind == StreamType::Tls { server.secure } else { server.port };
    let stream = rig.rt.open_stream("mail", "127.0.0.1", port);
    stream.dialogue(protocol.params(kind, "localhost")).layers(tls).within(PATIENCE).start()
}

/// Sends `command`, and returns what comes up to `end`.
fn ask(rig: &Rig, process: &Process, command: &str, end: &str) -> Result<String, Box<dyn Error>> {
    process.send(command)?;
    let mut text = String::new();
    while !text.contains(end) {
        match rig.rt.next_event_of(process, PATIENCE)? {
            Some(Event::Input(input)) => text.push_str(&String::from_utf8_lossy(&input)),
            other => return Err(format!("{other:?} behind {text:?}").into()),
        }
    }
    Ok(text)
}

/// How it ends by itself.
fn end(rig: &Rig, process: &Process) -> Result<Reason, Box<dyn Error>> {
    loop {
        match rig.rt.next_event_of(process, PATIENCE)? {
            Some(Event::Broken { reason, unsent: 0 }) => return Ok(reason),
            Some(Event::Input(_)) => {}
            other => return Err(format!("{other:?} and no end").into()),
        }
    }
}

/// That it stands as asked for, under TLS, told inside what it can do.
fn check(opened: &Opened) {
    let version = opened.process.tls_info().map(|info| info.version());
    assert_eq!((opened.kind, version), (StreamKind::Tls, Some(TlsVersion::V1_3)));
    assert_eq!((&opened.error, opened.leftover.len()), (&None, 0));
    let told = opened.capabilities.as_deref().unwrap_or_default();
    let told = String::from_utf8_lossy(told);
    assert!(!told.is_empty() && !told.contains("STARTTLS") && !told.contains("STLS"), "{told}");
}

conformance!(on (poll epoll uring): imap_is_spoken_under_tls_with_dovecot, |rig| {
    let Some(program) = others::find(module_path!(), "dovecot") else { return Ok(()) };
    let server = dovecot(&program, "imap", "server", "yes");
    for kind in [StreamType::StartTls, StreamType::Network, StreamType::Tls] {
        let opened = open(rig, &server, Protocol::Imap, kind, tls("localhost"))?;
        check(&opened);
        let greeting = String::from_utf8_lossy(opened.greeting.as_deref().unwrap_or_default());
        assert_eq!(greeting.contains("STARTTLS"), kind != StreamType::Tls, "{greeting}");
        let process = &opened.process;
        assert!(ask(rig, process, "b LOGIN joe secret\r\n", "b ")?.contains("b OK"));
        let listed = ask(rig, process, "c LIST \"\" \"*\"\r\n", "c OK")?;
        assert!(listed.contains("INBOX"), "{listed}");
        ask(rig, process, "d LOGOUT\r\n", "d OK")?;
        assert_eq!(end(rig, process)?, Reason::End, "{kind:?}");
    }
    Ok(())
});

conformance!(on (poll epoll uring): pop3_is_spoken_under_tls_with_dovecot, |rig| {
    let Some(program) = others::find(module_path!(), "dovecot") else { return Ok(()) };
    let server = dovecot(&program, "pop3", "server", "yes");
    for kind in [StreamType::StartTls, StreamType::Tls] {
        let opened = open(rig, &server, Protocol::Pop3, kind, tls("localhost"))?;
        check(&opened);
        let process = &opened.process;
        assert_eq!(ask(rig, process, "USER joe\r\n", "\r\n")?, "+OK\r\n");
        assert!(ask(rig, process, "PASS secret\r\n", "\r\n")?.starts_with("+OK"));
        assert!(ask(rig, process, "STAT\r\n", "\r\n")?.starts_with("+OK 0 0"));
        ask(rig, process, "QUIT\r\n", "\r\n")?;
        assert_eq!(end(rig, process)?, Reason::End, "{kind:?}");
    }
    Ok(())
});

conformance!(on (poll epoll uring): dovecot_is_told_nothing_where_tls_cannot_be_had, |rig| {
    let Some(program) = others::find(module_path!(), "dovecot") else { return Ok(()) };
    let server = dovecot(&program, "imap", "server", "no");
    let refused = open(rig, &server, Protocol::Imap, StreamType::StartTls, tls("localhost"));
    let Err(OpenStreamError::Dialogue(failure)) = refused else {
        return Err(format!("{refused:?}").into());
    };
    assert_eq!(failure.reason, DialogueReason::NotOffered);
    let opened = open(rig, &server, Protocol::Imap, StreamType::Network, tls("localhost"))?;
    assert_eq!((opened.kind, &opened.error), (StreamKind::Plain, &Some(Unencrypted::NotOffered)));
    ask(rig, &opened.process, "a LOGOUT\r\n", "a OK")?;
    end(rig, &opened.process)?;
    drop(server);
    for (identity, name, words) in [
        ("server", "elsewhere.example", "not for \"elsewhere.example\""),
        ("stranger", "localhost", "unknown issuer"),
    ] {
        let server = dovecot(&program, "imap", identity, "yes");
        let refused = open(rig, &server, Protocol::Imap, StreamType::StartTls, tls(name));
        let Err(OpenStreamError::Dialogue(failure)) = refused else {
            return Err(format!("{refused:?}").into());
        };
        assert!(failure.to_string().contains(words), "{failure}");
        rig.until("nothing is left of it", || rig.rt.get_process("mail").is_none());
        let opened = open(rig, &server, Protocol::Imap, StreamType::Network, tls(name))?;
        assert_eq!(opened.kind, StreamKind::Plain, "in clear, and it says so");
        assert!(opened.error.is_some_and(|err| err.to_string().contains(words)));
        // It does not end before its clients have.
        opened.process.delete();
        rig.settle();
    }
    Ok(())
});

conformance!(on (poll epoll uring): mail_is_sent_under_tls_with_aiosmtpd, |rig| {
    let Some(python) = others::python_with(module_path!(), "aiosmtpd") else { return Ok(()) };
    let mut server = aiosmtpd(&python, Some("server"));
    for kind in [StreamType::StartTls, StreamType::Network] {
        let opened = open(rig, &server, Protocol::Smtp, kind, tls("localhost"))?;
        check(&opened);
        let process = &opened.process;
        assert!(ask(rig, process, "MAIL FROM:<a@a.example>\r\n", "\r\n")?.starts_with("250"));
        assert!(ask(rig, process, "RCPT TO:<b@b.example>\r\n", "\r\n")?.starts_with("250"));
        assert!(ask(rig, process, "DATA\r\n", "\r\n")?.starts_with("354"));
        let mail = format!("Subject: {kind:?}\r\n\r\nhello\r\n.\r\n");
        assert!(ask(rig, process, &mail, "\r\n")?.starts_with("250"));
        let printed = server.run.as_mut().ok_or("it runs")?.hear_until("END MESSAGE");
        assert!(printed.contains(&format!("Subject: {kind:?}")), "{printed}");
        assert!(ask(rig, process, "QUIT\r\n", "\r\n")?.starts_with("221"));
        // Whether it says good-bye is up to its Python.
        end(rig, process)?;
    }
    let refused = open(rig, &server, Protocol::Smtp, StreamType::StartTls, tls("other.example"));
    assert!(matches!(refused, Err(OpenStreamError::Dialogue(_))), "{refused:?}");
    Ok(())
});

conformance!(on (poll epoll uring): aiosmtpd_is_told_nothing_where_it_offers_no_tls, |rig| {
    let Some(python) = others::python_with(module_path!(), "aiosmtpd") else { return Ok(()) };
    let server = aiosmtpd(&python, None);
    let refused = open(rig, &server, Protocol::Smtp, StreamType::StartTls, tls("localhost"));
    let Err(OpenStreamError::Dialogue(failure)) = refused else {
        return Err(format!("{refused:?}").into());
    };
    assert_eq!(failure.reason, DialogueReason::NotOffered);
    let opened = open(rig, &server, Protocol::Smtp, StreamType::Network, tls("localhost"))?;
    assert_eq!(opened.kind, StreamKind::Plain);
    assert!(ask(rig, &opened.process, "NOOP\r\n", "\r\n")?.starts_with("250"));
    Ok(())
});

/// The program, as a person would run it, saying these lines one by one as each is answered.
fn converses(backend: &str, protocol: &str, server: &Server, lines: &[(&str, &str)]) {
    let (ca, endpoint) = (PKI.path("ca.pem"), format!("localhost:{}", server.port));
    let fixed = ["connect", "--backend", backend, "--crlf", "--ca", &ca];
    let mut run = Run::new(&[&fixed[..], &["--starttls", protocol, &endpoint]].concat());
    for (line, answer) in lines {
        run.say(&format!("{line}\n"));
        run.hear_until(answer);
    }
    // The server has ended it by now, and the input has not.
    let _input = run.take_input();
    run.end().check(0, "the peer has ended, standard input is no longer read");
}

#[test]
fn the_program_speaks_with_dovecot() {
    let Some(program) = others::find(module_path!(), "dovecot") else { return };
    let (imap, pop3) =
        (dovecot(&program, "imap", "server", "yes"), dovecot(&program, "pop3", "server", "yes"));
    for backend in backends() {
        let lines = [("a LOGIN joe secret", "a OK"), ("b LOGOUT", "b OK")];
        converses(backend, "imap", &imap, &lines);
        let lines = [("USER joe", "+OK"), ("PASS secret", "+OK"), ("QUIT", "+OK")];
        converses(backend, "pop3", &pop3, &lines);
    }
}

#[test]
fn the_program_speaks_with_aiosmtpd() {
    let Some(python) = others::python_with(module_path!(), "aiosmtpd") else { return };
    let mut server = aiosmtpd(&python, Some("server"));
    for backend in backends() {
        let ca = PKI.path("ca.pem");
        let endpoint = format!("localhost:{}", server.port);
        let fixed = ["connect", "--backend", backend, "--crlf", "--ca", &ca];
        let mut run = Run::new(&[&fixed[..], &["--starttls", "smtp", &endpoint]].concat());
        run.say("MAIL FROM:<a@a>\nRCPT TO:<b@b>\nDATA\n");
        run.hear_until("354");
        run.say("hello\n.\nQUIT\n");
        run.hear_until("221");
        server.run.as_mut().unwrap().hear_until("hello");
        let _input = run.take_input();
        // It may hang up without a good-bye, which is said then.
        let left = run.end();
        assert!(matches!(left.code, Some(0 | 2)), "{backend}: {}", left.errors);
    }
}
