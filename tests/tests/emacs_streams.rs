//! Scenarios that Emacs has run: `open-network-stream`, in clear, with STARTTLS and with TLS.
//!
//! Emacs Lisp manual 28.2, "Network". Where Emacs's peer was a program of its own, `tls-peer.py`, here
//! it is a server of the same runtime, which says and notes the same.

use std::{
    cell::{Cell, RefCell},
    error::Error,
    fs,
    rc::Rc,
};

use netproc::{
    Buffer, Event, Input, Process, Runtime, TlsServer, Value,
    emacs::{Answer, Function},
};
use netproc_tests::{
    certificates::Authority,
    lisp, scenario,
    transcript::{Tr, q, sym},
};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// `generate-new-buffer`.
fn new_buffer(rt: &Runtime) -> Buffer {
    let free = |name: &String| rt.buffers().get(name).is_none();
    let name = (0..).map(|number| format!("b<{number}>")).find(free).expect("some are free");
    rt.buffers().get_or_create(&name)
}

/// Whether `text` is anywhere in `buffer`.
fn has(buffer: &Buffer, text: &str) -> bool {
    buffer.text().to_string_lossy().contains(text)
}

/// The process of a result, whether that is a list or not.
fn process_of(result: &Value) -> Value {
    match result.items() {
        Some([first, ..]) => first.clone(),
        _ => result.clone(),
    }
}

/// `open-network-stream` of `cli`; the parameters as Lisp writes them, and functions behind.
fn open(t: &Tr, buffer: Option<&Buffer>, to: (&str, i64), params: &str, more: &[Value]) -> Answer {
    let params = q(&format!("({params})"));
    let buffer = buffer.map_or(Value::Nil, |buffer| Value::object(buffer.clone()));
    let args = [Value::from("cli"), buffer, to.0.into(), to.1.into()];
    let args = [&args[..], params.items().unwrap_or_default(), more].concat();
    t.call("open-network-stream", &args)
}

const HERE: &str = "127.0.0.1";

/// Sentinel of a server: greets whoever connects.
fn greeter(t: &Tr) -> Function {
    t.function(|t, args| {
        if args[1].as_str().is_some_and(|event| event.starts_with("open")) {
            t.send(&args[0], "220 hello\r\n");
        }
        Ok(Value::Nil)
    })
}

/// A server that greets and answers the commands it knows; others it sends back.
fn talker(t: &Tr, name: &str, known: &'static [(&str, &str)]) -> Value {
    let filter = t.function(move |t, args| {
        t.note("srv", "data", args[1].clone());
        let said = args[1].as_str().unwrap_or_default();
        match known.iter().find(|(command, _)| said.contains(command)) {
            Some((_, answer)) => t.send(&args[0], answer),
            None => t.send(&args[0], &format!("got {said}")),
        }
        Ok(Value::Nil)
    });
    t.server(name, &lisp![:sentinel greeter(t), :filter filter])
}

