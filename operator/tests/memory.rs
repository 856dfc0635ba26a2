//! What ten thousand pods cost. A process of its own, so that nothing else grows beside them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use egressway_operator::cluster::client_pods::{ClientPods, PodSeen};
use kube_runtime::watcher::Event;
use serde_json::json;

const PODS: usize = 10_000;
/// As the list is paged.
const PAGE: usize = 500;

/// As the operator has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A pod with what real ones carry: labels, annotations, managed fields, a spec, both address families.
fn template() -> String {
    let managed: Vec<_> = (0..40)
        .map(|field| json!({"f:spec": {format!("f:field-{field}"): {".": {}}}}))
        .collect();
    json!({
        "metadata": {"name": "APP-7d9c5b8f6d-NUMBER", "namespace": "NAMESPACE", "uid": "f2a1c6de-8d7c-4b1e-9a35-000000000000", "resourceVersion": "1",
            "creationTimestamp": "2027-01-01T00:00:00Z", "managedFields": [{"manager": "kubelet", "fieldsV1": managed}],
            "labels": {"app.kubernetes.io/name": "APP", "app.kubernetes.io/instance": "production", "app.kubernetes.io/version": "2027.1.1",
                "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "webhook-sender-1.2.3", "pod-template-hash": "7d9c5b8f6d"},
            "annotations": {"checksum/config": "d".repeat(64), "prometheus.io/scrape": "true"}},
        "spec": {"nodeName": "ip-10-0-1-5", "containers": [{"name": "c", "image": "i", "env": vec![json!({"name": "A", "value": "b"}); 40]}]},
        "status": {"phase": "Running", "podIP": "IPV4", "podIPs": [{"ip": "IPV4"}, {"ip": "IPV6"}], "startTime": "2027-01-01T00:00:01Z"},
    })
    .to_string()
}

fn pod(template: &str, n: usize) -> String {
    template
        .replace("NAMESPACE", &format!("tenant-{}", n / 50))
        .replace("APP", &format!("webhook-sender-{}", n / 10))
        .replace("NUMBER", &format!("{n:05}"))
        .replace(
            "IPV4",
            &format!("10.{}.{}.{}", n / 62_500, n / 250 % 250, n % 250),
        )
        .replace("IPV6", &format!("fd00:10:244::{n:x}"))
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn list(pods: &ClientPods) {
    let template = template();
    pods.apply(Event::Init);
    for page in 0..PODS / PAGE {
        let texts: Vec<String> = (page * PAGE..(page + 1) * PAGE)
            .map(|n| pod(&template, n))
            .collect();
        let parsed: Vec<PodSeen> = texts
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect();
        for pod in parsed {
            pods.apply(Event::InitApply(pod));
        }
    }
    pods.apply(Event::InitDone);
}

#[test]
fn ten_thousand_pods_take_less_than_32_mib() {
    let pods = ClientPods::default();
    let before = resident_kib();
    list(&pods);
    let (first, held) = (resident_kib() - before, pods.of("tenant-7").len());
    list(&pods);
    let second = resident_kib() - before;
    eprintln!("{PODS} pods: {first} KiB after one list, {second} KiB after two");
    assert_eq!(held, 50);
    assert!(first < 32 * 1024, "{first} KiB");
    assert!(
        second < 48 * 1024,
        "two tables for a moment, not for ever: {second} KiB"
    );
}
