//! What an API server does to objects: server-side apply and merge patches, what it fills in, and what it refuses.
//!
//! As far as the operator's own kinds need: which lists are merged by which keys and which maps are taken whole stands in
//! the API's own schema (`x-kubernetes-list-map-keys`, `x-kubernetes-map-type`).

use serde_json::{Value, json};

/// Most bytes of a ConfigMap's values.
const CONFIG_MAP_BYTES_MAX: usize = 1024 * 1024;

/// Lists that are merged by these keys.
const BY_KEY: [(&str, &[&str]); 8] = [
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("env", &["name"]),
    ("volumes", &["name"]),
    ("volumeMounts", &["mountPath"]),
    ("imagePullSecrets", &["name"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("ports", &["containerPort", "port", "protocol"]),
];
/// Maps that are taken whole.
const ATOMIC: [&str; 5] = [
    "selector",
    "podSelector",
    "namespaceSelector",
    "labelSelector",
    "nodeSelector",
];

fn keys_of(field: &str, items: &[Value]) -> Option<&'static [&'static str]> {
    // The ports of a NetworkPolicy are atomic.
    let numbered =
        |item: &Value| field != "ports" || item.get("containerPort").is_some() || item.get("name").is_some();
    let (_, keys) = BY_KEY.iter().find(|(name, _)| *name == field)?;
    items.iter().all(numbered).then_some(*keys)
}

fn same(keys: &[&str], one: &Value, other: &Value) -> bool {
    keys.iter().all(|key| one.get(*key) == other.get(*key))
}

/// Server-side apply with force.
pub(super) fn apply(into: &mut Value, from: &Value, field: &str) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) if !ATOMIC.contains(&field) => {
            for (key, value) in from {
                apply(into.entry(key.clone()).or_insert(Value::Null), value, key);
            }
        }
        (Value::Array(into), Value::Array(from)) if keys_of(field, from).is_some() => {
            let keys = keys_of(field, from).unwrap();
            for value in from {
                match into.iter_mut().find(|there| same(keys, there, value)) {
                    Some(there) => apply(there, value, ""),
                    None => into.push(value.clone()),
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// Takes away what was applied last and is applied no more.
pub(super) fn take_back(from: &mut Value, last: &Value, now: &Value, field: &str) {
    if let (Value::Array(from), Some(last), Some(now)) = (&mut *from, last.as_array(), now.as_array()) {
        if let Some(keys) = keys_of(field, last) {
            let gone = |there: &Value| {
                let is = |list: &[Value]| list.iter().any(|value| same(keys, there, value));
                is(last) && !is(now)
            };
            from.retain(|there| !gone(there));
        }
        return;
    }
    let (Some(from), Some(last)) = (from.as_object_mut(), last.as_object()) else {
        return;
    };
    for (key, last) in last {
        match (now.get(key), from.get_mut(key)) {
            (None, _) => drop(from.remove(key)),
            (Some(now), Some(from)) => take_back(from, last, now, key),
            (Some(_), None) => {}
        }
    }
}

/// RFC 7386: maps by key, a null takes a key away, everything else whole.
pub(super) fn merge_patch(into: &mut Value, from: &Value) {
    match from {
        Value::Object(from) => {
            if !into.is_object() {
                *into = json!({});
            }
            for (key, value) in from {
                if value.is_null() {
                    into.as_object_mut().unwrap().remove(key);
                } else {
                    merge_patch(&mut into[key], value);
                }
            }
        }
        from => *into = from.clone(),
    }
}

/// What the server fills in where an object says nothing.
pub(super) fn fill_in(object: &mut Value) {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    let mut set = |path: &str, value: Value| {
        let (parent, key) = path.rsplit_once('/').unwrap();
        if let Some(parent) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
            parent.entry(key).or_insert(value);
        }
    };
    match kind.as_str() {
        "Deployment" => {
            set("/spec/progressDeadlineSeconds", json!(600));
            set("/spec/template/spec/restartPolicy", json!("Always"));
            set("/spec/template/spec/schedulerName", json!("default-scheduler"));
            for n in 0..4 {
                let container = format!("/spec/template/spec/containers/{n}");
                set(
                    &format!("{container}/terminationMessagePath"),
                    json!("/dev/termination-log"),
                );
                set(&format!("{container}/terminationMessagePolicy"), json!("File"));
                set(&format!("{container}/readinessProbe/successThreshold"), json!(1));
                set(
                    &format!("{container}/readinessProbe/httpGet/scheme"),
                    json!("HTTP"),
                );
            }
        }
        "Service" => {
            set("/spec/sessionAffinity", json!("None"));
            set("/spec/internalTrafficPolicy", json!("Cluster"));
            set("/spec/clusterIP", json!("10.96.0.7"));
            set("/spec/clusterIPs", json!(["10.96.0.7"]));
            set("/spec/ipFamilies", json!(["IPv4"]));
        }
        _ => {}
    }
}

/// What admission makes of it.
pub(super) fn rewrite(object: &mut Value, kind: &str, field: &str, value: &Value) {
    let (parent, key) = field.rsplit_once('/').unwrap();
    if object["kind"] == kind
        && let Some(parent) = object.pointer_mut(parent).and_then(Value::as_object_mut)
    {
        parent.insert(key.to_owned(), value.clone());
    }
}

/// Why the server refuses it.
pub(super) fn refusal(before: Option<&Value>, object: &Value) -> Option<String> {
    let values = object["data"].as_object().into_iter().flatten();
    let bytes: usize = values.map(|(_, value)| value.as_str().map_or(0, str::len)).sum();
    if object["kind"] == "ConfigMap" && bytes > CONFIG_MAP_BYTES_MAX {
        return Some("data: Too long: may not be more than 1048576 bytes".to_owned());
    }
    if let Some(before) = before
        && before["immutable"] == true
        && (before["data"] != object["data"] || object["immutable"] != true)
    {
        return Some("data: Forbidden: field is immutable when `immutable` is set".to_owned());
    }
    let spec = &object["spec"];
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        return Some("spec: Invalid value: minAvailable and maxUnavailable cannot be both set".to_owned());
    }
    if let Some(before) = before
        && object["kind"] == "Deployment"
        && before["spec"]["selector"] != spec["selector"]
    {
        return Some("spec.selector: Invalid value: field is immutable".to_owned());
    }
    let containers = spec
        .pointer("/template/spec/containers")
        .and_then(Value::as_array);
    let ports = containers
        .into_iter()
        .flatten()
        .map(|container| &container["ports"]);
    ports.chain([&spec["ports"]]).find_map(twice)
}

/// A name that two ports have.
fn twice(ports: &Value) -> Option<String> {
    let mut names: Vec<&str> = ports
        .as_array()?
        .iter()
        .filter_map(|port| port["name"].as_str())
        .collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1])?;
    Some(format!("ports.name: Duplicate value: {:?}", twice[0]))
}
