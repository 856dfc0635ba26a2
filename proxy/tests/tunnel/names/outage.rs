//! Name servers that go away: what was known is used for a while, what they say later counts at once.

use super::name_server::{NXDOMAIN, REFUSED, Reply, SERVFAIL};
use super::*;

const OLD: &str = "192.175.48.1";
const NEW: &str = "192.175.48.9";

/// An address for the shortest time.
fn brief(ip: &str) -> Reply {
    Reply::Addresses(vec![ip.parse().unwrap()], 1)
}

async fn known(names: &[&str]) -> (Resolver, NameServer) {
    let server = NameServer::start(|_, _| brief(OLD)).await;
    let resolver = Resolver::with_nameservers(vec![server.address]).unwrap();
    for name in names {
        assert_eq!(resolve(&resolver, name).await.0.unwrap(), [OLD]);
    }
    (resolver, server)
}

/// Past the time of what was learned.
async fn expire() {
    tokio::time::sleep(Duration::from_millis(1_050)).await;
}

#[tokio::test]
async fn what_resolved_before_goes_on_under_load_while_servers_fail_and_is_fresh_soon_after() {
    for outage in [Reply::Silence, SERVFAIL] {
        let names: Vec<String> = (0..50).map(|n| format!("n{n}.example")).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let (resolver, server) = known(&all).await;
        let broken = outage.clone();
        server.set(move |_, _| broken.clone());
        let end = Instant::now() + Duration::from_secs(6);
        let (mut asked, mut times) = (0, Vec::new());
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        let mut tasks = tokio::task::JoinSet::new();
        while Instant::now() < end {
            tick.tick().await;
            let (resolver, name) = (resolver.clone(), names[asked % names.len()].clone());
            tasks.spawn(async move { resolve(&resolver, &name).await });
            asked += 1;
        }
        while let Some(done) = tasks.join_next().await {
            let (found, took) = done.unwrap();
            assert_eq!(found.unwrap(), [OLD], "{outage:?}");
            times.push(took);
        }
        times.sort();
        assert!(
            times[times.len() - 1] < Duration::from_secs(1),
            "{outage:?}: {:?}",
            times.last()
        );
        server.set(|_, _| brief(NEW));
        for name in &names {
            until("it is fresh again", async || {
                resolve(&resolver, name).await.0.unwrap() == [NEW]
            })
            .await;
        }
    }
}

#[tokio::test]
async fn only_silence_and_servfail_let_old_answers_live() {
    for (outage, lives) in [
        (Reply::Silence, true),
        (SERVFAIL, true),
        (REFUSED, false),
        (Reply::Code(4), false),
        (Reply::Garbage, false),
        (NXDOMAIN, false),
        (Reply::Addresses(vec![], 0), false),
    ] {
        let (resolver, server) = known(&["a.example"]).await;
        let reply = outage.clone();
        server.set(move |_, _| reply.clone());
        expire().await;
        let (found, took) = resolve(&resolver, "a.example").await;
        assert_eq!(found.is_ok(), lives, "{outage:?}: {found:?}");
        assert!(took < Duration::from_millis(900), "{outage:?}: {took:?}");
    }
}

#[tokio::test]
async fn a_name_that_is_gone_is_refused_as_soon_as_a_server_says_so() {
    let (resolver, server) = known(&["a.example"]).await;
    server.set(|_, _| Reply::Silence);
    expire().await;
    assert_eq!(resolve(&resolver, "a.example").await.0.unwrap(), [OLD]);
    server.set(|_, _| NXDOMAIN);
    until("it is refused", async || {
        matches!(
            resolve(&resolver, "a.example").await.0,
            Err(ResolveError::NotFound)
        )
    })
    .await;
    // And stays refused when the servers go away again.
    server.set(|_, _| Reply::Silence);
    assert!(resolve(&resolver, "a.example").await.0.is_err());
}

#[tokio::test]
async fn names_in_use_never_wait_for_their_next_answer() {
    let slow = |ip: &str| Reply::Late(Duration::from_millis(200), Box::new(brief(ip)));
    let server = NameServer::start(move |_, _| slow(OLD)).await;
    let resolver = Resolver::with_nameservers(vec![server.address]).unwrap();
    assert_eq!(resolve(&resolver, "a.example").await.0.unwrap(), [OLD]);
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        let (found, took) = resolve(&resolver, "a.example").await;
        assert_eq!(found.unwrap(), [OLD]);
        assert!(took < Duration::from_millis(100), "{took:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(server.asked().iter().filter(|(_, kind)| *kind == A).count() >= 4);
}
