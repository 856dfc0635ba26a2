//! Paths as rules compare them: in one normal form, and as servers read them that decode more than they should.
//!
//! What decoding brings to light (a separator, a dot segment, a control character, however often and in whatever form it
//! was encoded) is no path for a rule at all: one server would serve what another would not. What a prefix covers is
//! compared in the normal form; what a Deny is also meant for, in the reading of [`loose`]. An ordinary path is both, and
//! is compared where it lies.

mod loose;

use std::borrow::Cow;
use std::fmt;

use loose::same;

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

/// Why a path cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Decoding brings a separator, a dot segment or a control character to light.
    Hidden,
    /// Not in the grammar of a path, or with segments that are empty or nothing but a parameter.
    Odd,
}

/// A path of a request, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading<'a> {
    normal: Cow<'a, str>,
    /// As the most obliging server reads it; `None` where that is the normal form, but for case and what trails.
    loose: Option<String>,
}

/// A prefix of a rule, read once.
#[derive(Clone, Debug)]
pub(super) struct Prefix {
    normal: Path,
    loose: String,
    /// Without parameters, where it has some.
    bare: Option<Path>,
}

impl Path {
    /// Whether this is `prefix` or lies below it. A prefix that ends in `/` is only what lies below; without it, `/a`
    /// covers `/a` and `/a/b`, never `/ab`.
    #[must_use]
    pub fn is_under(&self, prefix: &Self) -> bool {
        is_under(&self.0, &prefix.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Prefix {
    /// Reads a prefix as it stands in a rule.
    ///
    /// # Errors
    /// It is not one path to everybody.
    pub(super) fn parse(text: &str) -> Result<Self, Ambiguous> {
        let reading = read(text).map_err(|_| Ambiguous)?;
        let normal = reading.normal.into_owned();
        Ok(Self {
            loose: match reading.loose {
                Some(loose) => loose,
                None => loose::fold(&normal),
            },
            bare: has_parameters(&normal).then(|| without_parameters(&normal)),
            normal: Path(normal),
        })
    }

    /// Whether one path can be under both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.normal.is_under(&other.normal) || other.normal.is_under(&self.normal)
    }
}

impl Reading<'_> {
    /// Whether this is `prefix` or lies below it.
    pub(super) fn is_under(&self, prefix: &Prefix) -> bool {
        is_under(&self.normal, &prefix.normal.0)
    }

    /// Whether a server may read it as lying under `prefix`, although it [does not](Self::is_under) as it is written:
    /// `/a;b/c` is `/a/c` to one and not to another (RFC 3986, 3.3).
    pub(super) fn may_be_under(&self, prefix: &Prefix) -> bool {
        match (has_parameters(&self.normal), &prefix.bare) {
            (false, None) => false,
            (true, bare) => {
                without_parameters(&self.normal).is_under(bare.as_ref().unwrap_or(&prefix.normal))
            }
            (false, Some(bare)) => is_under(&self.normal, &bare.0),
        }
    }

    /// Whether any server may take it for `prefix` or something below: in any case, with dots and blanks behind a name,
    /// decoded more than once, without parameters and what looks like a query.
    pub(super) fn looks_under(&self, prefix: &Prefix) -> bool {
        let mut path = self.loose.as_deref().unwrap_or(&self.normal).split('/');
        let mut wanted = prefix.loose.split('/').peekable();
        while let Some(want) = wanted.next() {
            let last = wanted.peek().is_none();
            match path.next() {
                // A prefix that ends in a slash is what lies below.
                Some(_) if last && want.is_empty() => return true,
                Some(found) if same(found, want) => {}
                Some(_) | None => return false,
            }
        }
        true
    }
}

/// The normal form of a path without its query.
///
/// # Errors
/// The path has none.
pub fn normalize(path: &str) -> Result<Path, Ambiguous> {
    match read(path) {
        Ok(reading) => Ok(Path(reading.normal.into_owned())),
        Err(_) => Err(Ambiguous),
    }
}

/// Reads the path of a request. One that is ordinary is looked through once and not copied.
pub(super) fn read(path: &str) -> Result<Reading<'_>, Doubt> {
    if is_ordinary(path) {
        return Ok(Reading {
            normal: Cow::Borrowed(path),
            loose: None,
        });
    }
    let loose = loose::read(path).ok_or(Doubt::Hidden)?;
    // A segment of blanks or parameters alone is none to some servers.
    if loose.contains("//") {
        return Err(Doubt::Odd);
    }
    Ok(Reading {
        normal: Cow::Owned(normal(path).ok_or(Doubt::Odd)?),
        loose: Some(loose),
    })
}

/// Whether every server reads the path alike: letters, digits and marks that mean nothing, no encoding, no parameters, no
/// empty segments, no dot segments.
fn is_ordinary(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    let plain =
        |byte: u8| (0x21..=0x7e).contains(&byte) && !matches!(byte, b'%' | b';' | b'\\' | b'?' | b'#');
    if !rest.bytes().all(plain) {
        return false;
    }
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let empty_inside = segment.is_empty() && segments.peek().is_some();
        if empty_inside || matches!(segment, "." | "..") {
            return false;
        }
    }
    true
}

/// The normal form of a path in which nothing is hidden.
fn normal(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        return None;
    }
    let mut normal = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => match octet(bytes.next()?, bytes.next()?)? {
                octet @ (b'-' | b'_' | b'~' | b'.') => normal.push(char::from(octet)),
                octet if octet.is_ascii_alphanumeric() => normal.push(char::from(octet)),
                octet => normal.push_str(&format!("%{octet:02X}")),
            },
            b'?' | b'#' => return None,
            0x21..=0x7e => normal.push(char::from(byte)),
            _ => return None,
        }
    }
    let nameless = |segment: &str| segment.starts_with(';');
    (!normal.contains("//") && !normal.split('/').any(nameless)).then_some(normal)
}

fn is_under(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

fn has_parameters(normal: &str) -> bool {
    normal.contains(';') || normal.contains("%3B")
}

/// The same with every segment's parameters cut off, as many servers do before they look at a path.
fn without_parameters(normal: &str) -> Path {
    let segment = |segment: &str| {
        let ends = [segment.find(';'), segment.find("%3B")];
        let end = ends.into_iter().flatten().min().unwrap_or(segment.len());
        segment.get(..end).unwrap_or_default().to_owned()
    };
    Path(normal.split('/').map(segment).collect::<Vec<_>>().join("/"))
}

fn octet(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| {
        let digit = char::from(byte).to_digit(16)?;
        u8::try_from(digit).ok()
    };
    Some((digit(high)? << 4) | digit(low)?)
}

#[cfg(test)]
mod tests;
