//! What Emacs 28.2 did when it was asked, where no scenario shows it: buffers of accepted connections, marks that stay,
//! what one wait takes, which timers it holds, the errors of a child, and what is refused how.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use netproc::{
    CodingSystem, Error, Exit, Process, Reason, Status, Value,
    emacs::{Emacs, Function},
};
use netproc_tests::{
    conformance,
    front::said,
    rig::{PATIENCE, Rig},
};

/// Calls a function of the front with arguments as Emacs reads them.
fn call(emacs: &Emacs, function: &str, args: &str) -> Result<Value, Box<dyn std::error::Error>> {
    let args = args.parse::<Value>()?;
    Ok(emacs.call(function, args.items().ok_or("a list")?)?)
}

/// A server of the front that gives its connections buffers, a client of it, and what it has accepted.
fn buffered(rig: &Rig) -> Result<(Process, Process), Box<dyn std::error::Error>> {
    let emacs = Emacs::new(&rig.rt);
    let at = ":server t :service t :host \"127.0.0.1\" :buffer \"all\" :log ignore";
    call(&emacs, "make-network-process", &format!("(:name \"srv\" {at})"))?;
    let server = rig.rt.get_process("srv").ok_or("it was made")?;
    let client = rig.connect(&server)?;
    rig.until("the accept", || rig.rt.process_list().len() == 3);
    let child = rig.rt.process_list().into_iter().find(|it| it.name().starts_with("srv <"));
    Ok((client, child.ok_or("it was accepted")?))
}

conformance!(output_goes_behind_what_was_written_into_the_buffer_of_a_connection, |rig| {
    let (client, child) = buffered(rig)?;
    let (buffer, mark) = (child.buffer().ok_or("its own")?, child.mark().ok_or("its own")?);
    assert!(mark.buffer().is_none(), "in no buffer before there is output");
    buffer.insert("HEADER\n")?;
    client.send("body\n")?;
    rig.until("the output", || buffer.len() == 12);
    assert_eq!(buffer.text(), "HEADER\nbody\n");
    assert_eq!(mark.position(), Some(13));
    Ok(())
});

conformance!(without_a_buffer_the_mark_stays_where_it_was, |rig| {
    let (client, child) = buffered(rig)?;
    let buffer = child.buffer().ok_or("its own")?;
    client.send("seven c")?;
    rig.until("the output", || buffer.len() == 7);
    child.set_buffer(None);
    let mark = child.mark().ok_or("it stays")?;
    assert_eq!((mark.buffer(), mark.position()), (Some(buffer.clone()), Some(8)));
    client.send("lost")?;
    rig.settle();
    child.set_buffer(Some(buffer.clone()));
    client.send("!")?;
    rig.until("the output", || buffer.len() == 8);
    assert_eq!(buffer.text(), "seven c!");
    Ok(())
});

// It returns after it has taken what else is ready at once.
conformance!(one_wait_takes_output_and_the_end_behind_it, |rig| {
    let emacs = Emacs::new(&rig.rt);
    for wait in ["10 nil nil", "10 nil t"] {
        let (server, client, child) = rig.pair()?;
        child.send("bye")?;
        child.delete();
        let wait: Vec<Value> =
            format!("({wait})").parse::<Value>()?.items().ok_or("a list")?.to_vec();
        let args: Vec<Value> = [Value::object(client.clone())].into_iter().chain(wait).collect();
        emacs.call("accept-process-output", &args)?;
        assert_eq!(rig.log.bytes_of(&client), b"bye");
        assert_eq!(client.exit(), Exit::Broken(Reason::End));
        server.delete();
    }
    Ok(())
});

conformance!(a_wait_in_a_filter_runs_the_timers_that_the_wait_around_it_holds, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let (_server, client, child) = rig.pair()?;
    let (ran, within) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    let (timer, seen) = (Rc::clone(&ran), Rc::clone(&within));
    client.set_filter(move |client, _| {
        assert!(!timer.get(), "held until now");
        client.runtime().turn(PATIENCE)?;
        seen.set(timer.get());
        Ok::<_, Error>(())
    });
    child.send("x")?;
    rig.rt.run_after(Duration::from_nanos(1), move |_| ran.set(true));
    let wait = [Value::object(client), 10.into(), Value::Nil, 1.into()];
    assert!(emacs.call("accept-process-output", &wait)?.is_true());
    assert!(within.get(), "it ran in the filter's wait");
    Ok(())
});

