//! DER as far as certificates and keys are looked into here: one element after the other.
//!
//! For names, warnings and messages. Whether a certificate is to be believed is decided by those who verify it.

/// Tag of a SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
/// rsaEncryption, 1.2.840.113549.1.1.1 (RFC 8017, A.1).
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// The next element of DER: tag and content; `None` where there is none, or one of more than 64 KiB.
pub(crate) fn element<'a>(der: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&length, rest) = rest.split_first()?;
            (usize::from(length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *der = rest;
    Some((tag, content))
}

/// The content of the next element, if that is a SEQUENCE.
pub(crate) fn sequence<'a>(der: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (tag, content) = element(der)?;
    (tag == SEQUENCE).then_some(content)
}

/// The length of the RSA key in a SubjectPublicKeyInfo (RFC 5280, 4.1.2.7), which is next; of another kind's key `None`.
pub(crate) fn rsa_bits(mut der: &[u8]) -> Option<usize> {
    let mut info = sequence(&mut der)?;
    let mut algorithm = sequence(&mut info)?;
    let (_, oid) = element(&mut algorithm)?;
    let (BIT_STRING, bits) = element(&mut info)? else {
        return None;
    };
    // No bit of the last byte is unused.
    let mut bits = bits.strip_prefix(&[0])?;
    let mut key = (oid == RSA).then(|| sequence(&mut bits))??;
    let (INTEGER, modulus) = element(&mut key)? else {
        return None;
    };
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    Some((modulus.len() - zeros) * 8 - first.leading_zeros() as usize)
}
