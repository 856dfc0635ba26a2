//! DER as far as certificates are looked into here: one element after the other.
//!
//! For names, warnings and messages. Whether a certificate is to be believed is decided by those who verify it.

/// Tag of a SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;

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
