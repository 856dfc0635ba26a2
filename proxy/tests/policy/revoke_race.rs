//! Documents that change while a request waits: by those in force then it is decided again, before anything is dialled and
//! before the first byte, and looked at before each write. As a table: what is asked for, where it waits, what changes.
//! Requests that are under way already are in `revoke_race/under_way.rs`.

mod under_way;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use egressway_core::acl::{Wall, compile};
use egressway_core::wire::document::{self, Action, HostCaps, Revoke};
use egressway_core::wire::report::Phase;
use egressway_proxy::access_log::{AccessLog, Place};
use egressway_proxy::metrics::Metrics;
use egressway_proxy::resolve::Resolver;
use egressway_proxy::server::{Limits, Server};
use egressway_proxy::state::{InForce, State};
use futures::future::join_all;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::access::{World, passwords};
use crate::auth::basic;
use crate::support::{DEADLINE, accept, allow, dial, origin, read_all, status, untouched};

/// What a client asks for, with bytes that would go to the origin first.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// CONNECT with early data.
    Tunnel,
    Get,
    /// With a body that comes along.
    Post,
    Upgrade,
}

const FORMS: [Form; 4] = [Form::Tunnel, Form::Get, Form::Post, Form::Upgrade];

impl Form {
    fn bytes(self, authority: &str) -> Vec<u8> {
        let credential = basic("u", "s3cret");
        let head =
            |line: &str, fields: &str| format!("{line} HTTP/1.1\r\nHost: x\r\n{credential}{fields}\r\n");
        let text = match self {
            Self::Tunnel => head(&format!("CONNECT {authority}"), "") + &"early".repeat(600),
            Self::Get => head(&format!("GET http://{authority}/"), ""),
            Self::Post => {
                head(&format!("POST http://{authority}/"), "Content-Length: 200000\r\n")
                    + &"b".repeat(200_000)
            }
            Self::Upgrade => head(
                &format!("GET http://{authority}/"),
                "Connection: upgrade\r\nUpgrade: websocket\r\n",
            ),
        };
        text.into_bytes()
    }
}

/// What changes, and what the client reads then.
#[derive(Clone, Copy, Debug)]
enum Change {
    Rules,
    /// The same where open tunnels may live on: this is none yet.
    RulesOnClose,
    DenyRule,
    Suspended,
    Floor,
    Caps,
    Credential,
    Clients,
    Quarantine,
}

const CHANGES: [(Change, u16, &str); 9] = [
    (Change::Rules, 403, "no_rule_matches"),
    (Change::RulesOnClose, 403, "no_rule_matches"),
    (Change::DenyRule, 403, "address_denied_by_rule"),
    (Change::Suspended, 403, "policy_suspended"),
    (Change::Floor, 403, "address_forbidden"),
    (Change::Caps, 403, "denied_by_pool"),
    (Change::Credential, 407, "credentials_invalid"),
    (Change::Clients, 403, "client_unknown"),
    (Change::Quarantine, 503, "quarantined"),
];

fn world() -> World {
    World::open()
        .client("sender", false, Some(passwords(&["secret"])))
        .password("secret", "s3cret")
}

impl Change {
    fn happens(self, state: &State) {
        let mut world = world();
        match self {
            Self::Rules => world.content.rules = allow(&["other.example"], &[]),
            Self::RulesOnClose => {
                world.content.rules = allow(&["other.example"], &[]);
                world.content.revoke_tunnels = Revoke::OnClose;
            }
            Self::DenyRule => {
                let mut deny = allow(&[], &["127.0.0.0/8"]).remove(0);
                (deny.name, deny.action) = ("deny".to_owned(), Action::Deny);
                world.content.rules.push(deny);
            }
            Self::Suspended => world.content.suspended = true,
            Self::Floor => {
                let floor = document::Floor {
                    version: document::VERSION,
                    ..document::Floor::default()
                };
                let wall = Wall::of(compile::floor(&floor, &[]).unwrap());
                return state.set_in_force(InForce {
                    wall,
                    ..world.in_force()
                });
            }
            Self::Caps => {
                world.caps.hosts = Some(HostCaps {
                    allow: vec!["other.example".to_owned()],
                    ..HostCaps::default()
                });
            }
            Self::Credential => world = world.password("secret", "another"),
            Self::Clients => {
                world.content.clients[0] = World::open().client("pods", true, None).content.clients.remove(0)
            }
            Self::Quarantine => return state.set_phase(Phase::Quarantined),
        }
        state.set_in_force(world.in_force());
    }
}