conformance!(on (poll epoll uring): the_errors_of_a_child_are_asked_about_as_it_is, |rig| {
    let emacs = Emacs::new(&rig.rt);
    for noquery in ["nil", "t"] {
        let args = format!(
            "(:name \"e\" :command (\"sh\" \"-c\" \"exit 0\") :noquery {noquery} :stderr \"errors\" \
             :coding latin-1 :connection-type pipe)"
        );
        call(&emacs, "make-process", &args)?;
        let errors = rig.rt.get_process("e stderr").ok_or("it was made")?;
        let of = Value::object(errors.clone());
        let asked = said(&emacs, "process-query-on-exit-flag", std::slice::from_ref(&of));
        assert_eq!(asked, if noquery == "t" { "nil" } else { "t" });
        let coding = said(&emacs, "process-coding-system", &[of]);
        assert_eq!(coding, "(utf-8-unix . utf-8-unix)");
        rig.until("the end", || rig.rt.process_list().is_empty());
        assert_eq!(errors.status(), Status::Closed);
    }
    Ok(())
});

conformance!(keys_and_names_of_buffers_are_refused_as_in_emacs, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let empty = "!! error: Empty string for buffer name is not allowed";
    for (function, args, expected) in [
        (
            "make-network-process",
            "(:name \"x\" 5 6)",
            "!! wrong-type-argument: Wrong type argument: symbolp, 5",
        ),
        (
            "make-process",
            "(:name \"x\" \"y\" 6)",
            "!! wrong-type-argument: Wrong type argument: symbolp, \"y\"",
        ),
        ("make-network-process", "(:name \"x\" :service 9 :buffer \"\")", empty),
        ("make-process", "(:name \"x\" :command (\"cat\") :buffer \"\")", empty),
        ("make-process", "(:name \"x\" :command (\"cat\") :stderr \"\")", empty),
    ] {
        let values = args.parse::<Value>()?;
        let answer = said(&emacs, function, values.items().ok_or("a list")?);
        assert_eq!(answer, expected, "{args}");
        assert!(rig.rt.process_list().is_empty(), "{args}");
    }
    Ok(())
});

conformance!(what_a_process_has_can_be_given_back, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let (_server, client, child) = rig.pair()?;
    client.use_default_filter();
    client.use_default_sentinel();
    let of = Value::object(client.clone());
    for what in ["filter", "sentinel"] {
        let own = emacs.call(&format!("process-{what}"), std::slice::from_ref(&of))?;
        let expected = format!("internal-default-process-{what}");
        assert_eq!(own, Value::symbol(&expected));
        let ignored = [of.clone(), Value::symbol("ignore")];
        emacs.call(&format!("set-process-{what}"), &ignored)?;
        assert_eq!(emacs.call(&format!("set-process-{what}"), &[of.clone(), own.clone()])?, own);
        assert_eq!(said(&emacs, &format!("process-{what}"), std::slice::from_ref(&of)), expected);
    }
    let buffer = rig.rt.buffers().get_or_create("own");
    client.set_buffer(Some(buffer.clone()));
    child.send("for the buffer")?;
    rig.until("the output", || buffer.len() == 14);
    let port = rig.server().start()?.contact().local().port().ok_or("a port")?;
    let both =
        ":filter internal-default-process-filter :sentinel internal-default-process-sentinel";
    let args = format!("(:name \"x\" :host \"127.0.0.1\" :service {port} {both})");
    assert!(call(&emacs, "make-network-process", &args)?.is_true());
    Ok(())
});

conformance!(the_current_buffer_is_the_same_behind_a_callback, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let (_server, client, child) = rig.pair()?;
    let buffers = rig.rt.buffers().clone();
    let [own, other] = ["own", "other"].map(|name| buffers.get_or_create(name));
    buffers.set_current(&own)?;
    let heard = Rc::new(Cell::new(0));
    let (count, buffers) = (Rc::clone(&heard), buffers.clone());
    let to = other.clone();
    let moves = Function::new(move |_| {
        count.set(count.get() + 1);
        buffers.set_current(&to).expect("it lives");
        Ok(Value::Nil)
    });
    let of = Value::object(client.clone());
    for setter in ["set-process-filter", "set-process-sentinel"] {
        emacs.call(setter, &[of.clone(), moves.clone().into()])?;
    }
    child.send("x")?;
    rig.until("the filter", || heard.get() == 1);
    assert_eq!(rig.rt.buffers().current(), own);
    emacs.call("delete-process", &[of])?;
    assert_eq!((heard.get(), rig.rt.buffers().current()), (2, own));
    Ok(())
});

