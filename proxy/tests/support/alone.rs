//! The real binary, running alone on loopback.
#![allow(dead_code, unreachable_pub, reason = "each binary uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub const DEADLINE: Duration = Duration::from_secs(20);

/// A rule that lets everything on loopback through, on any port.
pub const LOOPBACK: &str = "- {name: loopback, cidrs: [127.0.0.0/8], ports: [{port: 1, endPort: 65535}]}";

pub fn policy(rules: &str) -> String {
    format!(
        "apiVersion: egressway.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {{name: webhooks, namespace: payments}}\nspec:\n  rules:\n  {rules}\n"
    )
}

pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_egressway-proxy"));
    command.env_remove("EGRESSWAY_LOG");
    command
}

/// Runs to the end, with these arguments.
pub fn run(args: &[&str]) -> Output {
    binary().args(args).output().unwrap()
}

/// Runs to the end with this on standard input: exit code, and all that was said.
pub fn fed(args: &[&str], stdin: &str) -> (Option<i32>, String) {
    let mut child = binary()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until something is so.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A process and what it said so far.
pub struct Process {
    pub child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::null())
    }

    pub fn start_with(command: &mut Command, stdin: Stdio) -> Self {
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = follow(child.stdout.take().unwrap());
        let stderr = follow(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
        }
    }

    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// A line on standard error with this text.
    pub async fn says(&self, what: &str) -> String {
        eventually(&format!("{what} in {}", self.stderr()), async || {
            let said = self.stderr();
            let line = said.lines().find(|line| line.contains(what));
            line.map(ToOwned::to_owned)
        })
        .await
    }

    /// A line of the access log with all of these texts.
    pub async fn logs(&self, texts: &[&str]) -> String {
        eventually(&format!("{texts:?} in the log"), async || {
            let logged = self.stdout();
            let line = logged
                .lines()
                .find(|line| texts.iter().all(|text| line.contains(text)));
            line.map(ToOwned::to_owned)
        })
        .await
    }

    /// The exit code, once it has ended.
    pub async fn ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        eventually("the process ends", async || child.try_wait().unwrap())
            .await
            .code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let said = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&said);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut said = into.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
        }
    });
    said
}

/// A proxy that runs alone.
pub struct Alone {
    pub process: Process,
    pub proxy: SocketAddr,
    pub admin: SocketAddr,
    pub dir: TempDir,
}

impl Alone {
    /// With this manifest and these arguments besides.
    pub async fn start(manifest: &str, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("policy.yaml"), manifest).unwrap();
        Self::start_in(dir, args).await
    }

    /// With the manifest and whatever else is in the directory, which is the process's own.
    pub async fn start_in(dir: TempDir, args: &[&str]) -> Self {
        Self::start_by(binary(), dir, args).await
    }

    /// By a command that becomes the binary, for what a process inherits.
    pub async fn start_by(mut command: Command, dir: TempDir, args: &[&str]) -> Self {
        command
            .current_dir(dir.path())
            .args(["--policy", "policy.yaml", "--insecure-allow", "127.0.0.0/8"])
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(args);
        Self::known(Process::start(&mut command), dir).await
    }

    /// Once it says what it enforces and where.
    pub async fn known(process: Process, dir: TempDir) -> Self {
        let line = process.says("enforces").await;
        let address = |before: &str| {
            let (_, after) = line.split_once(before).unwrap_or_else(|| panic!("{line}"));
            let end = after.find([',', ';']).unwrap();
            after[..end].parse().unwrap_or_else(|_| panic!("{line}"))
        };
        Self {
            proxy: address("proxy on "),
            admin: address("metrics on "),
            process,
            dir,
        }
    }

    /// What the kernel says of the process.
    pub fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.process.child.id()))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the manifest the way editors do: beside it, and renamed over it.
    pub fn edit(&self, manifest: &str) {
        replace(&self.path("policy.yaml"), manifest);
    }
}

pub fn replace(path: &Path, content: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, content).unwrap();
    fs::rename(beside, path).unwrap();
}
