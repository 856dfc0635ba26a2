//! When a certificate begins and ends: `notBefore`, `notAfter` and nothing else of it (RFC 5280, 4.1).
//!
//! A reader of X.509 would bring a dozen crates for these two lines; whether a certificate is good is rustls' to say.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Tags of DER (X.690) that stand on the way.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub not_before: Timestamp,
    /// Not after.
    pub not_after: Timestamp,
}

impl Validity {
    /// When both are.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }
}

/// The validity of a certificate in DER.
#[must_use]
pub fn validity(der: &[u8]) -> Option<Validity> {
    let mut certificate = expect(&mut { der }, SEQUENCE)?;
    let mut body = expect(&mut certificate, SEQUENCE)?;
    if body.first() == Some(&VERSION) {
        expect(&mut body, VERSION)?;
    }
    expect(&mut body, INTEGER)?; // serialNumber
    expect(&mut body, SEQUENCE)?; // signature
    expect(&mut body, SEQUENCE)?; // issuer
    let mut validity = expect(&mut body, SEQUENCE)?;
    let mut next = || {
        let (tag, text) = element(&mut validity)?;
        time(tag, std::str::from_utf8(text).ok()?)
    };
    Some(Validity {
        not_before: next()?,
        not_after: next()?,
    })
}

/// The content of the next element, which must have this tag.
fn expect<'a>(from: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, content) = element(from)?;
    (found == tag).then_some(content)
}

/// Tag and content of the next element. Lengths of up to four bytes: no certificate is longer.
fn element<'a>(from: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, rest) = from.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ ..=0x7f => (usize::from(short), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *from = rest;
    Some((tag, content))
}

/// `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` from then on (RFC 5280, 4.1.2.5).
fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let text = match tag {
        // Two digits from 50 on are of the last century.
        UTC_TIME if text < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", &text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(year - 1, 2, 3);
        params.not_after = date_time_ymd(year, 2, 3);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn both_forms_of_time_are_read() {
        for year in [1999, 2049, 2050, 2126] {
            let at = |year: i32| format!("{year}-02-03T00:00:00Z").parse().unwrap();
            let expected = Validity {
                not_before: at(year - 1),
                not_after: at(year),
            };
            assert_eq!(validity(&certificate(year)), Some(expected), "{year}");
        }
    }

    #[test]
    fn a_certificate_that_is_cut_or_bent_has_no_end_and_does_no_harm() {
        let whole = certificate(2035);
        for length in 0..whole.len() {
            assert_eq!(validity(&whole[..length]), None, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), flip in any::<(usize, u8)>()) {
            let _ = validity(&bytes);
            let mut bent = certificate(2035);
            let at = flip.0 % bent.len();
            bent[at] ^= flip.1;
            let _ = validity(&bent);
        }
    }
}
