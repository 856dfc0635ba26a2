//! A proxy without Kubernetes: one file with an EgressPolicy, and maybe its EgressPool, in place of mounted documents.
//!
//! The file is turned into the very documents that an operator would have mounted, and these go the same way as ever:
//! nothing behind this module knows where they came from. What only a cluster acts on is accepted and named in a
//! warning; what could never work without one is refused.

mod manifest;
mod secrets;
mod source;
mod warnings;

use std::fmt;

pub use manifest::{Manifest, NAMESPACE, Named};
pub use secrets::{SecretsDir, needed};
pub use source::{Documents, Source, documents, place};
pub(crate) use warnings::warnings;

/// Most problems that one log line lists; at start and in `check` all of them are printed.
const PROBLEMS_LOGGED_MAX: usize = 20;

/// Why a manifest is not put in force: every problem, each with its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused(Vec<String>);

impl Refused {
    pub(crate) fn of(problems: &[String]) -> Self {
        Self(problems.to_vec())
    }

    /// The problems.
    #[must_use]
    pub fn list(&self) -> &[String] {
        &self.0
    }

    fn push(&mut self, problem: impl fmt::Display) {
        self.0.push(problem.to_string());
    }

    pub(crate) fn merge(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    fn extend(&mut self, place: &str, problems: &egressway_core::acl::compile::Problems) {
        let placed = problems
            .list()
            .iter()
            .map(|problem| format!("{place}: {problem}"));
        self.0.extend(placed);
    }

    pub(crate) fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = self.0.get(..PROBLEMS_LOGGED_MAX).unwrap_or(&self.0);
        f.write_str(&listed.join("; "))?;
        match self.0.len().saturating_sub(PROBLEMS_LOGGED_MAX) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
