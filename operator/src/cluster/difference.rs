//! Pure: what a live object has otherwise than wanted, and the patch that makes it so.
//!
//! An object is compared whole. A key that somebody put beside ours is a difference as much as another value is: one more
//! label in a selector selects nothing, one more port in a Service is a door. What may stand beside is written down here:
//! what API servers fill in by themselves, and labels and annotations that are none of ours. A default of tomorrow's
//! API server costs one write an object, then [`super::apply::Memory`] knows it; it is not known here what was written.

use serde_json::{Map, Value};

/// Most fields named of one object: a message has a bound, and a few are enough to find whoever sets them.
const NAMED_MAX: usize = 5;

/// What may stand where nothing is wanted.
enum May {
    Be(&'static str),
    BeNumber(i64),
    BeAnything,
}

/// What API servers (1.31 to 1.35) fill in where an object of a fleet says nothing, by path; `[]` is any entry of a list.
const FILLED_IN: [(&str, May); 17] = [
    ("spec.progressDeadlineSeconds", May::BeNumber(600)),
    ("spec.template.spec.restartPolicy", May::Be("Always")),
    ("spec.template.spec.schedulerName", May::Be("default-scheduler")),
    // The older name of serviceAccountName; the server keeps them the same.
    ("spec.template.spec.serviceAccount", May::BeAnything),
    (
        "spec.template.spec.containers[].terminationMessagePath",
        May::Be("/dev/termination-log"),
    ),
    (
        "spec.template.spec.containers[].terminationMessagePolicy",
        May::Be("File"),
    ),
    (
        "spec.template.spec.containers[].readinessProbe.httpGet.scheme",
        May::Be("HTTP"),
    ),
    (
        "spec.template.spec.containers[].readinessProbe.successThreshold",
        May::BeNumber(1),
    ),
    (
        "spec.template.spec.containers[].livenessProbe.httpGet.scheme",
        May::Be("HTTP"),
    ),
    (
        "spec.template.spec.containers[].livenessProbe.successThreshold",
        May::BeNumber(1),
    ),
    // A Service's addresses are allocated, and cannot be edited.
    ("spec.clusterIP", May::BeAnything),
    ("spec.clusterIPs", May::BeAnything),
    ("spec.ipFamilies", May::BeAnything),
    ("spec.sessionAffinity", May::Be("None")),
    ("spec.internalTrafficPolicy", May::Be("Cluster")),
    // Of a ServiceAccount: distributions give each its own. Pods of a fleet mount no token and name their pull Secrets.
    ("secrets", May::BeAnything),
    ("imagePullSecrets", May::BeAnything),
];

/// Maps that hold nothing but what somebody put there: no API server fills anything in.
const MAPS: [&str; 9] = [
    "data",
    "binaryData",
    "labels",
    "annotations",
    "selector",
    "matchLabels",
    "nodeSelector",
    "limits",
    "requests",
];

/// Annotation that `kubectl rollout restart` puts on a template: somebody asks for new pods, and that is theirs to ask.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";
/// Labels and annotations that tell kube-proxy and others what to do with a Service.
const OF_SERVICES: &str = "service.kubernetes.io/";

/// One field that is not as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where it is, entries of lists by their name or number.
    pub path: String,
    /// The keys on the way there; `[]` is an entry of a list.
    pub keys: Vec<String>,
    /// It stands beside what is wanted, in a place where an API server may have put it by itself.
    pub beside: bool,
}

/// What is otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// A merge patch (RFC 7386) that makes the live object what is wanted: maps by key, lists whole.
    pub patch: Value,
    /// The fields, in the order of their paths, the first few.
    pub fields: Vec<Field>,
}

/// What `live` has otherwise than `wanted`; `None` where it is what is wanted.
#[must_use]
pub fn difference(wanted: &Value, live: &Value) -> Option<Difference> {
    let mut found = Found::default();
    let patch = found.differ(&Place::default(), wanted, live)?;
    found.fields.truncate(NAMED_MAX);
    Some(Difference {
        patch,
        fields: found.fields,
    })
}

/// Where the comparison is.
#[derive(Clone, Default)]
struct Place {
    /// For people: entries of lists by name.
    path: String,
    /// For the tables: entries of lists as `[]`.
    pattern: String,
    keys: Vec<String>,
    /// In a map of [`MAPS`].
    in_map: bool,
}

impl Place {
    fn key(&self, key: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self {
            keys: self.then(key),
            path: format!("{}{dot}{key}", self.path),
            pattern: format!("{}{dot}{key}", self.pattern),
            in_map: MAPS.contains(&key),
        }
    }

    fn entry(&self, number: usize, wanted: &Value) -> Self {
        let name = wanted.get("name").and_then(Value::as_str);
        let name = name.map_or_else(|| number.to_string(), ToOwned::to_owned);
        Self {
            keys: self.then("[]"),
            path: format!("{}[{name}]", self.path),
            pattern: format!("{}[]", self.pattern),
            in_map: false,
        }
    }

    fn then(&self, key: &str) -> Vec<String> {
        let mut keys = self.keys.clone();
        keys.push(key.to_owned());
        keys
    }

