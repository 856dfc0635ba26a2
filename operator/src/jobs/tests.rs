//! What the cleanup asks the API server for, and what it does with the answers.

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use serde_json::Value;

use super::*;

/// An API server that knows operator pods, may lack the fleet namespace, and grants rights where that is.
#[derive(Default)]
struct Cluster {
    /// Phase of the operator's pods at each look; the last one stays.
    looks: Vec<Vec<Value>>,
    /// The fleet namespace.
    namespace: Option<Value>,
    /// The rights in it are there.
    rights: bool,
    calls: Vec<String>,
}

impl Cluster {
    fn answer(&mut self, method: &Method, path: &str) -> (u16, Value) {
        let list =
            |items: Vec<Value>| json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items});
        self.calls.push(format!("{method} {path}"));
        match path {
            "/api/v1/namespaces/system/pods" => {
                let pods = match self.looks.len() {
                    0 => Vec::new(),
                    1 => self.looks[0].clone(),
                    _ => self.looks.remove(0),
                };
                (200, list(pods))
            }
            "/api/v1/namespaces/fleets" => self
                .namespace
                .clone()
                .map_or((404, Value::Null), |found| (200, found)),
            _ if *method == Method::DELETE && !self.rights => (403, Value::Null),
            _ if *method == Method::PATCH => (404, Value::Null),
            _ => (200, list(Vec::new())),
        }
    }
}

/// A cleanup of that cluster: how it ended, and what was asked.
async fn cleaned(cluster: Cluster) -> (anyhow::Result<()>, Vec<String>) {
    let cluster = Arc::new(Mutex::new(cluster));
    let server = cluster.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (code, value) = server
            .lock()
            .unwrap()
            .answer(request.method(), request.uri().path());
        let value = if code == 200 {
            value
        } else {
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason(code), "message": "no", "code": code})
        };
        let body = Body::from(serde_json::to_vec(&value).unwrap());
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let args = CleanupArgs {
        operator_namespace: "system".to_owned(),
        operator_deployment: "egressway".to_owned(),
        fleet_namespace: "fleets".to_owned(),
        timeout: Duration::from_secs(180),
    };
    let ended = within(&Client::new(service, "system"), &args).await;
    let calls = cluster.lock().unwrap().calls.clone();
    (ended, calls)
}

fn reason(code: u16) -> &'static str {
    if code == 404 { "NotFound" } else { "Forbidden" }
}

fn pod(phase: &str, metadata: &Value) -> Value {
    json!({"metadata": metadata, "status": {"phase": phase}})
}

fn fleets(metadata: &Value) -> Option<Value> {
    Some(json!({"kind": "Namespace", "apiVersion": "v1", "metadata": metadata}))
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_has_ended_is_not_waited_for_and_one_that_leaves_is() {
    let leaving = json!({"name": "a", "deletionTimestamp": "2027-01-01T00:00:00Z"});
    for (phases, looks) in [
        (vec![pod("Failed", &json!({})), pod("Succeeded", &json!({}))], 1),
        (vec![pod("Failed", &leaving)], 1),
        (vec![pod("Running", &leaving)], 2),
        (vec![pod("Failed", &json!({})), pod("Pending", &json!({}))], 2),
        (vec![pod("Unknown", &json!({}))], 2),
        (vec![json!({"metadata": {}})], 2),
    ] {
        let shown = format!("{phases:?}");
        let cluster = Cluster {
            looks: vec![phases, Vec::new()],
            namespace: fleets(&json!({})),
            rights: true,
            ..Cluster::default()
        };
        let (ended, calls) = cleaned(cluster).await;
        ended.unwrap();
        let looked = calls.iter().filter(|call| call.ends_with("/pods")).count();
        assert_eq!(looked, looks, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_that_runs_on_is_waited_for_until_the_time_is_over() {
    let cluster = Cluster {
        looks: vec![vec![pod("Running", &json!({}))]],
        rights: true,
        ..Cluster::default()
    };
    let (ended, calls) = cleaned(cluster).await;
    assert!(format!("{:#}", ended.unwrap_err()).contains("too long"));
    assert!(!calls.iter().any(|call| call.starts_with("DELETE")), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn where_the_fleet_namespace_is_gone_there_is_nothing_to_delete() {
    let going = fleets(&json!({"deletionTimestamp": "2027-01-01T00:00:00Z"}));
    for (namespace, rights, deleted) in [
        (fleets(&json!({})), true, true),
        // The rights went with it.
        (None, false, true),
        (going, false, true),
        // Somebody took the rights away: fleets may run on.
        (fleets(&json!({})), false, false),
    ] {
        let shown = format!("{namespace:?} {rights}");
        let cluster = Cluster {
            namespace,
            rights,
            ..Cluster::default()
        };
        let (ended, calls) = cleaned(cluster).await;
        assert_eq!(ended.is_ok(), deleted, "{shown}: {ended:?}");
        let released = calls.iter().any(|call| call.ends_with("/egresspolicies"));
        assert_eq!(released, deleted, "{shown}");
        if let Err(error) = ended {
            assert!(format!("{error:#}").contains("helm upgrade"), "{error:#}");
        }
    }
}

/// Between our reading and our writing another controller takes its own finalizer off: a list made before must not bring it
/// back.
#[tokio::test(start_paused = true)]
async fn a_finalizer_that_goes_meanwhile_does_not_come_back() {
    let policy = |version: u32, finalizers: Value| {
        json!({"apiVersion": "egressway.dev/v1alpha1", "kind": "EgressPolicy",
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": version.to_string(), "finalizers": finalizers},
            "spec": {"rules": []}})
    };
    let live = Arc::new(Mutex::new((
        1,
        json!([names::FINALIZER, "backup.example/kept", "other.example/goes"]),
    )));
    let server = Arc::clone(&live);
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = Arc::clone(&server);
        async move {
            use http_body_util::BodyExt as _;
            let (head, body) = request.into_parts();
            let body: Value =
                serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap_or_default();
            let mut live = server.lock().unwrap();
            let (code, answer) = if head.uri.path().ends_with("/status") {
                (404, Value::Null)
            } else if head.method == Method::PATCH {
                let (meant, version) = (&body["metadata"], live.0.to_string());
                if meant["resourceVersion"] == version {
                    *live = (live.0 + 1, meant["finalizers"].clone());
                    (200, policy(live.0, live.1.clone()))
                } else {
                    (409, Value::Null)
                }
            } else {
                let read = policy(live.0, live.1.clone());
                if live.0 == 1 {
                    *live = (2, json!([names::FINALIZER, "backup.example/kept"]));
                }
                (200, read)
            };
            let answer = if code == 200 {
                answer
            } else {
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "message": "no", "code": code})
            };
            let response = Response::builder()
                .status(code)
                .body(Body::from(answer.to_string().into_bytes()));
            Ok::<_, std::convert::Infallible>(response.unwrap())
        }
    });
    let listed: EgressPolicy = serde_json::from_value(policy(
        1,
        json!([names::FINALIZER, "backup.example/kept", "other.example/goes"]),
    ))
    .unwrap();
    released(&Client::new(service, "system"), listed).await.unwrap();
    assert_eq!(live.lock().unwrap().1, json!(["backup.example/kept"]));
}
