//! Whether a live object already is what is wanted. Pure.
//!
//! The API server adds defaults and other managers add fields, so equality is the wrong question: everything wanted
//! must be there, what is there besides is none of ours. Lists are compared whole: an entry that somebody added to a
//! NetworkPolicy is a hole, not an addition. Where the server itself adds an entry, [`super::apply::Memory`] ends the
//! argument after one write.

use serde_json::Value;

/// Whether `live` has everything of `wanted`.
#[must_use]
pub fn is_subset(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            wanted.iter().all(|(key, value)| match live.get(key) {
                Some(there) => is_subset(value, there),
                None => is_nothing(value),
            })
        }
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len()
                && wanted
                    .iter()
                    .zip(live)
                    .all(|(wanted, live)| is_subset(wanted, live))
        }
        _ => wanted == live,
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
    fn check(wanted: Value, live: Value, expected: bool) {
        assert_eq!(is_subset(&wanted, &live), expected, "{wanted} in {live}");
    }

    #[test]
    fn defaults_of_the_server_do_not_count_and_changes_do() {
        check(json!({"a": 1}), json!({"a": 1, "b": 2}), true);
        check(json!({"a": {"b": 1}}), json!({"a": {"b": 1, "c": 2}}), true);
        check(json!({"a": 1}), json!({"a": 2}), false);
        check(json!({"a": 1}), json!({}), false);
        check(json!({"a": {}, "b": [], "c": null}), json!({}), true);
        check(json!([{"a": 1}]), json!([{"a": 1, "default": true}]), true);
        check(json!([{"a": 1}]), json!([{"a": 1}, {"b": 1}]), false);
        check(json!([1, 2]), json!([2, 1]), false);
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

    proptest! {
        #[test]
        fn everything_is_in_itself_and_stays_so_when_fields_are_added(wanted in value(), extra in value()) {
            prop_assert!(is_subset(&wanted, &wanted));
            if let Value::Object(mut live) = wanted.clone() {
                live.insert("zzz".to_owned(), extra);
                prop_assert!(is_subset(&wanted, &Value::Object(live)));
            }
        }
    }
}
