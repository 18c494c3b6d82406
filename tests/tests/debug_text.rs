//! How processes, contacts, runtimes and builders read when they are printed for a debugger or a log.

use netproc::{Backend, Family, Runtime, SockOption};

fn runtime() -> Runtime {
    Runtime::builder().backend(Backend::Poll).build().expect("some mechanism works")
}

#[test]
fn a_process_and_its_runtime_say_which_and_how_they_are() {
    let rt = runtime();
    let backend = rt.backend();
    assert_eq!(format!("{rt:?}"), format!("#<runtime {backend}, processes: 0>"));
    let server = rt.server("echo").start().expect("a port is free");
    assert_eq!(format!("{server:?}"), "#<process echo listen>");
    assert_eq!(format!("{rt:?}"), format!("#<runtime {backend}, processes: 1>"));
    server.stop();
    assert_eq!(format!("{:?}", Some(&server)), "Some(#<process echo stop>)");
    server.delete();
    assert_eq!(
        format!("{server:?} {rt:?}"),
        format!("#<process echo closed> #<runtime {backend}, processes: 0>")
    );
}

#[test]
fn a_contact_shows_what_process_contact_would() {
    let rt = runtime();
    let server = rt.server("echo").host("127.0.0.1").start().expect("a port is free");
    let contact = server.contact();
    let port = contact.local().port().expect("a port");
    let expected = format!(
        "Contact(:name \"echo\" :host \"127.0.0.1\" :service {port} :server t :local [127 0 0 1 {port}])"
    );
    assert_eq!(format!("{contact:?}"), expected);
}

#[test]
fn a_builder_shows_what_was_asked_for_so_far() {
    let rt = runtime();
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 7));
    let cases = [
        (format!("{:?}", rt.server("s")), r#"ServerBuilder(:name "s" :service t :server t)"#),
        (
            format!("{:?}", rt.server("s").datagram().external_socket("web").local(local)),
            "ServerBuilder(:name \"s\" :type datagram :service t :server t :use-external-socket t \
             :local [127 0 0 1 7])",
        ),
        (
            format!("{:?}", rt.server("s").family(Family::Local).service("/s").stop(true)),
            r#"ServerBuilder(:name "s" :service "/s" :family local :stop t :server t)"#,
        ),
        (
            format!("{:?}", rt.client("c").host("h").service(7).nodelay(true).nowait(true)),
            r#"ClientBuilder(:name "c" :host "h" :service 7 :nodelay t :nowait t)"#,
        ),
        (
            format!("{:?}", rt.client("c").remote(local).option(SockOption::Priority(3))),
            r#"ClientBuilder(:name "c" :priority 3 :remote [127 0 0 1 7])"#,
        ),
    ];
    for (shown, expected) in cases {
        assert_eq!(shown, expected);
    }
}
