//! The report on paper: `report.json`, `report.html`, and the table of the README.
//!
//! Invariant: everything written is computed from what was measured and kept in `report.json`; the
//! pages can be written again from it.

mod chart;
mod html;
mod readme;

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    figures::Figures,
    machine::Machine,
    measure::Measured,
    requirement::{Evidence, Requirement},
    serve::Kind,
    turnover::Turnover,
};

/// Everything of one run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// The command that made it.
    pub(crate) command: String,
    /// Versions of what was measured.
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
    /// What counted system calls, in words.
    pub(crate) counted_by: String,
    /// What netproc chooses on this machine.
    pub(crate) automatic: Option<Kind>,
    pub(crate) cells: Vec<Measured>,
    pub(crate) turnovers: Vec<Turnover>,
}

/// The report as it is kept: what was measured, and for other programs what it comes to.
#[derive(Serialize)]
struct Kept<'a> {
    #[serde(flatten)]
    report: &'a Report,
    requirements: Vec<Requirement>,
    /// For each cell by its name.
    figures: BTreeMap<&'a str, Vec<Figures>>,
}

impl Report {
    /// Reads what an earlier run has left in `folder`.
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(json_path(folder))?)?)
    }

    /// Writes both files to `folder`, each at once or not at all.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let figures = self.cells.iter().map(|it| (it.cell.name.as_str(), it.figures())).collect();
        let requirements = self.requirements();
        let json = serde_json::to_vec_pretty(&Kept { report: self, requirements, figures })?;
        replace(&json_path(folder), &json)?;
        replace(&html_path(folder), html::page(self)?.as_bytes())
    }

    pub(crate) fn requirements(&self) -> Vec<Requirement> {
        let (cells, turnovers) = (&self.cells, &self.turnovers);
        Evidence { cells, turnovers, automatic: self.automatic }.requirements()
    }

    /// The cell of that name, if it was measured.
    fn cell(&self, name: &str) -> Option<&Measured> {
        self.cells.iter().find(|it| it.cell.name == name)
    }

    /// Refuses what is not to be published: figures of a run in which something failed, or was not there at all.
    pub(crate) fn published(&self) -> io::Result<()> {
        let servers = self.servers();
        let missing = Kind::EVERY.into_iter().find(|kind| !servers.contains(kind));
        let why = match missing {
            Some(kind) => format!("{kind} is not in this run"),
            None if !self.is_whole() => "something failed in this run".into(),
            None => return Ok(()),
        };
        Err(io::Error::other(format!("{why}, so its tables are not for the README")))
    }

    /// Whether everything ran that was to.
    pub(crate) fn is_whole(&self) -> bool {
        let mut rows = self.cells.iter().flat_map(|cell| &cell.rows);
        rows.all(|row| row.failed.is_none()) && self.turnovers.iter().all(|it| it.failed.is_none())
    }

    /// The servers that were measured in any cell, in their usual order.
    fn servers(&self) -> Vec<Kind> {
        let is_there = |kind: &Kind| self.cells.iter().any(|cell| cell.row(*kind).is_some());
        Kind::EVERY.into_iter().filter(is_there).collect()
    }

    /// The table for the README, in Markdown.
    pub(crate) fn table(&self) -> String {
        readme::table(self)
    }
}

/// Puts `table` into a page between its marks.
pub(crate) fn update(page: &Path, table: &str) -> io::Result<()> {
    let text = fs::read_to_string(page)?;
    let updated = readme::between_marks(&text, table)
        .ok_or_else(|| io::Error::other(format!("no marks in {}", page.display())))?;
    replace(page, updated.as_bytes())
}

pub(crate) fn json_path(folder: &Path) -> PathBuf {
    folder.join("report.json")
}

pub(crate) fn html_path(folder: &Path) -> PathBuf {
    folder.join("report.html")
}

/// Replaces a file by one with these contents.
fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    // As any new file, which a temporary one is not: for whoever the umask lets.
    let permissions = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(folder)?;
    file.write_all(contents)?;
    file.persist(path)?;
    Ok(())
}

/// The versions of the libraries measured, as the build resolved them.
pub(crate) fn versions() -> BTreeMap<String, String> {
    let lock = include_str!("../../../Cargo.lock");
    let wanted = ["netproc", "io-uring", "tokio", "mio", "monoio", "compio", "glommio"];
    let mut versions = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        if let (Some(name), Some(version)) = (value("name"), value("version"))
            && wanted.contains(&name.as_str())
        {
            let all: &mut String = versions.entry(name).or_default();
            if !all.is_empty() {
                all.push_str(", ");
            }
            all.push_str(&version);
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::tests::measured;

    fn report(cell: Measured) -> Report {
        Report {
            machine: Machine::this(),
            command: "cargo bench".into(),
            versions: versions(),
            rounds: 2,
            seconds: 0.1,
            counted_by: "nothing".into(),
            automatic: Some(Kind::NetprocUring),
            cells: vec![cell],
            turnovers: Vec::new(),
        }
    }

    #[test]
    fn a_run_in_which_something_failed_or_is_missing_is_not_published() {
        let mut report = report(measured(&Kind::EVERY.map(|server| (server, &[3000][..]))));
        assert!(report.published().is_ok());
        let mio = report.cells[0].rows.remove(6);
        assert!(report.published().is_err(), "without {}", mio.server);
        report.cells[0].rows.push(mio);
        report.cells[0].rows[1].failed = Some("wrong bytes".into());
        assert!(report.published().is_err());
    }

    #[test]
    fn what_was_measured_is_kept_and_the_page_fetches_nothing() {
        let cell = measured(&[(Kind::NetprocUring, &[3000, 3200]), (Kind::RawUring, &[2000])]);
        let report = report(cell);
        let folder = tempfile::tempdir().unwrap();
        report.write(folder.path()).unwrap();
        assert_eq!(Report::read(folder.path()).unwrap().table(), report.table());
        let page = fs::read_to_string(html_path(folder.path())).unwrap();
        assert!(
            page.contains("2 rounds of 0.1 s or longer") && page.contains("medians of 2 rounds")
        );
        assert!(page.contains("MISSED in 1 of 1") && report.table().contains("MISSED in 1 of 1"));
        let mut addresses = page.split("http").skip(1);
        assert!(addresses.all(|it| it.starts_with("://www.w3.org/2000/svg")), "{page}");
    }
}
