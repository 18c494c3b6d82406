//! The numbers that the pages tell, against what they count.
//!
//! Links and the shape of the pages are `tidy`'s business, the figures of a run the report's.

use std::{fs, path::Path};

use netproc::{CodingError, CodingSystem};

/// A page of the repository, each stretch of white space one space.
fn page(path: &str) -> String {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of it");
    let text = fs::read_to_string(root.join(path)).expect("the page is there");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_pages_count_the_coding_systems_right() {
    let (mut known, mut refused) = (0, 0);
    for row in include_str!("../golden/coding/names.tsv").lines() {
        let name = row.split('\t').next().expect("a line has a first column");
        match name.parse::<CodingSystem>() {
            Ok(_) => known += 1,
            Err(CodingError::Refused { .. }) => refused += 1,
            Err(err) => panic!("{name}: {err}"),
        }
    }
    for (path, words) in [
        ("README.md", format!("any of {known} systems under Emacs's names")),
        (
            "api/EMACS.md",
            format!("{refused} of Emacs's {} systems are refused by name", known + refused),
        ),
    ] {
        assert!(page(path).contains(&words), "{path}: {words:?}");
    }
}
