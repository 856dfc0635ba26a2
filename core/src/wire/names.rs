//! Every string that both binaries spell: labels, annotations, paths, ports, keys, and the derivation of names.

use sha2::{Digest, Sha256};

use super::document::Listener;

/// The API group of both kinds.
pub const API_GROUP: &str = "egressway.dev";
/// The field manager of every server-side apply.
pub const FIELD_MANAGER: &str = "egressway-operator";
/// Finalizer on an EgressPolicy: its fleet is drained and deleted before the object goes.
pub const FINALIZER: &str = "egressway.dev/fleet";
/// Annotation that makes a pool the default one, as StorageClass has it.
pub const DEFAULT_POOL_ANNOTATION: &str = "egressway.dev/is-default-pool";
/// Annotation on fleet pods. Touching it makes the kubelet sync the mounted ConfigMap at once.
pub const CONFIG_HASH_ANNOTATION: &str = "egressway.dev/config-hash";
/// Annotation on every owned object: digest of what the operator last wanted it to be.
pub const DESIRED_HASH_ANNOTATION: &str = "egressway.dev/desired-hash";
/// Label: namespace of the owning policy.
pub const POLICY_NAMESPACE_LABEL: &str = "egressway.dev/policy-namespace";
/// Label: name of the owning policy.
pub const POLICY_NAME_LABEL: &str = "egressway.dev/policy-name";
/// Label: UID of the owning policy; a policy recreated under the same name owns nothing of its predecessor.
pub const POLICY_UID_LABEL: &str = "egressway.dev/policy-uid";
/// Label: the pool whose nodes the fleet stands on.
pub const POOL_LABEL: &str = "egressway.dev/pool-name";
/// Label: the cell of a Deployment and its pods.
pub const CELL_LABEL: &str = "egressway.dev/cell";
/// Label: the fleet, that is the derived name shared by all objects of one policy.
pub const FLEET_LABEL: &str = "egressway.dev/fleet";
/// Label key of the managing program (Kubernetes recommended labels).
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY_LABEL`] on everything the operator owns.
pub const MANAGED_BY: &str = "egressway-operator";
/// Label key of the application name (Kubernetes recommended labels).
pub const APP_NAME_LABEL: &str = "app.kubernetes.io/name";
/// Value of [`APP_NAME_LABEL`] on fleet pods.
pub const PROXY_APP_NAME: &str = "egressway-proxy";
/// Value of [`APP_NAME_LABEL`] on operator pods.
pub const OPERATOR_APP_NAME: &str = "egressway-operator";

/// Where clients connect. Smokescreen's port, so that a move changes only the host.
pub const PROXY_PORT: u16 = 4750;
/// Health and metrics of the proxy: unauthenticated, nothing secret.
pub const ADMIN_PORT: u16 = 4751;
/// The authenticated report of the proxy.
pub const REPORT_PORT: u16 = 4752;

/// Where the ACL ConfigMap is mounted.
pub const ACL_MOUNT: &str = "/etc/egressway/acl";
/// Where the fleet's report key is mounted.
pub const KEY_MOUNT: &str = "/etc/egressway/key";
/// Key of the policies document in the ConfigMap.
pub const POLICIES_KEY: &str = "policies.json";
/// Key of the floor document in the ConfigMap.
pub const FLOOR_KEY: &str = "floor.json";
/// Key of the pool document in the ConfigMap.
pub const POOL_KEY: &str = "pool.json";
/// Key of the document of client pods in its ConfigMap.
pub const CLIENTS_KEY: &str = "clients.json";
/// Key of the secrets document in the fleet's Secret.
pub const SECRETS_KEY: &str = "secrets.json";
/// Label that a tenant puts on a Secret which the operator may read for a fleet.
pub const SECRET_USE_LABEL: &str = "egressway.dev/use";
/// Value of [`SECRET_USE_LABEL`].
pub const SECRET_USE_PROXY: &str = "proxy";
/// Key of the report key in the fleet's Secret.
pub const REPORT_KEY: &str = "report.key";
/// Environment variable: the pod's name (downward API).
pub const ENV_POD_NAME: &str = "EGRESSWAY_POD_NAME";
/// Environment variable: the pod's UID (downward API).
pub const ENV_POD_UID: &str = "EGRESSWAY_POD_UID";
/// Environment variable: the node's name (downward API).
pub const ENV_NODE_NAME: &str = "EGRESSWAY_NODE_NAME";
/// Environment variable: the cell of the Deployment.
pub const ENV_CELL: &str = "EGRESSWAY_CELL";

/// Name of the objects that a policy has once: Service, ConfigMap, Secret, ServiceAccount, NetworkPolicy.
///
/// At most 35 bytes, a DNS label that begins with a letter: before Kubernetes 1.36 a Service has no other name (RFC 1035),
/// while that of a policy may begin with a digit. The digest covers `namespace/name`, and `/` is in neither, so two
/// policies never share a name by concatenation.
#[must_use]
pub fn fleet_name(namespace: &str, policy: &str) -> String {
    let digest = digest10(&[namespace, policy]);
    if policy.starts_with(|first: char| first.is_ascii_lowercase()) {
        format!("{}-{digest}", shorten(policy, 24))
    } else {
        format!("{LETTER}{}-{digest}", shorten(policy, 23))
    }
}

/// Before a name that begins with a digit.
const LETTER: &str = "p";

/// Name of the ConfigMap with the client pods of a fleet. At most 43 bytes, and no fleet's own name: those end in ten
/// characters of a digest.
#[must_use]
pub fn clients_name(fleet: &str) -> String {
    format!("{fleet}-clients")
}

/// Name of the objects that a policy has once per cell: Deployment, PodDisruptionBudget. At most 56 bytes.
#[must_use]
pub fn cell_name(namespace: &str, policy: &str, cell: &str) -> String {
    format!(
        "{}-{}-{}",
        shorten(policy, 24),
        digest10(&[namespace, policy, cell]),
        shorten(cell, 20)
    )
}

/// The first `max` bytes of a DNS label or subdomain as a DNS label: dots become hyphens, no hyphen at the end.
fn shorten(text: &str, max: usize) -> String {
    let label: String = text
        .chars()
        .take(max)
        .map(|c| if c == '.' { '-' } else { c })
        .collect();
    label.trim_end_matches('-').to_owned()
}

/// Ten characters of base 32 (50 bits) of the SHA-256 over the parts joined by `/`.
fn digest10(parts: &[&str]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let digest = Sha256::digest(parts.join("/").as_bytes());
    digest
        .iter()
        .take(10)
        .map(|byte| char::from(*ALPHABET.get(usize::from(byte & 31)).unwrap_or(&b'a')))
        .collect()
}

/// Audience that a ServiceAccount token must be issued for, one per policy: a token for one proxy opens no other.
#[must_use]
pub fn token_audience(namespace: &str, policy: &str) -> String {
    format!("egressway.dev/{namespace}/{policy}")
}

/// The proxy URL that clients put into `HTTPS_PROXY`; its scheme is how the listener speaks.
#[must_use]
pub fn proxy_url(listener: &Listener, service: &str, fleet_namespace: &str) -> String {
    let scheme = if listener.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{service}.{fleet_namespace}.svc:{PROXY_PORT}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_whose_names_concatenate_alike_do_not_meet() {
        assert_ne!(fleet_name("a-b", "c"), fleet_name("a", "b-c"));
        assert_ne!(fleet_name("ab", "c"), fleet_name("a", "bc"));
        assert_ne!(cell_name("a", "b-c", "d"), cell_name("a", "b", "c-d"));
    }

    #[test]
    fn long_names_stay_dns_labels() {
        let long = "x".repeat(253);
        assert_eq!(fleet_name("n", &long).len(), 35);
        assert_eq!(cell_name("n", &long, &long).len(), 56);
        assert!(
            !fleet_name("n", "abcdefghijklmnopqrstuvw-z").contains("--"),
            "no doubled hyphen after shortening"
        );
        assert!(fleet_name("n", "a.b").starts_with("a-b-"));
    }

    /// As every Kubernetes since 1.31 takes them: RFC 1035 for Services, RFC 1123 for the rest.
    #[test]
    fn every_name_that_a_policy_may_have_gives_legal_names() {
        let (first, rest) = ("az09", "az09-.");
        let mut policies: Vec<String> = ["2fa-hooks", "0", "9.9", "a", "x-", "0-0", "a.b-c.d"]
            .map(ToOwned::to_owned)
            .into();
        for a in first.chars() {
            for b in rest.chars() {
                policies.extend(rest.chars().map(|c| format!("{a}{b}{c}{}z", "0".repeat(21))));
            }
        }
        let label = |name: &str| {
            let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            name.len() <= 63
                && name.starts_with(inner)
                && name.ends_with(inner)
                && name.chars().all(|c| inner(c) || c == '-')
        };
        for policy in policies {
            let service = fleet_name("payments", &policy);
            assert!(
                label(&service)
                    && service.starts_with(|c: char| c.is_ascii_lowercase())
                    && service.len() <= 35,
                "{policy}: {service}"
            );
            for other in [clients_name(&service), cell_name("payments", &policy, "1a")] {
                assert!(label(&other), "{policy}: {other}");
            }
        }
    }

    #[test]
    fn names_are_stable_across_releases() {
        assert_eq!(fleet_name("payments", "webhooks"), FLEET_PAYMENTS_WEBHOOKS);
    }

    /// Shipped: a change of this value would recreate every fleet on upgrade.
    const FLEET_PAYMENTS_WEBHOOKS: &str = "webhooks-xyd2fbexaf";
}
