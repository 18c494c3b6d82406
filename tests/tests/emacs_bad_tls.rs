//! Bad `:tls-parameters` and `:client-certificate`s in the dynamic front: the catalogue of faults,
//! section 2, rows 44 and 45 and 116 to 120.
//!
//! Each row has its number, what is given, and what is signalled; where that is not Emacs's, it is said.
//! Refused means: nobody was connected to, nothing opened, no process more or less. ALPN (119) has no
//! keyword; typed input is in `process_bad_streams.rs`.

use std::fs;

use netproc::emacs::Emacs;
use netproc_tests::{
    certificates::Authority,
    conformance,
    front::{Place, Refused, said, trust},
    transcript::q,
};

const LIST: &str = "!! wrong-type-argument: Wrong type argument: listp, ";
const STRING: &str = "!! wrong-type-argument: Wrong type argument: stringp, ";

// As in Emacs, but where a row says more.
conformance!(row_45_tls_parameters_are_a_list_that_says_something_known, |rig| {
    let place = Place::new(rig, b"220 hi\r\n")?;
    let folder = tempfile::tempdir()?;
    trust(&rig.rt, folder.path(), &Authority::new()?)?;
    let x509 = |rest: &str| format!("(gnutls-x509pki :hostname \"localhost\" {rest})");
    let t = |params: &str, expected: &str| place.tls(45, params, expected);
    let e = |params: &str, expected: &str| {
        place.tls(45, &x509(params), format!("!! error: {expected}"))
    };
    let no_host = "!! error: gnutls-boot: invalid :hostname parameter (not a string)";
    let gone = "flags of a library that is not used here";
    place.refuses(vec![
        t("foo", &format!("{LIST}foo")),
        t("5", &format!("{LIST}5")),
        t("\"x\"", &format!("{LIST}\"x\"")),
        t("(gnutls-x509pki . 5)", &format!("{LIST}(gnutls-x509pki . 5)")),
        t("(gnutls-x509pki)", no_host),
        t("(gnutls-x509pki :hostname nil)", no_host),
        t("(gnutls-x509pki :hostname 5)", &format!("{STRING}5")),
        t(
            "(gnutls-anon :hostname \"h\")",
            "!! error: credentials gnutls-anon: they prove nobody's name",
        ),
        t("(foo :hostname \"h\")", "!! error: credentials foo: no such type"),
        t("(5)", "!! error: credentials 5: no such type"),
        t("(gnutls-x509pki :hostname)", "!! error: odd argument list: :hostname has no value"),
        t("(gnutls-x509pki 5 6)", "!! error: 5 is no key"),
        e(":verify-flags 2", &format!(":verify-flags 2: {gone}")),
        e(":verify-error (:foo)", ":verify-error (:foo): no such verification"),
        e(":verify-error foo", ":verify-error foo: no such verification"),
        e(":callbacks (a)", ":callbacks is no parameter of TLS here"),
        e(":pass \"secret\"", ":pass is no parameter of TLS here"),
        e(":no-such-key 1", ":no-such-key is no parameter of TLS here"),
        t(&x509(":trustfiles \"x\""), &format!("{LIST}\"x\"")),
        t(&x509(":crlfiles (5)"), &format!("{STRING}5")),
        t(&x509(":keylist 5"), &format!("{LIST}5")),
        t(&x509(":keylist (5)"), &format!("{LIST}5")),
        t(&x509(":priority 5"), &format!("{STRING}5")),
        t(
            &x509(":min-prime-bits \"x\""),
            "!! wrong-type-argument: Wrong type argument: integerp, \"x\"",
        ),
        e(":keylist ((\"k\"))", ":keylist (\"k\"): it has to name a key and a certificate"),
        e(
            ":keylist ((\"a\" \"b\") (\"c\" \"d\"))",
            ":keylist ((\"a\" \"b\") (\"c\" \"d\")): one certificate is shown",
        ),
    ]);
    // What is no more than nothing is a connection in clear.
    let plain =
        format!("(:name \"x\" :host \"127.0.0.1\" :service {} :tls-parameters nil)", place.port);
    let plain = rig.rt.make_network_process(&plain.parse()?)?.ok_or("arguments")?;
    assert_eq!(plain.status(), netproc::Status::Open);
    Ok(())
});

