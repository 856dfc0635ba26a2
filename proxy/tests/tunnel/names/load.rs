//! Many look-ups of names whose servers are silent, beside names that are known and names that are not.

use super::name_server::Reply;
use super::*;

#[tokio::test]
async fn a_silent_domain_delays_itself_alone() {
    let server = NameServer::start(|name, _| {
        if name.ends_with(".silent.example.") {
            Reply::Silence
        } else {
            addresses(&["192.175.48.1"])
        }
    })
    .await;
    let resolver = Resolver::with_nameservers(vec![server.address]).unwrap();
    let client = Some("192.0.2.1".parse().unwrap());
    resolver.resolve_for("known.example.com", client).await.unwrap();
    let mut flood = tokio::task::JoinSet::new();
    let mut tick = tokio::time::interval(Duration::from_micros(1_667));
    let (mut known, mut fresh) = (Vec::new(), Vec::new());
    for n in 0..1_800 {
        tick.tick().await;
        let silent = resolver.clone();
        flood.spawn(async move {
            let name = format!("n{n}.silent.example");
            silent.resolve_for(&name, client).await.is_err()
        });
        let began = Instant::now();
        resolver.resolve_for("known.example.com", client).await.unwrap();
        known.push(began.elapsed());
        if n % 60 == 0 {
            let began = Instant::now();
            let name = format!("n{n}.fresh.test");
            resolver.resolve_for(&name, client).await.unwrap();
            fresh.push(began.elapsed());
        }
    }
    known.sort();
    fresh.sort();
    let p99 = known[known.len() * 99 / 100];
    // Of a busy machine's own delays there are some among them; the domain's would be seconds.
    assert!(p99 < Duration::from_millis(50), "cached: {p99:?}");
    let p90 = fresh[fresh.len() * 9 / 10];
    assert!(p90 < Duration::from_millis(100), "fresh: {p90:?}");
    assert!(
        fresh[fresh.len() - 1] < Duration::from_secs(1),
        "fresh: {:?}",
        fresh.last()
    );
    while let Some(failed) = flood.join_next().await {
        assert!(failed.unwrap());
    }
}