conformance!(a_function_under_a_keyword_of_its_users_lives_with_the_contact, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let args = [
        (":name", Value::from("x")),
        (":server", Value::True),
        (":service", Value::True),
        (":mine", Function::new(|_| Ok(7.into())).into()),
    ];
    let args: Vec<Value> =
        args.into_iter().flat_map(|(key, value)| [Value::symbol(key), value]).collect();
    let server = emacs.call("make-network-process", &args)?;
    let mine = emacs.call("process-contact", &[server, Value::symbol(":mine")])?;
    assert_eq!(mine.downcast::<Function>().ok_or("a function")?.call(&[])?, Value::from(7));
    Ok(())
});

/// Asks its process for its name when it goes.
#[derive(Debug)]
struct Asks(Process, Rc<Cell<u32>>);

impl Drop for Asks {
    fn drop(&mut self) {
        self.1.set(self.1.get() + u32::from(!self.0.name().is_empty()));
    }
}

conformance!(a_value_of_a_contact_may_ask_for_the_process_when_it_goes, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let (server, client, _child) = rig.pair()?;
    let gone = Rc::new(Cell::new(0));
    let of = Value::object(client.clone());
    for _ in 0..2 {
        let value = Value::Opaque(Rc::new(Asks(client.clone(), Rc::clone(&gone))));
        let args = [of.clone(), Value::symbol(":keepalive"), value];
        assert_eq!(emacs.call("set-network-process-option", &args)?, Value::True);
    }
    client.set_option(netproc::SockOption::KeepAlive(false))?;
    assert_eq!(gone.get(), 2);
    // A key that was not there has what the system has said put in the place of what was asked for.
    let value = Value::Opaque(Rc::new(Asks(client.clone(), Rc::clone(&gone))));
    let args = [
        (":name", Value::from("y")),
        (":host", "127.0.0.1".into()),
        (":service", i64::from(server.contact().local().port().ok_or("a port")?).into()),
        (":local", value),
    ];
    let args: Vec<Value> =
        args.into_iter().flat_map(|(key, value)| [Value::symbol(key), value]).collect();
    let other = emacs.call("make-network-process", &args)?;
    drop(args);
    let args = [other, Value::symbol(":keepalive"), Value::True];
    assert_eq!(emacs.call("set-network-process-option", &args)?, Value::True);
    assert_eq!(gone.get(), 3);
    Ok(())
});

conformance!(a_process_has_one_mark, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let (_server, client, child) = rig.pair()?;
    let mark = || emacs.call("process-mark", &[Value::object(client.clone())]);
    let first = mark()?;
    assert_eq!(first, mark()?, "it points nowhere, and is the same one");
    let [own, other] = ["own", "other"].map(|name| rig.rt.buffers().get_or_create(name));
    own.insert("hello")?;
    client.set_buffer(Some(own.clone()));
    assert_eq!(mark()?, first);
    let marker = client.mark().ok_or("it has one")?;
    assert_eq!((marker.buffer(), marker.position()), (Some(own.clone()), Some(6)));
    marker.set(&own, 2);
    client.set_buffer(Some(own.clone()));
    child.send("--")?;
    client.use_default_filter();
    rig.until("the output", || own.len() == 7);
    assert_eq!(own.text(), "h--ello", "the same buffer moves it nowhere");
    other.insert("xyz")?;
    client.set_buffer(Some(other.clone()));
    assert_eq!((marker.buffer(), marker.position()), (Some(other), Some(4)));
    assert_eq!(mark()?, first);
    Ok(())
});

conformance!(a_buffer_that_was_dead_when_it_was_given_ends_nothing, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let (_server, client, _child) = rig.pair()?;
    let [dead, other] = ["dead", "other"].map(|name| rig.rt.buffers().get_or_create(name));
    dead.kill();
    client.set_buffer(Some(dead.clone()));
    let args = ":server t :service t :host \"127.0.0.1\" :buffer";
    let mut args = format!("(:name \"x\" {args})").parse::<Value>()?.items().ok_or("")?.to_vec();
    args.push(Value::object(dead));
    let server = emacs.call("make-network-process", &args)?;
    other.kill();
    rig.settle();
    assert_eq!(client.status(), Status::Open);
    assert_eq!(said(&emacs, "process-status", &[server]), "listen");
    Ok(())
});