// DIFFERENCE: Emacs dies of it; here a server speaks TLS, or says what it lacks.
conformance!(row_44_a_server_speaks_tls_or_says_what_it_lacks, |rig| {
    let place = Place::new(rig, b"")?;
    let folder = tempfile::tempdir()?;
    let authority = Authority::new()?;
    trust(&rig.rt, folder.path(), &authority)?;
    let signed = authority.sign(&["localhost"])?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("key.pem"), &signed.key)?;
    fs::write(path("own.pem"), &signed.certificate)?;
    let keys = format!(":keylist ((\"{}\" \"{}\"))", path("key.pem"), path("own.pem"));
    let missing = format!(":keylist ((\"{}\" \"{}\"))", path("none.pem"), path("own.pem"));
    let lacks = "!! error: a server needs a :keylist with its key and certificate";
    let none = "No such file or directory (os error 2)";
    let of_clients = "a server checks its clients by :trustfiles";
    let packets = "!! error: only streams have TLS";
    let datagram = "(:name \"x\" :server t :type datagram :service t \
                    :tls-parameters (gnutls-x509pki))";
    place.refuses(vec![
        place.tls_server(44, "(gnutls-x509pki)", lacks),
        place.tls_server(44, "foo", format!("{LIST}foo")),
        place.tls_server(
            44,
            "(gnutls-anon)",
            "!! error: credentials gnutls-anon: they prove nobody's name",
        ),
        place.tls_server(
            44,
            &format!("(gnutls-x509pki {missing})"),
            format!("!! error: TLS cannot be had: {}: cannot be read: {none}", path("none.pem")),
        ),
        place.tls_server(
            44,
            &format!("(gnutls-x509pki {keys} :verify-error t)"),
            format!("!! error: :verify-error t: {of_clients}"),
        ),
        place.tls_server(
            44,
            &format!("(gnutls-x509pki {keys} :crlfiles (\"x\"))"),
            format!("!! error: :crlfiles (\"x\"): {of_clients}"),
        ),
        Refused::new(44, "make-network-process", datagram, packets),
    ]);
    let args = format!(
        "(:name \"s\" :server t :service t :filter ignore :tls-parameters (gnutls-x509pki {keys}))"
    );
    let server = rig.rt.make_network_process(&args.parse()?)?.ok_or("arguments")?;
    let port = server.contact().local().port().ok_or("a port")?;
    let tls = "(gnutls-x509pki :hostname \"localhost\")";
    let args = format!("(:name \"c\" :host \"127.0.0.1\" :service {port} :tls-parameters {tls})");
    let client = rig.rt.make_network_process(&args.parse()?)?.ok_or("arguments")?;
    let info = client.tls_info().ok_or("the handshake is done")?;
    assert_eq!(info.server_name(), Some("localhost"));
    Ok(())
});

/// A folder with good and bad files.
struct Files {
    folder: tempfile::TempDir,
    key: String,
}

