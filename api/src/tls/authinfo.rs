//! Where `:client-certificate` t looks: `~/.authinfo` and `~/.netrc`.
//!
//! Invariant: of these files, which are full of passwords, nothing is kept but the four words asked
//! for. Encrypted files and other keepers of secrets are not looked at.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    error::{TlsError, TlsFileProblem},
    files,
};

/// The files below the home, in the order in which they are asked.
const FILES: [&str; 2] = [".authinfo", ".netrc"];

/// One entry. Without a host it is the `default`.
#[derive(Default)]
struct Entry {
    host: Option<String>,
    port: Option<String>,
    key: Option<String>,
    certificate: Option<String>,
}

/// The files of certificate and key that the first fitting entry names.
pub(super) fn find(
    home: &Path,
    host: &str,
    service: &str,
) -> Result<Option<(PathBuf, PathBuf)>, TlsError> {
    for file in FILES {
        let bytes = match files::read(&home.join(file)) {
            Ok(bytes) => bytes,
            Err(TlsError::File { problem: TlsFileProblem::Read(err), .. })
                // The second where the home is no folder, as /dev/null is that of many a service.
                if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                continue;
            }
            Err(err) => return Err(err),
        };
        for entry in entries(&String::from_utf8_lossy(&bytes)) {
            let fits_host = entry.host.is_none_or(|it| it.eq_ignore_ascii_case(host));
            let fits_port = entry.port.is_none_or(|it| it == service);
            if let (Some(certificate), Some(key)) = (entry.certificate, entry.key)
                && fits_host
                && fits_port
            {
                return Ok(Some((expand(home, &certificate), expand(home, &key))));
            }
        }
    }
    Ok(None)
}

/// `path` with the home for a leading `~`; a relative one is below the home too, for who starts the
/// program where is no part of the file.
fn expand(home: &Path, path: &str) -> PathBuf {
    home.join(path.strip_prefix("~/").unwrap_or(path))
}

/// Reads the entries. They may span lines; a macro ends at the first empty line.
fn entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut lines = text.lines();
    let mut keyword: Option<String> = None;
    while let Some(mut line) = lines.next() {
        while let Some(word) = next_word(&mut line, keyword.is_none()) {
            let entry: Option<&mut Entry> = entries.last_mut();
            match (keyword.take().as_deref(), entry) {
                (None, _) if word == "default" => entries.push(Entry::default()),
                (None, _) if word == "macdef" => {
                    lines.by_ref().take_while(|line| !line.trim().is_empty()).for_each(drop);
                    break;
                }
                (None, _) => keyword = Some(word),
                (Some("machine" | "host"), _) => {
                    entries.push(Entry { host: Some(word), ..Entry::default() });
                }
                (Some("port" | "protocol"), Some(entry)) => entry.port = Some(word),
                (Some("key"), Some(entry)) => entry.key = Some(word),
                (Some("cert"), Some(entry)) => entry.certificate = Some(word),
                _ => {}
            }
        }
    }
    entries
}

/// Takes the next word off a line: up to white space, or within quotes. None is in a comment, which begins only where
/// `may_be_comment`: a password may look like one.
fn next_word(line: &mut &str, may_be_comment: bool) -> Option<String> {
    let rest = line.trim_start();
    let (word, after) = match rest.chars().next()? {
        '#' if may_be_comment => return None,
        quote @ ('"' | '\'') => {
            let rest = &rest[1..];
            rest.split_once(quote).unwrap_or((rest, ""))
        }
        _ => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
    };
    *line = after;
    Some(word.to_owned())
}
