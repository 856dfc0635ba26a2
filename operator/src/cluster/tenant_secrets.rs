//! Tenants' Secrets: read one by one, by name, with rights that each tenant gives in its own namespace.
//!
//! Nothing is listed or watched, and nothing is kept: whoever needs them reads them, and again after [`AGAIN`], which
//! is how a rotation is noticed. A watch would need `list`, and with it the right to read every Secret at once.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use crate::desired::secrets::Read;

/// Between two looks at the Secrets of a policy: so long does a rotated one stay unnoticed at most.
pub const AGAIN: Duration = Duration::from_secs(10);
/// The same while one could not be read for the moment.
pub const AGAIN_UNREADABLE: Duration = Duration::from_secs(2);
/// Reads at one time for one policy.
const IN_FLIGHT_MAX: usize = 8;
/// Time for one read: an ACL waits for it.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Reads these Secrets of a namespace.
pub async fn read(client: &Client, namespace: &str, names: Vec<String>) -> BTreeMap<String, Read> {
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let reads = stream::iter(names.into_iter().map(|name| one(&api, name)));
    reads.buffer_unordered(IN_FLIGHT_MAX).collect().await
}

async fn one(api: &Api<Secret>, name: String) -> (String, Read) {
    let read = match tokio::time::timeout(TIMEOUT, api.get_opt(&name)).await {
        Ok(Ok(Some(secret))) => Read::Found(Box::new(secret)),
        Ok(Ok(None)) => Read::Missing,
        Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => Read::Forbidden,
        // The status' own words and no more: a body that does not deserialize would stand in the error.
        Ok(Err(kube::Error::Api(status))) => {
            Read::Unreadable(format!("the API server answered {}", status.code))
        }
        Ok(Err(_)) => Read::Unreadable("the API server could not be asked".to_owned()),
        Err(_) => Read::Unreadable(format!("the API server did not answer within {TIMEOUT:?}")),
    };
    (name, read)
}
