//! What two servers say, of which one is broken in some way: the answer, whose it is, and how long it takes.

use super::name_server::{NODATA, NOTIMP, NXDOMAIN, REFUSED, Reply, SERVFAIL};
use super::*;

const FIRST: [&str; 2] = ["192.175.48.1", "2620:4f:8000::1"];
const SECOND: [&str; 2] = ["192.175.48.2", "2620:4f:8000::2"];

fn ips(ips: [&str; 2]) -> Vec<IpAddr> {
    ips.iter().map(|ip| ip.parse().unwrap()).collect()
}

/// Two servers, and the resolver that asks them in this order.
async fn pair(first: Reply, second: Reply) -> (Resolver, [NameServer; 2]) {
    let servers = [
        NameServer::start(move |_, _| first.clone()).await,
        NameServer::start(move |_, _| second.clone()).await,
    ];
    let list = servers.iter().map(|server| server.address).collect();
    (Resolver::with_nameservers(list).unwrap(), servers)
}

const SOON: u64 = 500;
/// A silent server has a second before the next is asked.
const NEXT: u64 = 1_500;
/// The end of a look-up.
const LAST: u64 = 5_500;

#[tokio::test]
async fn each_way_to_fail_of_either_server_has_its_answer_and_its_time() {
    let late = |reply| Reply::Late(Duration::from_millis(1500), Box::new(reply));
    let (good_first, good_second) = (|| addresses(&FIRST), || addresses(&SECOND));
    let mut tasks = tokio::task::JoinSet::new();
    for (what, first, second, expected, millis) in [
        ("SERVFAIL first", SERVFAIL, good_second(), Some(SECOND), SOON),
        ("REFUSED first", REFUSED, good_second(), Some(SECOND), SOON),
        ("NOTIMP first", NOTIMP, good_second(), Some(SECOND), SOON),
        ("FORMERR first", Reply::Code(1), good_second(), Some(SECOND), SOON),
        (
            "another code first",
            Reply::Code(9),
            good_second(),
            Some(SECOND),
            SOON,
        ),
        ("garbage first", Reply::Garbage, good_second(), Some(SECOND), SOON),
        ("NXDOMAIN first", NXDOMAIN, good_second(), None, SOON),
        ("nothing of it first", NODATA, good_second(), None, SOON),
        (
            "only plain questions first",
            Reply::Plain(ips(FIRST)),
            NXDOMAIN,
            Some(FIRST),
            SOON,
        ),
        (
            "dropped offers first",
            Reply::DropsOffers(ips(FIRST)),
            NXDOMAIN,
            Some(FIRST),
            NEXT,
        ),
        ("silence first", Reply::Silence, good_second(), Some(SECOND), NEXT),
        (
            "wrong id first",
            Reply::WrongId(ips(FIRST)),
            good_second(),
            Some(SECOND),
            NEXT,
        ),
        (
            "wrong question first",
            Reply::WrongQuestion(ips(FIRST)),
            good_second(),
            Some(SECOND),
            NEXT,
        ),
        (
            "truncated first",
            Reply::Truncated(ips(FIRST)),
            good_second(),
            Some(FIRST),
            SOON,
        ),
        (
            "late first, second has it",
            late(good_first()),
            good_second(),
            Some(SECOND),
            NEXT,
        ),
        (
            "late first, second has not",
            late(good_first()),
            NXDOMAIN,
            Some(FIRST),
            2_000,
        ),
        ("late NXDOMAIN first", late(NXDOMAIN), NXDOMAIN, None, 2_000),
        ("SERVFAIL second", good_first(), SERVFAIL, Some(FIRST), SOON),
        ("REFUSED second", good_first(), REFUSED, Some(FIRST), SOON),
        ("NOTIMP second", good_first(), NOTIMP, Some(FIRST), SOON),
        ("garbage second", good_first(), Reply::Garbage, Some(FIRST), SOON),
        ("NXDOMAIN second", good_first(), NXDOMAIN, Some(FIRST), SOON),
        ("silence second", good_first(), Reply::Silence, Some(FIRST), SOON),
        (
            "wrong id second",
            good_first(),
            Reply::WrongId(ips(SECOND)),
            Some(FIRST),
            SOON,
        ),
        (
            "wrong question second",
            good_first(),
            Reply::WrongQuestion(ips(SECOND)),
            Some(FIRST),
            SOON,
        ),
        (
            "truncated second",
            SERVFAIL,
            Reply::Truncated(ips(SECOND)),
            Some(SECOND),
            SOON,
        ),
        ("late second", SERVFAIL, late(good_second()), Some(SECOND), 2_000),
        ("NXDOMAIN behind SERVFAIL", SERVFAIL, NXDOMAIN, None, SOON),
        ("NXDOMAIN behind silence", Reply::Silence, NXDOMAIN, None, LAST),
        (
            "slow NXDOMAIN is not beaten",
            Reply::Late(Duration::from_millis(300), Box::new(good_first())),
            NXDOMAIN,
            Some(FIRST),
            SOON,
        ),
    ] {
        tasks.spawn(async move {
            let (resolver, _servers) = pair(first, second).await;
            let (found, took) = resolve(&resolver, "a.example").await;
            match expected {
                Some(expected) => assert_eq!(found.unwrap(), expected, "{what}"),
                None => assert!(matches!(found, Err(ResolveError::NotFound)), "{what}: {found:?}"),
            }
            assert!(took < Duration::from_millis(millis), "{what}: {took:?}");
        });
    }
    while let Some(checked) = tasks.join_next().await {
        checked.unwrap();
    }
}

