//! `Proxy-Authorization`: what stands in the field, and nothing about whether it is right.
//!
//! Proxy variables only produce Basic, so a ServiceAccount token may stand there as the password; the user name decides
//! nothing.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest field: ServiceAccount tokens have one to two kilobytes, and Base64 adds a third.
const FIELD_BYTES_MAX: usize = 8 * 1024;

/// What a client presents in its request.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credential {
    /// No field.
    #[default]
    None,
    /// Basic (RFC 7617): the password, which may be a token.
    Password(Vec<u8>),
    /// Bearer (RFC 6750).
    Token(String),
    /// Something else, or something broken.
    Other,
}

/// A field that makes the whole request malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedCredential {
    /// Which of them counts?
    Twice,
    /// Longer than any credential.
    TooLong,
}

/// Says which kind, never what.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password(_) => "Password",
            Self::Token(_) => "Token",
            Self::Other => "Other",
        })
    }
}

impl Credential {
    /// Reads the credential among the fields of a request.
    ///
    /// # Errors
    /// The field stands twice, or is longer than any credential.
    pub fn of<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<Self, MalformedCredential> {
        let mut found = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"proxy-authorization"));
        let Some((_, value)) = found.next() else {
            return Ok(Self::None);
        };
        if found.next().is_some() {
            return Err(MalformedCredential::Twice);
        }
        if value.len() > FIELD_BYTES_MAX {
            return Err(MalformedCredential::TooLong);
        }
        Ok(Self::parse(value).unwrap_or(Self::Other))
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
        let (scheme, rest) = text.split_once(' ')?;
        let rest = rest.trim_start_matches(' ');
        if scheme.eq_ignore_ascii_case("basic") {
            let decoded = STANDARD.decode(rest).ok()?;
            let colon = decoded.iter().position(|byte| *byte == b':')?;
            return Some(Self::Password(decoded.get(colon + 1..)?.to_vec()));
        }
        if scheme.eq_ignore_ascii_case("bearer") && is_token(rest) {
            return Some(Self::Token(rest.to_owned()));
        }
        None
    }

    /// The password to compare with digests. An empty one is nobody's.
    #[must_use]
    pub fn password(&self) -> Option<&[u8]> {
        match self {
            Self::Password(password) if !password.is_empty() => Some(password),
            Self::Password(_) | Self::None | Self::Token(_) | Self::Other => None,
        }
    }

    /// The token to verify: a Bearer token, or a password of that shape.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        match self {
            Self::Token(token) => Some(token),
            Self::Password(password) => std::str::from_utf8(password).ok().filter(|text| is_token(text)),
            Self::None | Self::Other => None,
        }
    }

    /// Whether there is any.
    #[must_use]
    pub fn is_some(&self) -> bool {
        *self != Self::None
    }
}

/// Three parts of Base64url (RFC 7515).
fn is_token(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    text.split('.').count() == 3 && text.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Result<Credential, MalformedCredential> {
        let fields = values
            .iter()
            .map(|value| (&b"PROXY-Authorization"[..], value.as_bytes()));
        Credential::of([(&b"host"[..], &b"a"[..])].into_iter().chain(fields))
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn what_stands_in_the_field() {
        let password = |text: &str| Credential::Password(text.as_bytes().to_vec());
        for (value, expected) in [
            (basic("user:secret"), password("secret")),
            (basic(":secret"), password("secret")),
            (basic("ns/policy:a:b:c"), password("a:b:c")),
            (basic("user:"), password("")),
            (basic("user:p\u{e4}ss"), password("p\u{e4}ss")),
            (
                basic("user:secret").replacen("Basic", "bAsIc", 1),
                password("secret"),
            ),
            (basic("user:secret").replacen(' ', "   ", 1), password("secret")),
            (
                "Bearer aa.bb.cc".to_owned(),
                Credential::Token("aa.bb.cc".to_owned()),
            ),
            (
                "bearer a-_.b.c".to_owned(),
                Credential::Token("a-_.b.c".to_owned()),
            ),
            ("Bearer aa.bb".to_owned(), Credential::Other),
            ("Bearer aa..cc".to_owned(), Credential::Other),
            ("Bearer aa.b=.cc".to_owned(), Credential::Other),
            ("Bearer".to_owned(), Credential::Other),
            (basic("no colon"), Credential::Other),
            ("Basic dXNlcjpzZWNyZXQ".to_owned(), Credential::Other),
            ("Basic dXNlcjpz ZWNyZXQ=".to_owned(), Credential::Other),
            ("Basic".to_owned(), Credential::Other),
            ("Negotiate YII=".to_owned(), Credential::Other),
            (String::new(), Credential::Other),
        ] {
            assert!(of(&[&value]).unwrap() == expected, "{value}");
        }
        assert!(of(&[]).unwrap() == Credential::None);
    }

    #[test]
    fn twice_or_too_long_is_malformed() {
        assert_eq!(
            of(&["Basic YTpi", "Basic YTpi"]).unwrap_err(),
            MalformedCredential::Twice
        );
        let long = format!("Basic {}", "a".repeat(FIELD_BYTES_MAX));
        assert_eq!(of(&[&long]).unwrap_err(), MalformedCredential::TooLong);
    }

    #[test]
    fn a_token_may_be_the_password() {
        let credential = of(&[&basic("payments/webhooks:aa.bb.cc")]).unwrap();
        assert_eq!(credential.token(), Some("aa.bb.cc"));
        assert_eq!(credential.password(), Some(&b"aa.bb.cc"[..]));
        assert_eq!(of(&[&basic("u:secret")]).unwrap().token(), None);
        assert_eq!(of(&[&basic("u:")]).unwrap().password(), None);
        assert!(!format!("{credential:?}").contains("aa"));
    }
}
