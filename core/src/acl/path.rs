//! Paths in one normal form, for rules that name path prefixes.
//!
//! What servers read differently is no path at all here: dot segments, encoded slashes, dots and backslashes, empty
//! segments. A rule that compares such a path would let one server serve what another would not. The same is said of
//! parameters (`;`) where they decide whether a prefix matches.

use std::fmt;

/// A path in normal form: percent-encoded octets that need no encoding are decoded, others have upper-case digits
/// (RFC 3986, 6.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(String);

/// Why a path has no normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

impl fmt::Display for Ambiguous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "does not begin with a slash, or has dot segments, empty segments, encoded slashes or something else that \
             servers read differently",
        )
    }
}

impl Path {
    /// Whether this is `prefix` or lies below it. A prefix that ends in `/` is only what lies below; without it, `/a`
    /// covers `/a` and `/a/b`, never `/ab`.
    #[must_use]
    pub fn is_under(&self, prefix: &Self) -> bool {
        match self.0.strip_prefix(&prefix.0) {
            Some(rest) => prefix.0.ends_with('/') || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }

    /// The same with every segment's parameters cut off, as many servers do before they look at a path.
    fn without_parameters(&self) -> Self {
        let segment = |segment: &str| {
            let end = [segment.find(';'), segment.find("%3B")]
                .into_iter()
                .flatten()
                .min();
            segment
                .get(..end.unwrap_or(segment.len()))
                .unwrap_or_default()
                .to_owned()
        };
        Self(self.0.split('/').map(segment).collect::<Vec<_>>().join("/"))
    }

    /// Whether a server may read it as lying under `prefix`, although it [does not](Self::is_under) as it is written:
    /// `/a;b/c` is `/a/c` to one and not to another (RFC 3986, 3.3).
    #[must_use]
    pub fn may_be_under(&self, prefix: &Self) -> bool {
        let parameters = |path: &Self| path.0.contains(';') || path.0.contains("%3B");
        (parameters(self) || parameters(prefix))
            && self.without_parameters().is_under(&prefix.without_parameters())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The normal form of a path without its query.
///
/// # Errors
/// The path has none.
pub fn normalize(path: &str) -> Result<Path, Ambiguous> {
    if !path.starts_with('/') {
        return Err(Ambiguous);
    }
    let mut normal = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let octet = octet(bytes.next(), bytes.next()).ok_or(Ambiguous)?;
                match octet {
                    b'/' | b'\\' | b'.' | 0 => return Err(Ambiguous),
                    b'-' | b'_' | b'~' => normal.push(char::from(octet)),
                    _ if octet.is_ascii_alphanumeric() => normal.push(char::from(octet)),
                    _ => normal.push_str(&format!("%{octet:02X}")),
                }
            }
            b'\\' | b'?' | b'#' => return Err(Ambiguous),
            0x21..=0x7e => normal.push(char::from(byte)),
            _ => return Err(Ambiguous),
        }
    }
    let mut segments = normal.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        // Some servers cut parameters off a segment before they look at it: `/a/..;x/b`.
        let name = segment.split(';').next().unwrap_or(segment);
        let empty_inside = segment.is_empty() && segments.peek().is_some();
        if empty_inside || name == "." || name == ".." || (name.is_empty() && !segment.is_empty()) {
            return Err(Ambiguous);
        }
    }
    Ok(Path(normal))
}

fn octet(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some((digit(high?)? << 4) | digit(low?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        for (text, expected) in [
            ("/", "/"),
            ("/hooks/a", "/hooks/a"),
            ("/%68ooks/%7ea", "/hooks/~a"),
            ("/a%c3%a9b", "/a%C3%A9b"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/a.b/..c/...", "/a.b/..c/..."),
            ("/hooks/", "/hooks/"),
        ] {
            assert_eq!(normalize(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_servers_read_differently_is_no_path() {
        for text in [
            "",
            "*",
            "hooks",
            "/a/../b",
            "/..",
            "/a/.",
            "/./a",
            "/a//b",
            "//a",
            "/a%2fb",
            "/a%2Fb",
            "/%2e%2e/a",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%",
            "/a%4",
            "/a%zz",
            "/..;/a",
            "/a/..;x=1/b",
            "/;/a",
            "/a b",
            "/é",
            "/a?b",
            "/a#b",
        ] {
            assert_eq!(normalize(text), Err(Ambiguous), "{text}");
        }
    }

    #[test]
    fn parameters_make_a_path_doubtful_where_they_decide() {
        for (path, prefix, is, may_be) in [
            ("/admin;x", "/admin", false, true),
            ("/admin;x=1/a", "/admin", false, true),
            ("/admin%3bx", "/admin", false, true),
            ("/admin%3Bx;y/a", "/admin/", false, true),
            ("/a;x/b;y/c", "/a/b", false, true),
            ("/administrator;x", "/admin", false, false),
            ("/x;/admin", "/admin", false, false),
            ("/x;=/admin/y", "/admin", false, false),
            ("/admin/a;x", "/admin", true, true),
            ("/a;v=1/x", "/a;v=1/", true, true),
            ("/a;v=2/x", "/a;v=1/", false, true),
            ("/a/x", "/a;v=1/", false, true),
            ("/admin", "/admin", true, false),
        ] {
            let (path, prefix) = (normalize(path).unwrap(), normalize(prefix).unwrap());
            assert_eq!(path.is_under(&prefix), is, "{path} under {prefix}");
            assert_eq!(path.may_be_under(&prefix), may_be, "{path} under {prefix}");
        }
    }

    #[test]
    fn prefixes_end_at_a_segment() {
        for (path, prefix, expected) in [
            ("/hooks", "/hooks", true),
            ("/hooks/a", "/hooks", true),
            ("/hooks/", "/hooks", true),
            ("/hooksx", "/hooks", false),
            ("/hooks", "/hooks/", false),
            ("/hooks/a", "/hooks/", true),
            ("/Hooks/a", "/hooks/", false),
            ("/anything", "/", true),
            ("/%68ooks/a", "/hooks/", true),
        ] {
            let (path, prefix) = (normalize(path).unwrap(), normalize(prefix).unwrap());
            assert_eq!(path.is_under(&prefix), expected, "{path} under {prefix}");
        }
    }
}
