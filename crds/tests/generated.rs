//! The committed YAML equals the types. `UPDATE_GOLDEN=1 cargo test -p egressway-crds` rewrites it, and the chart's copy.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use egressway_crds::{EgressPolicy, EgressPool};
use kube::CustomResourceExt;

#[test]
fn committed_yaml_equals_the_types() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    for (file, crd) in [
        ("egresspools", EgressPool::crd()),
        ("egresspolicies", EgressPolicy::crd()),
    ] {
        let yaml = serde_saphyr::to_string(&serde_json::to_value(&crd).unwrap()).unwrap();
        let header = "# Generated from the Rust types: UPDATE_GOLDEN=1 cargo test -p egressway-crds\n";
        let plain = format!("{header}{yaml}");
        let (before, after) = yaml.split_once("metadata:\n").unwrap();
        let templated = after.replace("{{", "{{ \"{{\" }}");
        let chart = format!(
            "{header}{{{{- if .Values.crds.install }}}}\n{before}metadata:\n  labels:\n    {{{{- include \"egressway.labels\" . | nindent 4 }}}}\n  \
             {{{{- if .Values.crds.keep }}}}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{{{- end }}}}\n{templated}{{{{- end }}}}\n"
        );
        check(&root.join("crds").join(format!("{file}.yaml")), &plain);
        check(
            &root
                .join("charts/egressway/templates/crds")
                .join(format!("{file}.yaml")),
            &chart,
        );
    }
}

#[track_caller]
fn check(path: &Path, expected: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, expected).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not what the types say; run UPDATE_GOLDEN=1 cargo test -p egressway-crds",
        path.display()
    );
}

/// `kubectl explain` is the reference manual: no field without a description.
#[test]
fn every_field_has_a_description() {
    fn walk(path: &str, schema: &serde_json::Value, missing: &mut Vec<String>) {
        if let Some(fields) = schema.get("properties").and_then(|p| p.as_object()) {
            for (name, field) in fields {
                let path = format!("{path}.{name}");
                if field
                    .get("description")
                    .is_none_or(|text| text.as_str().unwrap_or("").is_empty())
                {
                    missing.push(path.clone());
                }
                walk(&path, field, missing);
            }
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(key) {
                walk(&format!("{path}[]"), inner, missing);
            }
        }
    }
    let mut missing = Vec::new();
    for crd in [EgressPool::crd(), EgressPolicy::crd()] {
        let crd = serde_json::to_value(&crd).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        for part in ["spec", "status"] {
            walk(part, &schema[part], &mut missing);
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

/// The manual's table of fields is the schema's own words.
#[test]
fn the_manual_of_fields_is_what_the_schema_says() {
    fn rows(path: &str, schema: &serde_json::Value, text: &mut String) {
        let Some(fields) = schema.get("properties").and_then(|p| p.as_object()) else {
            return;
        };
        let required: Vec<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str())
            .collect();
        for (name, field) in fields {
            let mut path = format!("{path}.{name}");
            let (mut inner, mut kind) = (
                field,
                field["type"].as_str().unwrap_or("number or text").to_owned(),
            );
            if kind == "array" {
                inner = &field["items"];
                path.push_str("[]");
                kind = format!("list of {}s", inner["type"].as_str().unwrap_or("value"));
            }
            let must = if required.contains(&name.as_str()) {
                ", required"
            } else {
                ""
            };
            let words = field["description"]
                .as_str()
                .unwrap_or("")
                .replace('\n', " ")
                .replace('|', "\\|");
            text.push_str(&format!("| `{path}` | {kind}{must} | {words} |\n"));
            // Label selectors and conditions are Kubernetes' own, documented there.
            if !matches!(name.as_str(), "podSelector" | "selector" | "conditions") {
                rows(&path, inner, text);
            }
        }
    }
    let mut text = String::from(
        "# Fields\n\nGenerated from the schema: `UPDATE_GOLDEN=1 cargo test -p egressway-crds`. What the schema cannot say is in [api.md](api.md).\n",
    );
    for crd in [EgressPolicy::crd(), EgressPool::crd()] {
        let crd = serde_json::to_value(&crd).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        text.push_str(&format!(
            "\n## {kind}\n\n| field | type | |\n| --- | --- | --- |\n"
        ));
        for part in ["spec", "status"] {
            rows(part, &schema[part], &mut text);
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    check(&root.join("docs/reference/fields.md"), &text);
}
