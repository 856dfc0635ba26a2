//! Answers past their time go the way of all answers: by the documents in force at that moment.

use egressway_core::wire::document::{Action, Rule};
use egressway_proxy::server::Limits;
use tokio::net::TcpListener;

use super::name_server::Reply;
use super::*;
use crate::support::{allow, in_force, start_resolving, status, untouched};

#[tokio::test]
async fn a_stale_answer_is_vetted_by_the_documents_in_force() {
    let deny = || {
        let mut rules = allow(&["a.example"], &[]);
        rules.push(Rule {
            name: "blocked".to_owned(),
            action: Action::Deny,
            cidrs: vec!["127.0.0.1/32".to_owned()],
            hosts: vec![],
            ..rules[0].clone()
        });
        rules
    };
    let loopback = ["127.0.0.0/8"];
    for (rules, insecure, expected) in [
        (allow(&["a.example"], &[]), &loopback[..], ""),
        (allow(&["a.example"], &[]), &[], "address_forbidden"),
        (deny(), &loopback[..], "address_denied_by_rule"),
    ] {
        let server = NameServer::start(|_, _| Reply::Addresses(vec!["127.0.0.1".parse().unwrap()], 1)).await;
        let resolver = Resolver::with_nameservers(vec![server.address]).unwrap();
        let before = in_force(allow(&["a.example"], &[]), &loopback);
        let proxy = start_resolving(before, Limits::default(), resolver, |server| server).await;
        let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("a.example:{}", origin.local_addr().unwrap().port());
        let (_, head) = proxy.connect(&target).await;
        assert_eq!(status(&head), 200, "{head}");
        drop(origin.accept().await.unwrap());
        server.set(|_, _| Reply::Silence);
        proxy.state.set_in_force(in_force(rules, insecure));
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        let (mut stream, head) = proxy.connect(&target).await;
        if expected.is_empty() {
            assert_eq!(status(&head), 200, "{head}");
        } else {
            let (body, _) = crate::support::read_all(&mut stream).await;
            let all = head + &String::from_utf8_lossy(&body);
            assert!(status(&all) == 403 && all.contains(expected), "{expected}: {all}");
            assert!(untouched(&origin).await, "{expected}");
        }
    }
}
