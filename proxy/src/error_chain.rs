//! An error with its causes on one line, for places that hold text: the report, a log field.

use std::error::Error;

/// Longest text; a page of parser output helps nobody in a status.
const CHARS_MAX: usize = 1000;

/// `error: cause: cause`, bounded.
#[must_use]
pub(crate) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => text.split_at(end).0.to_owned(),
        None => text,
    }
}
