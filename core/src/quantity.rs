//! Amounts of bytes as Kubernetes quantities spell them (`1Mi`, `1500`, `2M`): whole numbers, no exponent.

/// Parses a quantity of bytes.
///
/// # Errors
/// Says what one looks like when the text is none.
pub fn parse(text: &str) -> Result<u64, Malformed> {
    let malformed = || Malformed(text.chars().take(32).collect());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(malformed)?;
    let factor: u64 = match unit {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return Err(malformed()),
    };
    let number: u64 = number.parse().map_err(|_| malformed())?;
    number.checked_mul(factor).ok_or_else(malformed)
}

/// Text that is no amount of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no amount of bytes: write a whole number, alone or with k, M, G, Ki, Mi or Gi, such as 1Mi"
)]
pub struct Malformed(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_with_a_unit() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1500", Some(1500)),
            ("1Mi", Some(1 << 20)),
            ("2M", Some(2_000_000)),
            ("64Ki", Some(65536)),
            ("", None),
            ("Mi", None),
            ("1.5Mi", None),
            ("-1", None),
            ("1e3", None),
            ("1 Mi", None),
            ("99999999999999999999", None),
            ("99999999999999Gi", None),
        ] {
            assert_eq!(parse(text).ok(), expected, "{text:?}");
        }
    }
}
