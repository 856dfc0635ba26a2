//! A status that somebody edited: the operator's word stands again, others keep their own conditions.
//!
//! The server in memory of the other tests merges by key as server-side apply does only for maps; here a status' lists
//! are merged as the API server merges them, by key and by owner.

use std::sync::Mutex;

use egressway_crds::{EgressPolicy, EgressPolicyStatus};

use super::*;

const KEYED: [(&str, &str); 4] = [
    ("egressIPs", "ip"),
    ("unexpectedIPs", "ip"),
    ("pods", "name"),
    ("conditions", "type"),
];

/// The API server's two ways to change a status. Whoever edited by hand owns the entries that it added.
fn patch(live: &mut Value, content_type: &str, status: &Value) {
    let before = live.clone();
    for (field, value) in status.as_object().unwrap() {
        live[field] = value.clone();
    }
    live.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    if content_type != "application/apply-patch+yaml" {
        return;
    }
    for (list, key) in KEYED {
        let ours: Vec<Value> = live[list].as_array().cloned().unwrap_or_default();
        let theirs = before[list].as_array().cloned().unwrap_or_default();
        let theirs = theirs
            .into_iter()
            .filter(|entry| ours.iter().all(|own| own[key] != entry[key]));
        live[list] = ours.iter().cloned().chain(theirs).collect();
    }
}

#[tokio::test]
async fn what_somebody_wrote_into_a_status_goes_and_conditions_of_others_stay() {
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": "Seen", "message": "", "observedGeneration": 1,
            "lastTransitionTime": "2027-01-01T00:00:00Z"})
    };
    let address = |ip: &str| json!({"ip": ip, "family": "IPv4", "cell": "a", "state": "Verified", "since": "2027-01-01T00:00:00Z"});
    let ours = json!({"observedGeneration": 1, "replicas": 2, "readyReplicas": 2,
        "egressIPs": [address("192.31.196.10")], "conditions": [condition("Ready")]});
    let mut edited = ours.clone();
    edited["egressIPs"] = json!([address("192.31.196.10"), address("192.31.196.66")]);
    edited["unexpectedIPSummary"] = json!("nonsense");
    edited["conditions"] = json!([condition("Ready"), condition("audit.example/Reviewed")]);
    let live = Arc::new(Mutex::new(edited));
    let writes = Arc::new(Mutex::new(0));
    let (server, count) = (Arc::clone(&live), Arc::clone(&writes));
    let object = |status: &Value| {
        json!({"apiVersion": "egressway.dev/v1alpha1", "kind": "EgressPolicy",
            "metadata": {"name": "webhooks", "namespace": "payments", "uid": "u", "generation": 1},
            "spec": {"rules": []}, "status": status})
    };
    let world = World::answered_by(move |head, body| {
        let mut live = server.lock().unwrap();
        if head.uri.path().ends_with("/status") {
            *count.lock().unwrap() += 1;
            let content_type = head.headers["content-type"].to_str().unwrap();
            patch(&mut live, content_type, &body["status"]);
        }
        object(&live)
    });
    let next: EgressPolicyStatus = serde_json::from_value(ours.clone()).unwrap();
    for _ in 0..3 {
        let policy: EgressPolicy = serde_json::from_value(object(&live.lock().unwrap())).unwrap();
        egress_policy::publish::write(&world.ctx, &policy, &next)
            .await
            .unwrap();
    }
    let mut expected = ours;
    expected["conditions"] = json!([condition("Ready"), condition("audit.example/Reviewed")]);
    assert_eq!(*live.lock().unwrap(), expected);
    assert_eq!(*writes.lock().unwrap(), 1, "and then it is settled");
}

#[tokio::test]
async fn what_somebody_wrote_into_a_pools_status_goes_too() {
    let address = |ip: &str| json!({"ip": ip, "family": "IPv4", "cell": "a", "state": "Verified"});
    let foreign = json!({"type": "audit.example/Reviewed", "status": "True", "reason": "Seen", "message": "",
        "lastTransitionTime": "2027-01-01T00:00:00Z"});
    let edited = json!({"policies": 7, "egressIPs": [address("192.31.196.66")], "conditions": [foreign]});
    let live = Arc::new(Mutex::new(edited));
    let server = Arc::clone(&live);
    let object = |status: &Value| {
        let mut pool = pool();
        pool["metadata"]["uid"] = json!("u");
        pool["metadata"]["resourceVersion"] = json!("1");
        pool["status"] = status.clone();
        pool
    };
    let world = World::answered_by(move |head, body| {
        if head.uri.path() != format!("{POOL}/status") {
            return json!({"kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {}, "eventTime": null});
        }
        let mut live = server.lock().unwrap();
        patch(
            &mut live,
            head.headers["content-type"].to_str().unwrap(),
            &body["status"],
        );
        object(&live)
    });
    let before = serde_json::from_value(object(&live.lock().unwrap())).unwrap();
    egressway_operator::egress_pool::reconcile(Arc::new(before), Arc::clone(&world.ctx))
        .await
        .unwrap();
    let live = live.lock().unwrap();
    let ips: Vec<&str> = live["egressIPs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["ip"].as_str().unwrap())
        .collect();
    assert_eq!(ips, ["192.31.196.10", "192.31.196.20"]);
    assert_eq!(live["policies"], 0);
    let kinds: Vec<&str> = live["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["type"].as_str().unwrap())
        .collect();
    assert!(
        kinds.contains(&"audit.example/Reviewed") && kinds.contains(&"Ready"),
        "{kinds:?}"
    );
}
