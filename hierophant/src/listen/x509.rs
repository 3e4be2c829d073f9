//! Facts of a certificate: expiry, serial number and name. Trust is decided by rustls.

#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "the paths of yasna's methods are not general enough in their lifetimes"
)]

use rustls_pki_types::CertificateDer;
use yasna::models::{GeneralizedTime, ObjectIdentifier, UTCTime};
use yasna::tags::{TAG_GENERALIZEDTIME, TAG_UTCTIME};
use yasna::{ASN1Error, ASN1ErrorKind, ASN1Result, BERReader, BERReaderSeq, Tag};

/// The common name in a subject.
const COMMON_NAME: [u64; 4] = [2, 5, 4, 3];

/// The extension with the names of the subject.
const ALTERNATIVE_NAMES: [u64; 4] = [2, 5, 29, 17];

/// Context tag of a DNS name in that extension.
const DNS_NAME: u64 = 2;

/// Facts of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// End of validity, in Unix seconds.
    pub(super) not_after: i64,
    /// Serial number in hexadecimal digits.
    pub(super) serial: String,
    /// DNS names, or the common name if there are none; empty without either.
    pub(super) name: String,
}

/// Reads a certificate (RFC 5280, section 4.1).
///
/// # Errors
///
/// A message, if the bytes are not a certificate.
pub(super) fn facts(certificate: &CertificateDer<'_>) -> Result<Facts, String> {
    yasna::parse_der(certificate, |reader| {
        reader.read_sequence(|parts| {
            let facts = parts.next().read_sequence(signed_part)?;
            skip_rest(parts)?;
            Ok(facts)
        })
    })
    .map_err(|error| format!("invalid X.509 certificate ({error})"))
}

fn signed_part(parts: &mut BERReaderSeq<'_, '_>) -> ASN1Result<Facts> {
    parts.read_optional(|version| {
        version.read_tagged(Tag::context(0), |number| number.read_i64())
    })?;
    let (serial, _) = parts.next().read_bigint_bytes()?;
    for _algorithm_and_issuer in 0..2 {
        parts.next().read_der()?;
    }
    let not_after = parts.next().read_sequence(|validity| {
        validity.next().read_der()?;
        time(validity.next())
    })?;
    let common_name = common_name(parts.next())?;
    // The public key.
    parts.next().read_der()?;
    let mut names = Vec::new();
    while let Some(part) = parts.read_optional(|part| part.read_tagged_der())? {
        if part.tag() == Tag::context(3) {
            names = yasna::parse_der(part.value(), dns_names)?;
        }
    }
    let name = if names.is_empty() { common_name } else { names.join(", ") };
    Ok(Facts { not_after, serial: hex::encode(serial), name })
}

fn time(reader: BERReader<'_, '_>) -> ASN1Result<i64> {
    let text = reader.read_tagged_der()?;
    let parsed = match text.tag() {
        TAG_UTCTIME => UTCTime::parse(text.value()).map(|time| *time.datetime()),
        TAG_GENERALIZEDTIME => GeneralizedTime::parse(text.value()).map(|time| *time.datetime()),
        _ => None,
    };
    parsed.map(|time| time.unix_timestamp()).ok_or(ASN1Error::new(ASN1ErrorKind::Invalid))
}

fn common_name(subject: BERReader<'_, '_>) -> ASN1Result<String> {
    let wanted = ObjectIdentifier::from_slice(&COMMON_NAME);
    let mut name = String::new();
    subject.read_sequence_of(|relative| {
        relative.read_set_of(|attribute| {
            attribute.read_sequence(|pair| {
                let kind = pair.next().read_oid()?;
                let value = pair.next().read_tagged_der()?;
                if kind == wanted {
                    name = String::from_utf8_lossy(value.value()).into_owned();
                }
                Ok(())
            })
        })
    })?;
    Ok(name)
}

fn dns_names(extensions: BERReader<'_, '_>) -> ASN1Result<Vec<String>> {
    let wanted = ObjectIdentifier::from_slice(&ALTERNATIVE_NAMES);
    let mut names = Vec::new();
    extensions.read_sequence_of(|extension| {
        extension.read_sequence(|parts| {
            let kind = parts.next().read_oid()?;
            parts.read_optional(|critical| critical.read_bool())?;
            let value = parts.next().read_bytes()?;
            if kind != wanted {
                return Ok(());
            }
            yasna::parse_der(&value, |all| {
                all.read_sequence_of(|name| {
                    let name = name.read_tagged_der()?;
                    if name.tag() == Tag::context(DNS_NAME) {
                        names.push(String::from_utf8_lossy(name.value()).into_owned());
                    }
                    Ok(())
                })
            })
        })
    })?;
    Ok(names)
}

fn skip_rest(parts: &mut BERReaderSeq<'_, '_>) -> ASN1Result<()> {
    while parts.read_optional(|part| part.read_der())?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use test_peers::certificates::{Authority, Leaf};

    use super::*;

    #[test]
    fn a_certificate_tells_its_end_its_serial_and_its_names() {
        let authority = Authority::new("test authority");
        let names = &["prover.example", "localhost", "127.0.0.1"];
        let leaf = Leaf { names, serial: 0x51ab, until: 2049 };
        let issued = authority.issue(&leaf);
        let facts = facts(&issued.der()).expect("a certificate");
        assert_eq!(facts.serial, "51ab");
        assert_eq!(facts.name, "prover.example, localhost");
        // Unix time of 2049-01-01 and, written in the other of the two forms, of 2200-01-01.
        assert_eq!(facts.not_after, 2_493_072_000);
        let later = authority.issue(&Leaf { until: 2200, ..leaf });
        assert_eq!(super::facts(&later.der()).expect("a certificate").not_after, 7_258_118_400);
    }

    #[test]
    fn without_dns_names_the_common_name_counts_and_rubbish_is_refused() {
        let authority = Authority::new("test authority");
        assert_eq!(facts(&authority.der()).expect("a certificate").name, "test authority");
        let der = authority.der();
        for end in 0..der.len() {
            assert!(facts(&CertificateDer::from(&der[..end])).is_err(), "cut at {end}");
        }
    }
}
