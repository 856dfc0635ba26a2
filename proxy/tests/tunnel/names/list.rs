//! The list of name servers as a file that changes, under load.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

struct Listed {
    dir: tempfile::TempDir,
}

impl Listed {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("resolv.conf"), text).unwrap();
        Self { dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("resolv.conf")
    }

    /// As most programs write it: beside it, and then in its place.
    fn replace(&self, text: &str) {
        let new = self.dir.path().join("resolv.conf.new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, self.file()).unwrap();
    }

    /// In place, in halves with a pause between them.
    async fn write_in_halves(&self, text: &str) {
        let mut file = fs::File::create(self.file()).unwrap();
        for half in [&text[..text.len() / 2], &text[text.len() / 2..]] {
            tokio::time::sleep(Duration::from_millis(200)).await;
            file.write_all(half.as_bytes()).unwrap();
        }
    }
}

async fn server(ip: &'static str) -> NameServer {
    NameServer::start(move |_, _| addresses(&[ip])).await
}

fn line(server: SocketAddr) -> String {
    format!("search example\nnameserver {server}\noptions ndots:5\n")
}

/// Asks new names all the time; none of them may fail.
fn load(resolver: &Resolver) -> (Arc<AtomicBool>, tokio::task::JoinHandle<usize>) {
    let (resolver, stop) = (resolver.clone(), Arc::new(AtomicBool::new(false)));
    let stopped = Arc::clone(&stop);
    let asking = tokio::spawn(async move {
        let mut asked = 0;
        while !stopped.load(Ordering::SeqCst) {
            asked += 1;
            let (found, _) = resolve(&resolver, &format!("load{asked}.example")).await;
            found.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        asked
    });
    (stop, asking)
}

async fn answers_by(resolver: &Resolver, ip: &str) {
    until(&format!("{ip} answers"), async || {
        resolve(resolver, "a.example").await.0.unwrap() == [ip]
    })
    .await;
}

#[tokio::test]
async fn a_list_that_is_missing_or_empty_stops_nothing() {
    let listed = Listed::new("");
    let resolvers = [
        Resolver::from_file(Path::new("/nowhere/resolv.conf").into()),
        Resolver::from_file(listed.file()),
    ];
    for resolver in &resolvers {
        // Nothing listens on this machine's port 53, or whatever does knows no such name.
        assert!(resolve(resolver, "a.invalid").await.0.is_err());
    }
    let first = server("192.175.48.1").await;
    listed.replace(&line(first.address));
    until("the list is read once there is one", async || {
        resolve(&resolvers[1], "a.example").await.0.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_list_that_changes_however_it_is_written_counts_soon_and_no_look_up_fails() {
    let (first, second) = (server("192.175.48.1").await, server("192.175.48.2").await);
    let listed = Listed::new(&line(first.address));
    let resolver = Resolver::from_file(listed.file());
    let (stop, asking) = load(&resolver);
    answers_by(&resolver, "192.175.48.1").await;
    listed.replace(&line(second.address));
    answers_by(&resolver, "192.175.48.2").await;
    fs::write(listed.file(), line(first.address)).unwrap();
    answers_by(&resolver, "192.175.48.1").await;
    // Where it names nobody the last ones stay.
    for text in ["", "# nothing\n", "nameserver 10.0.0\n", "search example\n"] {
        fs::write(listed.file(), text).unwrap();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        answers_by(&resolver, "192.175.48.1").await;
    }
    fs::remove_file(listed.file()).unwrap();
    answers_by(&resolver, "192.175.48.1").await;
    listed.write_in_halves(&line(second.address)).await;
    answers_by(&resolver, "192.175.48.2").await;
    stop.store(true, Ordering::SeqCst);
    assert!(asking.await.unwrap() > 50);
}

#[tokio::test]
async fn a_look_up_that_waits_goes_on_with_the_servers_of_a_new_list() {
    let silent = NameServer::start(|_, _| name_server::Reply::Silence).await;
    let good = server("192.175.48.1").await;
    let listed = Listed::new(&line(silent.address));
    let resolver = Resolver::from_file(listed.file());
    let replaced = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        listed.replace(&line(good.address));
    };
    let ((found, took), ()) = tokio::join!(resolve(&resolver, "a.example"), replaced);
    assert_eq!(found.unwrap(), ["192.175.48.1"]);
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn options_of_the_list_are_heeded() {
    let silent = NameServer::start(|_, _| name_server::Reply::Silence).await;
    let (first, second) = (server("192.175.48.1").await, server("192.175.48.2").await);
    let resolver = |text: String| {
        let listed = Listed::new(&text);
        (Resolver::from_file(listed.file()), listed)
    };
    let (hasty, _file) = resolver(format!(
        "nameserver {}\noptions timeout:1 attempts:1\n",
        silent.address
    ));
    let (found, took) = resolve(&hasty, "a.example").await;
    assert!(matches!(found, Err(ResolveError::Timeout)), "{found:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(silent.asked().len(), 2, "once per family");
    let (stubborn, _file) = resolver(format!(
        "nameserver {}\noptions timeout:1 attempts:3\n",
        silent.address
    ));
    let (_, took) = resolve(&stubborn, "a.example").await;
    assert!(
        took > Duration::from_millis(2_500) && took < Duration::from_secs(4),
        "{took:?}"
    );
    assert_eq!(silent.asked().len(), 8, "three times per family");
    let (over_tcp, _file) = resolver(format!("nameserver {}\noptions use-vc\n", first.address));
    assert_eq!(resolve(&over_tcp, "a.example").await.0.unwrap(), ["192.175.48.1"]);
    assert_eq!((first.asked().len(), first.asked_over_tcp()), (0, 2));
    let both = format!(
        "nameserver {}\nnameserver {}\noptions rotate\n",
        first.address, second.address
    );
    let (rotating, _file) = resolver(both);
    let mut answers = Vec::new();
    for n in 0..4 {
        answers.extend(resolve(&rotating, &format!("n{n}.example")).await.0.unwrap());
    }
    let expected = ["192.175.48.1", "192.175.48.2", "192.175.48.1", "192.175.48.2"];
    assert_eq!(answers, expected);
}

#[tokio::test]
async fn the_first_look_up_after_a_change_does_not_fail_by_the_old_servers() {
    let gone = {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    };
    let ignorant = NameServer::start(|_, _| name_server::NXDOMAIN).await;
    let good = server("192.175.48.1").await;
    for old in [gone, ignorant.address] {
        let listed = Listed::new(&line(old));
        let resolver = Resolver::from_file(listed.file());
        assert!(resolve(&resolver, "before.example").await.0.is_err());
        listed.replace(&line(good.address));
        let (found, took) = resolve(&resolver, "after.example").await;
        assert_eq!(found.unwrap(), ["192.175.48.1"], "{old}");
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_eq!(
            resolve(&resolver, "before.example").await.0.unwrap(),
            ["192.175.48.1"]
        );
    }
}
