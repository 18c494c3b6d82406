//! What no lint sees: the shape of the tree, the files nobody includes, the marks of unfinished work,
//! where `unsafe` may stand, and the links of the pages.
//!
//! A rule is a function from a file to complaints, each `path:line: what`; one test runs every rule
//! on the whole repository, another shows that each rule can fail. Formatting, naming and the
//! arguments beside `unsafe` are left to rustfmt and clippy, the dependencies to `dependencies.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use serde_json::Value;

const LINES_MAX: usize = 700;

/// This file: it spells out what the rules about text forbid.
const SELF: &str = "tests/tests/tidy.rs";

/// Where `unsafe` may stand, files or folders, and what for. One that needs it no longer has to go.
const UNSAFE: [(&str, &str); 13] = [
    ("core/src/pool.rs", "receive memory that several guards share"),
    (
        "core/src/socket.rs",
        "addresses of families that no library knows, and descriptors handed over as numbers",
    ),
    ("core/src/socket/burst.rs", "many packets in one call, each with its own length to be cut at"),
    ("core/src/socket/bytes.rs", "the two calls a message costs, without points of cancellation"),
    ("api/src/child/sys.rs", "a session made between fork and exec, and signals by number"),
    ("backend-uring/src/ring.rs", "queues shared with the kernel"),
    ("backend-uring/src/ring/", "the same, and its tests, which fork"),
    ("backend-uring/src/buffers.rs", "the buffer ring shared with the kernel"),
    ("tests/src/child.rs", "forking, and the disposition of SIGPIPE"),
    ("tests/src/seccomp.rs", "filters of system calls"),
    ("tests/tests/process_alloc.rs", "an allocator that counts"),
    ("benches/src/serve/uring/", "a minimal server on the bare ring, to compare with"),
    (
        "benches/src/serve/epoll/packets.rs",
        "lists of packets, for a minimal server to compare with",
    ),
];

/// What each file of Rust is checked for.
const RULES: [fn(&Source) -> Vec<String>; 6] = [
    opens_with_its_purpose,
    is_short,
    finishes_its_work,
    keeps_unsafe_in_its_place,
    runs_every_test,
    expects_what_it_allows,
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of it").into()
}

/// Every text file of the repository with its path from the root: what git knows or would add, and
/// without git (an unpacked archive) all but what is built.
fn files() -> BTreeMap<String, String> {
    let git = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let paths: Vec<PathBuf> = match git {
        Ok(output) if output.status.success() => {
            let listing = String::from_utf8(output.stdout).expect("our paths are UTF-8");
            listing.split_terminator('\0').map(PathBuf::from).collect()
        }
        _ => walk(&root()),
    };
    let read = |path: PathBuf| {
        // A file that is deleted and not yet committed cannot be read, nor can one that is no text.
        let text = fs::read_to_string(root().join(&path)).ok()?;
        Some((path.to_str()?.to_owned(), text))
    };
    paths.into_iter().filter_map(read).collect()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of ours is readable") {
        let path = entry.expect("a folder of ours is readable").path();
        if path.is_dir() {
            let skipped = [OsStr::new("target"), OsStr::new(".git")];
            if !path.file_name().is_some_and(|name| skipped.contains(&name)) {
                found.extend(walk(&path));
            }
        } else {
            found.push(path.strip_prefix(root()).expect("we walk below it").into());
        }
    }
    found
}

/// A file of Rust: its text, and its tokens in one flat row, without comments.
struct Source {
    path: String,
    text: String,
    tokens: Vec<Token>,
}

struct Token {
    text: String,
    line: usize,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let parsed = TokenStream::from_str(text);
        let parsed = parsed.unwrap_or_else(|err| panic!("{path} is no Rust: {err}"));
        let mut tokens = Vec::new();
        flatten(parsed, &mut tokens);
        Self { path: path.into(), text: text.into(), tokens }
    }

    fn complaint(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    /// A complaint for each place where `pattern` stands in the code.
    fn without(&self, pattern: &[&str], what: &str) -> Vec<String> {
        let places = self.tokens.windows(pattern.len());
        let hits = places.filter(|row| row.iter().map(|token| &token.text).eq(pattern));
        hits.map(|row| self.complaint(row[0].line, what)).collect()
    }
}

/// Appends the tokens of `stream`, the brackets of a group as tokens of their own.
fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let token = |text: &str, span: Span| Token { text: text.into(), line: span.start().line };
        let TokenTree::Group(group) = tree else {
            tokens.push(token(&tree.to_string(), tree.span()));
            continue;
        };
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::None => ("", ""),
        };
        tokens.push(token(open, group.span_open()));
        flatten(group.stream(), tokens);
        tokens.push(token(close, group.span_close()));
    }
}