    /// Whether this may stand at `key`, where nothing is wanted.
    fn may_hold(&self, key: &str, value: &Value) -> bool {
        match self.pattern.as_str() {
            "" if key == "status" => return true,
            // Versions, times, finalizers and the like are the server's, or somebody's own.
            "metadata" => return key != "ownerReferences",
            "metadata.labels" | "metadata.annotations" => return !key.starts_with(OF_SERVICES),
            "spec.template.metadata" if key == "creationTimestamp" => return true,
            "spec.template.metadata.annotations" if key == RESTARTED => return true,
            _ => {}
        }
        let pattern = self.key(key).pattern;
        FILLED_IN.iter().any(|(path, may)| {
            *path == pattern
                && match may {
                    May::Be(text) => value == *text,
                    May::BeNumber(number) => value == *number,
                    May::BeAnything => true,
                }
        })
    }
}

#[derive(Default)]
struct Found {
    fields: Vec<Field>,
}

impl Found {
    fn note(&mut self, place: &Place, beside: bool) {
        if self.fields.len() < NAMED_MAX {
            self.fields.push(Field {
                path: place.path.clone(),
                keys: place.keys.clone(),
                beside,
            });
        }
    }

    fn differ(&mut self, place: &Place, wanted: &Value, live: &Value) -> Option<Value> {
        match (wanted, live) {
            (Value::Object(wanted), Value::Object(live)) => self.maps(place, wanted, live),
            (Value::Array(wanted), Value::Array(live)) => self.lists(place, wanted, live),
            (wanted, live) if wanted == live => None,
            (wanted, _) => {
                self.note(place, false);
                Some(wanted.clone())
            }
        }
    }

    fn maps(
        &mut self,
        place: &Place,
        wanted: &Map<String, Value>,
        live: &Map<String, Value>,
    ) -> Option<Value> {
        let mut patch = Map::new();
        for (key, wanted) in wanted {
            let place = place.key(key);
            let change = match live.get(key) {
                // What is not said is not wanted to be nothing.
                Some(live) if !wanted.is_null() => self.differ(&place, wanted, live),
                None if !is_nothing(wanted) => {
                    self.note(&place, false);
                    Some(wanted.clone())
                }
                Some(_) | None => None,
            };
            patch.extend(change.map(|change| (key.clone(), change)));
        }
        for (key, live) in live {
            let unsaid = wanted.get(key).is_none_or(Value::is_null);
            if unsaid && !is_nothing(live) && !place.may_hold(key, live) {
                self.note(&place.key(key), !place.in_map);
                patch.insert(key.clone(), Value::Null);
            }
        }
        (!patch.is_empty()).then_some(Value::Object(patch))
    }

    /// Whole, or not at all: the order counts, and an entry that somebody added to a NetworkPolicy is a hole.
    fn lists(&mut self, place: &Place, wanted: &[Value], live: &[Value]) -> Option<Value> {
        if wanted.len() != live.len() {
            self.note(place, false);
            return Some(Value::from(wanted));
        }
        let mut same = true;
        for (number, (wanted, live)) in wanted.iter().zip(live).enumerate() {
            same &= self.differ(&place.entry(number, wanted), wanted, live).is_none();
        }
        (!same).then(|| Value::from(wanted))
    }
}

