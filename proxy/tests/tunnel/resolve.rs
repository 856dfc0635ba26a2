//! The resolver against a name server on a real socket: families, failures, silence, cache.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use egressway_proxy::resolve::{LOOKUP_TIMEOUT, ResolveError, Resolver};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

const A: u16 = 1;
const AAAA: u16 = 28;

/// A name server that answers by the first label of the name, and what it was asked.
struct NameServer {
    resolver: Resolver,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
    _task: AbortOnDropHandle<()>,
}

impl NameServer {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut query = [0; 1500];
            loop {
                let (length, client) = socket.recv_from(&mut query).await.unwrap();
                let (name, kind, end) = question(&query[..length]);
                seen.lock().unwrap().push((name.clone(), kind));
                if let Some(answer) = answer(&query[..end], &name, kind) {
                    socket.send_to(&answer, client).await.unwrap();
                }
            }
        });
        Self {
            resolver: Resolver::with_nameservers(vec![address]).unwrap(),
            asked,
            _task: AbortOnDropHandle::new(task),
        }
    }

    async fn resolve(&self, name: &str) -> Result<Vec<String>, ResolveError> {
        let found = timeout(Duration::from_secs(10), self.resolver.resolve(name)).await;
        found.expect("the look-up hangs").map(|addresses| {
            let mut addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            addresses.sort();
            addresses
        })
    }
}

/// The name asked for, lower case, with its dots; the type; where the question ends.
fn question(query: &[u8]) -> (String, u16, usize) {
    let (mut name, mut at) = (String::new(), 12);
    while query[at] != 0 {
        let label = &query[at + 1..at + 1 + usize::from(query[at])];
        name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
        name.push('.');
        at += 1 + label.len();
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    (name, kind, at + 5)
}

fn answer(question: &[u8], name: &str, kind: u16) -> Option<Vec<u8>> {
    let v4 = vec![(A, vec![192, 175, 48, 1])];
    let v6 = vec![(
        AAAA,
        "2620:4f:8000::1"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets()
            .to_vec(),
    )];
    let (code, records) = match (name.split('.').next()?, kind) {
        ("both" | "cached", A) | ("v4" | "drops6" | "fails6", A) => (0, v4),
        ("both" | "cached" | "drops4", AAAA) => (0, v6),
        ("alias", A) => (0, alias()),
        ("v4" | "alias", AAAA) | ("empty", _) => (0, vec![]),
        ("fails6", AAAA) | ("fails", _) => (2, vec![]),
        ("missing", _) => (3, vec![]),
        ("drops6", AAAA) | ("drops4", A) | ("silent", _) => return None,
        _ => (5, vec![]),
    };
    let mut message = question.to_vec();
    message[2..12].copy_from_slice(&[0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    for (kind, data) in records {
        // The owner is the question's name, except behind an alias, where it is the alias's target.
        let owner = if name.starts_with("alias.") && kind == A {
            target_name()
        } else {
            vec![0xc0, 12]
        };
        message.extend_from_slice(&owner);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&[0, 1, 0, 0, 0, 0]);
        message.extend_from_slice(&(data.len() as u16).to_be_bytes());
        message.extend_from_slice(&data);
    }
    Some(message)
}

fn target_name() -> Vec<u8> {
    b"\x06target\x07example\x00".to_vec()
}

fn alias() -> Vec<(u16, Vec<u8>)> {
    vec![(5, target_name()), (A, vec![192, 175, 48, 2])]
}

#[tokio::test]
async fn both_families_are_asked_and_each_answer_counts() {
    let server = NameServer::start().await;
    for (name, expected) in [
        ("both.example", vec!["192.175.48.1", "2620:4f:8000::1"]),
        ("v4.example", vec!["192.175.48.1"]),
        ("fails6.example", vec!["192.175.48.1"]),
        ("alias.example", vec!["192.175.48.2"]),
    ] {
        assert_eq!(server.resolve(name).await.unwrap(), expected, "{name}");
    }
}

#[tokio::test]
async fn a_family_that_gets_no_answer_costs_a_moment_only() {
    let server = NameServer::start().await;
    for (name, expected) in [
        ("drops6.example", "192.175.48.1"),
        ("drops4.example", "2620:4f:8000::1"),
    ] {
        let began = Instant::now();
        assert_eq!(server.resolve(name).await.unwrap(), [expected]);
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{name}: {:?}",
            began.elapsed()
        );
    }
}

#[tokio::test]
async fn failures_are_told_apart() {
    let server = NameServer::start().await;
    for name in ["missing.example", "empty.example"] {
        let found = server.resolve(name).await;
        assert!(matches!(found, Err(ResolveError::NotFound)), "{name}: {found:?}");
    }
    for name in ["fails.example", "refused.example"] {
        let found = server.resolve(name).await;
        assert!(matches!(found, Err(ResolveError::Failed(_))), "{name}: {found:?}");
    }
}

#[tokio::test]
async fn silence_ends_in_time() {
    let server = NameServer::start().await;
    let began = Instant::now();
    let found = server.resolve("silent.example").await;
    assert!(matches!(found, Err(ResolveError::Timeout)), "{found:?}");
    assert!(
        began.elapsed() < LOOKUP_TIMEOUT + Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn answers_are_kept_even_with_a_ttl_of_zero() {
    let server = NameServer::start().await;
    for _ in 0..5 {
        server.resolve("cached.example").await.unwrap();
    }
    assert_eq!(server.asked.lock().unwrap().len(), 2, "one query per family");
}

#[tokio::test]
async fn names_are_absolute() {
    let server = NameServer::start().await;
    let _ = server.resolve("missing").await;
    let asked = server.asked.lock().unwrap().clone();
    assert!(
        !asked.is_empty() && asked.iter().all(|(name, _)| name == "missing."),
        "{asked:?}"
    );
}