fn opens_with_its_purpose(source: &Source) -> Vec<String> {
    let opens = source.text.starts_with("//!");
    (!opens).then(|| source.complaint(1, "does not open with `//!`")).into_iter().collect()
}

fn is_short(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let what = || source.complaint(lines, &format!("more than {LINES_MAX} lines"));
    (lines > LINES_MAX).then(what).into_iter().collect()
}

fn finishes_its_work(source: &Source) -> Vec<String> {
    let mut found = source.without(&["todo", "!"], "unfinished");
    found.extend(source.without(&["unimplemented", "!"], "unfinished"));
    found
}

fn keeps_unsafe_in_its_place(source: &Source) -> Vec<String> {
    let found = source.without(&["unsafe"], "unsafe outside the files that may have it");
    if UNSAFE.iter().any(|(place, _)| stands_in(&source.path, place)) { Vec::new() } else { found }
}

/// Whether `path` is the file `place`, or lies in it where it is a folder.
fn stands_in(path: &str, place: &str) -> bool {
    path == place || place.ends_with('/') && path.starts_with(place)
}

fn runs_every_test(source: &Source) -> Vec<String> {
    source.without(&["#", "[", "ignore"], "a test that is never run")
}

fn expects_what_it_allows(source: &Source) -> Vec<String> {
    let mut found = source.without(&["#", "[", "allow", "("], "allow, where expect ends by itself");
    found.extend(
        source.without(&["#", "!", "[", "allow", "("], "allow, where expect ends by itself"),
    );
    found
}

/// Marks of work put off need somebody's name, and no path may be one machine's.
fn text_complaints(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let complaint = |what: &str| format!("{path}:{}: {what}", at + 1);
        for word in ["TODO", "FIXME", "XXX"] {
            if words(line).any(|(found, rest)| found == word && !names_somebody(rest)) {
                found.push(complaint(&format!("{word} without a name, as in {word}(name)")));
            }
        }
        for place in ["/work/", "/root/", "/home/"] {
            if line.match_indices(place).any(|(at, _)| is_absolute(&line[..at])) {
                found.push(complaint(&format!("{place} is a path of one machine")));
            }
        }
    }
    found
}

/// The words of `line`, each with what follows it.
fn words(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let starts =
        line.char_indices().filter(move |&(at, c)| inside(c) && !line[..at].ends_with(inside));
    starts.map(move |(at, _)| {
        let rest = &line[at..];
        rest.split_at(rest.find(|c| !inside(c)).unwrap_or(rest.len()))
    })
}

fn names_somebody(rest: &str) -> bool {
    rest.strip_prefix('(').is_some_and(|rest| rest.find(')').is_some_and(|len| len > 0))
}

/// Whether a path that follows `before` begins there, and is no later part of an address or path.
fn is_absolute(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || "._-~}".contains(c))
}

/// What `cargo metadata` says of the packages of the workspace, and of those left out of it.
fn packages(files: &BTreeMap<String, String>) -> BTreeMap<String, Value> {
    let mut packages = BTreeMap::new();
    let manifests = files.keys().filter(|path| Path::new(path).ends_with("Cargo.toml"));
    for manifest in manifests {
        if packages.contains_key(manifest) {
            continue;
        }
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
            .arg(root().join(manifest))
            .output()
            .expect("cargo runs, since it runs this test");
        assert!(output.status.success(), "{manifest}: {}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
        for package in metadata["packages"].as_array().expect("metadata lists packages") {
            packages.insert(relative(&package["manifest_path"]), package.clone());
        }
    }
    packages
}

fn relative(path: &Value) -> String {
    let path = Path::new(path.as_str().expect("metadata gives paths as text"));
    let path = path.strip_prefix(root()).expect("our packages are below the root");
    path.to_str().expect("our paths are UTF-8").into()
}

/// The files that the files in `roots` lead to, by the modules they declare.
fn included(files: &BTreeMap<String, String>, roots: &BTreeSet<String>) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<String> = roots.iter().cloned().collect();
    while let Some(path) = next.pop() {
        let Some(text) = files.get(&path) else { continue };
        let file = Path::new(&path);
        let folder = if roots.contains(&path) || file.ends_with("mod.rs") {
            file.parent().expect("a file is in a folder").into()
        } else {
            file.with_extension("")
        };
        for module in modules(&Source::new(&path, text)) {
            let stem = folder.join(module);
            let children = [stem.with_extension("rs"), stem.join("mod.rs")];
            let children = children.iter().filter_map(|child| child.to_str());
            next.extend(children.filter(|child| !reached.contains(*child)).map(String::from));
        }
        reached.insert(path);
    }
    reached
}

