//! A process leaves under load: clients with kept connections and with new ones, requests of every form, and tunnels that
//! are open. Nothing fails and nothing is lost. Whoever balances learns of it late, as a node does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::open_files;
use super::process::said;
use crate::alone::{Process, binary, eventually};
use crate::http::{DEADLINE, get};
use crate::mount::Mount;
use crate::support::{dial, read_exact, read_head, status};

/// Clients at one time, each with one request after the other.
const CLIENTS: usize = 200;
/// Of each client; 500 requests a second in all.
const GAP: Duration = Duration::from_millis(400);
/// So many of them do not pause: at whatever moment the pod does something, a request of theirs is on its way.
const BUSY: usize = 24;
/// How late whoever balances hears that a pod is not ready.
const NEWS: Duration = Duration::from_millis(300);
/// A body that takes more than one read.
const BODY: usize = 20_000;

/// Answers requests on kept connections, and changes to an echo where it is asked to.
async fn origin(served: Arc<AtomicUsize>) -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let served = Arc::clone(&served);
            connections.spawn(async move {
                loop {
                    let head = read_head(&mut stream).await;
                    if head.is_empty() {
                        return;
                    }
                    if head.starts_with("POST ") {
                        let mut body = vec![0; BODY];
                        if stream.read_exact(&mut body).await.is_err() {
                            return;
                        }
                    }
                    served.fetch_add(1, Ordering::SeqCst);
                    let switches = head.contains("Upgrade: echo\r\n");
                    let answer: &[u8] = if switches {
                        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
                    } else {
                        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                    };
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                    if switches {
                        let (mut from, mut to) = stream.split();
                        let _ = tokio::io::copy(&mut from, &mut to).await;
                        return;
                    }
                }
            });
        }
    });
    (address, AbortOnDropHandle::new(task))
}

#[derive(Clone, Copy, Debug)]
enum Form {
    KeptGet,
    KeptPost,
    NewGet,
    NewPost,
    Tunnel,
    Upgrade,
}

const FORMS: [Form; 6] = [
    Form::KeptGet,
    Form::KeptPost,
    Form::NewGet,
    Form::NewPost,
    Form::Tunnel,
    Form::Upgrade,
];

/// Where a new connection goes: to the pod that leaves until the news of it has come.
struct Balancer {
    leaves: SocketAddr,
    stays: SocketAddr,
    has_left: AtomicBool,
}

impl Balancer {
    fn pick(&self) -> SocketAddr {
        if self.has_left.load(Ordering::SeqCst) {
            self.stays
        } else {
            self.leaves
        }
    }
}

