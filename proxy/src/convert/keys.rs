//! A foreign configuration as keys that are taken one by one; what nobody took is named.

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

/// The keys of one object that are left.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    /// Where it stands, with a dot behind; empty at the top.
    path: String,
    map: Map<String, Value>,
}

impl Keys {
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let value: Value = serde_saphyr::from_str(text).map_err(|error| anyhow::anyhow!("{error}"))?;
        Self::of(value, String::new())
    }

    fn of(value: Value, path: String) -> anyhow::Result<Self> {
        match value {
            Value::Object(map) => Ok(Self { path, map }),
            Value::Null => Ok(Self {
                path,
                map: Map::new(),
            }),
            other => bail!("{}expected keys and values, found {other}", path),
        }
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    /// The keys of an object; none where it is absent.
    pub(super) fn object(&mut self, key: &str) -> anyhow::Result<Option<Self>> {
        let path = format!("{}{key}.", self.path);
        self.take(key).map(|value| Self::of(value, path)).transpose()
    }

    /// The keys of each object of a list.
    pub(super) fn objects(&mut self, key: &str) -> anyhow::Result<Vec<Self>> {
        let path = format!("{}{key}", self.path);
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => (0_usize..)
                .zip(values)
                .map(|(n, value)| Self::of(value, format!("{path}[{n}].")))
                .collect(),
            Some(other) => bail!("{path}: expected a list, found {other}"),
        }
    }

    /// Text, or a number or a truth as text.
    pub(super) fn text(&mut self, key: &str) -> anyhow::Result<Option<String>> {
        let path = format!("{}{key}", self.path);
        self.take(key)
            .map(|value| scalar(&value).with_context(|| path))
            .transpose()
    }

    /// A list of texts; one text is a list of one.
    pub(super) fn texts(&mut self, key: &str) -> anyhow::Result<Vec<String>> {
        let path = format!("{}{key}", self.path);
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| scalar(value).with_context(|| path.clone()))
                .collect(),
            Some(value) => Ok(vec![scalar(&value).with_context(|| path)?]),
        }
    }

    /// Names a key that was there, with what to do instead.
    pub(super) fn note(&mut self, key: &str, advice: &str, notes: &mut Vec<String>) {
        if let Some(value) = self.take(key) {
            let value = match &value {
                Value::Array(_) | Value::Object(_) => String::new(),
                value => format!(" {}", scalar(value).unwrap_or_default()),
            };
            notes.push(format!("{}{key}{value}: {advice}", self.path));
        }
    }

    /// Names everything that is left.
    pub(super) fn rest(self, notes: &mut Vec<String>) {
        for key in self.map.keys() {
            notes.push(format!("{}{key}: has no counterpart", self.path));
        }
    }
}

fn scalar(value: &Value) -> anyhow::Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => bail!("expected text, found {value}"),
    }
}
