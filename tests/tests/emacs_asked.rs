//! What Emacs 28.2 did when it was asked, where no scenario shows it: buffers of accepted connections, marks that stay,
//! what one wait takes, which timers it holds, the errors of a child, and what is refused how.

use std::{cell::Cell, rc::Rc, time::Duration};

use netproc::{Error, Exit, Process, Reason, Status, Value, emacs::Emacs};
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