/// The modules that `source` declares and does not hold, each as a path below its folder.
fn modules(source: &Source) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // The modules around, each with the depth of braces it ends at.
    let mut around: Vec<(&str, usize)> = Vec::new();
    let mut depth = 0;
    for (at, token) in source.tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                around.pop_if(|(_, end)| *end == depth);
            }
            "mod" => {
                let Some([name, mark]) = source.tokens.get(at + 1..at + 3) else { continue };
                if mark.text == ";" {
                    let path: PathBuf = around.iter().map(|(name, _)| *name).collect();
                    found.push(path.join(&name.text));
                } else if mark.text == "{" {
                    around.push((&name.text, depth));
                }
            }
            _ => {}
        }
    }
    found
}

/// What the page at `path` links to beside the web and itself, as paths from the root.
fn links(path: &str, text: &str) -> Vec<PathBuf> {
    let folder = Path::new(path).parent().expect("a file is in a folder");
    let mut found = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        if is_code {
            continue;
        }
        let inline = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let reference = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        for target in inline.chain(reference.map(|(_, target)| target.trim())) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:") {
                found.push(folder.join(file));
            }
        }
    }
    found
}

fn assert_none(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<_> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension() == Some(OsStr::new(extension))
}

fn is_rust(path: &str) -> bool {
    has_extension(path, "rs")
}

#[test]
fn every_file_of_rust_keeps_the_rules() {
    let mut found = Vec::new();
    for (path, text) in files().iter().filter(|(path, _)| is_rust(path)) {
        let source = Source::new(path, text);
        found.extend(RULES.iter().flat_map(|rule| rule(&source)));
    }
    assert_none(found);
}

#[test]
fn every_file_finishes_its_work_and_names_no_machine() {
    let files = files();
    let others = files.iter().filter(|(path, _)| path.as_str() != SELF);
    assert_none(others.flat_map(|(path, text)| text_complaints(path, text)));
}

#[test]
fn every_rule_can_fail() {
    let long = format!("//! Long.\n{}", "\n".repeat(LINES_MAX));
    let cases = [
        ("struct NoPurpose;", 1),
        (&long, 1),
        ("//! Fine: `unsafe`, `todo!()`.\nconst A: &str = \"unsafe todo!()\"; // unsafe", 0),
        ("//! One.\nfn f() { todo!() }", 1),
        ("//! One.\nfn f() { unimplemented!(\"later\") }", 1),
        ("//! Two.\nmacro_rules! m { () => { unsafe { f() } } }\nunsafe fn f() {}", 2),
        ("//! One.\n#[test]\n#[ignore = \"slow\"]\nfn f() {}", 1),
        ("//! Two.\n#![allow(dead_code)]\n#[allow(unused)]\nfn f() {}", 2),
    ];
    for (text, count) in cases {
        let source = Source::new("core/src/lib.rs", text);
        let found: Vec<_> = RULES.iter().flat_map(|rule| rule(&source)).collect();
        assert_eq!(found.len(), count, "{text}: {found:?}");
    }
}

#[test]
fn every_rule_about_text_can_fail() {
    let cases = [
        ("mktemp fetch.XXXXXX, MYTODO, TODO_LIST, TODO(ada): later", 0),
        ("// TODO: later, FIXME() now, XXX", 3),
        ("see https://example.org/home/, $HOME/work/ and ./work/", 0),
        ("cd /work/x; ls \"/root/.cargo\" (/home/ada)", 3),
    ];
    for (text, count) in cases {
        let found = text_complaints("page.md", text);
        assert_eq!(found.len(), count, "{text}: {found:?}");
    }
}

#[test]
fn what_may_be_unsafe_is_unsafe() {
    let files = files();
    let needs = |place: &str| {
        let mut there = files.iter().filter(|(path, _)| is_rust(path) && stands_in(path, place));
        there.any(|(path, text)| {
            Source::new(path, text).tokens.iter().any(|token| token.text == "unsafe")
        })
    };
    let idle = UNSAFE.iter().filter(|(place, _)| !needs(place));
    assert_none(idle.map(|(place, _)| format!("{place} needs no unsafe")));
}

