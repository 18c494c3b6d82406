//! Files of certificates, keys and revocation lists, in PEM.
//!
//! Invariant: no more than [`FILE_LEN_MAX`] bytes are read of any file, and what is reported about a
//! file holds nothing of its content. What the certificates say is left to whoever uses them.

use std::{fs::File, io::Read, path::Path};

use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    pem::{self, PemObject},
};

use super::error::{TlsError, TlsFileProblem};

/// Whatever is larger is no file of certificates: every root there is takes a quarter of a MiB.
pub(super) const FILE_LEN_MAX: usize = 4 << 20;

/// The DER of a sequence begins with this.
const DER_SEQUENCE: u8 = 0x30;

/// How the first and the last line of every private key end.
const KEY: &[u8] = b"PRIVATE KEY-----";

/// Reads a whole file. Blocks, as files do.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let problem = |problem| TlsError::file(Some(path), problem);
    let mut bytes = Vec::new();
    let limit = FILE_LEN_MAX as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|err| problem(TlsFileProblem::Read(err)))?;
    if bytes.len() > FILE_LEN_MAX { Err(problem(TlsFileProblem::TooLarge)) } else { Ok(bytes) }
}

/// The certificates in `bytes`, one at least.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFileProblem> {
    all(bytes, TlsFileProblem::NoCertificate)
}

/// The revocation lists in `bytes`, one at least.
pub(super) fn revocation_lists(
    bytes: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsFileProblem> {
    all(bytes, TlsFileProblem::NoRevocationList)
}

/// The first private key in `bytes`.
pub(super) fn key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsFileProblem> {
    check_is_pem(bytes)?;
    let encrypted: [&[u8]; 2] =
        [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];
    // Those behind the first key, whose beginning and end have these words, are not asked for.
    let mut marks = bytes.windows(KEY.len()).enumerate().filter(|(_, window)| *window == KEY);
    let first = marks.nth(1).map_or(bytes, |(end, _)| &bytes[..end]);
    if encrypted.iter().any(|mark| contains(first, mark)) {
        return Err(TlsFileProblem::EncryptedKey);
    }
    // Of the library's error only this much is used: its text may quote the file.
    PrivateKeyDer::from_pem_slice(bytes).map_err(|err| {
        let is_other_pem = matches!(err, pem::Error::NoItemsFound);
        if is_other_pem { TlsFileProblem::NoKey } else { TlsFileProblem::Damaged }
    })
}

/// Every section of one kind.
fn all<T: PemObject>(bytes: &[u8], none: TlsFileProblem) -> Result<Vec<T>, TlsFileProblem> {
    check_is_pem(bytes)?;
    let found: Result<Vec<T>, _> = T::pem_slice_iter(bytes).collect();
    let found = found.map_err(|_| TlsFileProblem::Damaged)?;
    if found.is_empty() { Err(none) } else { Ok(found) }
}

fn check_is_pem(bytes: &[u8]) -> Result<(), TlsFileProblem> {
    if contains(bytes, b"-----BEGIN ") {
        Ok(())
    } else if bytes.iter().all(u8::is_ascii_whitespace) {
        Err(TlsFileProblem::Empty)
    } else if bytes.first() == Some(&DER_SEQUENCE) {
        Err(TlsFileProblem::Der)
    } else {
        Err(TlsFileProblem::NotPem)
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
