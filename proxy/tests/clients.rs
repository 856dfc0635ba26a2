//! HTTP clients that people use, through the binary that runs alone: what is allowed arrives, what is refused can be
//! read. A client that is not installed is named as skipped.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a skipped client must not pass in silence")]

#[path = "support/alone.rs"]
mod alone;
mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use alone::{Alone, LOOPBACK, policy, text};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

const BODY: &str = "hello from the origin";
/// `timeout` of coreutils around each client: compilers may need a while, hangs must not.
const LIMIT: &str = "300";

/// A client: what starts it, and what it shows of a refused CONNECT.
struct Client {
    name: &'static str,
    command: Vec<String>,
    shows: &'static str,
}

#[tokio::test]
async fn real_clients_are_served_and_refused_readably() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let (plain, tls, _tasks) = origins(&ca).await;
    let proxy = Alone::start(&policy(LOOPBACK), &[]).await;
    let url = format!("http://{}", proxy.proxy);
    let clients = clients(dir.path());
    for client in &clients {
        for (target, expected) in [
            (format!("http://{plain}/"), BODY),
            (format!("https://{tls}/"), BODY),
            ("http://refused.example/".to_owned(), "matches no Allow rule"),
            ("https://refused.example/".to_owned(), client.shows),
        ] {
            let said = run(client, &url, &target, &ca).await;
            assert!(said.contains(expected), "{}: {target}: {said}", client.name);
        }
        println!("{}: served and refused", client.name);
    }
}

/// The helper of a client, towards a proxy that speaks TLS; the origin stands for it and answers whatever it is asked.
#[tokio::test]
async fn forward_speaks_tls_to_a_proxy_that_does() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, token) = (dir.path().join("ca.pem"), dir.path().join("token"));
    let (_, tls, _tasks) = origins(&ca).await;
    std::fs::write(&token, "t").unwrap();
    let forward = |roots: &[&std::ffi::OsStr]| {
        let mut command = alone::binary();
        command.args([
            "forward",
            "--listen",
            "127.0.0.1:0",
            "--proxy",
            &format!("https://{tls}"),
            "--token-file",
        ]);
        alone::Process::start(command.arg(&token).args(roots))
    };
    for (roots, expected) in [
        (&["--ca".as_ref(), ca.as_os_str()][..], BODY),
        (&[], "X-Egressway-Reason: proxy_unreachable"),
    ] {
        let process = forward(roots);
        let line = process.says("egressway-proxy forward: ").await;
        let own: SocketAddr = line.split_whitespace().nth(2).unwrap().parse().unwrap();
        let mut stream = support::dial(own).await;
        stream
            .write_all(b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n")
            .await
            .unwrap();
        let answer = text(&support::read_all(&mut stream).await.0);
        assert!(answer.contains(expected), "{answer}");
    }
}

async fn run(client: &Client, proxy: &str, target: &str, ca: &Path) -> String {
    let mut command = Command::new("timeout");
    command.arg(LIMIT).args(&client.command).stdin(Stdio::null());
    for name in [
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "no_proxy",
        "NO_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        command.env_remove(name);
    }
    if client.name == "curl" {
        command.args(["--proxy", proxy, "--cacert"]).arg(ca).arg(target);
    } else {
        command.args([proxy, target]).arg(ca);
    }
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    text(&output.stdout) + &text(&output.stderr)
}

/// Those that are installed.
fn clients(dir: &Path) -> Vec<Client> {
    let source = |name: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/clients")
            .join(name)
            .display()
            .to_string()
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut found = Vec::new();
    let mut add = |name, probe: &[&str], command: Vec<String>, shows| {
        if works(probe) {
            found.push(Client { name, command, shows });
        } else {
            println!("{name}: skipped, not installed");
        }
    };
    let phrase = "403 Egress denied by payments/webhooks: refused.example:443 matches no Allow rule";
    add(
        "curl",
        &["curl", "--version"],
        words(&["curl", "--silent", "--show-error"]),
        "403",
    );
    let built = dir.join("go-client").display().to_string();
    let go = works(&["go", "version"]) && works(&["go", "build", "-o", &built, &source("client.go")]);
    add(
        "go",
        if go { &["true"] } else { &["false"] },
        vec![built],
        "Egress denied by payments/webhooks",
    );
    add(
        "python3 urllib",
        &["python3", "--version"],
        vec!["python3".to_owned(), source("urllib_client.py")],
        phrase,
    );
    add(
        "node",
        &["node", "--version"],
        vec!["node".to_owned(), source("client.mjs")],
        phrase,
    );
    add(
        "java",
        &["javac", "-d", &dir.display().to_string(), &source("Client.java")],
        words(&["java", "-cp", &dir.display().to_string(), "Client"]),
        phrase,
    );
    let python = python();
    for (name, shows) in [("requests", phrase), ("httpx", phrase), ("aiohttp", "403")] {
        let command = |python: &PathBuf| {
            vec![
                python.display().to_string(),
                source("libraries_client.py"),
                name.to_owned(),
            ]
        };
        match &python {
            Some(python) => add(name, &["true"], command(python), shows),
            None => println!("{name}: skipped, no Python environment could be made"),
        }
    }
    found
}

fn works(probe: &[&str]) -> bool {
    let [program, args @ ..] = probe else { return false };
    let run = Command::new(program).args(args).stdin(Stdio::null()).output();
    run.is_ok_and(|output| output.status.success())
}

/// An interpreter with the libraries, made once and kept.
fn python() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/setup.sh");
    let output = Command::new("timeout")
        .arg(LIMIT)
        .arg(script)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| PathBuf::from(text(&output.stdout).trim()))
}

/// One origin in the clear and one with TLS; the certificate of its CA is written to the file.
async fn origins(ca: &Path) -> (SocketAddr, SocketAddr, [AbortOnDropHandle<()>; 2]) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "test CA");
    let root = params.self_signed(&key).unwrap();
    std::fs::write(ca, root.pem()).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(&key, &issuer).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key.into())
            .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (plain, tls) = (listener().await, listener().await);
    let addresses = (plain.local_addr().unwrap(), tls.local_addr().unwrap());
    let in_clear = tokio::spawn(async move {
        while let Ok((stream, _)) = plain.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    let with_tls = tokio::spawn(async move {
        while let Ok((stream, _)) = tls.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream).await;
                }
            });
        }
    });
    (
        addresses.0,
        addresses.1,
        [in_clear, with_tls].map(AbortOnDropHandle::new),
    )
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
