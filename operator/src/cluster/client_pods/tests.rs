use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::pace::Pace;
use super::*;

/// `a` is namespace and name, addresses, the minute that it was started in, and what else is to be said.
fn pod(namespace: &str, name: &str, ips: &[&str], minute: u32, more: Value) -> PodSeen {
    let ips: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": name},
            "creationTimestamp": "2027-01-01T00:00:00Z", "managedFields": [{"manager": "kubelet"}]},
        "spec": {"containers": [{"name": "c", "image": "i"}], "nodeName": "n"},
        "status": {"phase": "Running", "podIP": ips.first(), "podIPs": ips, "startTime": format!("2027-01-01T00:{minute:02}:00Z")},
    });
    for (pointer, value) in more.as_object().into_iter().flatten() {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[key] = value.clone();
    }
    serde_json::from_value(pod).unwrap()
}

fn apply(pods: &ClientPods, pod: PodSeen) -> Vec<String> {
    pods.take(Event::Apply(pod)).into_iter().collect()
}

/// `name ip ip; name ip`.
fn held(pods: &ClientPods, namespace: &str) -> String {
    let holders = pods.of(namespace).into_iter().map(|holder| {
        let ips: Vec<String> = holder.ips.iter().map(ToString::to_string).collect();
        format!("{} {}", holder.pod.name, ips.join(" "))
    });
    holders.collect::<Vec<_>>().join("; ")
}

#[test]
fn who_can_send_is_in_and_who_cannot_is_not() {
    let pods = ClientPods::default();
    let put = |pod| apply(&pods, pod);
    put(pod("a", "both", &["10.0.0.1", "fd00::1"], 0, json!({})));
    put(pod("a", "mapped", &["::ffff:10.0.0.2"], 0, json!({})));
    put(pod(
        "a",
        "starting",
        &["10.0.0.3"],
        0,
        json!({"/status/phase": "Pending"}),
    ));
    put(pod(
        "a",
        "leaving",
        &["10.0.0.4"],
        0,
        json!({"/metadata/deletionTimestamp": "2027-01-01T00:00:00Z"}),
    ));
    put(pod("a", "no-address", &[], 0, json!({})));
    put(pod("a", "no-ip", &["10.0.0"], 0, json!({})));
    put(pod(
        "a",
        "ended",
        &["10.0.0.5"],
        0,
        json!({"/status/phase": "Succeeded"}),
    ));
    put(pod(
        "a",
        "failed",
        &["10.0.0.6"],
        0,
        json!({"/status/phase": "Failed"}),
    ));
    put(pod(
        "a",
        "on-host",
        &["10.0.0.7"],
        0,
        json!({"/spec/hostNetwork": true}),
    ));
    put(pod("b", "other", &["10.0.0.8"], 0, json!({})));
    assert_eq!(
        held(&pods, "a"),
        "both 10.0.0.1 fd00::1; leaving 10.0.0.4; mapped 10.0.0.2; starting 10.0.0.3"
    );
    assert_eq!(held(&pods, "b"), "other 10.0.0.8");
    assert_eq!(held(&pods, "c"), "");
}

#[test]
fn an_address_has_one_holder_in_the_cluster_the_pod_that_got_it_last() {
    let pods = ClientPods::default();
    assert_eq!(
        apply(&pods, pod("a", "old", &["10.0.0.1", "fd00::1"], 1, json!({}))),
        ["a"]
    );
    let changed = apply(
        &pods,
        pod("b", "new", &["10.0.0.1"], 2, json!({"/status/phase": "Pending"})),
    );
    assert_eq!(changed, ["a", "b"], "both namespaces are told");
    assert_eq!(
        (held(&pods, "a"), held(&pods, "b")),
        ("old fd00::1".into(), "new 10.0.0.1".into())
    );
    // News of the old one bring nothing back.
    apply(
        &pods,
        pod(
            "a",
            "old",
            &["10.0.0.1", "fd00::1"],
            1,
            json!({"/metadata/labels": {"x": "y"}}),
        ),
    );
    assert_eq!(held(&pods, "b"), "new 10.0.0.1");
    // Nor does a pod of the node itself leave it to anybody.
    apply(
        &pods,
        pod("c", "host", &["10.0.0.1"], 3, json!({"/spec/hostNetwork": true})),
    );
    assert_eq!(
        (held(&pods, "a"), held(&pods, "b"), held(&pods, "c")),
        ("old fd00::1".into(), String::new(), String::new())
    );
    apply(
        &pods,
        pod(
            "c",
            "host",
            &["10.0.0.1"],
            3,
            json!({"/spec/hostNetwork": true, "/status/phase": "Failed"}),
        ),
    );
    let gone = pods.take(Event::Delete(pod("b", "new", &[], 2, json!({}))));
    assert_eq!(gone.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(held(&pods, "a"), "old 10.0.0.1 fd00::1");
}

#[test]
fn pods_started_in_one_second_have_one_holder_whatever_the_order_of_events() {
    let later = json!({"/metadata/creationTimestamp": "2027-01-01T00:00:01Z"});
    let two = [
        pod("a", "first", &["10.0.0.1"], 1, json!({})),
        pod("a", "second", &["10.0.0.1"], 1, later),
    ];
    for order in [[0, 1], [1, 0]] {
        let pods = ClientPods::default();
        for index in order {
            apply(&pods, two[index].clone());
        }
        assert_eq!(held(&pods, "a"), "second 10.0.0.1");
    }
}

#[test]
fn a_pod_whose_sandbox_is_gone_has_given_its_address_back_and_a_new_sandbox_is_a_new_beginning() {
    let pods = ClientPods::default();
    let network = |status: &str, minute: u32| {
        let time = format!("2027-01-01T00:{minute:02}:00Z");
        json!({"/status/conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2027-01-01T00:59:00Z"},
            {"type": "PodReadyToStartContainers", "status": status, "lastTransitionTime": time},
        ]})
    };
    let put = |namespace, name, minute, more| apply(&pods, pod(namespace, name, &["10.0.0.1"], minute, more));
    put("a", "leaving", 1, network("True", 1));
    assert_eq!(held(&pods, "a"), "leaving 10.0.0.1");
    put("a", "leaving", 1, network("False", 2));
    assert_eq!(held(&pods, "a"), "");
    // After a reboot the older pod may get what the younger one had, and still shows.
    put("b", "younger", 5, network("True", 5));
    put("a", "older", 3, network("True", 9));
    assert_eq!(
        (held(&pods, "a"), held(&pods, "b")),
        ("older 10.0.0.1".to_owned(), String::new())
    );
}