#[test]
fn every_file_of_rust_is_included() {
    let files = files();
    let packages = packages(&files);
    let targets = packages.values().filter_map(|package| package["targets"].as_array()).flatten();
    let roots = targets.map(|target| relative(&target["src_path"])).collect();
    let included = included(&files, &roots);
    let orphans = files.keys().filter(|path| is_rust(path) && !included.contains(*path));
    assert_none(orphans.map(|path| format!("{path}: nobody includes it")));
}

#[test]
fn a_file_that_nobody_includes_is_noticed() {
    let files = [
        ("src/lib.rs", "mod a; mod b { mod c; }"),
        ("src/a.rs", "fn f() {} mod d;"),
        ("src/a/d.rs", ""),
        ("src/b/c/mod.rs", "mod e;"),
        ("src/b/c/e.rs", ""),
        ("src/c.rs", "mod f;"),
        ("src/c/f.rs", ""),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
    let included = included(&files, &["src/lib.rs".to_owned()].into());
    let orphans: Vec<_> = files.keys().filter(|path| !included.contains(*path)).collect();
    assert_eq!(orphans, ["src/c.rs", "src/c/f.rs"]);
}

#[test]
fn every_package_says_what_it_is() {
    let files = files();
    let mut found = Vec::new();
    for (manifest, package) in packages(&files) {
        let mut keys = vec!["description", "license", "edition", "rust_version"];
        // `publish` is an empty list where it is forbidden.
        if package["publish"].as_array().is_none_or(|registries| !registries.is_empty()) {
            keys.extend(["repository", "readme", "keywords", "categories"]);
            let docs = &package["metadata"]["docs"]["rs"]["targets"];
            if docs.as_array().is_none_or(Vec::is_empty) {
                found.push(format!("{manifest}: no targets for docs.rs"));
            }
        }
        let is_missing = |key: &&&str| {
            let value = &package[**key];
            let text = value.as_str().is_some_and(|text| !text.is_empty());
            !text && value.as_array().is_none_or(Vec::is_empty)
        };
        let missing = keys.iter().filter(is_missing);
        found.extend(missing.map(|key| format!("{manifest}: no {key}")));
        // A package that is a workspace of its own, as the fuzzer's, cannot inherit lints; it has some.
        let is_apart = files[&manifest].lines().any(|line| line == "[workspace]");
        let lints = if is_apart { "[lints.rust]" } else { "[lints]\nworkspace = true" };
        if !files[&manifest].contains(lints) {
            found.push(format!("{manifest}: not under the lints of the workspace"));
        }
    }
    assert_none(found);
}

#[test]
fn the_files_of_a_repository_are_there() {
    let files = files();
    let cases = [
        ("CHANGELOG.md", "Unreleased"),
        ("SECURITY.md", "Reporting"),
        ("ARCHITECTURE.md", "Reactor"),
        ("LICENSE-APACHE", "Apache License"),
        ("LICENSE-MIT", "MIT License"),
        // Clippy reads the nearest file alone, so what both should say stands in both.
        ("clippy.toml", "too-many-lines-threshold = 70"),
        ("core/clippy.toml", "too-many-lines-threshold = 70"),
        ("core/clippy.toml", "std::time::Instant::now"),
        ("rustfmt.toml", ""),
    ];
    let says = |path: &str, word: &str| files.get(path).is_some_and(|text| text.contains(word));
    let wrong = cases.iter().filter(|(path, word)| !says(path, word));
    assert_none(wrong.map(|(path, word)| format!("{path}: not there, or no {word:?}")));
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let mut found = Vec::new();
    for (path, text) in files().iter().filter(|(path, _)| has_extension(path, "md")) {
        let dead = links(path, text).into_iter().filter(|link| !root().join(link).exists());
        found.extend(dead.map(|link| format!("{path}: no {}", link.display())));
    }
    assert_none(found);
    let page = "[a](b.md#c) [d](https://e.f) [g](#h)\n```\n[i](j)\n```\n[k]: l/m.rs\n";
    assert_eq!(links("docs/page.md", page), [Path::new("docs/b.md"), Path::new("docs/l/m.rs")]);
}

#[test]
fn the_last_step_of_ci_is_the_test_command_of_the_readme() {
    let files = files();
    let last = files[".ci/run"].trim_end().lines().next_back();
    let command = last.and_then(|line| line.strip_prefix("exec ")).expect("it ends with an exec");
    // A remark may stand behind it.
    let mut commands = files["README.md"].lines().filter_map(|line| line.split('#').next());
    assert!(commands.any(|it| it.trim() == command), "no line `{command}`");
}
