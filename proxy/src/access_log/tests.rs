//! What a line says in each format, and that no reader holds up the traffic.

use std::sync::{Mutex, mpsc};

use egressway_core::acl::compile;
use egressway_core::wire::document;

use super::*;

fn entry() -> Entry {
    Entry {
        time: Timestamp::UNIX_EPOCH,
        client: "[::ffff:192.0.2.1]:1234".parse().unwrap(),
        balancer: None,
        clients: Caller::UNKNOWN,
        client_pod: None,
        mode: Mode::Enforce,
        id: Id::from_bits(10),
        method: Some("CONNECT".into()),
        target: Some(Target::parse("[2620:4f:8000::1]:443").unwrap()),
        policy: None,
        rule: Some(Arc::from("partners")),
        decision: "error",
        reason: "connection_refused",
        end: None,
        status: Some(502),
        peer: Some("2620:4f:8000::1".parse().unwrap()),
        detail: None,
        bytes_sent: 1,
        bytes_received: 2,
        duration: Duration::from_micros(1500),
        dns: None,
        connect: Some(Duration::from_millis(1)),
        tls: None,
        signature: None,
    }
}

fn written(format: Format, entry: &Entry, place: &Place) -> String {
    let mut line = Vec::new();
    format.append(&mut line, entry, place).unwrap();
    String::from_utf8(line).unwrap()
}

#[test]
fn a_line_has_opentelemetrys_keys() {
    let place = Place {
        pod: Some("pod-1".to_owned()),
        node: None,
    };
    assert_eq!(
        written(Format::Json, &entry(), &place),
        concat!(
            r#"{"timestamp":"1970-01-01T00:00:00Z","client.address":"192.0.2.1","client.port":1234,"#,
            r#""server.address":"2620:4f:8000::1","server.port":443,"network.peer.address":"2620:4f:8000::1","#,
            r#""http.request.method":"CONNECT","http.response.status_code":502,"#,
            r#""error.type":"connection_refused","egress.id":"00000000000a","egress.decision":"error","#,
            r#""egress.reason":"connection_refused","egress.rule":"partners","egress.bytes_sent":1,"#,
            r#""egress.bytes_received":2,"egress.duration_ms":1.5,"egress.connect_ms":1.0,"k8s.pod.name":"pod-1"}"#,
            "\n"
        )
    );
}

#[test]
fn other_formats_have_the_same_facts() {
    let written = |format| written(format, &entry(), &Place::default());
    assert_eq!(
        written(Format::Text),
        "1970-01-01T00:00:00.000Z ERROR CONNECT [2620:4f:8000::1]:443 502 connection_refused rule=partners \
         client=192.0.2.1:1234 peer=2620:4f:8000::1 sent=1 received=2 ms=1.500 connect_ms=1.000 id=00000000000a\n"
    );
    assert_eq!(
        written(Format::Ecs),
        concat!(
            r#"{"@timestamp":"1970-01-01T00:00:00Z","log.level":"error","message":"egress request","#,
            r#""ecs.version":"8.11.0","service.name":"egressway-proxy","event.kind":"event","#,
            r#""event.category":["network"],"event.type":["connection","error"],"event.action":"error","#,
            r#""event.outcome":"failure","event.reason":"connection_refused","event.id":"00000000000a","#,
            r#""event.duration":1500000,"source.ip":"192.0.2.1","source.port":1234,"source.bytes":1,"#,
            r#""destination.ip":"2620:4f:8000::1","destination.port":443,"destination.bytes":2,"#,
            r#""http.request.method":"CONNECT","http.response.status_code":502,"rule.name":"partners","#,
            r#""error.type":"connection_refused"}"#,
            "\n"
        )
    );
}

/// Whatever a line may say, said.
fn whole() -> Entry {
    let client = |name: &str| document::Client {
        name: name.to_owned(),
        pods: true,
        auth: None,
    };
    let content = document::Content {
        clients: vec![client("sender"), client("batch")],
        ..document::Content::default()
    };
    let policies = document::Policies {
        version: document::VERSION,
        policies: vec![document::Policy::seal("payments", "webhooks", 7, content)],
    };
    let policy = compile::policies(&policies).unwrap().remove(0);
    Entry {
        balancer: Some("192.0.2.9:99".parse().unwrap()),
        clients: policy.caller(["sender", "batch"]),
        client_pod: Some(Arc::from("sender-1")),
        mode: Mode::Report,
        target: Some(Target::parse("a.example:443").unwrap()),
        policy: Some(policy),
        end: Some("completed"),
        detail: Some("a \"quoted\" word".into()),
        dns: Some(Duration::from_micros(2500)),
        ..entry()
    }
}

