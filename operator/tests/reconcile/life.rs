//! A fleet brought to rest together with its pods, and what it is then: for comparing ends of different ways.

use super::*;

/// Runs, and does what Deployment controller and kubelets would do, until a run makes no call at all; there must be an
/// end. `after` each run: true where it did something that the caches have yet to see.
pub(super) async fn rest(world: &mut World, mut after: impl AsyncFnMut(&mut World)) {
    let mut quiet = 0;
    for _ in 0..60 {
        world.calls();
        let outcome = run(world).await;
        let idle = outcome.is_ok() && world.calls().is_empty();
        quiet = if idle { quiet + 1 } else { 0 };
        if quiet == 2 {
            return;
        }
        after(world).await;
        kubelets(world);
    }
    panic!("no rest");
}

/// Pods of Deployments that are gone go, those of others come up and report what is in force.
pub(super) fn kubelets(world: &World) {
    let mut api = world.api.lock().unwrap();
    let fleets = format!("/namespaces/{FLEETS}/");
    let deployments: Vec<String> = api
        .objects
        .keys()
        .filter(|path| path.contains("/deployments/"))
        .filter_map(|path| path.rsplit('/').next().map(|name| format!("{name}-x")))
        .collect();
    api.objects.retain(|path, _| {
        let pod = path.contains(&fleets) && path.contains("/pods/");
        !pod || deployments.iter().any(|pod| path.ends_with(pod.as_str()))
    });
    drop(api);
    let fleet = names::fleet_name("payments", "webhooks");
    let mounted = ["configmaps", "secrets"].map(|kind| format!("/api/v1/namespaces/{FLEETS}/{kind}/{fleet}"));
    if mounted.iter().all(|path| world.get(path).is_some()) && !deployments.is_empty() {
        bring_up(world);
    }
}

/// Everything but what is counted or drawn: the fleet, and the policy with its status.
pub(super) fn end(world: &World) -> Value {
    let mut objects = world.fleet();
    for object in objects.values_mut() {
        if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
            annotations.retain(|key, _| !key.ends_with("-hash"));
        }
        match object["kind"].as_str() {
            Some("Deployment") => {
                object["spec"]["template"]["metadata"]["annotations"] = json!({});
                object["status"]["observedGeneration"] = json!(0);
            }
            Some("Secret") => object["data"] = json!({}),
            _ => {}
        }
    }
    if let Some(mut policy) = world.get(POLICY) {
        policy["metadata"] = json!({"finalizers": policy["metadata"]["finalizers"]});
        objects.insert(POLICY.to_owned(), policy);
    }
    Value::Object(objects.into_iter().collect())
}

/// Where two ends differ first, and how.
pub(super) fn difference(one: &Value, other: &Value) -> Option<String> {
    fn walk(path: &str, one: &Value, other: &Value) -> Option<String> {
        match (one, other) {
            (Value::Object(a), Value::Object(b)) => {
                let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
                let of = |object: &serde_json::Map<String, Value>, key: &String| {
                    object.get(key).cloned().unwrap_or_default()
                };
                keys.into_iter()
                    .find_map(|key| walk(&format!("{path} {key}"), &of(a, key), &of(b, key)))
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
                .iter()
                .zip(b)
                .enumerate()
                .find_map(|(n, (a, b))| walk(&format!("{path} {n}"), a, b)),
            (one, other) => (one != other).then(|| format!("{path}: {one} and {other}")),
        }
    }
    walk("", one, other)
}
