//! What people write for a target: a URL, or host and port.

use anyhow::{Context as _, bail};
use egressway_core::acl::Target;

/// The port of `https` where a URL names none.
const HTTPS: u16 = 443;
/// The port of `http` where a URL names none.
const HTTP: u16 = 80;

/// A request that a client would send.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// As it was written.
    pub(super) text: String,
    pub(super) target: Target,
    /// Absent for a tunnel.
    pub(super) http: Option<Http>,
}

/// Of a forwarded request.
#[derive(Clone, Debug)]
pub(super) struct Http {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) port_was_written: bool,
}

/// Reads a target: `http://…` is forwarded, everything else is a tunnel.
pub(super) fn parse(text: &str, method: Option<&str>) -> anyhow::Result<Asked> {
    let malformed = || format!("target {text:?}");
    // Core reads names of every script, and a request has them in Punycode: the proxy answers 400 to this one.
    if !text.is_ascii() {
        let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
        let host = authority.split(['/', '?', '#', ':']).next().unwrap_or_default();
        let ascii = Target::parse_with_default(host, HTTPS).map(|target| target.host().to_string());
        let next = ascii.map_or_else(|_| String::new(), |ascii| format!(": {host} is {ascii}"));
        bail!(
            "{text}: requests have names in Punycode and paths percent-encoded, as clients send them{next}"
        );
    }
    let (scheme, rest) = match text.split_once("://") {
        None => (None, text),
        // RFC 3986, 3.1: in any case.
        Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
    };
    let scheme = scheme.as_deref();
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let asked = |target, http| Asked {
        text: text.to_owned(),
        target,
        http,
    };
    if method.is_some() && scheme != Some("http") {
        bail!("{text}: --method is for http:// targets; inside of a tunnel the proxy sees no method");
    }
    match scheme {
        Some("http") => {
            let (target, port_was_written) =
                Target::parse_optional_port(authority, HTTP).with_context(malformed)?;
            let path = if path.is_empty() { "/" } else { path };
            let http = Http {
                method: method.unwrap_or("GET").to_owned(),
                path: path.to_owned(),
                port_was_written,
            };
            Ok(asked(target, Some(http)))
        }
        Some("https") => Ok(asked(
            Target::parse_with_default(authority, HTTPS).with_context(malformed)?,
            None,
        )),
        Some(scheme) => {
            bail!("{text}: scheme {scheme} does not go through this proxy; write host:port for a tunnel")
        }
        None if path.is_empty() => Ok(asked(Target::parse(authority).with_context(malformed)?, None)),
        None => bail!("{text}: write https://{text} or http://{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_authorities() {
        for (text, method, expected) in [
            ("https://a.example", None, Some("a.example:443 tunnel")),
            ("https://a.example:8443/x?y", None, Some("a.example:8443 tunnel")),
            ("http://a.example", None, Some("a.example:80 GET / port false")),
            (
                "http://a.example:8080/x/y?z#f",
                Some("POST"),
                Some("a.example:8080 POST /x/y port true"),
            ),
            (
                "http://a.example:/x",
                None,
                Some("a.example:80 GET /x port false"),
            ),
            ("a.example:", None, None),
            ("HTTPS://A.example", None, Some("a.example:443 tunnel")),
            ("Http://a.example/", None, Some("a.example:80 GET / port false")),
            ("A.example.:443", None, Some("a.example:443 tunnel")),
            ("192.175.48.1:80", None, Some("192.175.48.1:80 tunnel")),
            (
                "[2620:4f:8000::1]:443",
                None,
                Some("[2620:4f:8000::1]:443 tunnel"),
            ),
            ("a.example", None, None),
            ("a.example/x", None, None),
            ("ftp://a.example", None, None),
            ("https://user@a.example", None, None),
            ("https://a.example", Some("POST"), None),
            ("127.1:80", None, None),
            ("https://bücher.example", None, None),
            ("http://a.example/é", None, None),
            ("", None, None),
        ] {
            let found = parse(text, method).ok().map(|asked| match asked.http {
                None => format!("{} tunnel", asked.target),
                Some(http) => format!(
                    "{} {} {} port {}",
                    asked.target, http.method, http.path, http.port_was_written
                ),
            });
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_name_of_another_script_is_told_in_punycode() {
        let problem = parse("https://bücher.example/x", None).unwrap_err().to_string();
        assert!(
            problem.contains("bücher.example is xn--bcher-kva.example"),
            "{problem}"
        );
    }
}
