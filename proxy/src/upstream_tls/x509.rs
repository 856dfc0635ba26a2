//! What the TLS library does not tell of a certificate: whether it names itself as its issuer, until when it is valid,
//! how long its RSA key is.
//!
//! For messages and warnings only. Nothing is trusted because of what is read here; verification is rustls's.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use crate::der::{element, rsa_bits, sequence};

const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// What a certificate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Issuer and subject are the same.
    pub(super) names_itself: bool,
    /// The end of its validity.
    pub(crate) not_after: Timestamp,
    /// Length of its key, if that is one of RSA.
    pub(super) rsa_bits: Option<usize>,
}

/// Reads a DER certificate (RFC 5280, 4.1); `None` where it is none.
pub(crate) fn facts(mut certificate: &[u8]) -> Option<Facts> {
    let mut certificate = sequence(&mut certificate)?;
    let mut tbs = sequence(&mut certificate)?;
    if tbs.first() == Some(&VERSION) {
        element(&mut tbs)?;
    }
    let (_serial, _algorithm) = (element(&mut tbs)?, element(&mut tbs)?);
    let issuer = element(&mut tbs)?;
    let mut validity = sequence(&mut tbs)?;
    let subject = element(&mut tbs)?;
    let (_not_before, not_after) = (element(&mut validity)?, element(&mut validity)?);
    Some(Facts {
        names_itself: issuer == subject,
        not_after: time(not_after)?,
        rsa_bits: rsa_bits(tbs),
    })
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280, 4.1.2.5).
fn time((tag, text): (u8, &[u8])) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i16 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let two = |at: usize| -> Option<i8> { rest.get(at..at + 2)?.parse().ok() };
    let time = DateTime::new(year, two(0)?, two(2)?, two(4)?, two(6)?, two(8)?, 0).ok()?;
    Offset::UTC.to_timestamp(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(not_after: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(not_after, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn both_spellings_of_a_time_are_read() {
        for (year, expected) in [
            (2031, "2031-02-03T00:00:00Z"),
            (2099, "2099-02-03T00:00:00Z"),
            (1999, "1999-02-03T00:00:00Z"),
        ] {
            let facts = facts(&certificate(year)).unwrap();
            assert_eq!(facts.not_after, expected.parse().unwrap());
            assert!(facts.names_itself);
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_no_certificate_and_no_panic() {
        let good = certificate(2031);
        for end in 0..good.len() {
            let _ = facts(&good[..end]);
        }
        for at in 0..good.len().min(200) {
            for value in [0, 0x7f, 0x80, 0x84, 0x85, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = value;
                let _ = facts(&bytes);
            }
        }
        assert_eq!(facts(b""), None);
        assert_eq!(facts(b"\x30\x03\x02\x01\x01"), None);
    }
}
