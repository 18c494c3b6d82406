//! Priority strings of GnuTLS: which versions of TLS they leave.
//!
//! Invariant: what a string takes away is not spoken, or the string is refused; what it adds beyond what
//! is spoken here is passed over, which is only ever stricter. All that is spoken has forward secrecy and
//! authenticated encryption of 128 bits at least, so much of what strings forbid is forbidden already.

use crate::tls::TlsVersion;

/// What is spoken, the oldest first.
const VERSIONS: [&str; 2] = ["VERS-TLS1.2", "VERS-TLS1.3"];

/// Sets to begin with of which everything spoken here is part.
const SETS: [&str; 5] = ["NORMAL", "PERFORMANCE", "LEGACY", "PFS", "SECURE128"];

/// Options that ask for nothing that is not done anyway, or would only allow more.
const OPTIONS: [&str; 14] = [
    "%COMPAT",
    "%DISABLE_SAFE_RENEGOTIATION",
    "%DUMBFW",
    "%FORCE_ETM",
    "%LATEST_RECORD_VERSION",
    "%NO_ETM",
    "%PARTIAL_RENEGOTIATION",
    "%PROFILE_LEGACY",
    "%PROFILE_LOW",
    "%PROFILE_MEDIUM",
    "%SSL3_RECORD_VERSION",
    "%UNSAFE_RENEGOTIATION",
    "%VERIFY_ALLOW_SIGN_RSA_MD5",
    "%VERIFY_ALLOW_X509_V1_CA_CRT",
];

/// What is not spoken here, so that it may well be taken away. A `*` stands for any rest.
const UNSPOKEN: [&str; 28] = [
    "3DES-CBC",
    "AES-128-CBC",
    "AES-128-CCM*",
    "AES-256-CBC",
    "AES-256-CCM*",
    "ANON-*",
    "ARCFOUR-*",
    "CAMELLIA-*",
    "COMP-*",
    "CTYPE-OPENPGP",
    "DES-CBC",
    "DHE-*",
    "ECDHE-PSK",
    "GROUP-FFDHE*",
    "MD5",
    "NULL",
    "PSK",
    "RSA",
    "RSA-PSK",
    "SHA1",
    "SIGN-*-MD5",
    "SIGN-*-SHA1",
    "SIGN-DSA-*",
    "SRP*",
    "VERS-DTLS*",
    "VERS-SSL3.0",
    "VERS-TLS1.0",
    "VERS-TLS1.1",
];

/// The lowest and the highest version that `text` leaves.
///
/// # Errors
///
/// Why it cannot be honoured.
pub(super) fn versions(text: &str) -> Result<(TlsVersion, TlsVersion), &'static str> {
    let mut words = text.split(':').map(str::trim);
    let set = words.next().unwrap_or_default();
    if !SETS.contains(&set) {
        return Err("only NORMAL, PERFORMANCE, LEGACY, PFS and SECURE128 are sets to begin with");
    }
    let mut spoken = [true, true];
    for word in words {
        if word.starts_with('%') {
            if !OPTIONS.contains(&word) {
                return Err("an option that is not known here");
            }
        } else if let Some(added) = word.strip_prefix('+') {
            speak(added, true, &mut spoken);
        } else if let Some(taken) = word.strip_prefix(['-', '!']) {
            if !speak(taken, false, &mut spoken) && !is_unspoken(taken) {
                return Err("something is taken away that may be spoken here");
            }
        } else if !word.is_empty() {
            return Err("a word that is neither an option nor added nor taken away");
        }
    }
    match spoken {
        [true, true] => Ok((TlsVersion::V1_2, TlsVersion::V1_3)),
        [true, false] => Ok((TlsVersion::V1_2, TlsVersion::V1_2)),
        [false, true] => Ok((TlsVersion::V1_3, TlsVersion::V1_3)),
        [false, false] => Err("no version is left, of 1.2 and 1.3"),
    }
}

/// Adds or takes away versions; returns whether `word` names some that are spoken here.
fn speak(word: &str, on: bool, spoken: &mut [bool; 2]) -> bool {
    let all = matches!(word, "VERS-ALL" | "VERS-TLS-ALL");
    let mut any = false;
    for (name, spoken) in VERSIONS.into_iter().zip(spoken) {
        if all || word == name {
            (*spoken, any) = (on, true);
        }
    }
    any
}

fn is_unspoken(word: &str) -> bool {
    UNSPOKEN.into_iter().any(|pattern| match pattern.split_once('*') {
        Some((begin, end)) => {
            let rest = word.strip_prefix(begin);
            rest.is_some_and(|rest| rest.ends_with(end))
        }
        None => word == pattern,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_leaves_versions_or_is_refused() {
        use TlsVersion::{V1_2, V1_3};
        let both = Some((V1_2, V1_3));
        let cases = [
            ("NORMAL", both),
            // What Emacs says unless told otherwise.
            ("NORMAL:%DUMBFW", both),
            ("NORMAL:%DUMBFW:-VERS-TLS1.0:-VERS-TLS1.1", both),
            ("PFS:-VERS-TLS1.3", Some((V1_2, V1_2))),
            ("SECURE128:!VERS-TLS1.2", Some((V1_3, V1_3))),
            ("NORMAL:-VERS-ALL:+VERS-TLS1.3", Some((V1_3, V1_3))),
            ("NORMAL:-VERS-TLS-ALL:+VERS-TLS1.2:+VERS-TLS1.0", Some((V1_2, V1_2))),
            ("NORMAL:-VERS-TLS1.3:+VERS-TLS1.3", both),
            ("NORMAL:-ARCFOUR-128:-3DES-CBC:-SHA1:-RSA:-DHE-RSA:-SIGN-RSA-SHA1", both),
            ("NORMAL:+ANON-DH:+ARCFOUR-128:+NONSENSE", both),
            ("NORMAL:", both),
            ("NORMAL:-VERS-ALL", None),
            ("NORMAL:-VERS-TLS1.2:-VERS-TLS1.3:+VERS-TLS1.1", None),
            ("NORMAL:-AES-128-GCM", None),
            ("NORMAL:-ECDHE-RSA", None),
            ("NORMAL:-SIGN-RSA-SHA256", None),
            ("NORMAL:-GROUP-X25519", None),
            ("NORMAL:%PROFILE_HIGH", None),
            ("NORMAL:%NO_EXTENSIONS", None),
            // Not every server that is spoken with has it.
            ("NORMAL:%SAFE_RENEGOTIATION", None),
            ("NORMAL:AES-256-GCM", None),
            ("SECURE256", None),
            ("SUITEB192", None),
            ("NONE:+VERS-TLS1.3", None),
            ("@SYSTEM", None),
            ("normal", None),
            ("", None),
            ("NONSENSE", None),
        ];
        for (text, expected) in cases {
            assert_eq!(versions(text).ok(), expected, "{text}");
        }
    }
}
