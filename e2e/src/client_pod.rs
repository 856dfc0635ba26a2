//! A pod that uses the proxy as an application does, driven through `kubectl exec`.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::wait::eventually;

/// So long requests that are under way may still take; the tool gives up on each sooner.
const UNDER_WAY: Duration = Duration::from_secs(30);

/// Where a client pod has the files of its volume.
pub const FILES: &str = "/files";

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
        Self::start_with(cluster, namespace, name, "default", None).await
    }

    /// The same as a ServiceAccount, with a volume's files in [`FILES`].
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_with(
        cluster: &Cluster,
        namespace: &str,
        name: &str,
        account: &str,
        volume: Option<serde_json::Value>,
    ) -> Result<Self> {
        cluster.namespace(namespace).await?;
        let api = Api::<Pod>::namespaced(cluster.client.clone(), namespace);
        let mut pod = serde_json::json!({
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": false,
                "serviceAccountName": account,
                "containers": [{
                    "name": "client", "image": cluster.tool_image, "imagePullPolicy": "IfNotPresent", "args": ["sleep"],
                    "securityContext": {"allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
                                        "seccompProfile": {"type": "RuntimeDefault"}},
                }],
            },
        });
        if let Some(mut volume) = volume {
            volume["name"] = "files".into();
            pod["spec"]["volumes"] = serde_json::json!([volume]);
            pod["spec"]["containers"][0]["volumeMounts"] =
                serde_json::json!([{"name": "files", "mountPath": FILES}]);
        }
        let pod: Pod = serde_json::from_value(pod)?;
        eventually("the pod's ServiceAccount", Duration::from_secs(20), || async {
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

    /// Waits until the pod's node leads to the proxy: a Service's rules come to a node up to a second after its endpoints
    /// are ready, and connections are refused until then. No request is made of the proxy, so that no count moves.
    ///
    /// # Errors
    /// The node does not lead there in time.
    pub async fn finds(&self, proxy: &str) -> Result<()> {
        let (_, authority) = proxy.split_once("://").context("a proxy's URL has a scheme")?;
        let url = format!("http://{authority}/");
        eventually(
            "the node to lead to the proxy",
            Duration::from_secs(20),
            || async {
                let text = self
                    .tool(&["fetch", "--json", "--proxy", "none", "-timeout", "5s", &url])
                    .await?;
                let answer: Answer = serde_json::from_str(text.trim())
                    .with_context(|| format!("the tool printed {text:?}"))?;
                // An answer, or a listener that wants TLS.
                let led = !answer.error.contains("dial tcp");
                Ok(if led { Ok(()) } else { Err(answer.error) })
            },
        )
        .await
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

    /// One request for each URL, one after the other, without the cost of a `kubectl exec` for each.
    ///
    /// # Errors
    /// The tool could not be run, or did not say something of each.
    pub async fn fetch_each(&self, proxy: &str, urls: &[&str], extra: &[&str]) -> Result<Vec<Answer>> {
        let mut args = vec!["fetch", "--json", "--proxy", proxy];
        args.extend(extra);
        args.extend(urls);
        let answers = answers(&self.tool(&args).await?)?;
        ensure!(
            answers.len() == urls.len(),
            "{} answers to {} requests",
            answers.len(),
            urls.len()
        );
        Ok(answers)
    }

    /// So many requests a second, each over a fresh connection, until they are stopped.
    ///
    /// # Errors
    /// The tool could not be run.
    pub fn requests(&self, per_second: u32, proxy: &str, url: &str, extra: &[&str]) -> Result<Requests> {
        let rate = per_second.to_string();
        let pod = ["exec", "-i", "-n", &self.namespace, &self.name, "--", "/lab-tool"];
        let mut args = pod.to_vec();
        args.extend(["loop", "--proxy", proxy, "-rate", &rate, "-until-eof"]);
        args.extend(extra);
        args.push(url);
        let mut child = self
            .cluster
            .command(&args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let answers = tokio::spawn(async move {
            let mut answers = Vec::new();
            while let Some(line) = lines.next_line().await? {
                answers
                    .push(serde_json::from_str(&line).with_context(|| format!("the tool printed {line:?}"))?);
            }
            Ok(answers)
        });
        Ok(Requests { child, answers })
    }

    /// Many requests at a gap, each over a fresh connection; returns when done.
    ///
    /// # Errors
    /// The tool could not be run or printed something else.
    pub async fn many(&self, proxy: &str, url: &str, extra: &[&str]) -> Result<Vec<Answer>> {
        let mut args = vec!["loop", "--proxy", proxy];
        args.extend(extra);
        args.push(url);
        answers(&self.tool(&args).await?)
    }
}

fn answers(text: &str) -> Result<Vec<Answer>> {
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("the tool printed {line:?}")))
        .collect()
}

/// Requests that go on while a case does something else.
pub struct Requests {
    child: Child,
    answers: JoinHandle<Result<Vec<Answer>>>,
}

impl Requests {
    /// Makes no more of them, and waits for those that are under way; all must have been answered with 200.
    ///
    /// # Errors
    /// One was not, or the tool had ended by itself.
    pub async fn stop(mut self, what: &str) -> Result<Vec<Answer>> {
        ensure!(
            self.child.try_wait()?.is_none(),
            "{what}: the requests ended by themselves"
        );
        drop(self.child.stdin.take());
        let status = timeout(UNDER_WAY, self.child.wait())
            .await
            .with_context(|| format!("{what}: the requests do not end"))??;
        ensure!(status.success(), "{what}: kubectl exec: {status}");
        let answers = self.answers.await??;
        let failed: Vec<&Answer> = answers.iter().filter(|answer| answer.status != 200).collect();
        ensure!(
            failed.is_empty(),
            "{what}: {} of {} requests failed, the first: {:?}",
            failed.len(),
            answers.len(),
            failed.first()
        );
        ensure!(!answers.is_empty(), "{what}: no request was made");
        Ok(answers)
    }
}

/// Requests a second, as they were made.
#[must_use]
pub fn per_second(answers: &[Answer]) -> i64 {
    let times = || answers.iter().map(|answer| answer.time_ms);
    let span = times().max().unwrap_or_default() - times().min().unwrap_or_default();
    i64::try_from(answers.len()).unwrap_or(i64::MAX) * 1000 / span.max(1)
}

/// The proxy's URL with a credential in it.
#[must_use]
pub fn with_credential(proxy: &str, user: &str, password: &str) -> String {
    proxy.replacen("://", &format!("://{}:{password}@", user.replace('/', "%2F")), 1)
}
