//! Where a cell's pods may run: labels and tolerations that the API server would refuse in a pod are the pool's mistake,
//! and must not come up as an object of some tenant's fleet that cannot be written.

use egressway_core::acl::compile::Problems;
use egressway_crds::{Cell, Toleration};

/// Longest name or value of a label, and longest prefix of a name.
const LABEL_BYTES_MAX: usize = 63;
const PREFIX_BYTES_MAX: usize = 253;

pub(super) fn placement(field: &str, cell: &Cell, problems: &mut Problems) {
    if cell.node_selector.is_empty() {
        problems.push(
            format!("{field}.nodeSelector"),
            "is empty: name the labels of the nodes behind this NAT",
        );
    }
    for (key, value) in &cell.node_selector {
        let field = format!("{field}.nodeSelector");
        if !is_key(key) {
            problems.push(&field, format!("{key:?} cannot be the key of a label"));
        }
        if !is_value(value) {
            problems.push(&field, format!("{value:?} cannot be the value of label {key}"));
        }
    }
    for (n, toleration) in cell.tolerations.iter().flatten().enumerate() {
        if let Err(problem) = tolerable(toleration) {
            problems.push(format!("{field}.tolerations[{n}]"), problem);
        }
    }
}

/// What Kubernetes demands of a toleration.
fn tolerable(toleration: &Toleration) -> Result<(), String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (key, value, effect) = (
        text(&toleration.key),
        text(&toleration.value),
        text(&toleration.effect),
    );
    let exists = toleration.operator.as_deref() == Some("Exists");
    if key.is_empty() && !exists {
        return Err("has no key: name one, or write operator: Exists for every taint".to_owned());
    }
    if !key.is_empty() && !is_key(&key) {
        return Err(format!("{key:?} cannot be the key of a taint"));
    }
    if exists && !value.is_empty() {
        return Err("operator Exists takes no value".to_owned());
    }
    if !is_value(&value) {
        return Err(format!("{value:?} cannot be the value of a taint"));
    }
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        return Err("tolerationSeconds goes with effect: NoExecute".to_owned());
    }
    Ok(())
}

/// A name, behind a DNS subdomain or alone.
fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        None => is_name(text),
        Some((prefix, name)) => {
            let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            let label = |label: &str| {
                label.bytes().all(|b| lower(b) || b == b'-')
                    && label.bytes().next().is_some_and(lower)
                    && label.bytes().last().is_some_and(lower)
            };
            prefix.len() <= PREFIX_BYTES_MAX && prefix.split('.').all(label) && is_name(name)
        }
    }
}

fn is_value(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

fn is_name(text: &str) -> bool {
    let ends = |b: u8| b.is_ascii_alphanumeric();
    text.len() <= LABEL_BYTES_MAX
        && text.bytes().all(|b| ends(b) || matches!(b, b'-' | b'_' | b'.'))
        && text.bytes().next().is_some_and(ends)
        && text.bytes().last().is_some_and(ends)
}