impl Files {
    fn new(authority: &Authority) -> Result<Self, Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let signed = authority.sign(&["me.example"])?;
        let other = authority.sign(&["me.example"])?;
        let files: [(&str, Vec<u8>); 9] = [
            ("ca.pem", authority.pem().into()),
            ("own.pem", signed.certificate.into()),
            ("key.pem", signed.key.clone().into()),
            ("other-key.pem", other.key.into()),
            ("empty.pem", Vec::new()),
            ("garbage.pem", b"\xFF\xFEgarbage".into()),
            ("own.der", authority.der()),
            ("encrypted.pem", signed.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY").into()),
            ("large.pem", vec![b'\n'; 10 << 20]),
        ];
        for (name, content) in files {
            fs::write(folder.path().join(name), content)?;
        }
        Ok(Self { folder, key: signed.key })
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// What is signalled for one of them.
    fn problem(&self, name: &str, problem: &str) -> String {
        format!("!! error: TLS cannot be had: {}: {problem}", self.path(name))
    }

    /// Files that are no certificate, and why.
    fn bad(&self) -> [(&'static str, String); 6] {
        let none = "cannot be read: No such file or directory (os error 2)";
        [
            ("none.pem", none),
            ("empty.pem", "is empty"),
            ("garbage.pem", "is no PEM"),
            ("own.der", "is DER, PEM is wanted"),
            ("key.pem", "holds no certificate"),
            ("large.pem", "is larger than 4194304 bytes"),
        ]
        .map(|(name, problem)| (name, self.problem(name, problem)))
    }
}

// DIFFERENCE: Emacs uses a certificate only if both files can be read, and says nothing if not.
conformance!(row_116_a_client_certificate_that_cannot_be_used_is_named, |rig| {
    let place = Place::new(rig, b"220 hi\r\n")?;
    let authority = Authority::new()?;
    let files = Files::new(&authority)?;
    trust(&rig.rt, files.folder.path(), &authority)?;
    let shown = |key: &str, own: &str| format!("(\"{}\" \"{}\")", files.path(key), files.path(own));
    let mut rows = Vec::new();
    for (name, expected) in files.bad() {
        let shown = shown("key.pem", name);
        for more in ["", ":return-list t", ":nowait t"] {
            let stream = format!(":type tls {more} :client-certificate {shown}");
            rows.push(place.row(116, &stream, &*expected));
        }
        let tls = format!("(gnutls-x509pki :hostname \"h\" :keylist ({shown}))");
        rows.push(place.tls(116, &tls, &*expected));
    }
    for (name, problem) in [
        ("own.pem", "holds no private key"),
        ("encrypted.pem", "holds a private key that is encrypted"),
    ] {
        let stream = format!(":type tls :client-certificate {}", shown(name, "own.pem"));
        rows.push(place.row(116, &stream, files.problem(name, problem)));
    }
    let stream = format!(":type tls :client-certificate {}", shown("other-key.pem", "own.pem"));
    let words = format!(
        "!! error: TLS cannot be had: the key in {} is not that of the certificate in {}",
        files.path("other-key.pem"),
        files.path("own.pem")
    );
    rows.push(place.row(116, &stream, words));
    let pair = "it has to name a key and a certificate";
    rows.push(place.row(116, ":type tls :client-certificate 5", format!("{LIST}5")));
    rows.push(place.row(116, ":type tls :client-certificate (5 6)", format!("{STRING}6")));
    rows.push(place.row(
        116,
        ":type tls :client-certificate (\"k\")",
        format!("!! error: :client-certificate (\"k\"): {pair}"),
    ));
    // The key itself is told to nobody.
    let secret = files.key.lines().nth(1).ok_or("a key has lines")?.to_owned();
    assert!(rows.iter().all(|row| !row.expected.contains(&secret)));
    place.refuses(rows);
    Ok(())
});

// DIFFERENCE: Emacs passes over files that are not there.
conformance!(row_117_a_trust_file_that_cannot_be_used_is_named, |rig| {
    let place = Place::new(rig, b"220 hi\r\n")?;
    let authority = Authority::new()?;
    let files = Files::new(&authority)?;
    trust(&rig.rt, files.folder.path(), &authority)?;
    let mut rows = Vec::new();
    for (name, expected) in files.bad() {
        let tls =
            format!("(gnutls-x509pki :hostname \"h\" :trustfiles (\"{}\"))", files.path(name));
        rows.push(place.tls(117, &tls, &*expected));
        let lists =
            format!("(gnutls-x509pki :hostname \"h\" :crlfiles (\"{}\"))", files.path(name));
        let of_lists = expected.replace("holds no certificate", "holds no revocation list");
        rows.push(place.tls(117, &lists, of_lists));
        rows.push(place.row(117, &format!(":type tls :tls-parameters {tls}"), expected));
    }
    place.refuses(rows);
    let defaults = rig.rt.stream_defaults();
    for (name, expected) in files.bad() {
        let mut bad = defaults.clone();
        bad.trustfiles = vec![files.path(name).into()];
        rig.rt.set_stream_defaults(bad);
        place.refuses(vec![
            place.row(117, ":type tls", &*expected),
            place.tls(117, "(gnutls-x509pki :hostname \"h\")", expected),
        ]);
    }
    // Nobody to trust is nobody, not everybody.
    let mut nobody = defaults;
    (nobody.trustfiles, nobody.system_roots) = (Vec::new(), false);
    rig.rt.set_stream_defaults(nobody);
    let words = "!! error: TLS cannot be had: no roots to trust";
    place.refuses(vec![
        place.row(117, ":type tls", words),
        place.row(117, ":type tls :nowait t :return-list t", words),
        place.tls(117, "(gnutls-x509pki :hostname \"h\")", words),
    ]);
    Ok(())
});

// DIFFERENCE: Emacs checks whatever it is given against the certificate.
conformance!(rows_118_120_names_and_versions_that_cannot_be, |rig| {
    let place = Place::new(rig, b"220 hi\r\n")?;
    let authority = Authority::new()?;
    let folder = tempfile::tempdir()?;
    trust(&rig.rt, folder.path(), &authority)?;
    let long = "a".repeat(300);
    let named = |name: &str| format!("(gnutls-x509pki :hostname \"{name}\")");
    let bad = |name: &str, problem: &str| {
        let shown = format!("{:?}", name.replace("\\0", "\0"));
        let words = format!("!! error: TLS cannot be had: server name {shown} {problem}");
        place.tls(118, &named(name), words)
    };
    let first =
        |priority: &str| format!("(gnutls-x509pki :hostname \"h\" :priority \"{priority}\")");
    let none = "no version is left, of 1.2 and 1.3";
    let empty = named("");
    place.refuses(vec![
        bad("", "is empty"),
        bad(".", "is empty"),
        bad("*", "has a wildcard"),
        bad("*.example", "has a wildcard"),
        bad("a\\0.example", "has a NUL"),
        bad(&long, "is longer than 253 bytes"),
        bad("b\u{fc}cher.example", "is not ASCII"),
        bad("a..example", "is neither a name nor an address"),
        place.row(
            118,
            &format!(":type tls :tls-parameters {empty}"),
            "!! error: TLS cannot be had: server name \"\" is empty",
        ),
        place.tls(
            120,
            &first("NORMAL:-VERS-ALL"),
            format!("!! error: :priority \"NORMAL:-VERS-ALL\": {none}"),
        ),
        place.tls(
            120,
            &first("NORMAL:-VERS-TLS1.2:-VERS-TLS1.3:+VERS-TLS1.1"),
            format!(
                "!! error: :priority \"NORMAL:-VERS-TLS1.2:-VERS-TLS1.3:+VERS-TLS1.1\": {none}"
            ),
        ),
    ]);
    Ok(())
});

// An address counts as one, a closing dot is taken off, an underscore is a letter.
conformance!(row_118_names_that_only_look_odd_are_checked, |rig| {
    let authority = Authority::new()?;
    let folder = tempfile::tempdir()?;
    trust(&rig.rt, folder.path(), &authority)?;
    let server = authority.server(&["127.0.0.1", "localhost", "_x.a_b.example"])?;
    let server = rig.server().tls(server).start()?;
    let port = server.contact().local().port().ok_or("a port")?;
    let emacs = Emacs::new(&rig.rt);
    for (name, passes) in [
        ("127.0.0.1", true),
        ("localhost.", true),
        ("LOCALHOST", true),
        ("_x.a_b.example", true),
        ("127.0.0.2", false),
        ("::1", false),
        ("localhost.example", false),
    ] {
        let tls = format!("(gnutls-x509pki :hostname \"{name}\")");
        let args =
            q(&format!("(:name \"x\" :host \"127.0.0.1\" :service {port} :tls-parameters {tls})"));
        let said = said(&emacs, "make-network-process", args.items().unwrap_or_default());
        let refused = format!("!! error: The x509 certificate does not match \"{name}\": ");
        assert!(said.starts_with(if passes { "<process x" } else { &*refused }), "{name}: {said}");
    }
    Ok(())
});
