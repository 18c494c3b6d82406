//! The transcripts of Emacs and the tests that print them again belong together.
//!
//! Invariant: each `tests/golden/emacs/*.out` has one `scenario!` of its name in `tests/tests/emacs_*.rs`.
//! That a scenario has a transcript is left to its test, which reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use proc_macro2::{TokenStream, TokenTree};

/// The files of the package in `folder` whose names begin and end so.
fn files(folder: &str, begin: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|err| panic!("{}: {err}", folder.display()));
    let paths = entries.map(|entry| entry.expect("a folder of ours is readable").path());
    let fits = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| name.starts_with(begin))
            && path.extension() == Some(OsStr::new(extension))
    };
    paths.filter(fits).collect()
}

/// The names of the transcripts that `source` has a scenario for, as often as it has one.
fn scenarios(source: &str) -> Vec<String> {
    let source = TokenStream::from_str(source).expect("our tests are Rust");
    let tokens: Vec<TokenTree> = source.into_iter().collect();
    let is = |token: &TokenTree, text: &str| token.to_string() == text;
    let calls = tokens.windows(3).filter(|row| is(&row[0], "scenario") && is(&row[1], "!"));
    calls.filter_map(|row| name(&row[2])).collect()
}

/// The name in the arguments of `scenario!`: the first of them, or what follows `on (…):`.
fn name(arguments: &TokenTree) -> Option<String> {
    let TokenTree::Group(group) = arguments else { return None };
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    let is_list = matches!(tokens.get(1)?, TokenTree::Group(_));
    let place = if is_list { 3 } else { 0 };
    let TokenTree::Ident(name) = tokens.get(place)? else { return None };
    Some(name.to_string().replace('_', "-"))
}

/// What is wrong between the transcripts and the tests for them.
fn complaints(transcripts: &BTreeSet<String>, tested: &[String]) -> Vec<String> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for name in tested {
        *count.entry(name).or_default() += 1;
    }
    let mut found = Vec::new();
    for name in transcripts {
        match count.get(&**name) {
            None => found.push(format!("{name}: no scenario of that name")),
            Some(2..) => found.push(format!("{name}: several scenarios of that name")),
            Some(_) => {}
        }
    }
    found
}

#[test]
fn every_transcript_of_emacs_has_a_test_of_its_name() {
    let stem = |path: &PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let transcripts: BTreeSet<_> =
        files("golden/emacs", "", "out").iter().filter_map(stem).collect();
    let tests = files("tests", "emacs_", "rs");
    let read = |path: &PathBuf| fs::read_to_string(path).expect("our tests are text");
    let tested: Vec<_> = tests.iter().flat_map(|path| scenarios(&read(path))).collect();
    assert!(!transcripts.is_empty() && !tested.is_empty(), "nothing was found to compare");
    let found = complaints(&transcripts, &tested);
    assert!(found.is_empty(), "{} complaints:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_scenario_was_a_program_that_emacs_ran() {
    for transcript in files("golden/emacs", "", "out") {
        assert!(
            transcript.with_extension("el").exists(),
            "no program for {}",
            transcript.display()
        );
    }
}

#[test]
fn the_numbers_on_the_pages_are_those_of_the_transcripts() {
    let count = files("golden/emacs", "", "out").len().to_string();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in ["golden/emacs/README.md", "../README.md"] {
        let text = fs::read_to_string(root.join(page)).expect("there is a page");
        let numbers = text.split(|c: char| !c.is_ascii_digit());
        assert!(numbers.into_iter().any(|number| number == count), "{page} does not say {count}");
    }
}

#[test]
fn what_is_missing_is_noticed() {
    let source = "scenario!(a_b, |t| { Ok(()) });\n// scenario!(no, |t| {});\n\
                  scenario!(on (poll uring): c, |t| { Ok(()) });\n\
                  use netproc_tests::scenario;\nconst X: &str = \"scenario!(d, )\";";
    assert_eq!(scenarios(source), ["a-b", "c"]);
    // Transcripts, those with a test; how many complaints.
    let cases = [(["a b", "a b"], 0), (["a b", "a"], 1), (["a", "a a"], 1), (["", "a"], 0)];
    for (names, count) in cases {
        let [transcripts, tested] =
            names.map(|names| names.split_whitespace().map(String::from).collect::<Vec<_>>());
        let found = complaints(&transcripts.into_iter().collect(), &tested);
        assert_eq!(found.len(), count, "{names:?}: {found:?}");
    }
}