/// The API server leaves empty maps and lists out.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(wanted: Value, live: Value, expected: Option<(Value, &[&str])>) {
        let found = difference(&wanted, &live);
        let shown = found.as_ref().map(|found| {
            let paths: Vec<&str> = found.fields.iter().map(|field| field.path.as_str()).collect();
            (found.patch.clone(), paths)
        });
        let expected = expected.map(|(patch, paths)| (patch, paths.to_vec()));
        assert_eq!(shown, expected, "{wanted} in {live}");
    }

    #[test]
    fn what_stands_beside_is_a_difference_unless_it_is_known() {
        check(json!({"a": 1}), json!({"a": 1}), None);
        check(
            json!({"a": 1}),
            json!({"a": 1, "b": 2}),
            Some((json!({"b": null}), &["b"])),
        );
        check(json!({"a": 1}), json!({"a": 2}), Some((json!({"a": 1}), &["a"])));
        check(json!({"a": 1}), json!({}), Some((json!({"a": 1}), &["a"])));
        check(json!({"a": {}, "b": [], "c": null}), json!({}), None);
        check(json!({}), json!({"a": {}, "b": [], "c": null}), None);
        check(
            json!([1, 2]),
            json!([2, 1]),
            Some((json!([1, 2]), &["[0]", "[1]"])),
        );
        let podless = json!({"spec": {"podSelector": {"matchLabels": {"app": "x"}}}});
        check(
            podless,
            json!({"spec": {"podSelector": {"matchLabels": {"app": "x", "no": "pod"}}}}),
            Some((
                json!({"spec": {"podSelector": {"matchLabels": {"no": null}}}}),
                &["spec.podSelector.matchLabels.no"],
            )),
        );
        // Nothing wanted is not anything: an empty rule lets everybody in.
        check(
            json!({"ingress": [{"ports": [1]}]}),
            json!({"ingress": [{}]}),
            Some((json!({"ingress": [{"ports": [1]}]}), &["ingress[0].ports"])),
        );
    }

    #[test]
    fn lists_come_back_whole_and_their_entries_are_named() {
        let wanted = json!({"spec": {"ports": [{"name": "proxy", "port": 4750}]}});
        check(
            wanted.clone(),
            json!({"spec": {"ports": [{"name": "proxy", "port": 4799}]}}),
            Some((
                json!({"spec": {"ports": [{"name": "proxy", "port": 4750}]}}),
                &["spec.ports[proxy].port"],
            )),
        );
        let more =
            json!({"spec": {"ports": [{"name": "proxy", "port": 4750}, {"name": "admin", "port": 4751}]}});
        check(wanted.clone(), more, Some((wanted, &["spec.ports"])));
    }

    #[test]
    fn what_api_servers_fill_in_is_no_difference_as_long_as_it_is_that() {
        let wanted = json!({"spec": {"type": "ClusterIP"}});
        let live = |affinity: &str| {
            json!({"spec": {"type": "ClusterIP", "sessionAffinity": affinity,
            "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "internalTrafficPolicy": "Cluster"}, "status": {"loadBalancer": {}}})
        };
        check(wanted.clone(), live("None"), None);
        check(
            wanted,
            live("ClientIP"),
            Some((
                json!({"spec": {"sessionAffinity": null}}),
                &["spec.sessionAffinity"],
            )),
        );
        let pod = |extra: Value| {
            let mut container = json!({"name": "proxy", "image": "i"});
            container
                .as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}, "spec": {"containers": [container]}}}})
        };
        let mut live = pod(json!({"terminationMessagePolicy": "File"}));
        live["spec"]["template"]["metadata"]["annotations"][RESTARTED] = json!("now");
        check(pod(json!({})), live.clone(), None);
        live["spec"]["template"]["metadata"]["annotations"]["x"] = json!("y");
        check(
            pod(json!({})),
            live,
            Some((
                json!({"spec": {"template": {"metadata": {"annotations": {"x": null}}}}}),
                &["spec.template.metadata.annotations.x"],
            )),
        );
        check(
            pod(json!({})),
            pod(json!({"stdin": true})),
            Some((pod_patch(), &["spec.template.spec.containers[proxy].stdin"])),
        );
    }

    fn pod_patch() -> Value {
        json!({"spec": {"template": {"spec": {"containers": [{"name": "proxy", "image": "i"}]}}}})
    }

    #[test]
    fn metadata_is_shared_with_others_but_not_what_makes_it_theirs() {
        let wanted = json!({"metadata": {"name": "n", "labels": {"ours": "1"}}});
        check(
            wanted.clone(),
            json!({"metadata": {"name": "n", "uid": "u", "finalizers": ["f"], "labels": {"ours": "1", "theirs": "2"},
                "annotations": {"theirs": "2"}}}),
            None,
        );
        check(
            wanted,
            json!({"metadata": {"name": "n", "labels": {"ours": "1", "service.kubernetes.io/service-proxy-name": "x"},
                "ownerReferences": [{"uid": "x"}]}}),
            Some((
                json!({"metadata": {"labels": {"service.kubernetes.io/service-proxy-name": null}, "ownerReferences": null}}),
                &[
                    "metadata.labels.service.kubernetes.io/service-proxy-name",
                    "metadata.ownerReferences",
                ],
            )),
        );
    }

    #[test]
    fn only_where_a_server_may_fill_in_an_addition_may_be_its_own() {
        let beside = |wanted, live| difference(&wanted, &live).unwrap().fields[0].beside;
        assert!(beside(json!({"spec": {}}), json!({"spec": {"new": true}})));
        assert!(!beside(
            json!({"spec": {"selector": {"a": "b"}}}),
            json!({"spec": {"selector": {"a": "b", "c": "d"}}})
        ));
        assert!(!beside(json!({"spec": {"a": 1}}), json!({"spec": {"a": 2}})));
        assert!(!beside(
            json!({"spec": {"a": [1]}}),
            json!({"spec": {"a": [1, 2]}})
        ));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i8>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn merged(into: &mut Value, from: &Value) {
        match from {
            Value::Object(from) => {
                if !into.is_object() {
                    *into = json!({});
                }
                for (key, value) in from {
                    if value.is_null() {
                        into.as_object_mut().unwrap().remove(key);
                    } else {
                        merged(&mut into[key], value);
                    }
                }
            }
            from => *into = from.clone(),
        }
    }

    proptest! {
        #[test]
        fn the_patch_makes_the_one_into_the_other(wanted in value(), mut live in value()) {
            prop_assert_eq!(difference(&wanted, &wanted), None);
            if let Some(found) = difference(&wanted, &live) {
                prop_assert!(!found.fields.is_empty() && found.fields.len() <= NAMED_MAX);
                merged(&mut live, &found.patch);
                prop_assert_eq!(difference(&wanted, &live), None);
            }
        }
    }
}
