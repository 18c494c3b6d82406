//! Files of certificates, keys and revocation lists that are good, bad, or not there.

use std::{error::Error, fs, path::Path};

use tempfile::TempDir;

use super::*;
use crate::tls::{TlsError, TlsFileProblem};

/// A folder with good and bad files in it.
struct Folder {
    folder: TempDir,
    key_pem: String,
}

impl Folder {
    fn new() -> Self {
        let root = Authority::new("root");
        let (certificate, key_pem) = root.pems(&["a.example"]);
        let folder = TempDir::new().unwrap();
        let body = key_pem.lines().nth(1).unwrap();
        let encrypted = key_pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let traditional = format!(
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n{body}\n-----END RSA PRIVATE KEY-----\n"
        );
        let half = &key_pem[..key_pem.len() / 2];
        let no_key = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let files: [(&str, Vec<u8>); 18] = [
            ("plain-first.pem", format!("{key_pem}{encrypted}{traditional}").into()),
            ("plain-last.pem", format!("{encrypted}{key_pem}").into()),
            ("root.pem", root.pem().into()),
            ("certificate.pem", certificate.clone().into()),
            ("key.pem", key_pem.clone().into()),
            ("both.pem", format!("{certificate}{key_pem}").into()),
            ("another-key.pem", key().serialize_pem().into()),
            ("empty.pem", Vec::new()),
            ("blank.pem", b" \n\n".into()),
            ("garbage.pem", b"\xff\xfe\x00garbage".into()),
            ("certificate.der", root.0.der().to_vec()),
            ("encrypted.pem", encrypted.into()),
            ("traditional.pem", traditional.into()),
            ("half.pem", half.into()),
            ("no-key.pem", no_key.into()),
            ("no-base64.pem", key_pem.replace(body, &format!("{body}!!")).into()),
            ("nonsense.pem", format!("{certificate}{nonsense}").into()),
            ("large.pem", vec![b'\n'; 10 << 20]),
        ];
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        Self { folder, key_pem }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn identity(&self, certificate: &str, key: &str) -> Result<TlsIdentity, TlsError> {
        TlsIdentity::from_files(self.path(certificate), self.path(key))
    }

    /// Asserts that `error` is about `file`, names it, and shows nothing of the key.
    fn assert_names(&self, error: &TlsError, file: &str, expected: &str) {
        let TlsError::File { path, problem } = error else { panic!("{file}: {error:?}") };
        assert_eq!(path, &self.path(file));
        assert!(format!("{problem:?}").starts_with(expected), "{file}: {problem:?}");
        let mut text = format!("{error:?}");
        let mut cause: Option<&dyn Error> = Some(error);
        while let Some(error) = cause {
            text += &format!(": {error} {error:?}");
            cause = error.source();
        }
        assert!(text.contains(file), "{text}");
        let mut secrets = self.key_pem.lines().filter(|line| !line.starts_with('-'));
        assert!(secrets.all(|line| !text.contains(&line[..12])), "{file}: {text}");
    }
}

#[test]
fn an_identity_is_read_from_its_files() {
    let folder = Folder::new();
    let cases = [
        ("certificate.pem", "key.pem"),
        ("both.pem", "both.pem"),
        ("certificate.pem", "plain-first.pem"),
    ];
    for (certificate, key) in cases {
        let identity = folder.identity(certificate, key).unwrap();
        assert_eq!(identity.chain().count(), 1, "{certificate}");
        assert_eq!(format!("{identity:?}"), "TlsIdentity { certificates: 1, .. }");
    }
}

#[test]
fn a_bad_file_of_a_certificate_is_named() {
    let folder = Folder::new();
    let cases = [
        ("missing.pem", "Read("),
        // A folder is there and cannot be read, whoever asks.
        ("", "Read("),
        ("empty.pem", "Empty"),
        ("blank.pem", "Empty"),
        ("garbage.pem", "NotPem"),
        ("certificate.der", "Der"),
        ("half.pem", "Damaged"),
        ("key.pem", "NoCertificate"),
        ("large.pem", "TooLarge"),
    ];
    for (file, expected) in cases {
        let error = folder.identity(file, "key.pem").unwrap_err();
        folder.assert_names(&error, file, expected);
        let error = TlsTrust::from_file(folder.path(file)).unwrap_err();
        folder.assert_names(&error, file, expected);
        let error = Authority::new("root").trust().and_revocation_file(folder.path(file));
        let expected = expected.replace("NoCertificate", "NoRevocationList");
        folder.assert_names(&error.unwrap_err(), file, &expected);
    }
    let error = TlsTrust::from_file(folder.path("nonsense.pem")).unwrap_err();
    folder.assert_names(&error, "nonsense.pem", "BadCertificate(1)");
}

#[test]
fn a_bad_file_of_a_key_is_named_and_never_shown() {
    let folder = Folder::new();
    let cases = [
        ("missing.pem", "Read("),
        ("empty.pem", "Empty"),
        ("garbage.pem", "NotPem"),
        ("certificate.der", "Der"),
        ("certificate.pem", "NoKey"),
        ("encrypted.pem", "EncryptedKey"),
        ("traditional.pem", "EncryptedKey"),
        ("plain-last.pem", "EncryptedKey"),
        ("half.pem", "Damaged"),
        ("no-base64.pem", "Damaged"),
        ("no-key.pem", "BadKey"),
        ("large.pem", "TooLarge"),
    ];
    for (file, expected) in cases {
        let error = folder.identity("certificate.pem", file).unwrap_err();
        folder.assert_names(&error, file, expected);
    }
}

#[cfg(unix)]
#[test]
fn a_file_without_permission_is_named() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    fs::set_permissions(folder.path("key.pem"), fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may read it all the same.
    match folder.identity("certificate.pem", "key.pem") {
        Err(error) => folder.assert_names(&error, "key.pem", "Read("),
        Ok(_) => assert!(fs::read(folder.path("key.pem")).is_ok(), "only who may read it, did"),
    }
}

#[test]
fn a_key_of_another_certificate_is_refused_and_both_files_are_named() {
    let folder = Folder::new();
    let error = folder.identity("certificate.pem", "another-key.pem").unwrap_err();
    let TlsError::KeyMismatch { certificate, key } = &error else { panic!("{error:?}") };
    assert_eq!(certificate.as_deref(), Some(&*folder.path("certificate.pem")));
    assert_eq!(key.as_deref(), Some(&*folder.path("another-key.pem")));
    let text = error.to_string();
    assert!(text.contains("certificate.pem") && text.contains("another-key.pem"), "{text}");

    let error = TlsIdentity::from_pem(Authority::new("root").pem(), key_pem()).unwrap_err();
    assert_eq!(error.to_string(), "the key is not that of the certificate");
}

fn key_pem() -> String {
    key().serialize_pem()
}

#[test]
fn a_file_just_as_large_as_allowed_is_read() {
    let folder = Folder::new();
    let mut root = fs::read(folder.path("root.pem")).unwrap();
    root.resize(4 << 20, b'\n');
    fs::write(folder.path("padded.pem"), &root).unwrap();
    assert_eq!(TlsTrust::from_file(folder.path("padded.pem")).unwrap().root_count(), 1);
    root.push(b'\n');
    fs::write(folder.path("padded.pem"), &root).unwrap();
    let error = TlsTrust::from_file(folder.path("padded.pem")).unwrap_err();
    folder.assert_names(&error, "padded.pem", "TooLarge");
}

#[test]
fn the_same_problems_are_told_of_pem_in_memory() {
    let is = |error: TlsError, expected: &str| {
        assert!(format!("{error:?}").starts_with(expected), "{error:?}");
    };
    is(TlsTrust::from_pem("").unwrap_err(), "Pem(Empty)");
    is(TlsTrust::from_pem(key_pem()).unwrap_err(), "Pem(NoCertificate)");
    let root = Authority::new("root");
    is(TlsIdentity::from_pem(root.pem(), root.pem()).unwrap_err(), "Pem(NoKey)");
    is(root.trust().and_revocation_pem(root.pem()).unwrap_err(), "Pem(NoRevocationList)");
    let list = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    is(root.trust().and_revocation_pem(list).unwrap_err(), "Pem(BadRevocationList)");
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    is(TlsIdentity::from_pem(nonsense, key_pem()).unwrap_err(), "Pem(BadCertificate(0))");
}

/// Writes `.authinfo` and `.netrc` to the folder and looks there.
fn look_up(folder: &Folder, authinfo: Option<&str>, netrc: Option<&str>) -> Result<bool, TlsError> {
    for (name, content) in [(".authinfo", authinfo), (".netrc", netrc)] {
        match content {
            Some(content) => fs::write(folder.path(name), content).unwrap(),
            None => drop(fs::remove_file(folder.path(name))),
        }
    }
    let home: &Path = folder.folder.path();
    Ok(TlsIdentity::from_authinfo_below(home, "mail.example", "imap")?.is_some())
}

#[test]
fn an_identity_is_found_in_authinfo_and_netrc() {
    let folder = Folder::new();
    let files = "key key.pem cert certificate.pem";
    let absolute = format!(
        "machine mail.example key \"{}\" cert '{}'",
        folder.path("key.pem").display(),
        folder.path("certificate.pem").display()
    );
    let cases: [(String, bool); 17] = [
        (format!("machine mail.example {files}"), true),
        (format!("machine Mail.Example port imap login me password x {files}"), true),
        (format!("machine mail.example port smtp {files}"), false),
        (format!("machine other.example {files}"), false),
        (format!("default {files}"), true),
        ("machine mail.example key ~/key.pem cert \"certificate.pem\"".into(), true),
        (absolute, true),
        ("machine mail.example key key.pem".into(), false),
        (format!("machine mail.example login a password b\nmachine mail.example {files}"), true),
        (format!("machine mail.example\n  port imap\n  {files}\n"), true),
        (format!("# once: machine mail.example {files}"), false),
        (format!("machine mail.example {files} # machine"), true),
        (format!("machine mail.example password #x {files}"), true),
        (format!("machine a.example password #\nmachine mail.example {files}"), true),
        (format!("macdef init\nmachine mail.example {files}\n\n"), false),
        (format!("macdef init\ncd /\n\nmachine mail.example {files}\n"), true),
        (format!("machine other.example password machine {files}"), false),
    ];
    for (content, expected) in &cases {
        assert_eq!(look_up(&folder, Some(content), None).unwrap(), *expected, "{content}");
        assert_eq!(look_up(&folder, None, Some(content)).unwrap(), *expected, "{content}");
    }
    assert!(!look_up(&folder, None, None).unwrap(), "no file is no error");
}

#[test]
fn authinfo_goes_before_netrc_and_its_bad_files_are_named() {
    let folder = Folder::new();
    let good = "machine mail.example key key.pem cert certificate.pem";
    let bad = "machine mail.example key missing.pem cert certificate.pem";
    assert!(look_up(&folder, Some("machine other.example key a cert b"), Some(good)).unwrap());
    assert!(look_up(&folder, Some(good), Some(bad)).unwrap());
    let error = look_up(&folder, Some(bad), Some(good)).unwrap_err();
    folder.assert_names(&error, "missing.pem", "Read(");
    fs::remove_file(folder.path(".authinfo")).unwrap();
    fs::create_dir(folder.path(".authinfo")).unwrap();
    let below = |home| TlsIdentity::from_authinfo_below(home, "mail.example", "imap");
    assert!(matches!(below(Path::new("/dev/null")), Ok(None)), "who has no home has no file");
    let error = below(folder.folder.path());
    assert!(matches!(error, Err(TlsError::File { problem: TlsFileProblem::Read(_), .. })));
}
