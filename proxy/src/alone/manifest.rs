//! Text to manifests: YAML documents of our two kinds, read strictly, each problem with its line.
//!
//! It knows the shape of objects as `kubectl` prints them and nothing of what their specs mean.

mod problem;

use egressway_core::manifest::{PolicySpec, PoolSpec};
use egressway_core::wire::names::API_GROUP;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use super::Refused;

/// The namespace of a policy that names none.
pub const NAMESPACE: &str = "default";
/// The one version of both kinds.
const VERSION: &str = "v1alpha1";
/// Most documents of a file: a policy for each of a large team's services.
const DOCUMENTS_MAX: usize = 1000;
/// Longest name of a Kubernetes object.
const NAME_BYTES_MAX: usize = 253;

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// Its policies.
    pub policies: Vec<Named<PolicySpec>>,
    /// Its pools.
    pub pools: Vec<Named<PoolSpec>>,
}

/// A spec under its name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Named<T> {
    /// `metadata.namespace`, or [`NAMESPACE`]; empty for a pool.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// Line of the file where its document begins.
    pub line: usize,
    /// The spec.
    pub spec: T,
}

impl Manifest {
    /// Reads a file's text; `file` is its name in problems.
    ///
    /// # Errors
    /// Every document that is none of ours, or not of its kind's shape.
    pub fn parse(file: &str, text: &str) -> Result<Self, Refused> {
        let (mut manifest, mut refused) = (Self::default(), Refused::default());
        let documents = documents(text);
        if documents.len() > DOCUMENTS_MAX {
            refused.push(format!("{file}: has more than {DOCUMENTS_MAX} documents"));
            return Err(refused);
        }
        for (line, text) in documents {
            let place = Place { file, line };
            match kind(&place, text) {
                Ok(Kind::Nothing) => {}
                Ok(Kind::Policy) => take(object(&place, text), &mut manifest.policies, &mut refused),
                Ok(Kind::Pool) => take(object(&place, text), &mut manifest.pools, &mut refused),
                Ok(Kind::List) => manifest.list(&place, text, &mut refused),
                Err(problem) => refused.push(problem),
            }
        }
        for pool in &mut manifest.pools {
            pool.namespace.clear();
        }
        refused.into_result(manifest)
    }

    /// The items of a list, as `kubectl get -o yaml` prints several objects.
    fn list(&mut self, place: &Place<'_>, text: &str, refused: &mut Refused) {
        let items = match serde_saphyr::from_str::<List>(text) {
            Ok(list) => list.items,
            Err(error) => return refused.push(place.of(&error, text)),
        };
        if items.len() > DOCUMENTS_MAX {
            return refused.push(place.at_start(&format!("has more than {DOCUMENTS_MAX} items")));
        }
        for (n, item) in items.into_iter().enumerate() {
            let head = Head::deserialize(&item).map_err(|error| place.at_item(n, &error.to_string()));
            let kind = head.and_then(|head| head.kind(|problem| place.at_item(n, problem)));
            match kind {
                Ok(Kind::Policy) => take(listed(place, n, item), &mut self.policies, refused),
                Ok(Kind::Pool) => take(listed(place, n, item), &mut self.pools, refused),
                Ok(Kind::List | Kind::Nothing) => {
                    refused.push(place.at_item(n, "is a list itself: write its items"));
                }
                Err(problem) => refused.push(problem),
            }
        }
    }
}

fn take<T>(read: Result<Named<T>, String>, into: &mut Vec<Named<T>>, refused: &mut Refused) {
    match read {
        Ok(object) => into.push(object),
        Err(problem) => refused.push(problem),
    }
}

/// Where a document stands.
struct Place<'a> {
    file: &'a str,
    line: usize,
}

impl Place<'_> {
    fn at_start(&self, problem: &str) -> String {
        format!("{}:{}: {problem}", self.file, self.line)
    }

    fn at_item(&self, n: usize, problem: &str) -> String {
        self.at_start(&format!("items[{n}]: {problem}"))
    }

    fn of(&self, error: &serde_saphyr::Error, text: &str) -> String {
        let (within, problem) = problem::of(error, text);
        format!(
            "{}:{}: {problem}",
            self.file,
            self.line + within.saturating_sub(1)
        )
    }
}

enum Kind {
    Nothing,
    Policy,
    Pool,
    List,
}

/// What stands in a list besides its items says nothing.
#[derive(Deserialize)]
struct List {
    items: Vec<Value>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "apiVersion")]
    api_version: Option<String>,
    kind: Option<String>,
}