/// What all clients do together.
struct Load {
    balancer: Balancer,
    origin: SocketAddr,
    stop: CancellationToken,
    answered: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

/// What went wrong, as far as the client knows.
type Lost = String;

fn lost(what: &str) -> impl Fn(std::io::Error) -> Lost {
    move |error| format!("{what}: {error}")
}

impl Load {
    async fn client(self: Arc<Self>, form: Form, number: usize) {
        let begin = Instant::now() + GAP * u32::try_from(number).unwrap() / u32::try_from(CLIENTS).unwrap();
        let mut ticks = interval_at(begin, GAP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut kept = None;
        while !self.stop.is_cancelled() {
            if number >= BUSY {
                ticks.tick().await;
            }
            match timeout(DEADLINE, self.request(form, &mut kept)).await {
                Ok(Ok(())) => {
                    self.answered.fetch_add(1, Ordering::SeqCst);
                }
                failed => {
                    kept = None;
                    let mut failures = self.failures.lock().unwrap();
                    failures.push(format!("{form:?}: {failed:?}"));
                }
            }
        }
    }

    async fn request(&self, form: Form, kept: &mut Option<TcpStream>) -> Result<(), Lost> {
        let mut stream = match kept.take() {
            // As every client does: a connection that has ended meanwhile is not used again.
            Some(stream) if stream.try_read(&mut [0]).is_err() => stream,
            _ => dial(self.balancer.pick()).await,
        };
        let origin = self.origin;
        match form {
            Form::KeptGet | Form::KeptPost | Form::NewGet | Form::NewPost => {
                let posts = matches!(form, Form::KeptPost | Form::NewPost);
                let (method, fields) = if posts {
                    ("POST", format!("Content-Length: {BODY}\r\n"))
                } else {
                    ("GET", String::new())
                };
                let head = format!("{method} http://{origin}/ HTTP/1.1\r\nHost: o\r\n{fields}\r\n");
                stream.write_all(head.as_bytes()).await.map_err(lost("head"))?;
                if posts {
                    stream.write_all(&[b'x'; BODY]).await.map_err(lost("body"))?;
                }
                let ends = answer(&mut stream).await?;
                if !ends && matches!(form, Form::KeptGet | Form::KeptPost) {
                    *kept = Some(stream);
                }
                Ok(())
            }
            Form::Tunnel => {
                let head = format!("CONNECT {origin} HTTP/1.1\r\nHost: o\r\n\r\n");
                stream.write_all(head.as_bytes()).await.map_err(lost("CONNECT"))?;
                let head = read_head(&mut stream).await;
                if status(&head) != 200 {
                    return Err(head);
                }
                stream
                    .write_all(b"GET / HTTP/1.1\r\nHost: o\r\n\r\n")
                    .await
                    .map_err(lost("tunnel"))?;
                answer(&mut stream).await.map(|_| ())
            }
            Form::Upgrade => {
                let head = format!(
                    "GET http://{origin}/ HTTP/1.1\r\nHost: o\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).await.map_err(lost("upgrade"))?;
                let head = read_head(&mut stream).await;
                if status(&head) != 101 {
                    return Err(head);
                }
                echo(&mut stream).await
            }
        }
    }
}

/// Reads an answer; whether the connection ends behind it.
async fn answer(stream: &mut TcpStream) -> Result<bool, Lost> {
    let head = read_head(stream).await;
    if status(&head) != 200 {
        return Err(format!("answered {head:?}"));
    }
    let mut body = [0; 2];
    stream
        .read_exact(&mut body)
        .await
        .map_err(lost("answer's body"))?;
    Ok(head.contains("Connection: close\r\n"))
}

async fn echo(stream: &mut TcpStream) -> Result<(), Lost> {
    stream.write_all(b"ping").await.map_err(lost("echo"))?;
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.map_err(lost("echo"))?;
    if &back == b"ping" {
        Ok(())
    } else {
        Err("another echo".to_owned())
    }
}

/// A process with a policy that lets everything on loopback through: itself, its proxy's address and its admin's.
async fn proxy(mount: &Mount) -> (Process, SocketAddr, SocketAddr) {
    let any = "127.0.0.1:0";
    let mut command = binary();
    command
        .args(["--listen", any, "--admin", any, "--report", any])
        .args([
            "--drain-delay",
            "1500ms",
            "--drain",
            "30s",
            "--resolver",
            "127.0.0.1",
        ])
        .args(["--insecure-allow", "127.0.0.0/8", "--acl-dir"])
        .arg(mount.path());
    let process = Process::start(&mut command);
    let [proxy, admin] = ["proxy", "admin"].map(|field| said(&process, field));
    let address = |value: serde_json::Value| value.as_str().unwrap().parse().unwrap();
    let (proxy, admin) = (address(proxy.await), address(admin.await));
    eventually("ready", async || {
        (status(&get(admin, "/readyz").await) == 200).then_some(())
    })
    .await;
    (process, proxy, admin)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_leaves_under_load_and_no_request_fails_or_is_lost() {
    let mount = Mount::with(&open_files());
    let (mut first, leaves, admin) = proxy(&mount).await;
    let (_second, stays, _) = proxy(&mount).await;
    let served = Arc::new(AtomicUsize::new(0));
    let (origin, _origin) = origin(Arc::clone(&served)).await;
    let load = Arc::new(Load {
        balancer: Balancer {
            leaves,
            stays,
            has_left: AtomicBool::new(false),
        },
        origin,
        stop: CancellationToken::new(),
        answered: AtomicUsize::new(0),
        failures: Mutex::new(Vec::new()),
    });
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let form = FORMS[number % FORMS.len()];
        clients.spawn(Arc::clone(&load).client(form, number));
    }
    // So many more answers, and all of them go on.
    let answered = async |more: usize| {
        let enough = load.answered.load(Ordering::SeqCst) + more;
        eventually("enough answers", async || {
            let failed = !load.failures.lock().unwrap().is_empty();
            (failed || load.answered.load(Ordering::SeqCst) >= enough).then_some(())
        })
        .await;
    };
    // Tunnels that stay open.
    let mut tunnels = Vec::new();
    for _ in 0..4 {
        let mut tunnel = dial(leaves).await;
        let head = format!(
            "CONNECT {origin} HTTP/1.1\r\nHost: o\r\n\r\nGET / HTTP/1.1\r\nHost: o\r\nUpgrade: echo\r\n\r\n"
        );
        tunnel.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(status(&read_head(&mut tunnel).await), 200);
        assert_eq!(status(&read_head(&mut tunnel).await), 101);
        tunnels.push(tunnel);
    }
    // And one that is kept and not used.
    let mut idle = dial(leaves).await;
    let head = format!("GET http://{origin}/ HTTP/1.1\r\nHost: o\r\n\r\n");
    idle.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut idle).await, Ok(false));
    answered(500).await;

