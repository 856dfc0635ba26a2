//! Names that every format writes alike.

use std::fmt;

use egressway_core::acl::{Caller, Policy};
use serde::{Serialize, Serializer};

use super::super::Entry;

/// `namespace/name`.
pub(super) struct PolicyName<'a>(pub(super) &'a Policy);

impl fmt::Display for PolicyName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.namespace(), self.0.name())
    }
}

impl Entry {
    pub(super) fn client_names(&self) -> Option<ClientNames<'_>> {
        let policy = self.policy.as_deref().filter(|_| self.clients.is_known());
        policy.map(|policy| ClientNames(policy, self.clients))
    }
}

/// The names, with commas between them.
pub(super) struct ClientNames<'a>(&'a Policy, Caller);

impl fmt::Display for ClientNames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, name) in self.0.names_of(self.1).enumerate() {
            f.write_str(if n > 0 { "," } else { "" })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl Serialize for ClientNames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for PolicyName<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

pub(super) fn text<S: Serializer>(text: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(text)
}
