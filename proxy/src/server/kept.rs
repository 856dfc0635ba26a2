//! A connection that waits for another request, as long as its name still leads to its address.
//!
//! The pool knows permits and times; whether the name has moved is asked here: past its TTL it is resolved again, and a
//! connection whose address is gone is let go. Servers that do not answer end no connection that works.

use std::net::IpAddr;

use egressway_core::acl::{Host, Permit};
use http::Method;

use super::Server;
use super::pool::{Key, Pooled};
use crate::resolve::ResolveError;

impl Server {
    /// A connection for a request of this key and client.
    pub(super) async fn kept(
        &self,
        key: &Key,
        permit: &Permit,
        method: &Method,
        client: IpAddr,
    ) -> Option<Pooled> {
        loop {
            let mut pooled = self.pool.take(key, permit, method)?;
            let Host::Name(name) = permit.target().host() else {
                return Some(pooled);
            };
            if self
                .leads_to(name, pooled.address.socket_addr().ip(), client)
                .await
            {
                return Some(pooled);
            }
            pooled.origin.farewell();
        }
    }

    async fn leads_to(&self, name: &str, address: IpAddr, client: IpAddr) -> bool {
        if !self.resolver.keeps_answers() {
            return true;
        }
        match self.resolver.resolve_for(name, Some(client)).await {
            Ok(addresses) => addresses.iter().any(|ip| ip.to_canonical() == address),
            Err(ResolveError::NotFound) => false,
            Err(ResolveError::Timeout | ResolveError::Failed(_)) => true,
        }
    }
}