conformance!(on (poll epoll uring): a_number_in_words_is_a_process_to_signal, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let args = "(:name \"p\" :command (\"sleep\" \"600\") :connection-type pipe)";
    call(&emacs, "make-process", args)?;
    let child = rig.rt.get_process("p").ok_or("it was made")?;
    let pid = child.pid().ok_or("it runs")?;
    let number = i64::from(pid);
    for (whom, signal, expected) in [
        (Value::from(number.to_string()), 0.into(), "0"),
        ("99999999".into(), 0.into(), "-1"),
        ("nobody".into(), 0.into(), "nil"),
        (99_999_999.into(), Value::symbol("nosuch"), "!! error: Undefined signal name nosuch"),
        (99_999_999.into(), "x".into(), "!! wrong-type-argument: Wrong type argument: symbolp, \"x\""),
    ] {
        let shown = format!("{whom} {signal}");
        assert_eq!(said(&emacs, "signal-process", &[whom, signal]), expected, "{shown}");
    }
    child.delete();
    Ok(())
});

conformance!(arguments_are_looked_at_in_the_order_of_emacs, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let wrong = |what: &str| format!("!! wrong-type-argument: Wrong type argument: {what}");
    let port = rig.server().start()?.contact().local().port().ok_or("a port")?;
    let at = format!("\"x\" nil 5 {port} :type foo");
    let coding = format!(":name \"x\" :host \"127.0.0.1\" :service {port} :coding (utf-8 latin-1)");
    let loopback = ":name \"x\" :host local :family ipv6 :service -1";
    let before = rig.rt.process_list().len();
    for (function, args, expected) in [
        ("make-process", ":name 5 :buffer 6 :command (\"true\")", wrong("stringp, 6")),
        ("start-process", "5 nil 7", wrong("stringp, 5")),
        ("start-process", "\"x\" 5 7", wrong("stringp, 5")),
        ("open-network-stream", &at, "!! error: Invalid connection type foo".into()),
        ("get-process", "\"\\351\"", "nil".into()),
        ("process-status", "\"\\351\"", "nil".into()),
        ("get-buffer-process", "\"\\351\"", "nil".into()),
        ("signal-process", "\"\\351\" 0", "nil".into()),
        ("network-interface-info", "\"\\351\"", "nil".into()),
        ("network-lookup-address-info", "\"\\351\"", "nil".into()),
        ("delete-process", "\"\\351\"", "!! error: Process \\351 does not exist".into()),
        ("process-type", "\"\\351\"", "!! error: Process \\351 does not exist".into()),
        ("process-send-string", "\"\\351\" \"x\"", "!! error: Process \\351 does not exist".into()),
        (
            "make-network-process",
            ":name \"x\" :host \"\\351\" :service 1",
            "!! error: \\351/1 Name or service not known".into(),
        ),
        (
            "make-network-process",
            ":name \"x\" :host \"127.0.0.1\" :service \"\\351\"",
            "!! error: 127.0.0.1/\\351 Servname not supported for ai_socktype".into(),
        ),
        (
            "make-network-process",
            ":name \"x\" :server t :family 10 :service -1",
            "!! error: ::1/-1 Servname not supported for ai_socktype".into(),
        ),
        ("make-network-process", &coding, wrong("symbolp, (latin-1)")),
        (
            "make-network-process",
            loopback,
            "!! error: ::1/-1 Servname not supported for ai_socktype".into(),
        ),
    ] {
        let values = format!("({args})").parse::<Value>()?;
        let answer = said(&emacs, function, values.items().ok_or("a list")?);
        assert_eq!(answer, expected, "{function} {args}");
        assert_eq!(rig.rt.process_list().len(), before, "{function} {args}");
    }
    Ok(())
});

/// A server of the front whose only connection writes down what it is sent, and where.
fn sink(rig: &Rig) -> Result<(Process, Heard), Box<dyn std::error::Error>> {
    let heard = Heard::default();
    let bytes = Rc::clone(&heard);
    let server = rig.rt.server("sink").coding(CodingSystem::binary());
    let server = server.filter(move |_, input| {
        bytes.borrow_mut().extend_from_slice(&input);
        Ok::<_, Error>(())
    });
    Ok((server.start()?, heard))
}

type Heard = Rc<RefCell<Vec<u8>>>;

