//! The addresses of this machine: what stands behind a firewall is reached through them from inside, past it.
//!
//! Those of its interfaces, of both families, as the kernel tells them; those that are given; and those that a quorum of
//! observers saw the machine leave from, which no interface has behind a 1:1 NAT. It decides nothing: the loader of the
//! documents puts them on the floor.

mod netlink;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use egressway_core::wire::report::Egress;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;

use self::netlink::Changes;

/// How often the interfaces are asked where the kernel tells no changes.
const POLL: Duration = Duration::from_secs(1);

/// What is known besides what the interfaces say.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Addresses that lead here although no interface has them.
    pub given: Vec<IpAddr>,
    /// Addresses of this machine that may be reached all the same.
    pub opened: Vec<IpAddr>,
}

/// Finds them out, and when they change.
#[derive(Debug)]
pub struct OwnAddresses {
    known: Known,
    /// Absent in a cluster, where the address outside is that of a NAT gateway.
    seen: Option<watch::Receiver<Arc<Egress>>>,
    /// Opened when it is first needed, because it belongs to a runtime; absent where the kernel lets nobody listen.
    changes: Option<Option<Changes>>,
    /// What was found last: it stands while the kernel does not answer.
    last: BTreeSet<IpAddr>,
}

impl OwnAddresses {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(known: Known, seen: Option<watch::Receiver<Arc<Egress>>>) -> Self {
        Self {
            known,
            seen,
            changes: None,
            last: BTreeSet::new(),
        }
    }

    /// Whether the interfaces can be asked at all.
    ///
    /// # Errors
    /// The operating system's.
    pub fn can_be_asked() -> std::io::Result<()> {
        netlink::addresses().map(drop)
    }

    /// All of them now.
    pub(crate) fn now(&mut self) -> BTreeSet<IpAddr> {
        // Listened for before they are asked for, so that no change falls between.
        let changes = self.changes.get_or_insert_with(|| Changes::listen().ok());
        if let Some(changes) = changes {
            changes.forget();
        }
        let mut all: BTreeSet<_> = match netlink::addresses() {
            Ok(addresses) => addresses.into_iter().map(|ip| ip.to_canonical()).collect(),
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "the addresses of this machine cannot be listed, the last ones stay refused"
                );
                self.last.clone()
            }
        };
        self.last.clone_from(&all);
        all.extend(self.known.given.iter().map(IpAddr::to_canonical));
        if let Some(seen) = &mut self.seen {
            let egress = seen.borrow_and_update();
            let confirmed = egress.seen.iter().filter(|seen| seen.confirmed);
            all.extend(confirmed.map(|seen| seen.ip));
        }
        for opened in &self.known.opened {
            all.remove(&opened.to_canonical());
        }
        all
    }

    /// Returns when they may have changed.
    pub(crate) async fn changed(&mut self) {
        let interfaces = async {
            match &self.changes {
                Some(Some(changes)) => changes.heard().await,
                Some(None) | None => sleep(POLL).await,
            }
        };
        let seen = async {
            let heard = match &mut self.seen {
                Some(seen) => seen.changed().await.ok(),
                None => None,
            };
            if heard.is_none() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = interfaces => {}
            () = seen => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use egressway_core::wire::report::Seen;

    use super::*;

    fn seen(ip: &str, confirmed: bool) -> Seen {
        Seen {
            ip: ip.parse().unwrap(),
            observers: Vec::new(),
            confirmed,
            last_seen: 0,
        }
    }

    #[tokio::test]
    async fn interfaces_observers_and_flags_add_up() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (sender, receiver) = watch::channel(Arc::default());
        let known = Known {
            given: vec![ip("::ffff:8.8.4.4"), ip("8.8.8.8")],
            opened: vec![ip("8.8.8.8"), ip("::1")],
        };
        let mut own = OwnAddresses::new(known, Some(receiver));
        let now = own.now();
        for (address, expected) in [
            ("127.0.0.1", true),
            ("8.8.4.4", true),
            ("8.8.8.8", false),
            ("::1", false),
            ("9.9.9.9", false),
        ] {
            assert_eq!(now.contains(&ip(address)), expected, "{address}");
        }
        sender.send_replace(Arc::new(Egress {
            seen: vec![seen("9.9.9.9", true), seen("149.112.112.112", false)],
            ..Egress::default()
        }));
        own.changed().await;
        let now = own.now();
        assert!(now.contains(&ip("9.9.9.9")), "a quorum saw it");
        assert!(
            !now.contains(&ip("149.112.112.112")),
            "one alone can say anything"
        );
    }
}
