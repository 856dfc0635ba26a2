//! A request as the rules see it: what for, by whom, and for plain HTTP how.

use super::Target;

/// What is asked of a policy.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// The destination.
    pub target: Target,
    /// Who asks.
    pub caller: Caller,
    /// Of a forwarded request; absent for CONNECT.
    pub http: Option<HttpAsk<'a>>,
}

/// Method and path of a forwarded request.
#[derive(Clone, Copy, Debug)]
pub struct HttpAsk<'a> {
    /// The method, as it was sent.
    pub method: &'a str,
    /// The path, as it was sent, without the query.
    pub path: &'a str,
}

/// Which clients of a policy a request comes from; made by [`super::Policy::caller`], and good for that policy alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller(u64);

/// Most clients of one policy: one bit each.
pub const CLIENTS_MAX: usize = 64;

impl Caller {
    /// Nobody that the policy knows.
    pub const UNKNOWN: Self = Self(0);

    /// The caller that is client number `index` and whoever it was before.
    pub(super) fn with(self, index: usize) -> Self {
        let bit = u32::try_from(index)
            .ok()
            .and_then(|index| 1_u64.checked_shl(index))
            .unwrap_or(0);
        Self(self.0 | bit)
    }

    /// Whether the caller is any client of the policy.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.0 != 0
    }

    /// Whether the two have a client in common.
    pub(super) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The clients that both are.
    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl<'a> Ask<'a> {
    /// A tunnel, asked for by nobody in particular.
    #[must_use]
    pub fn tunnel(target: Target) -> Self {
        Self {
            target,
            caller: Caller::UNKNOWN,
            http: None,
        }
    }

    /// The same by a caller.
    #[must_use]
    pub fn by(self, caller: Caller) -> Self {
        Self { caller, ..self }
    }

    /// The same as a forwarded request.
    #[must_use]
    pub fn http(self, method: &'a str, path: &'a str) -> Self {
        Self {
            http: Some(HttpAsk { method, path }),
            ..self
        }
    }
}
