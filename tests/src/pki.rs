//! Certificates made on the spot, as the files that programs take.
//!
//! Invariant: everything is in one folder that goes with its [`Pki`]. Which certificate is wrong in
//! which way is said where it is made; that the library finds it wrong is for tests to say.

use std::{fs, path::Path};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose, date_time_ymd};
use tempfile::TempDir;

use crate::certificates::{Authority, Signed};

/// An authority, what it has signed, and a stranger.
///
/// | files | what |
/// | --- | --- |
/// | `ca.pem` | the authority |
/// | `server.pem`, `server.key` | for `localhost`, 127.0.0.1 and ::1, with the authority behind it |
/// | `second.pem`, `second.key` | for `second.example` and all below `wild.example` |
/// | `client.pem`, `client.key` | a client's |
/// | `expired.pem`, `expired.key` | for the same names as the first, valid until 2001 |
/// | `future.pem`, `future.key` | the same, valid from 4000 on |
/// | `purpose.pem`, `purpose.key` | the same, but only a client's |
/// | `common.pem`, `common.key` | for `localhost`, but only by its subject |
/// | `stranger-ca.pem`, `stranger.pem`, `stranger.key` | another authority, and the first names by it |
/// | `stranger-client.pem`, `stranger-client.key` | a client's by that one |
#[derive(Debug)]
pub struct Pki {
    folder: TempDir,
}

fn authority(name: &str) -> Authority {
    Authority::named(name).expect("the parameters are good")
}

fn params(subject: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|it| (*it).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("the names are good");
    params.distinguished_name.push(DnType::CommonName, subject);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn client(subject: &str) -> CertificateParams {
    let mut params = params(subject, &[]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

impl Pki {
    /// Makes all of it.
    ///
    /// # Panics
    ///
    /// Panics when the files cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let pki = Self { folder: tempfile::tempdir().expect("there is a place for files") };
        let (ca, stranger) = (authority("netproc test"), authority("stranger"));
        pki.write("ca.pem", &ca.pem());
        pki.write("stranger-ca.pem", &stranger.pem());
        let here = || params("server", &["localhost", "127.0.0.1", "::1"]);
        let (mut expired, mut future, mut purpose) = (here(), here(), here());
        expired.not_after = date_time_ymd(2001, 1, 1);
        future.not_before = date_time_ymd(4000, 1, 1);
        purpose.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let made = [
            ("server", &ca, here()),
            ("second", &ca, params("second", &["second.example", "*.wild.example"])),
            ("client", &ca, client("client")),
            ("expired", &ca, expired),
            ("future", &ca, future),
            ("purpose", &ca, purpose),
            ("common", &ca, params("localhost", &[])),
            ("stranger", &stranger, here()),
            ("stranger-client", &stranger, client("stranger")),
        ];
        for (name, issuer, params) in made {
            let Signed { certificate, key } =
                issuer.sign_params(params).expect("the parameters are good");
            // Some servers want the authority's own certificate with it.
            pki.write(&format!("{name}.pem"), &(certificate + &issuer.pem()));
            pki.write(&format!("{name}.key"), &key);
        }
        pki
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("the folder is ours");
    }

    /// The path of one of the files, or of one still to be made.
    ///
    /// # Panics
    ///
    /// Panics when the place for temporary files has a name that is no text.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("paths here are text").into()
    }

    /// The folder they are in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The arguments with which programs of ours show this identity.
    #[must_use]
    pub fn identity(&self, name: &str) -> [String; 4] {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        ["--cert".into(), self.path(&certificate), "--key".into(), self.path(&key)]
    }
}
