//! What the library may stand on: how many crates, which never, none twice, and under which licences.
//!
//! `cargo tree` answers for one package as its users build it; `cargo metadata` would mix in what the
//! tests and benchmarks switch on. The number is that of the crates a program ends up with, so derives
//! and build scripts do not count; every other rule holds for derives and what they need as well.
//! Security advisories are left to whoever has the database at hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// Never, even indirectly: other runtimes, and second ways to what we have a first for.
const BANNED: [&str; 4] = ["tokio", "mio", "rustix", "parking_lot"];

/// The library as it comes.
const CRATES_MAX: usize = 14;

/// The library with every feature but the program and the other provider of cryptography.
const CRATES_ALL_FEATURES_MAX: usize = 30;

/// Licences that ask for no more than their notice.
const PERMISSIVE: [&str; 10] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

/// A crate that the library stands on; the workspace's own are left out.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    licence: String,
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs, since it runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

/// Dependencies of the code.
const ALL: &str = "normal";

/// The same without those that only run in the compiler.
const LINKED: &str = "normal,no-proc-macro";

/// The crates below `netproc` with these features, on the system this runs on.
fn crates(features: &str, edges: &str) -> BTreeSet<Crate> {
    let tree = cargo(&[
        "tree",
        "--package",
        "netproc",
        "--features",
        features,
        "--edges",
        edges,
        "--prefix",
        "none",
        "--no-dedupe",
        "--format",
        "{p}\t{l}",
    ]);
    let mut found = BTreeSet::new();
    for line in tree.lines() {
        let (package, licence) = line.split_once('\t').expect("the format has a tab");
        let mut words = package.split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next()) else {
            panic!("a package is a name and a version: {line}");
        };
        // A crate of our own shows its folder behind the version.
        if !package.contains(" (/") {
            let [name, version, licence] = [name, version, licence].map(String::from);
            found.insert(Crate { name, version, licence });
        }
    }
    found
}

/// Every feature of the library, without the ones named.
fn features_but(left_out: &[&str]) -> String {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("metadata lists packages");
    let library = packages.iter().find(|it| it["name"] == "netproc").expect("netproc is a member");
    let features = library["features"].as_object().expect("metadata lists features");
    let kept = features.keys().map(String::as_str).filter(|name| !left_out.contains(name));
    kept.collect::<Vec<_>>().join(",")
}

/// Whether `expression` lets us choose only permissive licences: each part that `AND` joins offers
/// one. Brackets are read through, which errs on the strict side for what crates really write.
fn is_permissive(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], "").replace('/', " OR ");
    let part = |part: &str| part.split(" OR ").any(|it| PERMISSIVE.contains(&it.trim()));
    flat.split(" AND ").all(part)
}

fn assert_count(crates: &BTreeSet<Crate>, max: usize) {
    let names: Vec<_> = crates.iter().map(|it| it.name.as_str()).collect();
    assert!(names.len() <= max, "{} crates, {max} are allowed: {names:?}", names.len());
}

#[test]
fn the_library_stands_on_few_crates() {
    assert_count(&crates("default", LINKED), CRATES_MAX);
    // One provider of cryptography serves; nobody needs both.
    for provider in ["tls-aws-lc", "tls-ring"] {
        let features = features_but(&["cli", provider]);
        assert_count(&crates(&features, LINKED), CRATES_ALL_FEATURES_MAX);
    }
}

#[test]
fn the_library_stands_on_no_other_runtime() {
    let found = crates(&features_but(&["cli"]), ALL);
    let banned: Vec<_> = found.iter().filter(|it| BANNED.contains(&it.name.as_str())).collect();
    assert!(banned.is_empty(), "{:?}", banned.iter().map(|it| &it.name).collect::<Vec<_>>());
}

#[test]
fn no_crate_is_there_in_two_versions() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for it in crates(&features_but(&[]), ALL) {
        versions.entry(it.name).or_default().push(it.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    assert!(versions.is_empty(), "{versions:?}");
}

#[test]
fn every_licence_is_permissive() {
    for it in crates(&features_but(&[]), ALL) {
        assert!(is_permissive(&it.licence), "{} {}: {:?}", it.name, it.version, it.licence);
    }
}

#[test]
fn a_licence_that_asks_for_more_is_noticed() {
    let cases = [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("Unlicense OR MIT", true),
        ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("GPL-3.0-only", false),
        ("MIT AND LGPL-2.1-or-later", false),
        ("(MIT OR Apache-2.0) AND MPL-2.0", false),
        ("", false),
    ];
    for (expression, expected) in cases {
        assert_eq!(is_permissive(expression), expected, "{expression:?}");
    }
}
