//! Durations as the API spells them (`300s`, `1h30m`, `250ms`): the Gateway API's subset of Go's format.
//!
//! No fractions, no negative values, no unit below milliseconds.

use std::time::Duration;

/// Longest text: four parts of five digits and a two-letter unit.
pub const BYTES_MAX: usize = 28;

/// Parses one to four parts of one to five digits with a unit `h`, `m`, `s` or `ms`.
///
/// # Errors
/// Says what a duration looks like when the text is none.
pub fn parse(text: &str) -> Result<Duration, Malformed> {
    let malformed = || Malformed(text.chars().take(BYTES_MAX).collect());
    let mut rest = text;
    let mut millis: u64 = 0;
    let mut parts = 0_u8;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(malformed)?;
        let number: u64 = if digits <= 5 {
            number.parse().map_err(|_| malformed())?
        } else {
            return Err(malformed());
        };
        let (unit, after) = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)]
            .iter()
            .find_map(|(unit, scale)| tail.strip_prefix(unit).map(|after| (*scale, after)))
            .ok_or_else(malformed)?;
        millis = millis.saturating_add(number.saturating_mul(unit));
        rest = after;
        parts = parts.saturating_add(1);
    }
    if (1..=4).contains(&parts) {
        Ok(Duration::from_millis(millis))
    } else {
        Err(malformed())
    }
}

/// Text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no duration: write one to four parts like 300s, 5m, 1h30m or 250ms")]
pub struct Malformed(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_the_api_accepts_and_nothing_else() {
        for (text, millis) in [
            ("300s", 300_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("0s", 0),
            ("1h1m1s1ms", 3_661_001),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "+5s",
            "1.5s",
            "5 s",
            "5d",
            "123456s",
            "1h1h1h1h1h",
            "5S",
            "5µs",
            "५s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