#[test]
fn only_news_are_told() {
    let pods = ClientPods::default();
    let known = || pod("a", "pod", &["10.0.0.1"], 0, json!({}));
    assert_eq!(apply(&pods, known()), ["a"]);
    assert!(apply(&pods, known()).is_empty());
    let ready = json!({"/status/conditions": [{"type": "Ready"}], "/metadata/annotations": {"a": "b"}});
    assert!(
        apply(&pods, pod("a", "pod", &["10.0.0.1"], 0, ready)).is_empty(),
        "nothing of it is read"
    );
    assert!(
        apply(&pods, pod("a", "waiting", &[], 0, json!({}))).is_empty(),
        "without an address it is nobody"
    );
    assert_eq!(
        apply(
            &pods,
            pod("a", "pod", &["10.0.0.1"], 0, json!({"/metadata/labels": {}}))
        ),
        ["a"]
    );
    assert!(
        pods.take(Event::Delete(pod("a", "unknown", &[], 0, json!({}))))
            .is_empty()
    );
}

#[tokio::test]
async fn a_new_list_takes_the_place_of_the_old_one_as_a_whole() {
    let pods = ClientPods::default();
    let list = |all: Vec<PodSeen>| {
        pods.take(Event::Init);
        for pod in all {
            assert!(pods.take(Event::InitApply(pod)).is_empty());
        }
        pods.take(Event::InitDone).into_iter().collect::<Vec<_>>()
    };
    assert!(
        futures::FutureExt::now_or_never(pods.ready()).is_none(),
        "nothing was listed yet"
    );
    let a = || pod("a", "one", &["10.0.0.1"], 1, json!({}));
    assert_eq!(
        list(vec![a(), pod("b", "two", &["10.0.0.2"], 0, json!({}))]),
        ["a", "b"]
    );
    pods.ready().await;
    pods.take(Event::Init);
    assert_eq!(
        held(&pods, "a"),
        "one 10.0.0.1",
        "a list that has begun changes nothing yet"
    );
    assert_eq!(list(vec![a()]), ["b"], "what went without a word is gone");
    assert_eq!(
        list(vec![a(), pod("c", "three", &["10.0.0.1"], 2, json!({}))]),
        ["a", "c"],
        "who shares an address is told"
    );
    assert_eq!(held(&pods, "a"), "");
    assert!(list(vec![a(), pod("c", "three", &["10.0.0.1"], 2, json!({}))]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_first_change_is_told_within_100_ms_and_a_storm_once_a_second() {
    let mut pace = Pace::default();
    let start = Instant::now();
    let mut told = Vec::new();
    // A change every 10 ms for 10 s, beside a namespace that changes once.
    pace.ask("quiet".to_owned(), start);
    for step in 0..1000_u32 {
        let now = start + Duration::from_millis(10) * step;
        pace.ask("busy".to_owned(), now);
        let due = pace.take(now);
        told.extend(
            due.into_iter()
                .map(|name| (name, now.duration_since(start).as_millis())),
        );
    }
    let of = |which: &str| {
        told.iter()
            .filter(|(name, _)| name == which)
            .map(|(_, at)| *at)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("quiet"), [100]);
    assert_eq!(
        of("busy"),
        [100, 1100, 2100, 3100, 4100, 5100, 6100, 7100, 8100, 9100]
    );
    let last = pace.next().unwrap();
    assert_eq!(pace.take(last), ["busy"], "the last change is told too");
    assert_eq!((pace.next(), pace.take(last)), (None, vec![]));
}