#[tokio::test]
async fn every_name_resolves_with_one_server_broken_in_either_order() {
    for broken in [SERVFAIL, REFUSED, NOTIMP, Reply::Garbage] {
        for order in [0, 1] {
            let mut replies = [broken.clone(), addresses(&FIRST)];
            replies.rotate_left(order);
            let [first, second] = replies;
            let (resolver, _servers) = pair(first, second).await;
            for n in 0..20 {
                let (found, took) = resolve(&resolver, &format!("n{n}.example")).await;
                assert_eq!(found.unwrap(), FIRST, "{broken:?} at {order}");
                assert!(took < Duration::from_millis(SOON), "{took:?}");
            }
        }
    }
}

#[tokio::test]
async fn families_are_asked_each_for_itself() {
    let only = |good: u16, other: Reply| {
        move |_: &str, kind: u16| {
            if kind == good {
                addresses(&FIRST)
            } else {
                other.clone()
            }
        }
    };
    for (first, second, expected) in [
        // The first knows one family and fails for the other, which the second has.
        (
            only(A, SERVFAIL),
            addresses(&SECOND),
            &["192.175.48.1", "2620:4f:8000::2"][..],
        ),
        (
            only(28, REFUSED),
            addresses(&SECOND),
            &["192.175.48.2", "2620:4f:8000::1"],
        ),
        (only(A, NODATA), addresses(&SECOND), &["192.175.48.1"]),
        (only(A, NXDOMAIN), addresses(&SECOND), &["192.175.48.1"]),
        (only(28, NODATA), SERVFAIL, &["2620:4f:8000::1"]),
        (only(A, SERVFAIL), SERVFAIL, &["192.175.48.1"]),
    ] {
        let servers = [
            NameServer::start(first).await,
            NameServer::start(move |_, _| second.clone()).await,
        ];
        let list = servers.iter().map(|server| server.address).collect();
        let resolver = Resolver::with_nameservers(list).unwrap();
        let (found, took) = resolve(&resolver, "a.example").await;
        assert_eq!(found.unwrap(), expected);
        assert!(took < Duration::from_millis(SOON), "{took:?}");
    }
}

#[tokio::test]
async fn failures_say_what_each_server_did() {
    let (resolver, servers) = pair(SERVFAIL, REFUSED).await;
    let (found, took) = resolve(&resolver, "a.example").await;
    let Err(ResolveError::Failed(failure)) = found else {
        panic!("{found:?}")
    };
    let said = failure.to_string();
    for (server, word) in servers.iter().zip(["answered SERVFAIL", "answered REFUSED"]) {
        assert!(
            said.contains(&format!("name server {} {word}", server.address)),
            "{said}"
        );
    }
    assert!(took < Duration::from_millis(SOON), "{took:?}");
    let asked = servers[0].asked().len();
    // RFC 9520: not at once again.
    let (found, _) = resolve(&resolver, "a.example").await;
    assert!(matches!(found, Err(ResolveError::Failed(_))) && servers[0].asked().len() == asked);
}

#[tokio::test]
async fn a_server_that_is_down_costs_its_time_once_and_is_asked_again_when_it_is_back() {
    let (resolver, [first, _second]) = pair(Reply::Silence, addresses(&SECOND)).await;
    let mut slow = 0;
    until("the silent server is left", async || {
        slow += 1;
        let (found, took) = resolve(&resolver, &format!("n{slow}.example")).await;
        assert_eq!(found.unwrap(), SECOND);
        took < Duration::from_millis(SOON)
    })
    .await;
    assert!(slow <= 4, "{slow} look-ups waited for it");
    // Its word on names that the other one lacks does not matter now.
    for n in 0..5 {
        let (_, took) = resolve(&resolver, &format!("more{n}.example")).await;
        assert!(took < Duration::from_millis(SOON), "{took:?}");
    }
    first.set(|_, _| addresses(&FIRST));
    let mut n = 0;
    until("it is asked first again", async || {
        n += 1;
        resolve(&resolver, &format!("back{n}.example")).await.0.unwrap() == FIRST
    })
    .await;
}

#[tokio::test]
async fn equal_questions_are_one() {
    let reply = Reply::Late(Duration::from_millis(100), Box::new(addresses(&FIRST)));
    let server = NameServer::start(move |_, _| reply.clone()).await;
    let resolver = Resolver::with_nameservers(vec![server.address]).unwrap();
    let asked = (0..50).map(|_| resolve(&resolver, "a.example"));
    for (found, _) in futures::future::join_all(asked).await {
        assert_eq!(found.unwrap(), FIRST);
    }
    assert_eq!(server.asked().len(), 2, "one query per family");
}

#[test]
fn a_look_up_whose_thread_ends_is_taken_over_by_another_that_waits_for_it() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (serving, first, second) = (runtime(), runtime(), runtime());
    let reply = Reply::Late(Duration::from_millis(300), Box::new(addresses(&FIRST)));
    let server = serving.block_on(NameServer::start(move |_, _| reply.clone()));
    std::thread::spawn(move || serving.block_on(std::future::pending::<()>()));
    let resolver = Resolver::with_nameservers(vec![server.address]).unwrap();
    // It starts the look-up, and goes away in the middle of it.
    let began =
        first.block_on(async { timeout(Duration::from_millis(100), resolver.resolve("a.example")).await });
    assert!(began.is_err());
    let waiting = resolver.clone();
    let joined = std::thread::spawn(move || second.block_on(resolve(&waiting, "a.example")));
    std::thread::sleep(Duration::from_millis(50));
    drop(first);
    let (found, took) = joined.join().unwrap();
    assert_eq!(found.unwrap(), FIRST);
    assert!(took < Duration::from_secs(2), "{took:?}");
}
