//! What other threads ask of a process by its id: sending, stopping, going on, deleting.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::mpsc,
    thread,
    time::Duration,
};

use netproc::{CallbackKind, Gone, Handle, PostedSendError, ProcessId, Runtime, SendError, Status};
use netproc_tests::{conformance, rig::PATIENCE};

/// Has `job` done by another thread, which is over when this returns.
fn elsewhere(handle: &Handle, job: impl FnOnce(&Handle) -> Result<(), Gone> + Send) {
    let done = thread::scope(|scope| scope.spawn(|| job(handle)).join());
    assert_eq!(done.expect("it does not panic"), Ok(()));
}

#[test]
fn an_id_and_a_handle_go_anywhere() {
    const fn check<T: Send + Sync + Clone + 'static>() {}
    const fn check_copy<T: Copy>() {}
    check::<Handle>();
    check::<ProcessId>();
    check_copy::<ProcessId>();
}

conformance!(bytes_sent_from_another_thread_arrive_in_order, |rig| {
    let (_server, client, child) = rig.pair()?;
    let (handle, id) = (rig.rt.handle(), client.id());
    elsewhere(&handle, |handle| {
        handle.send(id, "one ")?;
        handle.send(id, b"two ".to_vec())?;
        handle.post(move |rt| {
            let sent = rt.process_by_id(id).map(|client| client.send("three "));
            assert!(matches!(sent, Some(Ok(_))), "{sent:?}");
        })?;
        handle.send(id, String::from("four"))
    });
    rig.until_bytes(&child, b"one two three four");
    Ok(())
});

conformance!(a_process_stops_goes_on_and_ends_at_another_threads_word, |rig| {
    let (_server, client, child) = rig.pair()?;
    let (handle, id) = (rig.rt.handle(), child.id());
    elsewhere(&handle, |handle| handle.stop(id));
    assert_eq!(child.status(), Status::Open, "nothing happens beside the runtime's thread");
    rig.until("the stop", || child.status() == Status::Stop);
    client.send("held")?;
    rig.settle();
    assert_eq!(rig.log.len_of(&child), 0);
    elsewhere(&handle, |handle| handle.resume(id));
    rig.until_bytes(&child, b"held");
    elsewhere(&handle, |handle| handle.delete(id));
    rig.until_line(&child, "deleted (closed)");
    rig.until_line(&client, "connection broken by remote peer (closed)");
    Ok(())
});

conformance!(what_cannot_be_done_any_more_is_reported_or_nothing, |rig| {
    let reports: Rc<RefCell<Vec<_>>> = Rc::default();
    let seen = Rc::clone(&reports);
    rig.rt.on_callback_error(move |report| {
        let error = report.error.downcast_ref::<PostedSendError>().cloned();
        seen.borrow_mut().push((report.kind, report.process.clone(), error, report.to_string()));
    });
    let (server, client, _) = rig.pair()?;
    let (handle, gone, listens) = (rig.rt.handle(), client.id(), server.id());
    client.delete();
    elsewhere(&handle, |handle| {
        handle.stop(gone)?;
        handle.resume(gone)?;
        handle.delete(gone)?;
        handle.send(gone, "late")?;
        handle.send(listens, "to whom")
    });
    rig.until("both reports", || reports.borrow().len() >= 2);
    rig.settle();
    let process = String::from("srv");
    let source = SendError::NotOpen(Status::Listen);
    let expected = [
        (
            PostedSendError::Ended { id: gone, len: 4 },
            "4 bytes sent from another thread were dropped: their process has ended",
        ),
        (
            PostedSendError::Refused { process, len: 7, source },
            "7 bytes sent to \"srv\" from another thread were refused",
        ),
    ];
    let expected = expected.map(|(error, text)| {
        let text = format!("error in posted call: {text}");
        (CallbackKind::Posted, String::new(), Some(error), text)
    });
    assert_eq!(reports.borrow()[..], expected);
    // What the hook keeps would outlive the check of what is left.
    rig.rt.on_callback_error(|_| {});
    Ok(())
});

conformance!(without_its_runtime_a_handle_says_so, |rig| {
    let rt = rig.another();
    let server = rt.server("s").start()?;
    let (handle, id) = (rt.handle(), server.id());
    drop((rt, server));
    let asked = [handle.send(id, "x"), handle.stop(id), handle.resume(id), handle.delete(id)];
    assert!(asked.iter().all(Result::is_err), "{asked:?}");
    Ok(())
});

/// Fails when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

conformance!(calls_that_never_run_may_fail_as_they_go, |rig| {
    let rt = rig.another();
    let handle = rt.handle();
    for bomb in [Bomb, Bomb] {
        handle.post(move |_| drop(bomb))?;
    }
    drop(rt);
    assert!(handle.post(|_| {}).is_err());
    Ok(())
});

conformance!(a_call_that_waits_serves_those_that_were_posted_behind_it, |rig| {
    let handle = rig.rt.handle();
    let (order, heard) = mpsc::channel();
    let behind = order.clone();
    handle.post(move |rt| {
        assert!(rt.turn(PATIENCE).expect("it is not too deep"), "nothing came");
        order.send("waited").expect("the test listens");
    })?;
    handle.post(move |_| behind.send("behind").expect("the test listens"))?;
    let mut got = Vec::new();
    rig.rt.turn(PATIENCE)?;
    got.extend(heard.try_iter());
    assert_eq!(got, ["behind", "waited"]);
    Ok(())
});

conformance!(a_call_posted_to_a_deep_wait_runs_when_that_is_over, |rig| {
    let builder = Runtime::builder().depth_max(2);
    let rt = rig.subject.build(builder, netproc::Config::default()).ok_or("it was there")?;
    // The last handle to go would wake the runtime.
    let (handle, _other) = (rt.handle(), rt.handle());
    rt.run_after(Duration::ZERO, move |rt| {
        let posted = handle.shutdown();
        drop(handle);
        assert_eq!((posted, rt.turn(Duration::ZERO).is_ok()), (Ok(()), true));
    });
    let late = Rc::new(Cell::new(false));
    let seen = Rc::clone(&late);
    rt.run_after(Duration::from_secs(2), move |rt| {
        seen.set(true);
        rt.shutdown();
    });
    rt.run()?;
    assert!(!late.get(), "the call was forgotten");
    rt.close();
    Ok(())
});
