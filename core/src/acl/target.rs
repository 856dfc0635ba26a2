//! What a client asks for, parsed once into a normal form; that value is checked, resolved and dialled.
//!
//! Strict where parsers differ: addresses are dotted quads or bracketed IPv6 and nothing else, because `0x7f.1`,
//! `2130706433`, `010.0.0.1` and `127.1` mean different things to different dialers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest accepted authority text: a name of 253 bytes in any encoding, a colon, five digits, and room for brackets.
pub const AUTHORITY_BYTES_MAX: usize = 1024;

/// A destination: host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    host: Host,
    port: u16,
}

/// A host in normal form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// Lower case, Punycode, no trailing dot, at most 253 bytes.
    Name(String),
    /// An address, canonical (IPv4-mapped IPv6 is IPv4).
    Address(IpAddr),
}

/// Why text is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Nothing before the port.
    #[error("the host is empty")]
    EmptyHost,
    /// No `:port`, or nothing behind the colon.
    #[error("the port is missing")]
    NoPort,
    /// Not 1 to 65535 in plain digits.
    #[error("the port is not a number from 1 to 65535")]
    BadPort,
    /// `user@`.
    #[error("user information is not part of an authority")]
    UserInfo,
    /// Brackets without a plain IPv6 address in them.
    #[error("an IPv6 address stands in brackets, and nothing else does")]
    BadIpv6,
    /// A URL in place of an authority.
    #[error("a scheme stands before the host")]
    Scheme,
    /// A number, or dotted numbers, that is no dotted quad.
    #[error("the address is not written as a dotted quad")]
    AmbiguousAddress,
    /// Not a DNS name.
    #[error("the host is not a DNS name")]
    BadName,
    /// Longer than [`AUTHORITY_BYTES_MAX`].
    #[error("the authority is too long")]
    TooLong,
}

impl Target {
    /// Parses `host:port` (RFC 9110, 7.2; RFC 9112, 3.2.3: CONNECT requires the port).
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(authority: &str) -> Result<Self, Malformed> {
        let (host, port) = split_port(authority)?;
        let port = port.ok_or(Malformed::NoPort)?;
        Ok(Self {
            host: Host::parse(host)?,
            port,
        })
    }

    /// Parses `host` or `host:port`; without a port, or with an empty one, `default_port` (from the scheme) is taken.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse_with_default(authority: &str, default_port: u16) -> Result<Self, Malformed> {
        let (host, port) = split_port(authority)?;
        Ok(Self {
            host: Host::parse(host)?,
            port: port.unwrap_or(default_port),
        })
    }

    /// The same host at another port; 0 is none and becomes 1.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        Self {
            host: self.host.clone(),
            port: port.max(1),
        }
    }

    /// Parses `host` or `host:port`; the second value says whether a port was written.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse_optional_port(authority: &str, default_port: u16) -> Result<(Self, bool), Malformed> {
        let (host, port) = split_port(authority)?;
        let target = Self {
            host: Host::parse(host)?,
            port: port.unwrap_or(default_port),
        };
        Ok((target, port.is_some()))
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, never 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Host {
    /// Parses a host as it stands in an authority: a name, a dotted quad, or IPv6 in brackets.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.is_empty() {
            return Err(Malformed::EmptyHost);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let inside = rest.strip_suffix(']').ok_or(Malformed::BadIpv6)?;
            // Rust's parser takes no zone identifier, so `fe80::1%eth0` is refused here.
            let ip: Ipv6Addr = inside.parse().map_err(|_| Malformed::BadIpv6)?;
            return Ok(Self::Address(IpAddr::V6(ip).to_canonical()));
        }
        let name = normalize(text)?;
        if ends_in_number(&name) {
            let ip: Ipv4Addr = name.parse().map_err(|_| Malformed::AmbiguousAddress)?;
            // A trailing dot was taken off a name; an address never has one.
            return if text.ends_with('.') {
                Err(Malformed::AmbiguousAddress)
            } else {
                Ok(Self::Address(IpAddr::V4(ip)))
            };
        }
        check_dns_name(&name).map_err(|_| Malformed::BadName)?;
        Ok(Self::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), Malformed> {
    if authority.len() > AUTHORITY_BYTES_MAX {
        return Err(Malformed::TooLong);
    }
    if authority.contains("://") {
        return Err(Malformed::Scheme);
    }
    if authority.contains('@') {
        return Err(Malformed::UserInfo);
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The last colon of a bare IPv6 address in brackets is not a port's.
        Some((_, tail)) if tail.ends_with(']') => (authority, None),
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    if host.contains(':') && !host.starts_with('[') {
        return Err(Malformed::BadIpv6);
    }
    // A colon with nothing behind it is no port (RFC 3986, 3.2.3).
    let Some(port) = port.filter(|port| !port.is_empty()) else {
        return Ok((host, None));
    };
    if port.len() > 5 || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Malformed::BadPort);
    }
    match port.parse() {
        Ok(0) | Err(_) => Err(Malformed::BadPort),
        Ok(port) => Ok((host, Some(port))),
    }
}

