//! Which of the process's own lines are written: a level, or a filter of the tracing library.
//!
//! The library takes a word that is no level for a target, and then writes nothing else, warnings included. So a word
//! alone has to be a level here. The access log has none.

use tracing_subscriber::EnvFilter;

/// Unless told otherwise.
const DEFAULT: &str = "info";
/// What a word alone can be.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Reads `debug`, or `egressway_proxy::documents=debug,info`; nothing is the usual level.
///
/// # Errors
/// What is neither, in one sentence.
pub fn parse(text: &str) -> Result<EnvFilter, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(EnvFilter::new(DEFAULT));
    }
    let is_level = |word: &str| LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
    let mut words = text.split(',').map(str::trim);
    if let Some(word) = words.find(|word| !word.contains(['=', '[']) && !is_level(word)) {
        return Err(format!(
            "{word:?} is no level: write one of {}",
            LEVELS.join(", ")
        ));
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused_and_nothing_is_the_usual_level() {
        for (text, expected) in [
            ("", Some("info")),
            (" \n", Some("info")),
            ("WARN", Some("warn")),
            ("off", Some("off")),
            (
                "egressway_proxy::documents=debug,info",
                Some("egressway_proxy::documents=debug,info"),
            ),
            ("verbose", None),
            ("warning", None),
            ("info,hyper", None),
            ("5", None),
            ("info,,debug", None),
            ("a=loud", None),
        ] {
            let parsed = parse(text).ok().map(|filter| filter.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text:?}");
        }
    }
}
