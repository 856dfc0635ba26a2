//! What is to be seen of name servers from outside: metrics, by server and outcome.

use prometheus_client::registry::Registry;

use super::name_server::{REFUSED, Reply};
use super::*;

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

#[tokio::test]
async fn metrics_say_of_each_server_whether_it_is_up_what_it_did_and_what_was_used_without_it() {
    let broken = NameServer::start(|_, _| REFUSED).await;
    let brief = || Reply::Addresses(vec!["192.175.48.1".parse().unwrap()], 1);
    let good = NameServer::start(move |_, _| brief()).await;
    let resolver = Resolver::with_nameservers(vec![broken.address, good.address]).unwrap();
    let mut registry = Registry::default();
    resolver.register(&mut registry);
    resolve(&resolver, "a.example").await.0.unwrap();
    let (first, second) = (broken.address, good.address);
    let all = text(&registry);
    for line in [
        format!("dns_server_up{{server=\"{first}\"}} 1"),
        format!("dns_server_up{{server=\"{second}\"}} 1"),
        format!("dns_server_queries_total{{server=\"{first}\",outcome=\"refused\"}} 2"),
        format!("dns_server_queries_total{{server=\"{second}\",outcome=\"answered\"}} 2"),
        format!("dns_server_seconds_count{{server=\"{second}\"}} 2"),
        "dns_stale_served_total 0".to_owned(),
    ] {
        assert!(all.contains(&line), "{line} in {all}");
    }
    good.set(|_, _| Reply::Silence);
    let names: Vec<String> = (0..4).map(|n| format!("silent{n}.example")).collect();
    let asked = names.iter().map(|name| resolve(&resolver, name));
    futures::future::join_all(asked).await;
    assert!(text(&registry).contains(&format!("dns_server_up{{server=\"{second}\"}} 0")));
    resolve(&resolver, "a.example").await.0.unwrap();
    assert!(text(&registry).contains("dns_stale_served_total 1"));
    let mut n = 0;
    good.set(|_, _| addresses(&["192.175.48.1"]));
    until("it is up again", async || {
        n += 1;
        let _ = resolve(&resolver, &format!("n{n}.example")).await;
        text(&registry).contains(&format!("dns_server_up{{server=\"{second}\"}} 1"))
    })
    .await;
}