#[test]
fn a_line_can_say_all_of_it() {
    let place = Place {
        pod: Some("pod-1".to_owned()),
        node: Some("node-1".to_owned()),
    };
    assert_eq!(
        written(Format::Json, &whole(), &place),
        concat!(
            r#"{"timestamp":"1970-01-01T00:00:00Z","client.address":"192.0.2.1","client.port":1234,"#,
            r#""egress.balancer":"192.0.2.9:99","egress.client":"sender,batch","#,
            r#""egress.client_pod":"sender-1","server.address":"a.example","server.port":443,"#,
            r#""network.peer.address":"2620:4f:8000::1","http.request.method":"CONNECT","#,
            r#""http.response.status_code":502,"error.type":"connection_refused","#,
            r#""error.message":"a \"quoted\" word","egress.id":"00000000000a","#,
            r#""egress.decision":"error","egress.reason":"connection_refused","egress.end":"completed","#,
            r#""egress.mode":"Report","egress.policy":"payments/webhooks","egress.generation":7,"#,
            r#""egress.rule":"partners","egress.bytes_sent":1,"egress.bytes_received":2,"#,
            r#""egress.duration_ms":1.5,"egress.dns_ms":2.5,"egress.connect_ms":1.0,"#,
            r#""k8s.pod.name":"pod-1","k8s.node.name":"node-1"}"#,
            "\n"
        )
    );
    assert_eq!(
        written(Format::Ecs, &whole(), &place),
        concat!(
            r#"{"@timestamp":"1970-01-01T00:00:00Z","log.level":"error","message":"egress request","#,
            r#""ecs.version":"8.11.0","service.name":"egressway-proxy","event.kind":"event","#,
            r#""event.category":["network"],"event.type":["connection","error"],"event.action":"error","#,
            r#""event.outcome":"failure","event.reason":"connection_refused","event.id":"00000000000a","#,
            r#""event.duration":1500000,"source.ip":"192.0.2.1","source.port":1234,"source.bytes":1,"#,
            r#""user.name":"sender,batch","egress.client_pod":"sender-1","#,
            r#""egress.balancer":"192.0.2.9:99","egress.end":"completed","egress.mode":"Report","#,
            r#""destination.domain":"a.example","destination.ip":"2620:4f:8000::1","#,
            r#""destination.port":443,"destination.bytes":2,"http.request.method":"CONNECT","#,
            r#""http.response.status_code":502,"rule.name":"partners","#,
            r#""rule.ruleset":"payments/webhooks","rule.version":"7","error.type":"connection_refused","#,
            r#""error.message":"a \"quoted\" word","orchestrator.resource.name":"pod-1","#,
            r#""host.name":"node-1"}"#,
            "\n"
        )
    );
}

#[test]
fn what_the_proxy_did_for_the_origin_is_said_where_it_was_done() {
    let served = |scheme| Entry {
        tls: Some(Session {
            version: "1.3",
            resumed: true,
        }),
        signature: Some(scheme),
        ..entry()
    };
    for (format, expected) in [
        (
            Format::Json,
            r#""network.peer.address":"2620:4f:8000::1","tls.protocol.name":"tls","tls.protocol.version":"1.3","tls.resumed":true,"egress.signature":"NAME","http.request.method""#,
        ),
        (
            Format::Ecs,
            r#""destination.bytes":2,"tls.version_protocol":"tls","tls.version":"1.3","tls.resumed":true,"egress.signature":"NAME","http.request.method""#,
        ),
        (
            Format::Text,
            " peer=2620:4f:8000::1 tls=1.3 resumed=true signature=NAME sent=1 ",
        ),
    ] {
        for (scheme, name) in [
            (Scheme::StandardWebhooks, "StandardWebhooks"),
            (Scheme::HmacSha256, "HMAC-SHA256"),
            (Scheme::RsaSha256, "RSA-SHA256"),
        ] {
            let line = written(format, &served(scheme), &Place::default());
            assert!(line.contains(&expected.replace("NAME", name)), "{line}");
        }
    }
}

/// Blocks every write until the test lets go.
struct Stuck(mpsc::Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_pipe_drops_lines_and_counts_them() {
    let (release, stuck) = mpsc::channel();
    let dropped = Counter::default();
    let log = AccessLog::new(
        Box::new(Stuck(stuck)),
        Place::default(),
        Format::Json,
        dropped.clone(),
    )
    .unwrap();
    let mut line = Vec::new();
    Format::Json
        .append(&mut line, &entry(), &Place::default())
        .unwrap();
    let fitting = QUEUE.bytes_max / line.len();
    // What the writer took before it got stuck is not in the queue any more; it takes one batch.
    (0..fitting * 2 + 1000).for_each(|_| log.record(&entry()));
    let lost = dropped.get();
    assert!((1000..=1000 + fitting as u64).contains(&lost), "{lost}");
    drop(release);
}

/// Writes to memory that the test can read.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_was_recorded_is_written_after_a_flush() {
    let memory = Memory::default();
    let log = AccessLog::to_writer(Box::new(memory.clone()), Place::default()).unwrap();
    let written = || {
        memory
            .0
            .lock()
            .unwrap()
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
    };
    for expected in [0, 3, 6] {
        log.flush(Duration::from_secs(5));
        assert_eq!(written(), expected);
        (0..3).for_each(|_| log.record(&entry()));
    }
}

#[test]
fn a_flush_does_not_wait_for_a_stuck_pipe() {
    let (release, stuck) = mpsc::channel();
    let log = AccessLog::to_writer(Box::new(Stuck(stuck)), Place::default()).unwrap();
    log.record(&entry());
    log.flush(Duration::from_millis(20));
    drop(release);
}

struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether or not another line follows.
#[test]
fn what_a_broken_pipe_swallowed_is_counted() {
    let dropped = Counter::default();
    let log = AccessLog::new(Box::new(Broken), Place::default(), Format::Json, dropped.clone()).unwrap();
    for expected in 1..=3 {
        log.record(&entry());
        log.flush(Duration::from_secs(10));
        assert_eq!(dropped.get(), expected);
    }
}
