//! Coding: bytes of a stream as text, however they are cut, and text as bytes.
//!
//! Emacs Lisp manual 28.2, "Process Information" (coding systems), "Input to Processes".

use std::{cell::RefCell, rc::Rc};

use netproc::{
    Coding, Event, Process, SendError, SendTextError, StartError, Status, Text, UpgradeError,
};
use netproc_tests::{conformance, layers::glass, rig::Rig};

type Texts = Rc<RefCell<Vec<String>>>;

/// A server with `coding` and a connection to it that sends bytes; what its filter was given.
fn reader(rig: &Rig, coding: &str) -> Result<(Process, Process, Texts), netproc::Error> {
    let texts = Texts::default();
    let seen = Rc::clone(&texts);
    let server = rig.server().coding(coding).filter(move |_, input| {
        let text = input.text().expect("it has a coding");
        assert!(!text.is_empty(), "a filter is never called for nothing");
        seen.borrow_mut().push(format!("{text:?}"));
    });
    let (_server, client, child) = rig.pair_at(server)?;
    Ok((client, child, texts))
}

conformance!(a_character_split_between_reads_comes_with_its_last_byte, |rig| {
    let (client, child, texts) = reader(rig, "utf-8-unix")?;
    for bytes in [&b"a\xe2"[..], b"\x82", b"\xacb"] {
        client.send(bytes)?;
        rig.settle();
    }
    assert_eq!(texts.borrow().concat(), r#""a""\u{20AC}b""#);
    assert_eq!(
        child.coding().map(|coding| coding.to_string()),
        Some("(utf-8-unix . utf-8-unix)".into())
    );
    Ok(())
});

conformance!(what_is_incomplete_comes_as_raw_bytes_before_the_end, |rig| {
    let (client, child, texts) = reader(rig, "utf-8-dos")?;
    client.send(b"x\r\ny\xe2\x82")?;
    client.delete();
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(texts.borrow().concat(), r#""x\ny""\xE2\x82""#);
    assert_eq!(child.status(), Status::Closed);
    Ok(())
});

conformance!(bytes_are_no_text_even_if_the_coding_would_be_guessed, |rig| {
    let texts = Texts::default();
    let seen = Rc::clone(&texts);
    let coding = Coding { decode: None, encode: None };
    let server = rig.server().coding(coding).filter_multibyte(false).filter(move |_, input| {
        seen.borrow_mut().push(format!("{:?}", input.text()));
    });
    let (_server, client, _child) = rig.pair_at(server)?;
    client.send(b"\xC3\xA9\n")?;
    rig.until("the bytes", || !texts.borrow().is_empty());
    assert_eq!(texts.borrow().concat(), r#"Some("\xC3\xA9\n")"#);
    Ok(())
});

conformance!(a_kept_cr_is_a_cr_at_the_end, |rig| {
    let (client, child, texts) = reader(rig, "latin-1-dos")?;
    client.send(b"caf\xe9\r")?;
    client.delete();
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert_eq!(texts.borrow().concat(), r#""caf\u{E9}""\r""#);
    Ok(())
});

conformance!(a_coding_may_change_inside_a_character, |rig| {
    let (client, child, texts) = reader(rig, "utf-8-unix")?;
    client.send(b"a\xc3")?;
    rig.settle();
    child.set_coding("latin-1-unix")?;
    client.send(b"\xe9")?;
    rig.settle();
    // What was pending decodes with the old coding.
    assert_eq!(texts.borrow().concat(), r#""a""\xC3\u{E9}""#);
    let refused = child.set_coding("no-such-coding").expect_err("it is refused");
    assert!(refused.to_string().contains("no-such-coding"), "{refused}");
    assert_eq!(
        child.coding().map(|coding| coding.to_string()),
        Some("(latin-1-unix . latin-1-unix)".into())
    );
    Ok(())
});

conformance!(a_read_decides_the_line_end_its_name_leaves_open, |rig| {
    let (client, child, texts) = reader(rig, "utf-8")?;
    client.send("one\r\n")?;
    rig.settle();
    client.send("two\r\n")?;
    rig.settle();
    assert_eq!(texts.borrow().concat(), r#""one\n""two\n""#);
    let known = child.coding().and_then(|coding| coding.decode).map(|system| system.to_string());
    assert_eq!(known.as_deref(), Some("utf-8-dos"));
    Ok(())
});

conformance!(text_goes_out_in_the_encoding_and_replacements_are_counted, |rig| {
    let server = rig.server();
    let server = server.start()?;
    let client = rig.client(&server).coding("(binary . latin-1-dos)").start()?;
    let (_, report) = client.send_text("caf\u{e9}\n")?;
    assert_eq!(report.replaced, 0);
    let (_, report) = client.send_text("\u{20ac}")?;
    assert_eq!(report.replaced, 1);
    let mut raw = Text::new();
    raw.push_raw(0xff);
    client.send_text(&raw)?;
    let queued = client.queued();
    let refused = client.try_send_text("ok \u{20ac}").expect_err("it is refused");
    assert!(matches!(refused, SendTextError::Encode(_)), "{refused}");
    assert_eq!(client.queued(), queued, "nothing was queued");
    rig.settle();
    let child =
        rig.rt.process_list().into_iter().find(|p| p.name().contains('<')).ok_or("no child")?;
    rig.until_bytes(&child, b"caf\xe9\r\n \xff");
    client.send_eof()?;
    let closed = client.send_text("late").expect_err("it is refused");
    assert_eq!(closed, SendTextError::Send(SendError::Finished));
    Ok(())
});

conformance!(a_coding_is_refused_at_the_start_and_nothing_is_left, |rig| {
    for name in ["no-such", "utf-8-unix-dos", "(utf-8 . )", "compound-text", ""] {
        let refused = rig.rt.server("s").coding(name).start().expect_err("it is refused");
        assert!(matches!(refused, StartError::Coding(_)), "{name}: {refused}");
    }
    assert_eq!(rig.rt.process_list(), []);
    Ok(())
});

conformance!(a_pull_front_gets_text_too, |rig| {
    let server = rig.rt.server("s").coding(Coding::default()).start()?;
    let client = rig.client(&server).start()?;
    client.send("h\u{e9}")?;
    let mut texts = String::new();
    while texts.is_empty() {
        let next = rig.rt.next_event(std::time::Duration::from_secs(10))?.ok_or("nothing came")?;
        if let Event::Input(input) = &next.1 {
            texts.push_str(input.text().and_then(Text::as_str).ok_or("no text")?);
        }
    }
    assert_eq!(texts, "h\u{e9}");
    Ok(())
});

// Whoever put it there would speak inside the layer.
conformance!(an_upgrade_is_refused_while_the_coding_keeps_bytes, |rig| {
    for (coding, bytes, kept) in
        [("utf-8-dos", &b"go\r\n\r"[..], 1), ("utf-8-unix", b"go\n\xe2\x82", 2)]
    {
        let (client, child, texts) = reader(rig, coding)?;
        client.send(bytes)?;
        rig.settle();
        assert_eq!(texts.borrow().concat(), "\"go\\n\"");
        assert_eq!(child.upgrade(glass()), Err(UpgradeError::ClearText(kept)), "{coding}");
        // Another coding does not make them less clear.
        child.set_coding("latin-1-unix")?;
        assert_eq!(child.upgrade(glass()), Err(UpgradeError::ClearText(kept)), "{coding}");
        client.send("!")?;
        rig.settle();
        assert_eq!(child.upgrade(glass()), Ok(()));
    }
    Ok(())
});

conformance!(what_came_in_clear_decides_nothing_about_text_behind_an_upgrade, |rig| {
    let line_end = ("utf-8", &b"go\r\n"[..], &b"in\n"[..], r#""in\n""#);
    // Shifted to kana, and not back.
    let shift = ("iso-2022-jp-unix", &b"go\x1b$B$\""[..], &b"in"[..], r#""in""#);
    for (coding, clear, inside, text) in [line_end, shift] {
        let (client, child, texts) = reader(rig, coding)?;
        client.send(clear)?;
        rig.until("the clear text", || !texts.borrow().is_empty());
        rig.settle();
        texts.borrow_mut().clear();
        child.upgrade(glass())?;
        client.send(inside)?;
        rig.settle();
        assert_eq!(texts.borrow().concat(), text, "{coding}");
        let decode = child.coding().and_then(|coding| coding.decode).expect("it has one");
        let unix = coding.strip_suffix("-unix").unwrap_or(coding).to_owned() + "-unix";
        assert_eq!(decode.to_string(), unix);
    }
    Ok(())
});

conformance!(an_echo_of_the_bytes_loses_none_whatever_the_coding, |rig| {
    for (coding, bytes) in [
        ("utf-8", "a\u{20AC}\u{1F600}\nz".as_bytes()),
        ("utf-8-dos", "a\r\u{20AC}\r\nz".as_bytes()),
        ("iso-2022-jp", b"a\x1b$B$\"\x1b(Bz"),
    ] {
        let (server, client, child) = rig.pair_at(rig.echo().coding(coding))?;
        for byte in bytes {
            client.send(vec![*byte])?;
            rig.settle();
        }
        rig.until_bytes(&client, bytes);
        client.delete();
        rig.until_line(&child, "connection broken by remote peer (closed)");
        server.delete();
    }
    Ok(())
});

conformance!(bytes_that_never_mean_anything_are_not_gathered, |rig| {
    let longest = Rc::new(RefCell::new(0));
    let seen = Rc::clone(&longest);
    let server = rig.server().coding("iso-2022-jp").filter(move |_, input| {
        seen.replace_with(|longest| input.len().max(*longest));
    });
    let (_server, client, child) = rig.pair_at(server)?;
    for _ in 0..1_000 {
        client.send("\x1b(B")?;
        rig.turn();
    }
    client.delete();
    rig.until_line(&child, "connection broken by remote peer (closed)");
    assert!((1..=2_000).contains(&*longest.borrow()), "{longest:?}");
    Ok(())
});
