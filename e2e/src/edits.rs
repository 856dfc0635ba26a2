//! Pure: every edit that somebody could make by hand to an object of a fleet, as RFC 6902 operations.
//!
//! Each field is set to something else and taken away, each map and each list gets one more and one less, and each kind what
//! is known to do harm where nothing stood. Which of them an API server takes is its own to say. The operator's tests go
//! through the same list against a server in memory.

use serde_json::{Map, Value, json};

/// One edit.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    /// JSON pointer of the field.
    pub(crate) field: String,
    /// What is done to it.
    pub(crate) what: &'static str,
    /// RFC 6902.
    pub(crate) operation: Value,
}

/// What is the server's own in the metadata of an object.
const SERVERS_OWN: [&str; 9] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "finalizers",
    "selfLink",
];

/// What is allocated to a Service.
const ALLOCATED: [&str; 3] = ["clusterIP", "clusterIPs", "ipFamilies"];

/// Every edit of an object as it lives.
#[must_use]
pub(crate) fn edits(object: &Value) -> Vec<Edit> {
    let mut found = Vec::new();
    for (key, value) in object.as_object().into_iter().flatten() {
        match key.as_str() {
            "apiVersion" | "kind" | "status" => {}
            "metadata" => metadata(value, &mut found),
            "spec" => {
                let mut spec = value.clone();
                if let Some(spec) = spec.as_object_mut() {
                    // Allocated: no API server lets anybody edit them.
                    spec.retain(|field, _| !ALLOCATED.contains(&field.as_str()));
                }
                within("/spec", &spec, &mut found);
            }
            key => within(&format!("/{}", escaped(key)), value, &mut found),
        }
    }
    found.extend(
        added(object)
            .into_iter()
            .map(|(field, value)| edit("add", field, "added", value)),
    );
    found
}

fn edit(operation: &str, field: impl Into<String>, what: &'static str, value: Value) -> Edit {
    let field = field.into();
    let operation = match operation {
        "remove" => json!({"op": "remove", "path": field}),
        operation => json!({"op": operation, "path": field, "value": value}),
    };
    Edit {
        field,
        what,
        operation,
    }
}

/// Of labels and annotations only those that are the fleet's.
fn metadata(metadata: &Value, found: &mut Vec<Edit>) {
    for (field, value) in metadata.as_object().into_iter().flatten() {
        let ours = |key: &str| key.starts_with("egressway.dev/") || key.starts_with("app.kubernetes.io/");
        if SERVERS_OWN.contains(&field.as_str()) {
            continue;
        }
        for (key, value) in value
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| ours(key))
        {
            // Whoever says that an object is managed by somebody else has taken it: that is named, not fought.
            within(&format!("/metadata/{field}/{}", escaped(key)), value, found);
        }
    }
}

fn within(path: &str, value: &Value, found: &mut Vec<Edit>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                within(&format!("{path}/{}", escaped(key)), value, found);
            }
            if is_of_texts(map) {
                found.push(edit(
                    "add",
                    format!("{path}/edited"),
                    "one more key",
                    // Text in most places, and base64 in a Secret.
                    json!("ZWRpdGVk"),
                ));
            }
        }
        Value::Array(list) => {
            for (number, value) in list.iter().enumerate() {
                within(&format!("{path}/{number}"), value, found);
            }
            if let Some(first) = list.first() {
                found.push(edit("add", format!("{path}/-"), "one more entry", another(first)));
                found.push(edit("remove", format!("{path}/0"), "one entry less", Value::Null));
            }
        }
        Value::Null => {}
        scalar => {
            found.push(edit("replace", path, "another value", other(path, scalar)));
            found.push(edit("remove", path, "taken away", Value::Null));
        }
    }
}

/// A map with nothing but texts in it, and no object of the API with fields of its own: one for keys of anybody's choice.
fn is_of_texts(map: &Map<String, Value>) -> bool {
    let fields = ["name", "path", "fieldPath", "type", "key", "cidr", "protocol"];
    !map.is_empty()
        && map.values().all(Value::is_string)
        && fields.iter().all(|field| !map.contains_key(*field))
}

/// One more entry of a list, as its first one but for what tells entries apart.
fn another(first: &Value) -> Value {
    let mut entry = first.clone();
    if let Some(text) = first.as_str() {
        return json!(if text == "ALL" { "CHOWN" } else { "192.0.2.0/24" }.to_owned());
    }
    for (key, value) in [
        ("name", json!("edited")),
        ("port", json!(4751)),
        ("containerPort", json!(4799)),
        ("mountPath", json!("/edited")),
        ("topologyKey", json!("edited.example/zone")),
    ] {
        if entry.get(key).is_some() {
            entry[key] = value;
        }
    }
    entry
}

