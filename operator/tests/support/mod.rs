//! An API server in memory: it records calls, answers server-side apply, and fails where it is told to.
//!
//! It counts resource versions, so that "nothing was written" and "the same objects in the end" can be asked of it. What it
//! does to objects is in `objects.rs`, the operator on it in `world.rs`.

mod objects;
mod world;

use std::collections::BTreeMap;

use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};
pub(crate) use world::World;

/// Where fleets run in these tests.
pub(crate) const FLEETS: &str = "fleets";

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is refused with this code, and nothing happens.
    Refused(u16),
    /// The connection breaks before the server has read it.
    Dropped,
    /// The server does it, and the connection breaks before the answer.
    Lost,
    /// The server does it, and the answer never comes.
    Unanswered,
}

/// Which call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// The one of this number, counted from the first ever.
    Call(usize),
    /// The next write of this path.
    Write(String),
}

/// What becomes of a call.
pub(crate) enum Outcome {
    /// An answer.
    Answer(StatusCode, Value),
    /// A broken connection.
    Broken,
    /// Nothing, ever.
    Silence,
}

/// The server's state.
#[derive(Clone, Default)]
pub(crate) struct State {
    /// Objects by path.
    pub(crate) objects: BTreeMap<String, Value>,
    /// Calls since the last [`World::calls`].
    pub(crate) calls: Vec<String>,
    /// Calls ever.
    pub(crate) count: usize,
    /// The call that fails, and how.
    pub(crate) fail: Option<(At, Fault)>,
    /// The path whose calls are refused, and how; each time in other words, as servers that name ports and counts do.
    pub(crate) refused: Option<(String, u16)>,
    /// What admission makes of every write of a kind: where, and what.
    pub(crate) webhook: Option<(&'static str, &'static str, Value)>,
    /// No object is made that was not there, not even for a try.
    pub(crate) refuses_new: bool,
    /// The path whose reads are never answered.
    pub(crate) silent: Option<String>,
    version: u64,
    /// What each manager has applied last, by path and manager.
    applied: BTreeMap<(String, String), Value>,
}

impl State {
    fn put(&mut self, path: &str, mut object: Value) {
        objects::fill_in(&mut object);
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

    fn answer(&mut self, head: &Parts, body: &[u8]) -> Outcome {
        let (method, path) = (&head.method, head.uri.path());
        self.calls.push(format!("{method} {path}"));
        self.count += 1;
        let now = self.fail.as_ref().is_some_and(|(at, _)| match at {
            At::Call(number) => *number == self.count,
            At::Write(written) => *method != Method::GET && written == path,
        });
        let fault = self.fail.take_if(|_| now).map(|(_, fault)| fault);
        match fault {
            Some(Fault::Refused(code)) => return failure(code, "injected"),
            Some(Fault::Dropped) => return Outcome::Broken,
            Some(Fault::Lost | Fault::Unanswered) | None => {}
        }
        if let Some((refused, code)) = &self.refused
            && refused == path
        {
            return failure(*code, &format!("attempt {}", self.count));
        }
        let answer = self.done(head, body);
        match fault {
            Some(Fault::Lost) => Outcome::Broken,
            Some(Fault::Unanswered) => Outcome::Silence,
            Some(Fault::Refused(_) | Fault::Dropped) | None => answer,
        }
    }

    fn done(&mut self, head: &Parts, body: &[u8]) -> Outcome {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        match head.method {
            Method::GET if self.is_list(path) => self.list(path, query),
            Method::GET => self.objects.get(path).map_or_else(not_found, ok),
            Method::POST if self.refuses_new => failure(422, "not here"),
            Method::POST => Outcome::Answer(StatusCode::CREATED, body),
            Method::DELETE if !self.is_meant(path, &body["preconditions"]) => {
                failure(409, "the object has changed")
            }
            Method::DELETE => match self.objects.remove(path) {
                Some(_) => {
                    self.applied.retain(|(applied, _), _| applied != path);
                    ok(&json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
                }
                None => not_found(),
            },
            Method::PATCH => {
                let applies = head.headers["content-type"] == "application/apply-patch+yaml";
                self.patch(path, applies.then_some(query), &body)
            }
            _ => failure(405, "no such method"),
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

    fn list(&self, path: &str, query: &str) -> Outcome {
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
        ok(&json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}))
    }

    /// Whether these are of the object that is there.
    fn is_meant(&self, path: &str, preconditions: &Value) -> bool {
        let there = &self.objects.get(path).cloned().unwrap_or_default()["metadata"];
        ["uid", "resourceVersion"].into_iter().all(|field| {
            let meant = &preconditions[field];
            meant.is_null() || there.is_null() || *meant == there[field]
        })
    }

    /// `apply` is the query of a server-side apply.
    fn patch(&mut self, path: &str, apply: Option<&str>, body: &Value) -> Outcome {
        let (target, status) = match path.strip_suffix("/status") {
            Some(target) => (target, true),
            None => (path, false),
        };
        let policy = target.contains("/egressp");
        let before = self.objects.get(target).cloned();
        if before.is_none() && (policy || apply.is_none()) {
            return not_found();
        }
        if !self.is_meant(target, &body["metadata"]) {
            return failure(409, "the object has changed");
        }
        let mut object = before.clone().unwrap_or_else(|| json!({}));
        if status {
            objects::merge_patch(&mut object["status"], &body["status"]);
        } else if apply.is_none() {
            objects::merge_patch(&mut object, body);
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
            if let Some(query) = apply {
                let of_manager = (path.to_owned(), query.to_owned());
                if let Some(last) = self.applied.insert(of_manager, body.clone()) {
                    objects::take_back(&mut object, &last, &body, "");
                }
            }
            objects::apply(&mut object, &body, "");
        }
        objects::fill_in(&mut object);
        if !status && let Some((kind, field, value)) = &self.webhook {
            objects::rewrite(&mut object, kind, field, value);
        }
        if let Some(message) = objects::refusal(before.as_ref(), &object) {
            return failure(422, &message);
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
        ok(&object)
    }
}

fn ok(object: &Value) -> Outcome {
    Outcome::Answer(StatusCode::OK, object.clone())
}

fn not_found() -> Outcome {
    failure(404, "not found")
}

fn failure(code: u16, message: &str) -> Outcome {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
        "message": format!("{reason}: {message}"), "code": code});
    Outcome::Answer(StatusCode::from_u16(code).unwrap(), status)
}
