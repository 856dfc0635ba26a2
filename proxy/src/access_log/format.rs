//! One entry as a line: JSON with OpenTelemetry's keys, JSON with the Elastic Common Schema's, or text for people.

mod ecs;
mod fields;
mod json;
mod names;
mod text;

use super::{Entry, Place};

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// JSON with OpenTelemetry's keys.
    #[default]
    Json,
    /// JSON with the keys of the Elastic Common Schema.
    Ecs,
    /// Text for people.
    Text,
}

impl Format {
    /// Appends a line. Writing plain fields to memory cannot fail.
    pub(super) fn append(self, line: &mut Vec<u8>, entry: &Entry, place: &Place) -> std::io::Result<()> {
        match self {
            Self::Json => serde_json::to_writer(&mut *line, &json::Line(entry, place))?,
            Self::Ecs => serde_json::to_writer(&mut *line, &ecs::Line(entry, place))?,
            Self::Text => text::append(line, entry)?,
        }
        line.push(b'\n');
        Ok(())
    }
}