/// Another value of the same type, such as an API server may take in that place.
fn other(path: &str, scalar: &Value) -> Value {
    let last = path.rsplit('/').next().unwrap_or_default();
    match scalar {
        Value::Bool(is) => json!(!is),
        Value::Number(number) => json!(number.as_i64().map_or(1, |number| number.saturating_add(1))),
        Value::String(text) => {
            let known = [
                ("imagePullPolicy", "Always"),
                ("dnsPolicy", "ClusterFirst"),
                (
                    "type",
                    if text == "RollingUpdate" {
                        "Recreate"
                    } else {
                        "NodePort"
                    },
                ),
                ("protocol", "SCTP"),
                ("cidr", "10.0.0.0/8"),
                ("ipFamilyPolicy", "SingleStack"),
                ("sessionAffinity", "ClientIP"),
                ("internalTrafficPolicy", "Local"),
                ("whenUnsatisfiable", "DoNotSchedule"),
                ("unhealthyPodEvictionPolicy", "IfHealthyBudget"),
                ("terminationMessagePolicy", "FallbackToLogsOnError"),
                ("scheme", "HTTPS"),
                ("fieldPath", "metadata.namespace"),
                ("cpu", "51m"),
                ("memory", "300Mi"),
                ("maxUnavailable", "100%"),
            ];
            let known = known.iter().find(|(field, _)| *field == last);
            if path.starts_with("/data/") {
                // Base64 in a Secret, text in a ConfigMap: both are.
                return json!("e30=");
            }
            json!(known.map_or("edited", |(_, value)| value))
        }
        other => other.clone(),
    }
}

/// What may be put where nothing stands, by kind.
fn added(object: &Value) -> Vec<(&'static str, Value)> {
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "kube-root-ca.crt", "uid": "00000000-0000-0000-0000-000000000000"}]);
    let sidecar = json!([{"name": "edited", "image": "edited.example/sidecar:1"}]);
    let mut found = match object["kind"].as_str().unwrap_or_default() {
        "Deployment" => vec![
            ("/spec/paused", json!(true)),
            ("/spec/template/spec/hostNetwork", json!(true)),
            ("/spec/template/spec/hostPID", json!(true)),
            (
                "/spec/template/spec/hostAliases",
                json!([{"ip": "192.0.2.1", "hostnames": ["api.example.com"]}]),
            ),
            ("/spec/template/spec/initContainers", sidecar),
            ("/spec/template/spec/nodeName", json!("nowhere")),
            ("/spec/template/spec/priorityClassName", json!("edited")),
            ("/spec/template/spec/runtimeClassName", json!("edited")),
            ("/spec/template/spec/shareProcessNamespace", json!(true)),
            (
                "/spec/template/spec/affinity",
                json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchExpressions": [{"key": "edited", "operator": "Exists"}]}]}}}),
            ),
            (
                "/spec/template/spec/dnsConfig",
                json!({"nameservers": ["192.0.2.53"]}),
            ),
            ("/spec/template/spec/containers/0/command", json!(["sleep"])),
            (
                "/spec/template/spec/containers/0/lifecycle",
                json!({"preStop": {"sleep": {"seconds": 1}}}),
            ),
            (
                "/spec/template/spec/containers/0/startupProbe",
                json!({"tcpSocket": {"port": 4750}}),
            ),
            (
                "/spec/template/spec/containers/0/envFrom",
                json!([{"configMapRef": {"name": "edited", "optional": true}}]),
            ),
            (
                "/spec/template/spec/containers/0/securityContext/privileged",
                json!(false),
            ),
            (
                "/spec/template/spec/containers/0/resources/limits/cpu",
                json!("10m"),
            ),
        ],
        "Service" => vec![
            ("/spec/externalIPs", json!(["192.0.2.9"])),
            ("/spec/publishNotReadyAddresses", json!(true)),
            ("/spec/trafficDistribution", json!("PreferClose")),
            (
                "/metadata/labels/service.kubernetes.io~1service-proxy-name",
                json!("edited"),
            ),
        ],
        "NetworkPolicy" => vec![
            (
                "/spec/podSelector/matchExpressions",
                json!([{"key": "edited", "operator": "Exists"}]),
            ),
            ("/spec/ingress/0/from", json!([])),
        ],
        // Beside maxUnavailable the server takes none: it is put in its place.
        "PodDisruptionBudget" => vec![(
            "/spec",
            json!({"minAvailable": 1, "selector": object["spec"]["selector"]}),
        )],
        "ConfigMap" | "Secret" => vec![("/immutable", json!(true))],
        "ServiceAccount" => Vec::new(),
        _ => Vec::new(),
    };
    found.push(("/metadata/ownerReferences", owner));
    found
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