/// Lower case, Punycode, without the one trailing dot of an absolute name.
pub(super) fn normalize(text: &str) -> Result<String, Malformed> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_ascii()
        && !text.split('.').any(|label| {
            label
                .get(..4)
                .is_some_and(|head| head.eq_ignore_ascii_case("xn--"))
        })
    {
        return Ok(text.to_ascii_lowercase());
    }
    // UTS #46 as browsers do it; the result is checked again like any other text, so digits that only appear after
    // mapping (fullwidth, enclosed) are seen by `ends_in_number`.
    let ascii = idna::domain_to_ascii_strict(text).map_err(|_| Malformed::BadName)?;
    if ascii.is_empty() || ascii.ends_with('.') {
        return Err(Malformed::BadName);
    }
    Ok(ascii)
}

/// Whether inet_aton would read the text as a number: its last label is digits, or hexadecimal behind `0x`.
pub(super) fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// Labels of 1 to 63 letters, digits, hyphens and underscores, no hyphen at an end, 253 bytes in all.
pub(super) fn check_dns_name(name: &str) -> Result<(), &'static str> {
    if name.len() > 253 {
        return Err("is longer than 253 bytes");
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err("has an empty label, or one longer than 63 bytes");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("has a label that begins or ends with a hyphen");
        }
        if !label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        {
            return Err("has a character that is no letter, digit, hyphen or underscore");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, Malformed>) {
        let parsed = Target::parse(text).map(|target| target.to_string());
        assert_eq!(parsed.as_deref().map_err(|e| *e), expected, "{text:?}");
    }

    #[test]
    fn names_and_addresses_get_one_spelling() {
        check("Example.COM:443", Ok("example.com:443"));
        check("example.com.:443", Ok("example.com:443"));
        check("bücher.example:443", Ok("xn--bcher-kva.example:443"));
        check("XN--BCHER-KVA.example:443", Ok("xn--bcher-kva.example:443"));
        check("192.175.48.80:1", Ok("192.175.48.80:1"));
        check("[2620:4F:8000::0080]:443", Ok("[2620:4f:8000::80]:443"));
        check("[::ffff:1.2.3.4]:443", Ok("1.2.3.4:443"));
        check("a_b.example:80", Ok("a_b.example:80"));
        check("localhost:80", Ok("localhost:80"));
    }

    #[test]
    fn what_dialers_read_differently_is_refused() {
        for text in [
            "127.1:80",
            "2130706433:80",
            "0x7f000001:80",
            "0x7f.1:80",
            "0177.0.0.1:80",
            "127.0.0.01:80",
            "1.2.3.4.5:80",
            "1.2.3.256:80",
            "127.0.0.1.:80",
            "0x:80",
            "a.0x7f:80",
            "a.1:80",
            "１２７.0.0.1.5:80",
            "127。1:80",
        ] {
            check(text, Err(Malformed::AmbiguousAddress));
        }
        check("127。0。0。1:80", Ok("127.0.0.1:80"));
        check("①②⑦.0.0.1:80", Ok("127.0.0.1:80"));
    }

    #[test]
    fn malformed_authorities() {
        for (text, why) in [
            ("", Malformed::NoPort),
            (":80", Malformed::EmptyHost),
            ("a", Malformed::NoPort),
            ("a:", Malformed::NoPort),
            ("[::1]:", Malformed::NoPort),
            (":", Malformed::NoPort),
            ("a::", Malformed::BadIpv6),
            ("a:0", Malformed::BadPort),
            ("a:65536", Malformed::BadPort),
            ("a:+80", Malformed::BadPort),
            ("a:080000", Malformed::BadPort),
            ("u@a:80", Malformed::UserInfo),
            ("u:p@a:80", Malformed::UserInfo),
            ("::1:80", Malformed::BadIpv6),
            ("[::1:80", Malformed::BadIpv6),
            ("[::1%25eth0]:80", Malformed::BadIpv6),
            ("[example.com]:80", Malformed::BadIpv6),
            ("[1.2.3.4]:80", Malformed::BadIpv6),
            ("[::1]", Malformed::NoPort),
            ("[::1]x:80", Malformed::BadIpv6),
            ("a..b:80", Malformed::BadName),
            ("a b:80", Malformed::BadName),
            ("https://a:443", Malformed::Scheme),
            ("https://a/", Malformed::Scheme),
            ("https://u@a:443", Malformed::Scheme),
            ("a%2eb:80", Malformed::BadName),
            ("a/b:80", Malformed::BadName),
            ("a\0b:80", Malformed::BadName),
            ("a..:80", Malformed::BadName),
            (".:80", Malformed::BadName),
            ("xn--a:80", Malformed::BadName),
        ] {
            check(text, Err(why));
        }
        check(&format!("{}:80", "a".repeat(2000)), Err(Malformed::TooLong));
        check(&format!("{}:80", "a".repeat(64)), Err(Malformed::BadName));
    }

    #[test]
    fn the_scheme_gives_the_port_where_none_is_written() {
        assert_eq!(Target::parse_with_default("a.example", 80).unwrap().port(), 80);
        assert_eq!(Target::parse_with_default("[::1]", 80).unwrap().port(), 80);
        assert_eq!(Target::parse_with_default("[::1]:8080", 80).unwrap().port(), 8080);
        // RFC 3986, 3.2.3: a port may be empty, and is then none.
        for authority in ["a.example:", "[2620:4f:8000::1]:"] {
            assert_eq!(Target::parse_with_default(authority, 80).unwrap().port(), 80);
            let (target, written) = Target::parse_optional_port(authority, 80).unwrap();
            assert_eq!((target.port(), written), (80, false));
        }
        assert_eq!(Target::parse_with_default(":", 80), Err(Malformed::EmptyHost));
    }
}
