//! `open-network-stream` with a coding: responses are what they are on the wire, and their text is that of
//! their bytes, however those are cut.
//!
//! The catalogue of faults, section 1, row 46. Every byte is an input of its own here.

use netproc::{
    Process, Runtime, TlsServer, Value,
    emacs::{Emacs, Function},
};
use netproc_tests::{
    certificates::Authority,
    conformance,
    front::trust,
    rig::Rig,
    transcript::{fmt, q, sym},
};

/// A server that greets, and answers each line by `answer`; its port.
fn serve(
    rig: &Rig,
    greeting: &'static str,
    answer: impl Fn(&Process, &str) -> netproc::Result<()> + 'static,
) -> Result<i64, Box<dyn std::error::Error>> {
    let server = rig.rt.server("srv").sentinel(|_, _| ());
    let server = server.on_accept(move |_, connection| connection.send(greeting));
    let line = std::cell::RefCell::new(String::new());
    let server = server.filter(move |connection, input| -> netproc::Result<()> {
        line.borrow_mut().push_str(&String::from_utf8_lossy(&input));
        if !input.ends_with(b"\n") {
            return Ok(());
        }
        let said = line.take();
        answer(connection, said.trim_end())
    });
    Ok(server.start()?.contact().local().port().ok_or("a port")?.into())
}

/// `open-network-stream` into the buffer `b`, as it prints.
fn open(rt: &Runtime, port: i64, params: &str, more: &[Value]) -> String {
    let params = q(&format!("(:return-list t {params})"));
    let args = [Value::from("x"), "b".into(), "localhost".into(), port.into()];
    let args = [&args[..], params.items().unwrap_or_default(), more].concat();
    let emacs = Emacs::new(rt);
    // The front has set Emacs's own.
    rt.set_input_len_max(1);
    match emacs.call("open-network-stream", &args) {
        Ok(answer) => fmt(&answer),
        Err(signal) => format!("!! {}: {signal}", signal.symbol()),
    }
}

fn text(rt: &Runtime) -> String {
    let buffer = rt.buffers().get("b");
    buffer.map_or_else(String::new, |it| it.text().to_string_lossy().into_owned())
}

/// Until the buffer has all of it.
#[track_caller]
fn until_text(rig: &Rig, expected: &str) {
    rig.until("all of the text", || text(&rig.rt).chars().count() >= expected.chars().count());
    assert_eq!(text(&rig.rt), expected);
}

conformance!(no_byte_of_a_response_is_kept_back_by_a_decoder, |rig| {
    let port = serve(rig, "220 h\u{e9}\r\n", |connection, _| {
        connection.send("250 \u{fc}\u{20ac}\r\nbehind \u{e9}\r\nit")?;
        Ok(())
    })?;
    let ends = r#":end-of-command "^[0-9]+ .*\r\n" :capability-command "CAPA\n""#;
    // A dialogue is waited for, whatever `:nowait` says.
    for (coding, line_end) in
        [("utf-8-dos", "\n"), ("utf-8-unix :nowait t", "\r\n"), ("undecided", "\n")]
    {
        let params = format!(":type plain :always-query-capabilities t {ends} :coding {coding}");
        let said = open(&rig.rt, port, &params, &[]);
        let shown = line_end.replace('\r', "\\r").replace('\n', "\\n");
        let told = format!(
            ":greeting \"220 h\\u{{E9}}{shown}\" :capabilities \"250 \\u{{FC}}\\u{{20AC}}{shown}\""
        );
        assert_eq!(said, format!("(<process x> {told} :type plain :error nil)"), "{coding}");
        let all = ["220 h\u{e9}", "250 \u{fc}\u{20ac}", "behind \u{e9}", "it"];
        until_text(rig, &all.join(line_end));
        rig.rt.get_process("x").ok_or("it is open")?.delete();
        rig.rt.kill_buffer(&rig.rt.buffers().get("b").ok_or("its buffer")?);
    }
    Ok(())
});

/// Opens a stream that becomes TLS, of a server that says these `lines`: its greeting, what it can do, its answer
/// to STARTTLS, and what it can do inside. How it prints.
fn open_starttls(
    rig: &Rig,
    lines: [&'static str; 4],
    params: &str,
) -> Result<String, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new()?;
    trust(&rig.rt, folder.path(), &authority)?;
    let tls = TlsServer::builder(authority.sign(&["localhost"])?.identity()?).build()?;
    let [greeting, clear, go, inside] = lines;
    let port = serve(rig, greeting, move |connection, said| {
        if said == "STARTTLS" {
            connection.send(go)?;
            connection.upgrade(tls.clone()).expect("it is open");
        } else {
            connection.send(if connection.tls_info().is_some() { inside } else { clear })?;
        }
        Ok(())
    })?;
    let starts = Function::new(|_| Ok("STARTTLS\n".into()));
    let more = [sym(":starttls-function"), starts.into()];
    let params = format!(r#":type starttls :capability-command "EHLO\n" :success "^220" {params}"#);
    Ok(open(&rig.rt, port, &params, &more))
}

conformance!(what_came_in_clear_is_not_completed_by_what_comes_inside, |rig| {
    // Of lines that end in CR a decoder of `utf-8-dos` keeps each back.
    let lines = ["220 hi\r", "250 STARTTLS\r", "220 go\r", "\n250 inside\r"];
    let params = r#":end-of-command "[0-9]+ .*\r" :coding utf-8-dos"#;
    let said = open_starttls(rig, lines, params)?;
    let told = r#":greeting "220 hi\r" :capabilities "\n250 inside\r""#;
    assert_eq!(said, format!("(<process x> {told} :type tls :error nil)"));
    // The last CR waits for what may follow.
    assert_eq!(text(&rig.rt), "220 hi\r250 STARTTLS\r220 go\r\n250 inside");
    Ok(())
});

conformance!(what_came_in_clear_decides_no_coding_of_what_comes_inside, |rig| {
    let lines = ["220 hi\n", "250 STARTTLS\n", "220 go\n", "250 inside\r\n"];
    let params = r#":end-of-command "[0-9]+ .*\n" :coding utf-8"#;
    let said = open_starttls(rig, lines, params)?;
    assert!(said.ends_with(":type tls :error nil)"), "{said}");
    // Its lines end in LF before, and in CR LF inside.
    assert_eq!(text(&rig.rt), "220 hi\n250 STARTTLS\n220 go\n250 inside\n");
    Ok(())
});
