//! A pod that uses the proxy as an application does, driven through `kubectl exec`.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde::Deserialize;

use crate::cluster::Cluster;
use crate::wait::eventually;

/// A running client pod.
#[derive(Clone)]
pub struct ClientPod {
    cluster: Cluster,
    namespace: String,
    name: String,
}

/// What the tool says about one request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// Unix milliseconds at the start.
    pub time_ms: i64,
    /// Milliseconds to the last byte.
    pub duration_ms: i64,
    /// HTTP status, of the proxy where it refused CONNECT; 0 when there was none.
    pub status: u16,
    /// Reason phrase.
    pub reason: String,
    /// Body.
    pub body: String,
    /// What went wrong.
    pub error: String,
    /// Response fields.
    pub headers: std::collections::BTreeMap<String, Vec<String>>,
}

impl Answer {
    /// One field of the response.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .and_then(|(_, v)| v.first())
            .map_or("", String::as_str)
    }
}

impl ClientPod {
    /// Starts one on the general node and waits until it runs.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(cluster: &Cluster, namespace: &str, name: &str) -> Result<Self> {
        cluster.namespace(namespace).await?;
        let api = Api::<Pod>::namespaced(cluster.client.clone(), namespace);
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": "client", "image": cluster.tool_image, "imagePullPolicy": "IfNotPresent", "args": ["sleep"],
                    "securityContext": {"allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
                                        "seccompProfile": {"type": "RuntimeDefault"}},
                }],
            },
        }))?;
        eventually("the default ServiceAccount", Duration::from_secs(20), || async {
            Ok(match api.create(&PostParams::default(), &pod).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
                Err(error) => Err(error.to_string()),
            })
        })
        .await?;
        eventually(
            &format!("pod {namespace}/{name} to run"),
            Duration::from_secs(60),
            || async {
                let phase = api
                    .get(name)
                    .await?
                    .status
                    .and_then(|s| s.phase)
                    .unwrap_or_default();
                Ok(if phase == "Running" { Ok(()) } else { Err(phase) })
            },
        )
        .await?;
        Ok(Self {
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Ends the pod and whatever still runs in it.
    ///
    /// # Errors
    /// The API server refused.
    pub async fn delete(&self) -> Result<()> {
        let args = [
            "delete",
            "pod",
            "-n",
            &self.namespace,
            &self.name,
            "--grace-period=0",
            "--force",
            "--wait=true",
        ];
        self.cluster.kubectl(&args).await.map(|_| ())
    }

    /// Runs the tool in the pod and returns stdout, whatever the exit status.
    ///
    /// # Errors
    /// kubectl could not be run at all.
    pub async fn tool(&self, args: &[&str]) -> Result<String> {
        let output = self
            .command(args)
            .output()
            .await
            .context("failed to run kubectl exec")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(
            output.status.success() || !text.is_empty() || output.status.code() == Some(1),
            "kubectl exec failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(text)
    }

    /// The tool in the pod, not yet started.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> tokio::process::Command {
        let mut all = vec!["exec", "-n", &self.namespace, &self.name, "--", "/lab-tool"];
        all.extend(args);
        self.cluster.command(&all)
    }

    /// One request through a proxy.
    ///
    /// # Errors
    /// The tool could not be run or printed something else.
    pub async fn fetch(&self, proxy: &str, url: &str, extra: &[&str]) -> Result<Answer> {
        let mut args = vec!["fetch", "--json", "--proxy", proxy];
        args.extend(extra);
        args.push(url);
        let text = self.tool(&args).await?;
        serde_json::from_str(text.trim()).with_context(|| format!("the tool printed {text:?}"))
    }

    /// Many requests at a gap, each over a fresh connection; returns when done.
    ///
    /// # Errors
    /// The tool could not be run or printed something else.
    pub async fn many(&self, proxy: &str, url: &str, extra: &[&str]) -> Result<Vec<Answer>> {
        let mut args = vec!["loop", "--proxy", proxy];
        args.extend(extra);
        args.push(url);
        let text = self.tool(&args).await?;
        text.lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("the tool printed {line:?}")))
            .collect()
    }
}
