//! The cluster under test: an API client, kubectl for what people do with kubectl, and the lab where there is one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use egressway_crds::{EgressPolicy, EgressPool};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio::process::Command;

use crate::lab::Lab;
use crate::wait::eventually;

/// Namespace of the fleets, as the chart makes it.
pub const FLEETS: &str = "egressway-fleets";
/// Namespace that the chart is installed in.
pub const SYSTEM: &str = "egressway-system";

/// The cluster under test.
#[derive(Clone)]
pub struct Cluster {
    /// API client with the tester's (admin's) rights.
    pub client: Client,
    /// The lab, when it is one.
    pub lab: Option<Lab>,
    /// Image with the lab's tool, for client pods.
    pub tool_image: String,
    kubectl: PathBuf,
    notes: Arc<Mutex<Vec<String>>>,
}

impl Cluster {
    /// Connects by KUBECONFIG.
    ///
    /// # Errors
    /// No usable kubeconfig.
    pub async fn connect(lab: Option<Lab>, kubectl: PathBuf, tool_image: String) -> Result<Self> {
        let client = Client::try_default().await.context("failed to use KUBECONFIG")?;
        Ok(Self {
            client,
            lab,
            tool_image,
            kubectl,
            notes: Arc::default(),
        })
    }

    /// The same cluster for a case of its own, with nothing noted yet.
    #[must_use]
    pub fn with_own_notes(&self) -> Self {
        Self {
            notes: Arc::default(),
            ..self.clone()
        }
    }

    /// Keeps a figure to be printed under the case's name when it ends.
    pub fn note(&self, text: String) {
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
    }

    /// What was noted.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The lab; cases that need it are marked so and do not run without.
    ///
    /// # Errors
    /// There is none.
    pub fn lab(&self) -> Result<&Lab> {
        self.lab.as_ref().context("this needs the lab")
    }

    /// Runs kubectl and returns what it printed.
    ///
    /// # Errors
    /// kubectl failed; the error has its stderr.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let output = self
            .command(args)
            .output()
            .await
            .context("failed to run kubectl")?;
        if !output.status.success() {
            bail!(
                "kubectl {}: {}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A kubectl command, not yet started; it dies with the future that waits for it.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.args(args).kill_on_drop(true);
        command
    }

    /// Applies YAML as a user does and returns kubectl's words.
    ///
    /// # Errors
    /// The API server refused it.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        use tokio::io::AsyncWriteExt as _;
        let mut child = self
            .command(&["apply", "--server-side", "--force-conflicts", "-f", "-"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        stdin.write_all(yaml.as_bytes()).await?;
        drop(stdin);
        let output = child.wait_with_output().await?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Policies of a namespace.
    #[must_use]
    pub fn policies(&self, namespace: &str) -> Api<EgressPolicy> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Pools.
    #[must_use]
    pub fn pools(&self) -> Api<EgressPool> {
        Api::all(self.client.clone())
    }

    /// Objects of a kind in the fleet namespace.
    #[must_use]
    pub fn fleet<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), FLEETS)
    }

    /// Creates a namespace, or leaves it as it is; one that is on its way out goes first.
    ///
    /// # Errors
    /// The API server refused it, or the old one does not go.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        let object: Namespace = serde_json::from_value(serde_json::json!({"metadata": {"name": name}}))?;
        let api = Api::<Namespace>::all(self.client.clone());
        eventually(&format!("namespace {name}"), Duration::from_secs(120), || async {
            let there = match api.create(&PostParams::default(), &object).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => api.get_opt(name).await?,
                other => Some(other.context("failed to create a namespace")?),
            };
            Ok(match there {
                Some(namespace) if namespace.metadata.deletion_timestamp.is_none() => Ok(()),
                _ => Err("the one before is still going".to_owned()),
            })
        })
        .await
    }

    /// Creates a namespace without what a failed run may have left in it.
    ///
    /// # Errors
    /// The API server refused it, or the old one does not go.
    pub async fn fresh_namespace(&self, name: &str) -> Result<()> {
        self.leave_namespace(name).await?;
        self.namespace(name).await
    }

    /// Begins to delete a namespace, if there is one: that takes some 20 s, for which nobody has to wait.
    ///
    /// # Errors
    /// The API server refused.
    pub async fn leave_namespace(&self, name: &str) -> Result<()> {
        let api = Api::<Namespace>::all(self.client.clone());
        match api.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => other.map(|_| ()).context("failed to delete a namespace"),
        }
    }

    /// Begins to delete a policy.
    ///
    /// # Errors
    /// The API server refused.
    pub async fn leave_policy(&self, namespace: &str, name: &str) -> Result<()> {
        let deleted = self
            .policies(namespace)
            .delete(name, &DeleteParams::default())
            .await;
        deleted.map(|_| ()).context("failed to delete a policy")
    }

    /// Deletes a namespace and waits until it is gone.
    ///
    /// # Errors
    /// It does not go.
    pub async fn delete_namespace(&self, name: &str) -> Result<()> {
        let api = Api::<Namespace>::all(self.client.clone());
        match api.delete(name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        eventually(
            &format!("namespace {name} to go"),
            Duration::from_secs(120),
            || async {
                Ok(match api.get_opt(name).await? {
                    None => Ok(()),
                    Some(_) => Err("still there".to_owned()),
                })
            },
        )
        .await
    }

    /// Waits until a policy's condition has a status at the policy's present generation.
    ///
    /// # Errors
    /// It does not come; the error has the conditions last seen.
    pub async fn await_condition(
        &self,
        namespace: &str,
        name: &str,
        kind: &str,
        status: &str,
        within: Duration,
    ) -> Result<EgressPolicy> {
        let api = self.policies(namespace);
        eventually(
            &format!("{kind}={status} of {namespace}/{name}"),
            within,
            || async {
                let policy = api.get(name).await?;
                let found = condition(&policy, kind);
                let current =
                    policy.status.as_ref().and_then(|s| s.observed_generation) == policy.metadata.generation;
                Ok(match found {
                    Some(c) if c.status == status && current => Ok(policy),
                    _ => Err(describe(&policy)),
                })
            },
        )
        .await
    }

    /// Pods of a policy's fleet.
    ///
    /// # Errors
    /// The API server refused the list.
    pub async fn fleet_pods(&self, namespace: &str, name: &str) -> Result<Vec<Pod>> {
        let selector = format!("egressway.dev/policy-namespace={namespace},egressway.dev/policy-name={name}");
        Ok(self
            .fleet::<Pod>()
            .list(&ListParams::default().labels(&selector))
            .await?
            .items)
    }

    /// Merges a patch into a policy and returns the answer.
    ///
    /// # Errors
    /// The API server refused it.
    pub async fn patch_policy(
        &self,
        namespace: &str,
        name: &str,
        patch: serde_json::Value,
    ) -> Result<EgressPolicy> {
        Ok(self
            .policies(namespace)
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?)
    }
}

/// A condition of a policy.
#[must_use]
pub fn condition<'a>(policy: &'a EgressPolicy, kind: &str) -> Option<&'a Condition> {
    policy
        .status
        .as_ref()?
        .conditions
        .iter()
        .find(|c| c.type_ == kind)
}

/// Conditions in one line, for messages.
#[must_use]
pub fn describe(policy: &EgressPolicy) -> String {
    let conditions = policy.status.iter().flat_map(|s| &s.conditions);
    conditions
        .map(|c| format!("{}={}/{} ({})", c.type_, c.status, c.reason, c.message))
        .collect::<Vec<_>>()
        .join("; ")
}
