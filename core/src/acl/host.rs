//! Host patterns of rules and of the floor: exact, `*.suffix`, `*`.
//!
//! Patterns are written in the normal form that targets are parsed into, so matching is comparison of bytes. There is
//! no middle wildcard, no address, no trailing dot and no upper case: what looks like a pattern but is none is refused
//! when the policy is read, not silently never matched.

use std::collections::HashSet;

use ipnet::IpNet;

/// A host pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// Exactly this name.
    Exact(String),
    /// One or more labels before this suffix; not the suffix itself.
    Suffix(String),
    /// Every name (never an address).
    Any,
}

impl HostPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// Says what is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (name, suffix) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        check_name(name).map_err(|problem| format!("host {text:?} {problem}"))?;
        Ok(if suffix {
            Self::Suffix(name.to_owned())
        } else {
            Self::Exact(name.to_owned())
        })
    }
}

/// Names by patterns.
#[derive(Clone, Debug, Default)]
pub struct HostSet {
    exact: HashSet<String>,
    suffix: HashSet<String>,
    any: bool,
}

impl HostSet {
    /// Adds what a pattern matches.
    pub fn insert(&mut self, pattern: HostPattern) {
        match pattern {
            HostPattern::Exact(name) => {
                self.exact.insert(name);
            }
            HostPattern::Suffix(name) => {
                self.suffix.insert(name);
            }
            HostPattern::Any => self.any = true,
        }
    }

    /// Whether one name can match both the set and a pattern.
    #[must_use]
    pub fn overlaps(&self, pattern: &HostPattern) -> bool {
        let below = |name: &str, suffix: &str| {
            name.strip_suffix(suffix)
                .is_some_and(|labels| labels.ends_with('.'))
        };
        match pattern {
            HostPattern::Exact(name) => self.contains(name),
            HostPattern::Any => self.any || !self.exact.is_empty() || !self.suffix.is_empty(),
            HostPattern::Suffix(own) => {
                let meets = |other: &String| other == own || below(other, own) || below(own, other);
                self.any || self.suffix.iter().any(meets) || self.exact.iter().any(|name| below(name, own))
            }
        }
    }

    /// Whether a pattern matches the name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        let suffix = |(dot, _): (usize, &str)| {
            name.get(dot.saturating_add(1)..)
                .is_some_and(|suffix| self.suffix.contains(suffix))
        };
        self.any || self.exact.contains(name) || name.match_indices('.').any(suffix)
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("is empty");
    }
    if name.contains('*') {
        return Err("has a wildcard that is not its first label; write *.example.com or *");
    }
    if name.parse::<IpNet>().is_ok() {
        return Err("is a range of addresses; write it under cidrs");
    }
    if name.starts_with('.') {
        return Err(
            "begins with a dot; write *.example.com for the names below it, and example.com for itself",
        );
    }
    if name.contains("://") || name.contains('/') {
        return Err("is a URL; write the host alone");
    }
    if name.contains(':') || name.starts_with('[') {
        return Err("has a port or is an address; use ports and cidrs");
    }
    if name.ends_with('.') {
        return Err("ends with a dot; leave the dot out");
    }
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("has upper case letters; write lower case");
    }
    if !name.is_ascii() {
        return Err("has letters outside of ASCII; write its Punycode form (xn--…)");
    }
    if super::target::ends_in_number(name) {
        return Err("is an address; use cidrs");
    }
    super::target::check_dns_name(name)?;
    match super::target::normalize(name) {
        Ok(normal) if normal == name => Ok(()),
        Ok(_) | Err(_) => Err("has a label that begins with xn-- and is no Punycode"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_shapes() {
        assert_eq!(HostPattern::parse("*"), Ok(HostPattern::Any));
        assert_eq!(
            HostPattern::parse("*.example.com"),
            Ok(HostPattern::Suffix("example.com".to_owned()))
        );
        assert_eq!(
            HostPattern::parse("api.example.com"),
            Ok(HostPattern::Exact("api.example.com".to_owned()))
        );
        assert!(HostPattern::parse("_dmarc.example.com").is_ok());
        assert!(HostPattern::parse("xn--bcher-kva.example").is_ok());
    }

    #[test]
    fn who_writes_hosts_as_elsewhere_reads_what_to_write_here() {
        for (text, expected) in [
            (".example.com", "write *.example.com"),
            ("10.0.0.0/8", "write it under cidrs"),
            ("2001:db8::/32", "write it under cidrs"),
            ("10.0.0.1", "use cidrs"),
            ("https://example.com", "write the host alone"),
            ("example.com:443", "use ports"),
        ] {
            let problem = HostPattern::parse(text).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }

    #[test]
    fn what_only_looks_like_a_pattern_is_refused() {
        for text in [
            "",
            "*.",
            "**",
            "*foo.com",
            "a.*.b",
            "ex*mple.com",
            "*.*.com",
            "https://a.com",
            "a.com/x",
            "a.com:443",
            "1.2.3.4",
            "[::1]",
            "::1",
            "a.com.",
            "A.com",
            "bücher.example",
            "a..b",
            ".a",
            "-a.com",
            "a-.com",
            "a b.com",
            "0x7f.1",
            "127.1",
            "a@b.com",
            "*.1.2.3.4",
            // No target in normal form is spelled so: such a pattern would match nothing, silently.
            "xn--a.example",
            "*.xn--a.example",
            "xn--.example",
            "xn--abc-.example",
            "xn--80akhbyknj4f-.example",
            &format!("{}.com", "x".repeat(64)),
            &"a.".repeat(127),
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text:?}");
        }
    }
}
