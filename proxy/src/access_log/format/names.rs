//! Names and facts that every format writes alike.

use std::fmt;

use egressway_core::acl::{Caller, Host, Policy};
use egressway_core::wire::document::Mode;
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

    /// Enforce goes without saying.
    pub(super) fn unusual_mode(&self) -> Option<Mode> {
        Some(self.mode).filter(|mode| *mode != Mode::Enforce)
    }

    pub(super) fn generation(&self) -> Option<i64> {
        self.policy.as_ref().map(|policy| policy.generation())
    }

    pub(super) fn error(&self) -> Option<&'static str> {
        (self.decision == "error").then_some(self.reason)
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

/// An address goes without the brackets that it has in a target.
pub(super) struct HostName<'a>(pub(super) &'a Host);

impl Serialize for HostName<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Host::Name(name) => serializer.serialize_str(name),
            Host::Address(ip) => serializer.collect_str(ip),
        }
    }
}

/// As it is displayed.
pub(super) struct Text<T>(pub(super) T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
