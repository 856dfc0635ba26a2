//! Pure: fields of a fleet's objects that somebody else sets otherwise, and who that is.
//!
//! An API server notes who set a field last (`metadata.managedFields`), and its own answer to a write tells what admission
//! made of it. Whether a fight is worth going on with is decided in [`super::apply`].

use std::collections::BTreeSet;

use egressway_core::wire::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::Value;

use super::difference::Field;

/// Most managers named for one object.
const MANAGERS_MAX: usize = 3;

/// Who sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The API server's answer to our own write says otherwise already.
    Admission,
    /// These field managers; none where the API server does not say.
    Managers(Vec<String>),
    /// Nobody lets it go: these finalizers hold an object that is being deleted.
    Finalizers(Vec<String>),
}

/// An object whose fields somebody else sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contested {
    /// Kind of the object.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Paths of the fields, the first few.
    pub fields: Vec<String>,
    /// Who sets them.
    pub by: By,
}

impl Contested {
    /// Which field, who sets it, and what to do. Values are left out: some are secret, and all may be long.
    #[must_use]
    pub fn text(&self, namespace: &str) -> String {
        let Self { kind, name, .. } = self;
        let fields = self.fields.join(", ");
        match &self.by {
            By::Admission => format!(
                "{kind} {name}: an admission webhook or policy of the cluster rewrites {fields}: leave namespace {namespace} out of it"
            ),
            By::Managers(managers) if managers.is_empty() => format!(
                "{kind} {name}: somebody sets {fields} again and again: look who writes it with kubectl get --show-managed-fields"
            ),
            By::Managers(managers) => format!(
                "{kind} {name}: {} sets {fields} again and again: leave namespace {namespace} out of it",
                managers.join(", ")
            ),
            By::Finalizers(finalizers) => format!(
                "{kind} {name} is deleted and cannot go: its finalizer {} is for whoever put it there to take off",
                finalizers.join(", ")
            ),
        }
    }
}

/// Who else has set one of these fields, as the API server noted it.
#[must_use]
pub fn managers(noted: &[ManagedFieldsEntry], fields: &[Field]) -> Vec<String> {
    let others = noted.iter().filter(|entry| {
        let manager = entry.manager.as_deref();
        manager.is_some_and(|manager| manager != names::FIELD_MANAGER)
    });
    let setting = others.filter(|entry| {
        let set = entry.fields_v1.as_ref().map(|set| &set.0);
        set.is_some_and(|set| fields.iter().any(|field| sets(set, &field.keys)))
    });
    let names: BTreeSet<String> = setting.filter_map(|entry| entry.manager.clone()).collect();
    names.into_iter().take(MANAGERS_MAX).collect()
}

/// Whether a set of fields (`FieldsV1`: `f:` a key, `k:` and `v:` an entry of a list) has something on this way.
fn sets(set: &Value, keys: &[String]) -> bool {
    let Some((key, rest)) = keys.split_first() else {
        return true;
    };
    let Some(inside) = set.as_object() else {
        return false;
    };
    // What is owned whole has nothing inside.
    if inside.keys().all(|key| key == ".") {
        return true;
    }
    if key == "[]" {
        let mut entries = inside.iter().filter(|(key, _)| !key.starts_with("f:"));
        return entries.any(|(_, inside)| sets(inside, rest));
    }
    inside
        .get(&format!("f:{key}"))
        .is_some_and(|inside| sets(inside, rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(keys: &[&str]) -> Field {
        Field {
            path: keys.join("."),
            keys: keys.iter().map(|&key| key.to_owned()).collect(),
            beside: false,
        }
    }

    #[track_caller]
    fn check(keys: &[&str], expected: &[&str]) {
        let entry =
            |manager: &str, set: Value| json!({"manager": manager, "operation": "Update", "fieldsV1": set});
        let noted = json!([
            entry(
                names::FIELD_MANAGER,
                json!({"f:spec": {"f:replicas": {}, "f:template": {"f:x": {}}}})
            ),
            entry("autoscaler", json!({"f:spec": {"f:replicas": {}}})),
            entry(
                "painter",
                json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"proxy\"}": {".": {}, "f:image": {}}}}},
                "f:selector": {}}})
            ),
        ]);
        let noted: Vec<ManagedFieldsEntry> = serde_json::from_value(noted).unwrap();
        assert_eq!(managers(&noted, &[field(keys)]), expected, "{keys:?}");
    }

    #[test]
    fn whoever_set_the_field_or_what_holds_it_whole_is_named() {
        check(&["spec", "replicas"], &["autoscaler"]);
        check(
            &["spec", "template", "spec", "containers", "[]", "image"],
            &["painter"],
        );
        check(&["spec", "template", "spec", "containers"], &["painter"]);
        check(&["spec", "selector", "app"], &["painter"]);
        check(&["spec", "template", "spec", "containers", "[]", "command"], &[]);
        check(&["spec", "paused"], &[]);
    }

    #[test]
    fn the_words_name_object_field_and_who() {
        let contested = |by| Contested {
            kind: "Deployment".to_owned(),
            name: "d".to_owned(),
            fields: vec!["spec.replicas".to_owned()],
            by,
        };
        for (by, word) in [
            (By::Admission, "admission"),
            (By::Managers(vec!["autoscaler".to_owned()]), "autoscaler"),
            (By::Managers(Vec::new()), "managed-fields"),
            (By::Finalizers(vec!["x/y".to_owned()]), "x/y"),
        ] {
            let text = contested(by).text("fleets");
            assert!(text.contains("Deployment d") && text.contains(word), "{text}");
        }
    }
}
