//! The names in a certificate that a client can be known by: URIs, DNS names, and the common name.
//!
//! The certificate was verified before; this only reads. The common name is the one thing that needs a look at DER: the
//! subject is a short list of short entries, and whatever else stands there is stepped over.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::der::{SEQUENCE, element};

/// OID 2.5.4.3, commonName.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// UTF8String, PrintableString, IA5String: the texts that are ASCII or UTF-8.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// The names of a certificate, as policies spell them: a URI, a DNS name, or `CN=` and the common name.
#[must_use]
pub(super) fn names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok(cert) = EndEntityCert::try_from(leaf) else {
        return Vec::new();
    };
    let uris = cert.valid_uri_names().map(str::to_owned);
    let dns = cert.valid_dns_names().map(str::to_ascii_lowercase);
    uris.chain(dns)
        .chain(common_name(cert.subject()).map(|name| format!("CN={name}")))
        .collect()
}

/// The common name, if there is exactly one: of two nobody knows which counts.
fn common_name(mut subject: &[u8]) -> Option<&str> {
    let mut found = None;
    while !subject.is_empty() {
        let (tag, mut set) = element(&mut subject)?;
        if tag != SET {
            return None;
        }
        while !set.is_empty() {
            let (SEQUENCE, mut pair) = element(&mut set)? else {
                return None;
            };
            let (OBJECT_IDENTIFIER, id) = element(&mut pair)? else {
                return None;
            };
            let (tag, value) = element(&mut pair)?;
            if id == COMMON_NAME {
                if found.is_some() || !TEXTS.contains(&tag) {
                    return None;
                }
                found = Some(std::str::from_utf8(value).ok()?);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn names_of_a_certificate() {
        let mut params = CertificateParams::new(vec!["Batch.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, "corp");
        params.distinguished_name.push(DnType::CommonName, "b\u{e4}tch");
        let uri = "spiffe://corp/ns/payments/sa/batch";
        params
            .subject_alt_names
            .push(SanType::URI(uri.try_into().unwrap()));
        let cert = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(names(cert.der()), [uri, "batch.example", "CN=b\u{e4}tch"]);
        assert!(names(&CertificateDer::from(vec![1, 2, 3])).is_empty());
    }

    #[test]
    fn a_subject_is_read_to_its_end_or_not_at_all() {
        let cn = |name: &[u8]| {
            let mut pair = vec![
                OBJECT_IDENTIFIER,
                3,
                0x55,
                4,
                3,
                0x0c,
                u8::try_from(name.len()).unwrap(),
            ];
            pair.extend_from_slice(name);
            let mut set = vec![SET, u8::try_from(pair.len() + 2).unwrap(), SEQUENCE];
            set.push(u8::try_from(pair.len()).unwrap());
            set.extend_from_slice(&pair);
            set
        };
        assert_eq!(common_name(&cn(b"a")), Some("a"));
        assert_eq!(common_name(&[cn(b"a"), cn(b"b")].concat()), None);
        assert_eq!(common_name(&cn(b"\xff")), None);
        assert_eq!(common_name(&[]), None);
        let whole = cn(b"abc");
        for end in 1..whole.len() {
            assert_eq!(common_name(&whole[..end]), None, "{end}");
        }
    }
}
