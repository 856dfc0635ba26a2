//! An API server in memory: it records calls, answers server-side apply, and fails where it is told to.
//!
//! It merges as far as the operator's own objects need (maps by key, lists whole), and counts resource versions, so
//! that "nothing was written" and "the same objects in the end" can be asked of it. The operator on it is in `world.rs`.

mod world;

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde_json::{Value, json};
pub(crate) use world::World;

/// Where fleets run in these tests.
pub(crate) const FLEETS: &str = "fleets";

/// The server's state.
#[derive(Default)]
pub(crate) struct State {
    /// Objects by path.
    pub(crate) objects: BTreeMap<String, Value>,
    /// Calls since the last [`World::calls`].
    pub(crate) calls: Vec<String>,
    /// Calls ever.
    pub(crate) count: usize,
    /// The call that fails, and how.
    pub(crate) fail: Option<(usize, u16)>,
    /// The path whose reads are refused, and how.
    pub(crate) refused: Option<(String, u16)>,
    /// The path whose reads are never answered.
    pub(crate) silent: Option<String>,
    version: u64,
}

impl State {
    fn put(&mut self, path: &str, mut object: Value) {
        self.version += 1;
        let old = self.objects.get(path);
        let moved = old.is_none_or(|old| old["spec"] != object["spec"]);
        let generation = old.map_or(0, |old| old["metadata"]["generation"].as_i64().unwrap_or(0));
        let uid = old.map_or_else(
            || json!(format!("uid-{}", self.version)),
            |old| old["metadata"]["uid"].clone(),
        );
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.version.to_string());
        if metadata["uid"].is_null() {
            metadata["uid"] = uid;
        }
        if !object["spec"].is_null() {
            object["metadata"]["generation"] = json!(generation + i64::from(moved));
        }
        self.objects.insert(path.to_owned(), object);
    }

    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        body: &[u8],
    ) -> (StatusCode, Value) {
        self.calls.push(format!("{method} {path}"));
        self.count += 1;
        if let Some((at, code)) = self.fail
            && at == self.count
        {
            return failure(code);
        }
        if let Some((refused, code)) = &self.refused
            && refused == path
        {
            return failure(*code);
        }
        match *method {
            Method::GET if self.is_list(path) => self.list(path, query.unwrap_or_default()),
            Method::GET => self
                .objects
                .get(path)
                .map_or_else(|| failure(404), |object| (StatusCode::OK, object.clone())),
            Method::POST => (StatusCode::CREATED, serde_json::from_slice(body).unwrap()),
            Method::DELETE => match self.objects.remove(path) {
                Some(_) => (
                    StatusCode::OK,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}),
                ),
                None => failure(404),
            },
            Method::PATCH => self.patch(path, &serde_json::from_slice(body).unwrap()),
            _ => failure(405),
        }
    }

    fn is_list(&self, path: &str) -> bool {
        // A list's path ends with the plural: after the namespace, or after the version.
        let parts: Vec<&str> = path.split('/').collect();
        let list = match parts.iter().position(|part| *part == "namespaces") {
            Some(at) => parts.len() == at + 3,
            None => path.ends_with("/egresspolicies"),
        };
        list && !self.objects.contains_key(path)
    }

    fn list(&self, path: &str, query: &str) -> (StatusCode, Value) {
        let inside = |other: &str| match path.strip_suffix("/egresspolicies") {
            Some(_) => other.contains("/egresspolicies/"),
            None => other.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')),
        };
        // labelSelector=key%3Dvalue, and the value is enough to tell.
        let uid = query
            .split("%3D")
            .nth(1)
            .map(|rest| rest.split('&').next().unwrap_or_default());
        let wanted = |object: &Value| {
            uid.is_none_or(|uid| object["metadata"]["labels"]["egressway.dev/policy-uid"] == uid)
        };
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(other, o)| inside(other) && wanted(o))
            .map(|(_, o)| o)
            .collect();
        (
            StatusCode::OK,
            json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}),
        )
    }

    fn patch(&mut self, path: &str, body: &Value) -> (StatusCode, Value) {
        let (target, status) = match path.strip_suffix("/status") {
            Some(target) => (target, true),
            None => (path, false),
        };
        let policy = target.contains("/egressp");
        let before = self.objects.get(target).cloned();
        if before.is_none() && policy {
            return failure(404);
        }
        let mut object = before.clone().unwrap_or_else(|| json!({}));
        if status {
            merge_patch(&mut object["status"], &body["status"]);
        } else {
            let mut body = body.clone();
            if policy && body["metadata"]["finalizers"].is_array() {
                // Each manager owns its own entries of the list.
                let finalizers = body["metadata"]
                    .as_object_mut()
                    .unwrap()
                    .remove("finalizers")
                    .unwrap();
                object["metadata"]["finalizers"] = finalizers;
            }
            merge(&mut object, &body);
        }
        if before.as_ref() != Some(&object) {
            self.put(target, object);
        }
        let object = self.objects[target].clone();
        let gone = !object["metadata"]["deletionTimestamp"].is_null()
            && object["metadata"]["finalizers"] == json!([]);
        if gone {
            self.objects.remove(target);
        }
        (StatusCode::OK, object)
    }
}

/// Server-side apply with force: maps by key, everything else whole.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// RFC 7386: maps by key, a null takes a key away, everything else whole.
fn merge_patch(into: &mut Value, from: &Value) {
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

fn failure(code: u16) -> (StatusCode, Value) {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        403 => "Forbidden",
        _ => "InternalError",
    };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code});
    (StatusCode::from_u16(code).unwrap(), status)
}
