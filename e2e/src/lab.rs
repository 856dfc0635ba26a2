//! The lab's side of the truth: what the NATs are, what servers outside saw. Calls the `lab` command, no more.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// The command `e2e/lab/lab`.
#[derive(Clone, Debug)]
pub struct Lab {
    command: PathBuf,
}

/// One line of the echo servers' log.
#[derive(Clone, Debug, Deserialize)]
pub struct Sighting {
    /// Unix milliseconds.
    pub time_ms: i64,
    /// Address that the connection came from.
    pub source: IpAddr,
    /// Host field of the request.
    #[serde(default)]
    pub host: String,
    /// Empty for a connection that made no request.
    #[serde(default)]
    pub method: String,
    /// Path and query.
    #[serde(default)]
    pub path: String,
}

/// One line of the API server's audit log.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// create, update, patch, delete, get, …
    pub verb: String,
    /// Who asked.
    pub user: AuditUser,
    /// The path asked for.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// RequestReceived, ResponseComplete, …
    pub stage: String,
    /// The answer.
    #[serde(default)]
    pub response_status: AuditStatus,
}

/// Who asked.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct AuditUser {
    /// User name.
    pub username: String,
}

/// The answer's status.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct AuditStatus {
    /// HTTP status.
    #[serde(default)]
    pub code: i32,
}

impl Lab {
    /// The lab at a path.
    #[must_use]
    pub fn new(command: PathBuf) -> Self {
        Self { command }
    }

    /// A lab command, not yet started; it dies with whoever holds it.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.command);
        command.args(args).kill_on_drop(true);
        command
    }

    /// Runs a lab command and returns what it printed.
    ///
    /// # Errors
    /// The command failed.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        let output = self
            .command(args)
            .output()
            .await
            .with_context(|| format!("failed to run lab {args:?}"))?;
        if !output.status.success() {
            bail!("lab {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The certificate of the CA that the servers outside have theirs from, PEM.
    ///
    /// # Errors
    /// The lab is not up.
    pub async fn internet_ca(&self) -> Result<String> {
        let kubeconfig = self.run(&["kubeconfig"]).await?;
        let file = Path::new(kubeconfig.trim()).with_file_name("internet-ca.crt");
        std::fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))
    }

    /// Now, as the outside's clock has it.
    ///
    /// # Errors
    /// The command failed.
    pub async fn mark(&self) -> Result<i64> {
        self.run(&["echo", "mark"])
            .await?
            .trim()
            .parse()
            .context("lab echo mark printed no number")
    }

    /// Requests that echo servers saw since a mark.
    ///
    /// # Errors
    /// The command failed or printed something else.
    pub async fn echo_log(&self, since: i64) -> Result<Vec<Sighting>> {
        lines(&self.run(&["echo", "log", "--since", &since.to_string()]).await?)
    }

    /// Source addresses of requests for a path that echo servers saw since a mark.
    ///
    /// # Errors
    /// The command failed.
    pub async fn sources(&self, since: i64, path: &str) -> Result<BTreeSet<IpAddr>> {
        Ok(self
            .echo_log(since)
            .await?
            .into_iter()
            .filter(|s| s.path == path)
            .map(|s| s.source)
            .collect())
    }

    /// The API server's audit log since a mark.
    ///
    /// # Errors
    /// The command failed or printed something else.
    pub async fn audit(&self, since: i64) -> Result<Vec<AuditEvent>> {
        lines(&self.run(&["audit", "--since", &since.to_string()]).await?)
    }

    /// Starts a receiver of webhooks and waits until it listens.
    ///
    /// # Errors
    /// It does not start; the error has its words.
    pub async fn receiver(&self, args: &[&str]) -> Result<Receiver> {
        let mut child = self
            .command(&["receiver"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut out = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let ready = out.next_line().await?;
        anyhow::ensure!(
            ready.as_deref() == Some("ready"),
            "the receiver did not start: {ready:?}"
        );
        let (send, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = out.next_line().await {
                let _ = send.send(line);
            }
        });
        Ok(Receiver { _child: child, lines })
    }

    /// Changes a cell's NAT.
    ///
    /// # Errors
    /// The command failed.
    pub async fn nat(&self, cell: &str, addresses: &[&str]) -> Result<()> {
        let mut args = vec!["nat", cell];
        args.extend(addresses);
        self.run(&args).await.map(|_| ())
    }
}

/// A receiver of webhooks outside of the cluster; it goes when this is dropped.
pub struct Receiver {
    _child: Child,
    lines: mpsc::UnboundedReceiver<String>,
}

/// What the receiver says of one webhook.
#[derive(Clone, Debug, Deserialize)]
pub struct Receipt {
    /// Which of its listeners took it.
    pub server: String,
    /// Common name of the client certificate.
    pub subject: String,
    /// File of the key that the signature is by.
    pub secret: String,
    /// The webhook's id.
    pub id: String,
    /// Why it was refused.
    #[serde(default)]
    pub error: String,
}

impl Receiver {
    /// Every webhook that has arrived since the last call.
    ///
    /// # Errors
    /// It printed something else.
    pub fn receipts(&mut self) -> Result<Vec<Receipt>> {
        let mut receipts = Vec::new();
        while let Ok(line) = self.lines.try_recv() {
            receipts.extend(lines(&line)?);
        }
        Ok(receipts)
    }
}

fn lines<T: for<'de> Deserialize<'de>>(text: &str) -> Result<Vec<T>> {
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("unexpected line {line}")))
        .collect()
}
