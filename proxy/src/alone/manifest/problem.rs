//! What the YAML library says, in words of the file: the line, the field, what was expected there.
//!
//! The library names types of Rust and options of its own, which whoever writes a policy never sees.

use serde_saphyr::{Error, RenderOptions, SnippetMode};

/// Its phrases, and ours.
const WORDS: &[(&str, &str)] = &[
    ("expected mapping start", "expected fields and values"),
    ("expected sequence start", "expected a list"),
    ("expected string scalar", "expected text"),
    (
        "cannot deserialize null into string",
        "expected text, found nothing",
    ),
    ("invalid boolean", "expected true or false"),
    ("invalid bool", "expected true or false"),
    ("invalid i64", "expected a whole number"),
    ("unexpected value for unit", "expected nothing"),
];

/// The line within the text, counted from 1, and the problem.
pub(super) fn of(error: &Error, text: &str) -> (usize, String) {
    let mut options = RenderOptions::default();
    options.snippets = SnippetMode::Off;
    let rendered = error.render_with_options(options);
    // The place stands in front of the line, where editors and people look for it.
    let said = rendered.split(" at line ").next().unwrap_or(&rendered);
    let said = said.split(", set DuplicateKeyPolicy").next().unwrap_or(said);
    let said = match said.strip_prefix("duplicate mapping key: ") {
        Some(key) => format!("{key} stands twice"),
        None => {
            let ours = WORDS.iter().find(|(theirs, _)| said.starts_with(theirs));
            ours.map_or(said, |(_, ours)| ours).replace('\n', " ")
        }
    };
    let at = |number: u64| usize::try_from(number).unwrap_or(1).max(1);
    let (line, column) = error
        .location()
        .map_or((1, 1), |location| (at(location.line()), at(location.column())));
    let names_it = ["field `", "stands twice"].iter().any(|word| said.contains(word));
    match field(text, line, column) {
        Some(field) if !names_it => (line, format!("{field}: {said}")),
        Some(_) | None => (line, said),
    }
}

/// The key whose value begins at this place, or, where a list begins there, that of the list.
fn field(text: &str, line: usize, column: usize) -> Option<&str> {
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = text.get(start..)?;
    let within = rest
        .char_indices()
        .nth(column - 1)
        .map_or(rest.len(), |(at, _)| at);
    let before = text.get(..start + within)?.trim_end();
    let before = before.strip_suffix(['[', '-']).unwrap_or(before).trim_end();
    let before = before.strip_suffix(':')?;
    let key = |byte: char| byte.is_ascii_alphanumeric();
    let name = before.rsplit(|byte| !key(byte)).next()?;
    (!name.is_empty()).then_some(name)
}
