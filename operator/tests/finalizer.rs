//! A policy that somebody exported and applied again owns its finalizer together with that somebody: it must go all the
//! same. Server-side apply takes away only what its own manager put in.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use egressway_core::wire::names::FINALIZER;
use egressway_crds::EgressPolicy;
use egressway_operator::egress_policy::finalize::finalize;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

#[allow(dead_code, reason = "shared with the other tests")]
mod support;

use support::World;

/// The policy with its finalizers, each of which kubectl has applied.
fn policy(finalizers: &Value) -> Value {
    json!({"apiVersion": "egressway.dev/v1alpha1", "kind": "EgressPolicy",
        "metadata": {"name": "webhooks", "namespace": "payments", "uid": "u", "resourceVersion": "7",
            "finalizers": finalizers, "deletionTimestamp": "2027-01-01T00:00:00Z"},
        "spec": {"rules": []}})
}

#[tokio::test]
async fn a_finalizer_that_somebody_else_applied_too_goes_and_other_finalizers_stay() {
    let live = Arc::new(Mutex::new(json!([FINALIZER, "backup.example/kept"])));
    let server = Arc::clone(&live);
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = Arc::clone(&server);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let mut live = server.lock().unwrap();
            let answer = if head.method == Method::PATCH {
                let body: Value = serde_json::from_slice(&body).unwrap();
                let applied = head.headers["content-type"] == "application/apply-patch+yaml";
                if !applied {
                    *live = body["metadata"]["finalizers"].clone();
                }
                policy(&live)
            } else {
                json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []})
            };
            Ok::<_, Infallible>(Response::new(Body::from(answer.to_string().into_bytes())))
        }
    });
    let mut world = World::new(&[]);
    Arc::get_mut(&mut world.ctx).unwrap().client = Client::new(service, "system");
    let before: EgressPolicy = serde_json::from_value(policy(&live.lock().unwrap())).unwrap();
    finalize(&before, &world.ctx).await.unwrap();
    assert_eq!(*live.lock().unwrap(), json!(["backup.example/kept"]));
}
