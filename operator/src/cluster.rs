//! The Kubernetes API as the operator uses it: caches to read from, apply and prune to write with.
//!
//! What the ServiceAccount needs, and nothing else is asked for:
//!
//! ```text
//! ClusterRole
//!   egressway.dev           egresspolicies           list, watch, patch        patch: finalizer, spec.poolRef (default pool)
//!   egressway.dev           egresspools              list, watch
//!   egressway.dev           egresspolicies/status    patch
//!   egressway.dev           egresspools/status       patch
//!   egressway.dev           egresspolicies/finalizers update                   only for OwnerReferencesPermissionEnforcement
//!   ""                      namespaces, nodes        list, watch
//!   networking.k8s.io       servicecidrs             list, watch
//!   ""                      pods                     list, watch               who sends from which address
//!   /.well-known/openid-configuration, /openid/v1/jwks    get                  keys of ServiceAccount tokens
//!   events.k8s.io           events                   create, patch             of policies anywhere and of pools (namespace default)
//! Role in namespace default, bound to the operator
//!   ""                      services                 list, watch               field metadata.name=kubernetes
//!   discovery.k8s.io        endpointslices           list, watch               label kubernetes.io/service-name=kubernetes
//! Role in namespace kube-system
//!   ""                      services                 list, watch               label k8s-app=kube-dns
//! Role in the fleet namespace
//!   apps                    deployments              get, list, watch, create, patch, delete
//!   ""                      services, configmaps, secrets, serviceaccounts
//!                                                    get, list, watch, create, patch, delete
//!   networking.k8s.io       networkpolicies          get, list, watch, create, patch, delete
//!   policy                  poddisruptionbudgets     get, list, watch, create, patch, delete
//!   ""                      pods                     list, watch, patch        patch: the annotation that wakes the kubelet
//! ClusterRole that a tenant binds in its own namespace, for the Secrets that its policies refer to
//!   ""                      secrets                  get                       by name only, and taken only if labelled
//! ```
//!
//! Server-side apply of an object that does not exist needs `create` beside `patch`, and so does a dry run before one that
//! refuses to be changed is made anew.

pub mod apply;
pub mod caches;
pub mod client_pods;
pub mod contested;
pub mod difference;
pub mod discover;
pub mod health;
pub mod issuer;
pub mod memory;
pub mod orphans;
pub mod prune;
pub mod tenant_secrets;
pub mod trouble;
pub mod watching;
