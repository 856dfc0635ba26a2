//! How a pod leaves: announce, refuse, wait, cut; as a sequence on a paused clock, as an app, and as a process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "control/http.rs"]
mod http;
#[path = "control/mount.rs"]
mod mount;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use egressway_core::wire::document;
use egressway_core::wire::report::Phase;
use egressway_proxy::app::{Addresses, App};
use egressway_proxy::args::FleetArgs;
use egressway_proxy::drain::{self, Times};
use egressway_proxy::state::{InForce, State};
use http::{DEADLINE, Scripted, body, get, ok, raw, status};
use mount::{Files, Mount, open_policies, pool};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

const TIMES: Times = Times {
    announce: Duration::from_secs(5),
    tunnels: Duration::from_secs(300),
};

/// A drain on a paused clock, with a data path that ends when told to, or when it is cut.
struct Drained {
    state: Arc<State>,
    stop: CancellationToken,
    kill: CancellationToken,
    abort: CancellationToken,
    ended: CancellationToken,
    began: Instant,
    task: AbortOnDropHandle<()>,
}

impl Drained {
    fn begin() -> Self {
        let state = State::new();
        state.set_phase(Phase::Serving);
        let [stop, kill, abort, ended] = std::array::from_fn(|_| CancellationToken::new());
        let task = {
            let (state, stop, kill) = (Arc::clone(&state), stop.clone(), kill.clone());
            let (abort, ended) = (abort.clone(), ended.clone());
            tokio::spawn(async move {
                let served = async {
                    tokio::select! {
                        () = kill.cancelled() => {}
                        () = ended.cancelled() => {}
                    }
                };
                drain::process(&state, TIMES, &stop, &kill, &abort, served).await;
            })
        };
        Self {
            state,
            stop,
            kill,
            abort,
            ended,
            began: Instant::now(),
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Seconds from the beginning to the end of the drain, and whether anything was cut.
    async fn end(self) -> (u64, bool) {
        self.task.await.unwrap();
        (self.began.elapsed().as_secs(), self.kill.is_cancelled())
    }
}

async fn pass(seconds: u64) {
    advance(Duration::from_secs(seconds)).await;
    // Lets the drain's timer fire and its task act on it.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_says_so_then_refuses_then_waits_then_cuts() {
    let drained = Drained::begin();
    let mut phases = drained.state.watch_phase();
    phases.wait_for(|phase| *phase == Phase::Draining).await.unwrap();
    assert_eq!(
        (drained.state.admits(), drained.stop.is_cancelled()),
        (Ok(()), false),
        "announced, still serving"
    );
    pass(4).await;
    assert_eq!(
        (drained.state.admits(), drained.stop.is_cancelled()),
        (Ok(()), false)
    );
    pass(1).await;
    assert_eq!(
        (drained.state.admits(), drained.stop.is_cancelled()),
        (Err(Phase::Draining), true)
    );
    pass(298).await;
    assert!(!drained.kill.is_cancelled());
    assert_eq!(drained.end().await, (305, true));
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_last_tunnel() {
    let drained = Drained::begin();
    pass(0).await;
    pass(5).await;
    pass(10).await;
    drained.ended.cancel();
    assert_eq!(drained.end().await, (15, false));
}

#[tokio::test(start_paused = true)]
async fn the_second_signal_cuts_at_once_in_every_step() {
    let announced = Drained::begin();
    announced.abort.cancel();
    assert_eq!(announced.end().await, (0, true));
    let waiting = Drained::begin();
    pass(0).await;
    pass(5).await;
    pass(2).await;
    waiting.abort.cancel();
    assert_eq!(waiting.end().await, (7, true));
}

#[tokio::test(start_paused = true)]
async fn a_draining_cell_announces_then_refuses_and_can_be_taken_back() {
    let state = State::new();
    state.set_phase(Phase::Serving);
    let stop = CancellationToken::new();
    let follow = drain::follow_cell(Arc::clone(&state), "a".to_owned(), TIMES.announce, stop.clone());
    let following = tokio::spawn(follow);
    let put = |draining: bool, name: &str| {
        let mut pool = pool(&[], 0, &[]);
        pool.name = name.to_owned();
        pool.cells[0].draining = draining;
        state.set_in_force(InForce {
            pool: Arc::new(pool),
            ..InForce::default()
        });
    };
    put(true, "p");
    pass(0).await;
    assert_eq!((state.phase(), state.admits()), (Phase::Draining, Ok(())));
    pass(3).await;
    put(
        true,
        "an edit that does not concern the cell does not start the clock again",
    );
    pass(0).await;
    pass(2).await;
    assert_eq!(state.admits(), Err(Phase::Draining));
    put(false, "p");
    pass(0).await;
    assert_eq!((state.phase(), state.admits()), (Phase::Serving, Ok(())));
    stop.cancel();
    following.await.unwrap();
}

/// A whole app on free ports.
struct Running {
    addresses: Addresses,
    first: CancellationToken,
    second: CancellationToken,
    app: AbortOnDropHandle<anyhow::Result<()>>,
    _mount: Mount,
}

fn open_files() -> Files {
    Files {
        policies: document::to_json(&open_policies()),
        ..Files::allowing(1, &[])
    }
}

async fn start(drain_delay: Duration, drain: Duration) -> Running {
    let mount = Mount::with(&open_files());
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let args = FleetArgs {
        listen: any,
        admin: any,
        report: any,
        acl_dir: mount.path(),
        report_key_file: mount.path().join("no.key"),
        drain_delay,
        drain,
        insecure_allow: vec!["127.0.0.0/8".parse().unwrap()],
        resolver: vec!["127.0.0.1:53".parse().unwrap()],
        ..FleetArgs::from_env().unwrap()
    };
    let app = App::bind(args).unwrap();
    let addresses = app.addresses();
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let signals = (first.clone().cancelled_owned(), second.clone().cancelled_owned());
    let app = AbortOnDropHandle::new(tokio::spawn(app.run(signals.0, signals.1)));
    await_status(addresses.admin, "/readyz", 200).await;
    Running {
        addresses,
        first,
        second,
        app,
        _mount: mount,
    }
}

async fn await_status(address: SocketAddr, path: &str, expected: u16) {
    let reached = async {
        while status(&get(address, path).await) != expected {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, reached)
        .await
        .unwrap_or_else(|_| panic!("{path} never became {expected}"));
}

/// An open tunnel to the origin.
async fn tunnel(proxy: SocketAddr, origin: SocketAddr) -> TcpStream {
    let mut stream = http::dial(proxy).await;
    stream
        .write_all(format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap());
    }
    assert_eq!(status(std::str::from_utf8(&head).unwrap()), 200);
    stream
}

async fn refused(proxy: SocketAddr, origin: SocketAddr) -> bool {
    let request = format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    status(&raw(proxy, request.as_bytes()).await) == 503
}

#[tokio::test]
async fn an_app_serves_while_it_announces_and_open_tunnels_outlive_the_refusal() {
    let origin = Scripted::start(ok("hello")).await;
    let running = start(Duration::from_millis(1500), DEADLINE).await;
    let proxy = running.addresses.proxy;
    let mut early = tunnel(proxy, origin.address).await;
    running.first.cancel();
    await_status(running.addresses.admin, "/readyz", 503).await;
    assert!(
        !refused(proxy, origin.address).await,
        "not ready, but nodes still route here"
    );
    let until_refused = async {
        while !refused(proxy, origin.address).await {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(DEADLINE, until_refused)
        .await
        .expect("refuses after the delay");
    assert_eq!(
        status(&get(running.addresses.admin, "/livez").await),
        200,
        "alive to the end"
    );
    early
        .write_all(b"GET / HTTP/1.1\r\nHost: o\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, early.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(body(&answer), "hello");
    drop(early);
    timeout(DEADLINE, running.app)
        .await
        .expect("ends with the last tunnel")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn an_app_cuts_what_is_left_at_the_limit_or_at_the_second_signal() {
    let origin = Scripted::start(vec![]).await;
    let at_limit = start(Duration::ZERO, Duration::from_millis(200)).await;
    let mut stuck = tunnel(at_limit.addresses.proxy, origin.address).await;
    at_limit.first.cancel();
    timeout(DEADLINE, at_limit.app)
        .await
        .expect("cut at the limit")
        .unwrap()
        .unwrap();
    let mut rest = Vec::new();
    let _ = timeout(DEADLINE, stuck.read_to_end(&mut rest))
        .await
        .expect("cut");

    let aborted = start(Duration::from_secs(600), Duration::from_secs(600)).await;
    let mut stuck = tunnel(aborted.addresses.proxy, origin.address).await;
    aborted.first.cancel();
    await_status(aborted.addresses.admin, "/readyz", 503).await;
    aborted.second.cancel();
    timeout(DEADLINE, aborted.app)
        .await
        .expect("cut at once")
        .unwrap()
        .unwrap();
    let _ = timeout(DEADLINE, stuck.read_to_end(&mut rest))
        .await
        .expect("cut");
}

/// Ends the process whatever happens to the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(args: &[&str]) -> Process {
    let child = Command::new(env!("CARGO_BIN_EXE_egressway-proxy"))
        .args(args)
        .env_remove("EGRESSWAY_LOG")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Process(child)
}

/// The value of `field` in the first line of the log that has it.
fn logged(process: &mut Process, field: &str) -> String {
    let lines = BufReader::new(process.0.stderr.as_mut().unwrap()).lines();
    lines
        .map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).expect("a line of JSON"))
        .find_map(|line| {
            line.get(field)
                .and_then(|value| value.as_str().map(str::to_owned))
        })
        .expect("the process says where it listens")
}

fn first_port(text: &str) -> u16 {
    let (_, rest) = text.split_once("127.0.0.1:").unwrap();
    rest.split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

fn exit_code(process: &mut Process) -> Option<i32> {
    let began = std::time::SystemTime::now();
    while began.elapsed().unwrap() < DEADLINE {
        if let Some(status) = process.0.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

fn signal(process: &Process, signal: Signal) {
    kill_process(Pid::from_child(&process.0), signal).unwrap();
}

#[test]
fn a_process_drains_at_the_first_signal_and_ends_well() {
    let mount = Mount::with(&open_files());
    let dir = mount.path();
    let any = "127.0.0.1:0";
    let args = [
        "--listen",
        any,
        "--admin",
        any,
        "--report",
        any,
        "--acl-dir",
        dir.to_str().unwrap(),
    ];
    let slow = [&args[..], &["--drain-delay", "100ms", "--resolver", "127.0.0.1"]].concat();
    let mut process = spawn(&slow);
    logged(&mut process, "addresses");
    signal(&process, Signal::TERM);
    assert_eq!(exit_code(&mut process), Some(0));

    let stuck = [&args[..], &["--drain-delay", "600s", "--resolver", "127.0.0.1"]].concat();
    let mut process = spawn(&stuck);
    logged(&mut process, "addresses");
    signal(&process, Signal::TERM);
    logged(&mut process, "announce");
    signal(&process, Signal::INT);
    assert_eq!(exit_code(&mut process), Some(0));
}

#[tokio::test]
async fn an_observer_process_answers_until_it_is_told_to_end() {
    let mut process = spawn(&["observer", "--listen", "127.0.0.1:0"]);
    let port = first_port(&logged(&mut process, "addresses"));
    assert_eq!(
        body(&get(SocketAddr::from(([127, 0, 0, 1], port)), "/").await),
        "127.0.0.1\n"
    );
    signal(&process, Signal::TERM);
    assert_eq!(exit_code(&mut process), Some(0));
}

#[test]
fn the_binary_says_its_version_and_refuses_what_it_does_not_know() {
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_egressway-proxy"))
            .args(args)
            .output()
            .unwrap()
    };
    let version = run(&["--version"]);
    assert!(version.status.success());
    let text = String::from_utf8(version.stdout).unwrap();
    let own = concat!(
        "egressway-proxy ",
        env!("CARGO_PKG_VERSION"),
        " (roots: webpki-roots "
    );
    assert!(text.starts_with(own), "{text}");
    assert_eq!(run(&["--no-such-flag"]).status.code(), Some(2));
}