fn kind(place: &Place<'_>, text: &str) -> Result<Kind, String> {
    let empty = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let marker = |line: &str| ["---", "..."].contains(&line.trim_end());
    if text.lines().all(|line| empty(line) || marker(line)) {
        return Ok(Kind::Nothing);
    }
    let head: Head = serde_saphyr::from_str(text).map_err(|error| place.of(&error, text))?;
    head.kind(|problem| place.at_start(problem))
}

impl Head {
    /// What of ours it is, or the problem at its place.
    fn kind(self, at: impl Fn(&str) -> String) -> Result<Kind, String> {
        let expected = format!("{API_GROUP}/{VERSION}");
        match (self.api_version, self.kind.as_deref()) {
            (Some(_), Some(kind)) if kind.ends_with("List") => Ok(Kind::List),
            (Some(version), Some(kind)) if version == expected => match kind {
                "EgressPolicy" => Ok(Kind::Policy),
                "EgressPool" => Ok(Kind::Pool),
                other => Err(at(&format!(
                    "kind {other:?} is neither EgressPolicy nor EgressPool"
                ))),
            },
            (version, kind) => Err(at(&format!(
                "apiVersion {:?} with kind {:?}: expected {expected} with EgressPolicy or EgressPool",
                version.unwrap_or_default(),
                kind.unwrap_or_default(),
            ))),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Object<T> {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    metadata: Metadata,
    spec: T,
    /// What `kubectl get -o yaml` adds.
    #[serde(default, rename = "status")]
    _status: Option<IgnoredAny>,
}

/// What API servers put there besides the name means nothing here; what they never put there is a slip of the pen.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default, rename = "labels")]
    _labels: Option<IgnoredAny>,
    #[serde(default, rename = "annotations")]
    _annotations: Option<IgnoredAny>,
    #[serde(default, rename = "finalizers")]
    _finalizers: Option<IgnoredAny>,
    #[serde(default, rename = "generation")]
    _generation: Option<IgnoredAny>,
    #[serde(default, rename = "creationTimestamp")]
    _created: Option<IgnoredAny>,
    #[serde(default, rename = "deletionTimestamp")]
    _deleted: Option<IgnoredAny>,
    #[serde(default, rename = "deletionGracePeriodSeconds")]
    _grace: Option<IgnoredAny>,
    #[serde(default, rename = "managedFields")]
    _managed: Option<IgnoredAny>,
    #[serde(default, rename = "ownerReferences")]
    _owners: Option<IgnoredAny>,
    #[serde(default, rename = "resourceVersion")]
    _version: Option<IgnoredAny>,
    #[serde(default, rename = "uid")]
    _uid: Option<IgnoredAny>,
}

fn object<T: DeserializeOwned>(place: &Place<'_>, text: &str) -> Result<Named<T>, String> {
    let object: Object<T> = serde_saphyr::from_str(text).map_err(|error| place.of(&error, text))?;
    object.named(place.line, |problem| place.at_start(problem))
}

/// One item of a list. Its line is the list's.
fn listed<T: DeserializeOwned>(place: &Place<'_>, n: usize, item: Value) -> Result<Named<T>, String> {
    let object: Object<T> =
        serde_json::from_value(item).map_err(|error| place.at_item(n, &error.to_string()))?;
    object.named(place.line, |problem| place.at_item(n, problem))
}

impl<T> Object<T> {
    fn named(self, line: usize, at: impl Fn(&str) -> String) -> Result<Named<T>, String> {
        let namespace = self.metadata.namespace.unwrap_or_else(|| NAMESPACE.to_owned());
        for (field, name) in [
            ("metadata.name", &self.metadata.name),
            ("metadata.namespace", &namespace),
        ] {
            if !is_name(name) {
                return Err(at(&format!(
                    "{field} {name:?} is no name: write lower-case letters, digits, hyphens and dots"
                )));
            }
        }
        Ok(Named {
            namespace,
            name: self.metadata.name,
            line,
            spec: self.spec,
        })
    }
}

/// A DNS subdomain, as names of Kubernetes objects are (RFC 1123).
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= NAME_BYTES_MAX && name.split('.').all(label)
}

/// The documents of a file, each with the number of its first line. A line that begins with `---` begins one (YAML 1.2,
/// 9.1.2): it cannot stand inside of any value.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut at) = (0, 1, 0);
    for (line, content) in (1_usize..).zip(text.split_inclusive('\n')) {
        let marker = content
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if marker {
            documents.push((start_line, text.get(start..at).unwrap_or_default()));
            (start, start_line) = (at, line);
        }
        at += content.len();
    }
    documents.push((start_line, text.get(start..).unwrap_or_default()));
    documents
}

#[cfg(test)]
mod tests;