    first.signal(Signal::TERM);
    eventually("not ready", async || {
        (status(&get(admin, "/readyz").await) == 503).then_some(())
    })
    .await;
    sleep(NEWS).await;
    load.balancer.has_left.store(true, Ordering::SeqCst);
    // Past the announcement, and past what is idle.
    let refuses = async || (status(&ask_new(leaves, REFUSED).await) == 503).then_some(());
    eventually("new ones are refused", refuses).await;
    let end = timeout(DEADLINE, idle.read(&mut [0])).await.unwrap();
    assert_eq!(end.unwrap(), 0);
    answered(500).await;
    for tunnel in &mut tunnels {
        assert_eq!(echo(tunnel).await, Ok(()), "an open tunnel was cut");
    }
    assert!(
        first.child.try_wait().unwrap().is_none(),
        "ended before its tunnels"
    );
    drop(tunnels);
    assert_eq!(first.ended().await, Some(0));
    answered(200).await;
    load.stop.cancel();
    clients.join_all().await;

    let failures = load.failures.lock().unwrap();
    assert!(failures.is_empty(), "{} failed: {}", failures.len(), failures[0]);
    let (answered, served) = (
        load.answered.load(Ordering::SeqCst),
        served.load(Ordering::SeqCst),
    );
    // The four tunnels asked once each, and so did the one that was idle.
    assert_eq!(answered + 5, served, "requests that were sent twice, or lost");
}

#[tokio::test]
async fn each_answer_of_a_pod_that_leaves_ends_its_connection_and_none_is_refused() {
    let mount = Mount::with(&open_files());
    let served = Arc::new(AtomicUsize::new(0));
    let (origin, _origin) = origin(served).await;
    let (mut process, proxy, admin) = proxy(&mount).await;
    let ask = format!("GET http://{origin}/ HTTP/1.1\r\nHost: o\r\n\r\n");
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut client = dial(proxy).await;
        client.write_all(ask.as_bytes()).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(
            status(&head) == 200 && !head.contains("Connection: close"),
            "{head}"
        );
        read_exact(&mut client, 2).await;
        kept.push(client);
    }
    let mut unused = dial(proxy).await;
    process.signal(Signal::TERM);
    eventually("not ready", async || {
        (status(&get(admin, "/readyz").await) == 503).then_some(())
    })
    .await;
    let ends = async |client: &mut TcpStream| {
        client.write_all(ask.as_bytes()).await.unwrap();
        let head = read_head(client).await;
        assert!(
            status(&head) == 200 && head.contains("Connection: close\r\n"),
            "{head}"
        );
        read_exact(client, 2).await;
        let end = timeout(DEADLINE, client.read(&mut [0])).await.unwrap();
        assert_eq!(end.unwrap(), 0, "a clean end");
    };
    ends(&mut kept[0]).await;
    // Once it refuses new ones, those from before are still served.
    let refuses = async || (status(&ask_new(proxy, &ask).await) == 503).then_some(());
    eventually("new ones are refused", refuses).await;
    ends(&mut kept[1]).await;
    ends(&mut unused).await;
    // What is idle ends, and well.
    let end = timeout(DEADLINE, kept[2].read(&mut [0])).await.unwrap();
    assert_eq!(end.unwrap(), 0);
    drop(kept);
    assert_eq!(process.ended().await, Some(0));
}

/// For the moment from which on new connections are refused; it reaches no origin.
const REFUSED: &str = "GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: o\r\n\r\n";

/// The head of the answer over a connection of its own.
async fn ask_new(proxy: SocketAddr, request: &str) -> String {
    let mut client = dial(proxy).await;
    client.write_all(request.as_bytes()).await.unwrap();
    read_head(&mut client).await
}