/// A proxy whose look-ups wait until they are let go.
struct Slow {
    address: SocketAddr,
    state: Arc<State>,
    asked: Arc<Semaphore>,
    answer: Arc<Semaphore>,
    _serving: AbortOnDropHandle<()>,
}

impl Slow {
    async fn start(world: &World, answers: &'static [&'static str]) -> Self {
        let state = State::new();
        state.set_in_force(world.in_force());
        state.set_phase(Phase::Serving);
        let (asked, answer) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (seen, gate) = (Arc::clone(&asked), Arc::clone(&answer));
        let resolver = Resolver::scripted(move |_| {
            let (seen, gate) = (Arc::clone(&seen), Arc::clone(&gate));
            async move {
                seen.add_permits(1);
                gate.acquire().await.unwrap().forget();
                Ok(answers.iter().map(|ip| ip.parse().unwrap()).collect())
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(
            Arc::clone(&state),
            resolver,
            Metrics::register(&mut Registry::default()),
            AccessLog::to_writer(Box::new(std::io::sink()), Place::default()).unwrap(),
            Limits::default(),
            "egressway-proxy".to_owned(),
            vec![],
        );
        let stop = CancellationToken::new();
        let serving = Arc::new(server).serve(listener, stop.clone(), stop.clone());
        Self {
            address,
            state,
            asked,
            answer,
            _serving: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    /// Waits until so many look-ups wait.
    async fn look_ups(&self, count: u32) {
        let looked_up = timeout(DEADLINE, self.asked.acquire_many(count)).await;
        looked_up.expect("nobody looks it up").unwrap().forget();
    }
}

/// A client that has sent all it can: what it reads, whether or not the proxy takes what it sends.
async fn ask(address: SocketAddr, bytes: Vec<u8>) -> AbortOnDropHandle<String> {
    let client = dial(address).await;
    let (mut from, mut to) = client.into_split();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let sending = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = to.write_all(&bytes).await;
            to
        }));
        let mut answer = Vec::new();
        let read = timeout(DEADLINE, from.read_to_end(&mut answer)).await;
        let _ = read.expect("the connection hangs");
        drop(sending);
        String::from_utf8_lossy(&answer).into_owned()
    }))
}

fn assert_refused(answer: &str, code: u16, reason: &str, row: &str) {
    assert!(
        status(answer) == code && answer.contains(&format!("X-Egressway-Reason: {reason}\r\n")),
        "{row}: {answer}"
    );
}

#[tokio::test]
async fn what_is_revoked_during_the_look_up_is_neither_dialled_nor_sent() {
    for form in FORMS {
        for (change, code, reason) in CHANGES {
            let row = format!("{form:?}, {change:?}");
            let (slow, origin) = (Slow::start(&world(), &["127.0.0.1"]).await, origin().await);
            let authority = format!("a.example:{}", origin.local_addr().unwrap().port());
            let asked = ask(slow.address, form.bytes(&authority)).await;
            slow.look_ups(1).await;
            change.happens(&slow.state);
            slow.answer.add_permits(1);
            assert_refused(&asked.await.unwrap(), code, reason, &row);
            assert!(untouched(&origin).await, "{row}: dialled");
        }
    }
}

/// A listener that takes no connection until one of its own is accepted: the kernel drops who asks.
#[expect(clippy::disallowed_methods, reason = "clients in a test")]
async fn full(address: &str) -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address.parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let at = listener.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = timeout(Duration::from_millis(50), TcpStream::connect(at)).await {
        held.push(stream);
    }
    (listener, held)
}

