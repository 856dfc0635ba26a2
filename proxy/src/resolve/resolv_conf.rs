//! What `/etc/resolv.conf` says. Pure: text in, servers and options out, read as glibc reads it.
//!
//! `search`, `domain`, `ndots` and `sortlist` mean nothing here: names are absolute. What else glibc knows and is not
//! named below concerns how it sends two questions over one socket, which is not done here.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use super::exchange::Transport;

/// Servers that glibc reads (`MAXNS`).
const SERVERS_MAX: usize = 3;
/// glibc's `RES_TIMEOUT`.
const TIMEOUT: Duration = Duration::from_secs(5);
/// glibc's `RES_MAXRETRANS`, in seconds.
const TIMEOUT_SECONDS_MAX: u64 = 30;
/// glibc's `RES_DFLRETRY`.
const ATTEMPTS: u32 = 2;
/// glibc's `RES_MAXRETRY`.
const ATTEMPTS_MAX: u32 = 5;
/// Where DNS is served.
const PORT: u16 = 53;

/// The parts that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conf {
    /// In the order of the file.
    pub(super) servers: Vec<SocketAddr>,
    pub(super) options: Options,
}

/// How servers are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// `timeout:`, how long a server has for its answer.
    pub(super) timeout: Duration,
    /// `attempts:`, how often each is asked.
    pub(super) attempts: u32,
    /// `rotate`: each look-up begins with another one.
    pub(super) rotate: Rotate,
    /// `use-vc`: TCP alone.
    pub(super) transport: Transport,
}

/// Whether look-ups are spread over the servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Rotate {
    /// All begin with the first.
    #[default]
    No,
    /// Each begins with the next.
    Yes,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: TIMEOUT,
            attempts: ATTEMPTS,
            rotate: Rotate::default(),
            transport: Transport::default(),
        }
    }
}

impl Conf {
    /// Reads the file's text; `scope` finds the number of a network interface by its name.
    pub(super) fn parse(text: &str, scope: impl Fn(&str) -> Option<u32>) -> Self {
        let mut conf = Self {
            servers: Vec::new(),
            options: Options::default(),
        };
        for line in text.lines() {
            // glibc takes keywords at the beginning of a line only, and comments as well.
            let mut words = line.split_ascii_whitespace();
            match words.next().filter(|word| line.starts_with(word)) {
                Some("nameserver") if conf.servers.len() < SERVERS_MAX => {
                    conf.servers
                        .extend(words.next().and_then(|word| server(word, &scope)));
                }
                Some("options") => words.for_each(|word| conf.options.set(word)),
                Some(_) | None => {}
            }
        }
        conf
    }
}

impl Options {
    fn set(&mut self, word: &str) {
        match word.split_once(':') {
            Some(("timeout", seconds)) => {
                if let Ok(seconds) = seconds.parse::<u64>() {
                    self.timeout = Duration::from_secs(seconds.clamp(1, TIMEOUT_SECONDS_MAX));
                }
            }
            Some(("attempts", attempts)) => {
                if let Ok(attempts) = attempts.parse::<u32>() {
                    self.attempts = attempts.clamp(1, ATTEMPTS_MAX);
                }
            }
            Some(_) => {}
            None if word == "rotate" => self.rotate = Rotate::Yes,
            None if word == "use-vc" => self.transport = Transport::Tcp,
            // edns0 as well: larger answers are always offered to be taken.
            None => {}
        }
    }
}

fn server(word: &str, scope: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    // With a port, as no libc writes it: for servers that listen elsewhere.
    if let Ok(server) = word.parse() {
        return Some(server);
    }
    let Some((address, zone)) = word.split_once('%') else {
        return Some(SocketAddr::new(word.parse::<IpAddr>().ok()?, PORT));
    };
    let scope = zone.parse().ok().or_else(|| scope(zone))?;
    Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, scope).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, servers: &[&str], options: Options) {
        let conf = Conf::parse(text, |name| (name == "eth0").then_some(7));
        let servers: Vec<SocketAddr> = servers.iter().map(|server| server.parse().unwrap()).collect();
        assert_eq!(conf, Conf { servers, options }, "{text:?}");
    }

    #[test]
    fn servers_are_read_as_glibc_reads_them() {
        let options = Options::default();
        for (text, servers) in [
            ("", &[][..]),
            ("nameserver 10.0.0.10\n", &["10.0.0.10:53"]),
            ("nameserver\t10.0.0.10", &["10.0.0.10:53"]),
            ("nameserver 10.0.0.10 10.0.0.11\r\n", &["10.0.0.10:53"]),
            (
                "nameserver fd00::1\nnameserver 10.0.0.1\n",
                &["[fd00::1]:53", "10.0.0.1:53"],
            ),
            (
                "nameserver fe80::1%2\nnameserver fe80::1%eth0\n",
                &["[fe80::1%2]:53", "[fe80::1%7]:53"],
            ),
            ("nameserver fe80::1%eth9\n", &[]),
            (
                "nameserver 127.0.0.1:5353\nnameserver [::1]:5353\n",
                &["127.0.0.1:5353", "[::1]:5353"],
            ),
            (
                "# nameserver 10.0.0.1\n;nameserver 10.0.0.2\n nameserver 10.0.0.3\n",
                &[],
            ),
            ("nameservers 10.0.0.1\nnameserver\nNAMESERVER 10.0.0.1\n", &[]),
            (
                "nameserver 10.0.0\nnameserver dns.example\nnameserver 10.0.0.256\n",
                &[],
            ),
            (
                "search a.example\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n",
                &["10.0.0.1:53", "10.0.0.2:53", "10.0.0.3:53"],
            ),
        ] {
            check(text, servers, options);
        }
    }

    #[test]
    fn options_are_read_as_glibc_reads_them() {
        let usual = Options::default();
        let timeout = |seconds| Options {
            timeout: Duration::from_secs(seconds),
            ..usual
        };
        let attempts = |attempts| Options { attempts, ..usual };
        for (text, options) in [
            ("options", usual),
            ("options ndots:5 edns0 trust-ad single-request", usual),
            ("options timeout:1", timeout(1)),
            ("options timeout:0", timeout(1)),
            ("options timeout:99", timeout(30)),
            ("options timeout:", usual),
            ("options timeout:x timeout:3", timeout(3)),
            ("options timeout:3\noptions timeout:2", timeout(2)),
            ("options attempts:1", attempts(1)),
            ("options attempts:0", attempts(1)),
            ("options attempts:9", attempts(5)),
            (" options attempts:9", usual),
            (
                "options rotate use-vc",
                Options {
                    rotate: Rotate::Yes,
                    transport: Transport::Tcp,
                    ..usual
                },
            ),
        ] {
            check(text, &[], options);
        }
    }
}
