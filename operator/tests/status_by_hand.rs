//! A status that somebody edited: the operator's word stands again, others keep their own conditions.
//!
//! The server in memory of the other tests merges by key as server-side apply does only for maps; here a status' lists
//! are merged as the API server merges them, by key and by owner.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use egressway_crds::{EgressPolicy, EgressPolicyStatus};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

#[allow(dead_code, reason = "shared with the other tests")]
mod support;

use support::World;

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
    let service = tower::service_fn(move |request: Request<Body>| {
        let (live, writes) = (Arc::clone(&server), Arc::clone(&count));
        async move {
            let (head, body) = request.into_parts();
            let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
            let mut live = live.lock().unwrap();
            if head.uri.path().ends_with("/status") {
                *writes.lock().unwrap() += 1;
                let content_type = head.headers["content-type"].to_str().unwrap();
                patch(&mut live, content_type, &body["status"]);
            }
            let answer = object(&live).to_string().into_bytes();
            Ok::<_, Infallible>(Response::new(Body::from(answer)))
        }
    });
    let mut world = World::new(&[]);
    Arc::get_mut(&mut world.ctx).unwrap().client = Client::new(service, "system");
    let next: EgressPolicyStatus = serde_json::from_value(ours.clone()).unwrap();
    for _ in 0..3 {
        let policy: EgressPolicy = serde_json::from_value(object(&live.lock().unwrap())).unwrap();
        egressway_operator::egress_policy::publish::write(&world.ctx, &policy, &next)
            .await
            .unwrap();
    }
    let mut expected = ours;
    expected["conditions"] = json!([condition("Ready"), condition("audit.example/Reviewed")]);
    assert_eq!(*live.lock().unwrap(), expected);
    assert_eq!(*writes.lock().unwrap(), 1, "and then it is settled");
}