#[tokio::test]
async fn what_is_revoked_during_the_dial_gets_no_byte() {
    let rows = FORMS
        .into_iter()
        .flat_map(|form| CHANGES.map(|change| (form, change)));
    let row = |(form, (change, code, reason)): (Form, (Change, u16, &'static str))| async move {
        let row = format!("{form:?}, {change:?}");
        let (slow, (origin, held)) = (
            Slow::start(&world(), &["127.0.0.1"]).await,
            full("127.0.0.1:0").await,
        );
        let authority = format!("a.example:{}", origin.local_addr().unwrap().port());
        let asked = ask(slow.address, form.bytes(&authority)).await;
        slow.look_ups(1).await;
        slow.answer.add_permits(1);
        let dials = async {
            while !is_dialled(origin.local_addr().unwrap()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, dials).await.expect("nobody dials");
        change.happens(&slow.state);
        // Room for the one that waits.
        for _ in &held {
            accept(&origin).await;
        }
        let mut server = accept(&origin).await;
        let got = read_all(&mut server).await.0;
        assert!(got.is_empty(), "{row}: {} bytes", got.len());
        assert_refused(&asked.await.unwrap(), code, reason, &row);
    };
    join_all(rows.map(row)).await;
}

/// Whether the kernel waits for an answer from there (state SYN_SENT of `/proc/net/tcp`, addresses in hexadecimal).
fn is_dialled(to: SocketAddr) -> bool {
    let port = format!(":{:04X}", to.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(2).is_some_and(|remote| remote.ends_with(&port)) && fields.get(3) == Some(&"02")
    })
}

#[tokio::test]
async fn what_is_revoked_between_two_attempts_is_not_dialled_again() {
    for form in FORMS {
        // IPv4 alone, in the order of the answer: the first drops who asks.
        let (first, _held) = full("127.0.0.2:0").await;
        let port = first.local_addr().unwrap().port();
        let second = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let slow = Slow::start(&world(), &["127.0.0.2", "127.0.0.1"]).await;
        let asked = ask(slow.address, form.bytes(&format!("a.example:{port}"))).await;
        slow.look_ups(1).await;
        slow.answer.add_permits(1);
        let dials = async {
            while !is_dialled(first.local_addr().unwrap()) {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, dials).await.expect("nobody dials");
        Change::Rules.happens(&slow.state);
        // Past the delay between two attempts.
        let dialled = timeout(Duration::from_millis(600), second.accept()).await;
        assert!(dialled.is_err(), "{form:?}");
        drop(asked);
    }
}

#[tokio::test]
async fn a_lower_limit_holds_for_those_that_wait() {
    for (limits, reason) in [
        (
            document::Limits {
                requests_per_second: Some(1),
                ..document::Limits::default()
            },
            "rate_limited",
        ),
        (
            document::Limits {
                tunnels: Some(1),
                ..document::Limits::default()
            },
            "too_many_tunnels",
        ),
    ] {
        let (slow, origin) = (Slow::start(&world(), &["127.0.0.1"]).await, origin().await);
        let authority = format!("a.example:{}", origin.local_addr().unwrap().port());
        let mut asked = Vec::new();
        for _ in 0..3 {
            asked.push(ask(slow.address, Form::Get.bytes(&authority)).await);
        }
        slow.look_ups(3).await;
        let mut lower = world();
        lower.content.limits = limits;
        slow.state.set_in_force(lower.in_force());
        slow.answer.add_permits(3);
        let mut server = accept(&origin).await;
        let refused = |answer: &str| answer.contains(&format!("X-Egressway-Reason: {reason}\r\n"));
        let mut count = 0;
        // Whoever is refused reads it before the one that is served.
        let answers = async {
            while count < 2 {
                let at = asked.iter().position(AbortOnDropHandle::is_finished);
                match at {
                    Some(at) => {
                        let answer = asked.remove(at).await.unwrap();
                        assert!(refused(&answer), "{answer}");
                        count += 1;
                    }
                    None => tokio::task::yield_now().await,
                }
            }
        };
        timeout(DEADLINE, answers).await.expect("all go out");
        assert!(untouched(&origin).await, "{reason}: a second one was dialled");
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        server.write_all(answer).await.unwrap();
        drop(asked);
    }
}

#[tokio::test]
async fn a_document_that_lists_the_pod_and_takes_its_rule_away_lets_nothing_out() {
    let mut pods = World::open().client("sender", true, None);
    let (slow, origin) = (Slow::start(&pods, &["127.0.0.1"]).await, origin().await);
    let authority = origin.local_addr().unwrap().to_string();
    for form in FORMS {
        slow.state.set_in_force(pods.in_force());
        let asked = ask(slow.address, form.bytes(&authority)).await;
        // It waits for a row; nothing else tells.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut listed = pods.clone().pod("sender-1", "127.0.0.1", &["sender"]);
        listed.content.rules = allow(&["other.example"], &[]);
        slow.state.set_in_force(listed.in_force());
        assert_refused(
            &asked.await.unwrap(),
            403,
            "no_rule_matches",
            &format!("{form:?}"),
        );
    }
    pods.pods.clear();
    assert!(untouched(&origin).await);
}

#[tokio::test]
async fn documents_that_still_permit_change_nothing() {
    let (slow, origin) = (Slow::start(&world(), &["127.0.0.1"]).await, origin().await);
    let authority = format!("a.example:{}", origin.local_addr().unwrap().port());
    for form in FORMS {
        let asked = ask(slow.address, form.bytes(&authority)).await;
        slow.look_ups(1).await;
        slow.state
            .set_in_force(world().pod("any", "10.9.9.9", &[]).in_force());
        slow.answer.add_permits(1);
        let mut server = accept(&origin).await;
        assert_ne!(server.read_u8().await.unwrap(), 0, "{form:?}");
        drop((asked, server));
    }
}