conformance!(what_waits_for_its_connection_is_encoded_when_it_stands, |rig| {
    let emacs = Emacs::new(&rig.rt);
    // The sentinel sets another coding, or is the first to send.
    for (coding, says, expected) in
        [("utf-8-unix", Value::Nil, &b"\xE9"[..]), ("utf-16", "B".into(), b"\xFE\xFF\0B\0\xE9")]
    {
        let (server, heard) = sink(rig)?;
        let [front, said] = [emacs.clone(), emacs.clone()];
        let sentinel = Function::new(move |args| {
            if says.is_true() {
                said.call("process-send-string", &[args[0].clone(), says.clone()])
            } else {
                let latin = Value::symbol("latin-1-unix");
                front.call("set-process-coding-system", &[args[0].clone(), latin.clone(), latin])
            }
        });
        let port = server.contact().local().port().ok_or("a port")?;
        let args = format!(
            "(:name \"x\" :host \"127.0.0.1\" :service {port} :nowait t :coding {coding} :sentinel)"
        );
        let mut args = args.parse::<Value>()?.items().ok_or("a list")?.to_vec();
        args.push(sentinel.into());
        let client = emacs.call("make-network-process", &args)?;
        emacs.call("process-send-string", &[client.clone(), "\u{e9}".into()])?;
        rig.until("all of it", || heard.borrow().len() >= expected.len());
        assert_eq!(&*heard.borrow(), expected, "{coding}");
        emacs.call("delete-process", &[client])?;
        server.delete();
    }
    Ok(())
});

conformance!(an_integer_holds_the_timers_only_beside_a_process, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let ran = Rc::new(Cell::new(false));
    let timer = Rc::clone(&ran);
    rig.rt.run_after(Duration::from_nanos(1), move |_| timer.set(true));
    call(&emacs, "accept-process-output", "(nil 0.2 nil 0)")?;
    assert!(ran.get());
    Ok(())
});

conformance!(bytes_alone_are_no_text_whatever_else_is_unsaid, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let (server, client, child) = rig.pair()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let heard = Rc::new(RefCell::new(Value::Nil));
    let seen = Rc::clone(&heard);
    let filter = Function::new(move |args| {
        seen.replace(args[1].clone());
        Ok(Value::Nil)
    });
    let args = format!(
        "(:name \"x\" :host \"127.0.0.1\" :service {port} :coding (nil . utf-8) \
         :filter-multibyte nil :filter)"
    );
    let mut args = args.parse::<Value>()?.items().ok_or("a list")?.to_vec();
    args.push(filter.into());
    let before = rig.rt.process_list().len();
    let x = emacs.call("make-network-process", &args)?;
    rig.until("the accept", || rig.rt.process_list().len() == before + 2);
    let other = rig
        .rt
        .process_list()
        .into_iter()
        .find(|it| it.name().starts_with(&format!("{} <", server.name())) && *it != child);
    other.ok_or("it was accepted")?.send(&b"\xC3\xA9"[..])?;
    rig.until("the bytes", || heard.borrow().is_true());
    assert_eq!(heard.borrow().to_string(), "\"\\303\\251\"", "{x}");
    drop(client);
    Ok(())
});

conformance!(a_packet_server_shows_no_peer_that_it_has_not, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let args = "(:name \"s\" :server t :type datagram :host \"127.0.0.1\" :service t \
                :remote [0 0 0 0 0 0 0 1 9])";
    let server = call(&emacs, "make-network-process", args)?;
    assert_eq!(said(&emacs, "process-datagram-address", std::slice::from_ref(&server)), "nil");
    assert_eq!(said(&emacs, "process-contact", &[server, Value::symbol(":remote")]), "nil");
    Ok(())
});

conformance!(a_connection_that_was_reset_is_told_as_the_system_tells_it, |rig| {
    let emacs = Emacs::new(&rig.rt);
    let (_server, client, child) = rig.pair()?;
    let of = Value::object(client.clone());
    emacs.call("set-process-filter", &[of.clone(), Value::True])?;
    child.send("unread")?;
    rig.settle();
    child.set_option(netproc::SockOption::Linger(Some(0)))?;
    child.delete();
    rig.settle();
    let answer = said(&emacs, "process-send-string", &[of, "lost".into()]);
    let expected = "!! file-error: Writing to process: Connection reset by peer, #<process client>";
    assert_eq!(answer, expected);
    Ok(())
});