scenario!(ons_plain, |t| {
    let greets = |name: &str| t.server(name, &lisp![:sentinel greeter(t)]);
    let attempt = |label: &str, params: &str| {
        t.line(&format!("== {label}"));
        t.forget();
        let to = (HERE, t.port(&greets(&format!("s-{label}"))));
        let buffer = new_buffer(t.rt());
        let p = process_of(&t.attempt("result", || open(t, Some(&buffer), to, params, &[])));
        if !p.is_true() {
            return;
        }
        t.until(|| has(&buffer, "hello"));
        let keys = [Value::Nil, sym(":name"), sym(":remote"), sym(":coding")];
        t.v("contact", Value::list(keys.map(|key| t.contact(&p, key))));
        t.v("coding", t.of("process-coding-system", &p));
        t.v("text", Value::text(buffer.text()));
        t.of("delete-process", &p);
    };
    attempt("nothing", ":coding binary");
    attempt("plain", ":type plain :coding binary");
    attempt("network", ":type network :coding utf-8-unix");
    attempt("one of two keywords", r#":type network :success "^2" :coding binary"#);
    attempt("return list", ":type plain :return-list t :coding binary");
    let ends = r#":type plain :return-list t :end-of-command "\r\n" :coding binary"#;
    attempt("return list, end of command", ends);
    let asks = format!(r#"{ends} :capability-command "EHLO\r\n""#);
    attempt("plain never asks for capabilities", &asks);
    attempt("nowait", ":nowait t :coding binary");
    attempt("bad type", ":type foo");
    let probe = t.server("probe", &[]);
    let to = (HERE, t.port(&probe));
    t.of("delete-process", &probe);
    t.attempt("refused", || open(t, None, to, "", &[]));
    t.attempt("refused, list", || open(t, None, to, ":return-list t", &[]));
    let to = (HERE, t.port(&greets("nobuf")));
    let before = t.rt().buffers().list().len();
    let r = open(t, None, to, r#":return-list t :end-of-command "\r\n" :coding binary"#, &[])?;
    t.v("list", r.clone());
    t.v("buffer", t.of("process-buffer", &process_of(&r)));
    t.v("none left", before == t.rt().buffers().list().len());
    Ok(())
});

scenario!(ons_capabilities, |t| {
    let attempt = |label: &str, params: &str, more: &[Value]| {
        t.line(&format!("== {label}"));
        t.forget();
        let known = &[("EHLO", "250-PIPELINING\r\n250 OK\r\n")];
        let to = (HERE, t.port(&talker(t, &format!("s-{label}"), known)));
        let buffer = new_buffer(t.rt());
        let params = format!(":return-list t :coding binary {params}");
        let p = process_of(&t.attempt("result", || open(t, Some(&buffer), to, &params, more)));
        t.settle();
        t.v("text", Value::text(buffer.text()));
        if p.is_true() {
            t.v("status", t.of("process-status", &p));
            t.of("delete-process", &p);
        }
        t.show(&["srv"]);
    };
    let end = r#":end-of-command "^[0-9]+ .*\r\n""#;
    let asks = r#":capability-command "EHLO me\r\n""#;
    attempt("end of command serves both", &format!("{end} {asks}"), &[]);
    let own = r#":end-of-command "\r\n" :end-of-capability "250 .*\r\n""#;
    attempt("own end for capabilities", &format!("{own} {asks}"), &[]);
    attempt("no end, no waiting", asks, &[]);
    let computed = t.function(|t, args| {
        t.v("called with", args[0].clone());
        Ok("EHLO computed\r\n".into())
    });
    let more = [sym(":capability-command"), computed.into()];
    attempt("command from the greeting", end, &more);
    let always = format!(":type plain :always-query-capabilities t {end} {asks}");
    attempt("plain, always", &always, &[]);
    attempt("no command", end, &[]);
    Ok(())
});

/// Makes the command when it is offered, and says what it was told.
fn starttls(t: &Tr, label: Option<&'static str>) -> Value {
    let function = t.function(move |t, args| {
        if let Some(label) = label {
            t.v(label, args[0].clone());
        }
        let offered = args[0].as_str().is_some_and(|told| told.contains("STARTTLS"));
        Ok(if offered { "STARTTLS\r\n".into() } else { Value::Nil })
    });
    function.into()
}

scenario!(ons_starttls_refused, |t| {
    const PLAIN: &[(&str, &str)] = &[("EHLO", "250 OK\r\n")];
    const OFFERS: &[(&str, &str)] =
        &[("EHLO", "250-STARTTLS\r\n250 OK\r\n"), ("STARTTLS", "454 not now\r\n")];
    // Whom Emacs trusts unless told otherwise: somebody.
    trust(t, &Authority::new()?)?;
    let attempt = |label: &str, known: &'static [(&str, &str)], params: &str, more: &[Value]| {
        t.line(&format!("== {label}"));
        t.forget();
        let to = (HERE, t.port(&talker(t, &format!("s-{label}"), known)));
        let buffer = new_buffer(t.rt());
        let asks = r#":capability-command "EHLO me\r\n""#;
        let all = format!(r#":coding binary :end-of-command "^[0-9]+ .*\r\n" {asks} {params}"#);
        let p = process_of(&t.attempt("result", || open(t, Some(&buffer), to, &all, more)));
        t.v("text", Value::text(buffer.text()));
        t.send(&p, "plain talk\r\n");
        t.until(|| has(&buffer, "got plain talk"));
        t.of("delete-process", &p);
        t.show(&["srv"]);
    };
    let function = [sym(":starttls-function"), starttls(t, Some("starttls function called with"))];
    let network = r#":type network :return-list t :success "^220""#;
    attempt("not offered", PLAIN, network, &function);
    attempt("refused", OFFERS, network, &function);
    attempt("type nil, process returned", PLAIN, r#":success "^220""#, &function);
    attempt("no success regexp: not even asked", OFFERS, ":return-list t", &function);
    attempt("no function", OFFERS, r#":return-list t :success "^220""#, &[]);
    let plain = r#":type plain :return-list t :always-query-capabilities t :success "^220""#;
    attempt("plain asks but never upgrades", OFFERS, plain, &function);
    Ok(())
});

/// `gnutls-trustfiles`: trusts an authority and nobody else.
fn trust(t: &Tr, authority: &Authority) -> Outcome<()> {
    let file = t.path("ca.pem");
    fs::write(&file, authority.pem())?;
    let mut defaults = t.rt().stream_defaults();
    defaults.trustfiles = vec![file.into()];
    t.rt().set_stream_defaults(defaults);
    Ok(())
}

/// The peer of the TLS scenarios, and what it has seen.
#[derive(Clone)]
struct Peer {
    /// Whether connections begin in clear.
    is_plain: bool,
    tls: TlsServer,
    log: Rc<RefCell<Vec<String>>>,
    count: Rc<Cell<usize>>,
}

impl Peer {
    /// Starts one; returns its port.
    fn start(t: &Tr, mode: &str) -> Outcome<(Self, i64)> {
        let authority = Authority::new()?;
        trust(t, &authority)?;
        let is_plain = mode.starts_with("starttls");
        let tls = authority.server(&["localhost", HERE])?;
        let peer = Self { is_plain, tls, log: Rc::default(), count: Rc::default() };
        let (serving, accepting) = (peer.clone(), peer.clone());
        let server =
            t.rt().server(mode).on_accept(move |_, connection| accepting.serve(connection));
        let server = if is_plain { server } else { server.tls(serving.tls) };
        let server = server.start()?;
        Ok((peer, server.contact().local().port().ok_or("a port")?.into()))
    }

    fn note(&self, line: impl Into<String>) {
        self.log.borrow_mut().push(line.into());
    }

    /// A new connection.
    fn serve(&self, connection: &Process) {
        self.count.set(self.count.get() + 1);
        self.note(format!("connection {}", self.count.get()));
        let (hears, told) = (self.clone(), self.clone());
        let pending = RefCell::new(Vec::new());
        connection.set_filter(move |connection, input: Input| -> netproc::Result<()> {
            pending.borrow_mut().extend_from_slice(&input);
            loop {
                let mut held = pending.borrow_mut();
                let Some(end) = held.iter().position(|&byte| byte == b'\n') else { return Ok(()) };
                let line: Vec<u8> = held.drain(..=end).collect();
                drop(held);
                hears.line(connection, String::from_utf8_lossy(&line).trim_end())?;
            }
        });
        connection.set_sentinel(move |connection, event: &Event| told.event(connection, event));
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are nothing to note")]
    fn event(&self, connection: &Process, event: &Event) -> netproc::Result<()> {
        match event {
            Event::OpenFrom(_) if self.is_plain => {
                connection.send(format!("220 plain hello {}\r\n", self.count.get()))?;
            }
            Event::OpenFrom(_) => {
                self.note("handshake ok");
                connection.send("220 secure hello nobody\r\n")?;
            }
            Event::Secured => self.note("handshake ok"),
            Event::Failed(_) => self.note("handshake failed"),
            Event::Broken { .. } => self.note(format!("{} line None", Self::layer(connection))),
            _ => {}
        }
        Ok(())
    }

    fn layer(connection: &Process) -> &'static str {
        if connection.tls_info().is_some() { "tls" } else { "plain" }
    }

    /// A line has come.
    fn line(&self, connection: &Process, line: &str) -> netproc::Result<()> {
        let layer = Self::layer(connection);
        self.note(format!("{layer} line {line}"));
        match (layer, line) {
            ("tls", "QUIT") => {
                connection.send("221 bye\r\n")?;
                connection.delete();
            }
            ("plain", "STARTTLS") => {
                connection.send("220 go ahead\r\n")?;
                connection.upgrade(self.tls.clone()).expect("nothing has come behind it");
            }
            ("tls", line) if line.starts_with("EHLO") => {
                connection.send("250-SECURE\r\n250 OK\r\n")?;
            }
            (_, line) if line.starts_with("EHLO") => {
                connection.send("250-STARTTLS\r\n250 OK\r\n")?;
            }
            (_, line) => drop(connection.send(format!("echo {line}\r\n"))?),
        }
        Ok(())
    }

    /// `tr-tls-log`: prints what it has seen.
    fn show(&self, t: &Tr) {
        t.settle();
        for line in self.log.borrow().iter() {
            t.line(&format!("   peer: {line}"));
        }
    }
}

scenario!(tls_stream, |t| {
    let (peer, port) = Peer::start(t, "tls")?;
    let buffer = new_buffer(t.rt());
    let params = r#":type tls :return-list t :end-of-command "\r\n" :coding binary"#;
    let open = |buffer: &Buffer, port, params: &str| {
        open(t, Some(buffer), ("localhost", port), params, &[])
    };
    let p = process_of(&t.attempt("result", || open(&buffer, port, params)));
    t.f("set-process-sentinel", &[p.clone(), t.sentinel("cli")]);
    t.state("stream", &p);
    t.v("short contact", t.of("process-contact", &p));
    t.v("remote", t.contact(&p, sym(":remote")));
    t.send(&p, "ping\r\n");
    t.until(|| has(&buffer, "echo ping"));
    t.send(&p, "QUIT\r\n");
    t.until(|| !t.is("process-live-p", &p));
    t.settle();
    t.v("text", Value::text(buffer.text()));
    t.state("stream", &p);
    t.show(&["cli"]);
    peer.show(t);
    let (peer, port) = Peer::start(t, "tls2")?;
    let params = r#":type ssl :return-list t :end-of-command "^[0-9]+ .*\r\n" :coding binary
        :capability-command "EHLO me\r\n""#;
    let r = t.attempt("result", || open(&new_buffer(t.rt()), port, params));
    t.of("delete-process", &process_of(&r));
    peer.show(t);
    let (_, port) = Peer::start(t, "tls3")?;
    t.attempt("process", || open(&new_buffer(t.rt()), port, ":type tls"));
    Ok(())
});

scenario!(starttls_upgrade, |t| {
    for kind in ["starttls", "network"] {
        t.line(&format!("== {kind}"));
        let (peer, port) = Peer::start(t, "starttls")?;
        let buffer = new_buffer(t.rt());
        let params = format!(
            r#":type {kind} :return-list t :end-of-command "^[0-9]+ .*\r\n" :coding binary
            :capability-command "EHLO me\r\n" :success "^220""#
        );
        let more = [sym(":starttls-function"), starttls(t, None)];
        let to = ("localhost", port);
        let p = process_of(&t.attempt("result", || open(t, Some(&buffer), to, &params, &more)));
        t.f("set-process-sentinel", &[p.clone(), sym("ignore")]);
        t.state("stream", &p);
        t.send(&p, "ping\r\n");
        t.until(|| has(&buffer, "echo ping"));
        t.send(&p, "QUIT\r\n");
        t.until(|| !t.is("process-live-p", &p));
        t.settle();
        t.v("text", Value::text(buffer.text()));
        t.state("stream", &p);
        peer.show(t);
    }
    Ok(())
});
