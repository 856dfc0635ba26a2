//! Whatever becomes of a watch, the copy converges, and whoever depends on what was missed is woken.

use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;

use bytes::Bytes;
use egressway_operator::cluster::caches::{Caches, Writers, caches};
use egressway_operator::cluster::client_pods::ClientPods;
use egressway_operator::cluster::health::Health;
use egressway_operator::context::Wakes;
use egressway_operator::egress_policy::retry::Class;
use egressway_operator::metrics::Metrics;
use futures::stream;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use kube_runtime::reflector::ObjectRef;
use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::*;

/// What becomes of a request.
#[derive(Clone, Debug)]
enum Answer {
    /// A list of these, at this version.
    List(u32, Vec<Value>),
    /// These events, and then the end of the stream.
    Ends(Vec<Value>),
    /// These events, and then a connection that breaks.
    Breaks(Vec<Value>),
    /// A refusal.
    Refused(u16),
    /// No connection.
    Dropped,
}

/// Answers to requests by the end of their path, in order; after the last one, as for other paths, lists are empty and
/// streams stay open and silent.
struct Script {
    answers: BTreeMap<&'static str, VecDeque<Answer>>,
    asked: Vec<String>,
    /// What everything is answered with, for a while.
    outage: Option<Answer>,
    /// Open streams end.
    cut: Arc<Notify>,
}

type Answered = Result<Response<UnsyncBoxBody<Bytes, io::Error>>, io::Error>;

fn respond(status: u16, text: String) -> Answered {
    let response = Response::builder().status(status);
    let body = Full::from(text).map_err(|never| match never {});
    Ok(response.body(body.boxed_unsync()).unwrap())
}

fn refused(code: u16) -> Answered {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "Expired", "code": code});
    respond(code, status.to_string())
}

/// Where it stays open it ends once `open` is notified.
fn streamed(events: Vec<Value>, last: Option<io::Error>, open: Option<Arc<Notify>>) -> Answered {
    let lines = events
        .into_iter()
        .map(|event| Ok(Frame::data(Bytes::from(format!("{event}\n")))));
    let lines: Vec<Result<Frame<Bytes>, io::Error>> = lines.chain(last.map(Err)).collect();
    let more = match open {
        Some(cut) => {
            let cut = async move { cut.notified_owned().await };
            stream::once(cut).filter_map(async |()| None).boxed()
        }
        None => stream::empty().boxed(),
    };
    let body = StreamBody::new(stream::iter(lines).chain(more));
    Ok(Response::new(body.boxed_unsync()))
}

fn list(version: u32, items: &[Value]) -> String {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()}, "items": items})
        .to_string()
}

impl Script {
    fn answer(&mut self, path: &str, query: &str) -> Answered {
        match &self.outage {
            Some(Answer::Refused(code)) => return refused(*code),
            Some(_) => return Err(io::ErrorKind::ConnectionRefused.into()),
            None => {}
        }
        let watches = query.contains("watch=true");
        let found = self.answers.iter_mut().find(|(kind, _)| path.ends_with(*kind));
        let answer = found.and_then(|(_, answers)| {
            self.asked.push(query.to_owned());
            answers.pop_front()
        });
        match answer {
            Some(Answer::List(version, items)) => {
                assert!(!watches, "a list is due: {:?}", self.asked);
                respond(200, list(version, &items))
            }
            Some(Answer::Ends(events)) => streamed(events, None, None),
            Some(Answer::Breaks(events)) => {
                streamed(events, Some(io::ErrorKind::ConnectionReset.into()), None)
            }
            Some(Answer::Refused(code)) => refused(code),
            Some(Answer::Dropped) => Err(io::ErrorKind::ConnectionRefused.into()),
            None if watches => streamed(Vec::new(), None, Some(Arc::clone(&self.cut))),
            None => respond(200, list(1, &[])),
        }
    }
}

/// The operator's copies on such a server, and who is woken.
struct Watched {
    caches: Caches,
    wakes: Arc<Wakes>,
    client_pods: Arc<ClientPods>,
    health: Arc<Health>,
    script: Arc<Mutex<Script>>,
    _tasks: JoinSet<()>,
}

fn watched<const N: usize>(answers: [(&'static str, Vec<Answer>); N]) -> Watched {
    let script = Script {
        answers: answers.map(|(kind, answers)| (kind, answers.into())).into(),
        asked: Vec::new(),
        outage: None,
        cut: Arc::default(),
    };
    let script = Arc::new(Mutex::new(script));
    let server = Arc::clone(&script);
    let service = tower::service_fn(move |request: Request<Body>| {
        let uri = request.uri();
        let answer = server
            .lock()
            .unwrap()
            .answer(uri.path(), uri.query().unwrap_or_default());
        async move { answer }
    });
    let (caches, writers): (Caches, Writers) = caches();
    let wakes = Arc::new(Wakes::new(&caches));
    let mut tasks = JoinSet::new();
    let metrics = Metrics::register(&mut Registry::default());
    let health = Arc::new(Health::new(metrics, Arc::clone(&wakes)));
    let client = Client::new(service, "system");
    writers.watch(&client, FLEETS, &wakes, &health, &mut tasks);
    let client_pods = Arc::new(ClientPods::default());
    tasks.spawn(Arc::clone(&client_pods).watch(client, Arc::clone(&health)));
    Watched {
        caches,
        wakes,
        client_pods,
        health,
        script,
        _tasks: tasks,
    }
}

impl Watched {
    /// Forgets who was woken so far. The clock is paused: it goes on once every watch waits for something.
    async fn settled(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        while pin!(Arc::clone(&self.wakes.policies).stream())
            .next()
            .now_or_never()
            .is_some()
        {}
        while pin!(Arc::clone(&self.wakes.pools).stream())
            .next()
            .now_or_never()
            .is_some()
        {}
    }

    /// Waits, from one wake of a policy or a pool to the next, until it is so.
    async fn until(&self, what: &str, is: impl Fn(&Caches) -> bool) {
        let policies = Arc::clone(&self.wakes.policies).stream().map(|_| ());
        let pools = Arc::clone(&self.wakes.pools).stream().map(|_| ());
        let mut wakes = pin!(stream::select(policies, pools));
        let wait = async {
            while !is(&self.caches) {
                wakes.next().await;
            }
        };
        let outcome = tokio::time::timeout(Duration::from_secs(300), wait).await;
        let asked = &self.script.lock().unwrap().asked;
        assert!(outcome.is_ok(), "{what}: never, after {asked:?}");
    }
}

fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}

fn error(code: u16) -> Value {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "too old", "reason": "Expired", "code": code});
    event("ERROR", &status)
}

fn config_map(name: &str, version: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": FLEETS, "uid": name,
        "resourceVersion": version.to_string(),
        "labels": {"egressway.dev/policy-namespace": "payments", "egressway.dev/policy-name": name}}})
}

#[tokio::test(start_paused = true)]
async fn a_copy_converges_whatever_becomes_of_its_watch() {
    let before = || Answer::List(10, vec![config_map("edited", 1), config_map("deleted", 2)]);
    let after = || Answer::List(30, vec![config_map("edited", 21), config_map("added", 23)]);
    let events = || {
        vec![
            event("MODIFIED", &config_map("edited", 21)),
            event("DELETED", &config_map("deleted", 22)),
            event("ADDED", &config_map("added", 23)),
        ]
    };
    let bookmark = || {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"resourceVersion": "20"}});
        vec![event("BOOKMARK", &object)]
    };
    for (what, answers) in [
        (
            "410 in the stream",
            vec![before(), Answer::Ends(vec![error(410)]), after()],
        ),
        (
            "410 for the stream",
            vec![before(), Answer::Refused(410), after()],
        ),
        (
            "410 behind bookmarks",
            vec![before(), Answer::Ends(bookmark()), Answer::Refused(410), after()],
        ),
        (
            "a server of yesterday",
            vec![before(), Answer::Refused(504), after()],
        ),
        (
            "bookmarks only",
            vec![before(), Answer::Ends(bookmark()), Answer::Ends(events())],
        ),
        (
            "500 in the stream",
            vec![before(), Answer::Ends(vec![error(500)]), Answer::Ends(events())],
        ),
        (
            "a broken stream",
            vec![before(), Answer::Breaks(bookmark()), Answer::Ends(events())],
        ),
        (
            "a server that is away for a while",
            vec![
                before(),
                Answer::Dropped,
                Answer::Refused(503),
                Answer::Refused(429),
                Answer::Ends(events()),
            ],
        ),
        (
            "lists that fail",
            vec![
                before(),
                Answer::Ends(vec![error(410)]),
                Answer::Refused(500),
                Answer::Dropped,
                Answer::Refused(410),
                after(),
            ],
        ),
    ] {
        let watched = watched([("/configmaps", answers)]);
        let versions = |caches: &Caches| -> Vec<String> {
            let copies = caches.config_maps.state();
            let mut copies: Vec<String> = copies
                .iter()
                .map(|copy| {
                    let metadata = &copy.metadata;
                    format!(
                        "{} {}",
                        metadata.name.as_deref().unwrap(),
                        metadata.resource_version.as_deref().unwrap()
                    )
                })
                .collect();
            copies.sort();
            copies
        };
        watched
            .until(what, |caches| versions(caches) == ["added 23", "edited 21"])
            .await;
        let asked = watched.script.lock().unwrap().asked.clone();
        if what == "bookmarks only" || what == "a broken stream" {
            assert!(
                asked[2].contains("resourceVersion=20"),
                "it goes on from the bookmark: {asked:?}"
            );
        }
    }
}

fn stored(mut object: Value, version: u32) -> Value {
    object["metadata"]["uid"] = json!("u");
    object["metadata"]["generation"] = json!(1);
    object["metadata"]["resourceVersion"] = json!(version.to_string());
    object
}

async fn next<T>(wake: &Arc<egressway_operator::wake::Wake<T>>) -> T
where
    T: Eq + std::hash::Hash + Clone + Send + 'static,
{
    let next = async { pin!(Arc::clone(wake).stream()).next().await.unwrap() };
    tokio::time::timeout(Duration::from_secs(60), next)
        .await
        .expect("nobody is woken")
}

/// Between the two lists the pool went, and then it came back: nothing of it differs but its version, and yet its
/// policies have seen it gone.
#[tokio::test(start_paused = true)]
async fn a_pool_that_a_list_lacked_wakes_its_policies_when_it_is_back() {
    let pools = vec![
        Answer::List(10, vec![stored(pool(), 1)]),
        Answer::Ends(vec![error(410)]),
        Answer::List(20, vec![]),
        Answer::Dropped,
        Answer::Ends(vec![event("ADDED", &stored(pool(), 21))]),
    ];
    let policies = vec![Answer::List(10, vec![stored(policy(), 2)])];
    let watched = watched([("/egresspools", pools), ("/egresspolicies", policies)]);
    watched
        .until("the second list", |caches| {
            caches.policies.len() == 1 && caches.pools.is_empty()
        })
        .await;
    watched.settled().await;
    assert_eq!(
        next(&watched.wakes.policies).await,
        policy_ref("payments", "webhooks")
    );
    assert_eq!(watched.caches.pools.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_a_list_lacks_wakes_everybody() {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    let nodes = vec![
        Answer::List(10, vec![stored(node, 1)]),
        Answer::Ends(vec![error(410)]),
        Answer::List(20, vec![]),
    ];
    let policies = vec![Answer::List(10, vec![stored(policy(), 2)])];
    let watched = watched([("/nodes", nodes), ("/egresspolicies", policies)]);
    watched
        .until("the first list", |caches| caches.nodes.len() == 1)
        .await;
    watched.settled().await;
    assert_eq!(
        next(&watched.wakes.policies).await,
        policy_ref("payments", "webhooks")
    );
    assert!(watched.caches.nodes.is_empty(), "its addresses leave every floor");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_goes_wakes_the_pool_that_counts_it() {
    let policies = vec![
        Answer::List(10, vec![stored(policy(), 2)]),
        Answer::Dropped,
        Answer::Ends(vec![event("DELETED", &stored(policy(), 11))]),
    ];
    let pools = vec![Answer::List(10, vec![stored(pool(), 1)])];
    let watched = watched([("/egresspolicies", policies), ("/egresspools", pools)]);
    watched
        .until("the list", |caches| caches.policies.len() == 1)
        .await;
    watched.settled().await;
    assert_eq!(next(&watched.wakes.pools).await, ObjectRef::new("edge"));
    assert!(watched.caches.policies.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_fleet_namespace_that_is_back_is_tried_at_once() {
    let namespace = |kind: &str, version: u32| {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": FLEETS}});
        event(kind, &stored(object, version))
    };
    let namespaces = vec![
        Answer::List(10, vec![]),
        Answer::Dropped,
        Answer::Ends(vec![namespace("ADDED", 11)]),
    ];
    let policies = vec![Answer::List(10, vec![stored(policy(), 2)])];
    let watched = watched([("/namespaces", namespaces), ("/egresspolicies", policies)]);
    watched
        .until("the list", |caches| caches.policies.len() == 1)
        .await;
    watched.settled().await;
    let failures = &watched.wakes.failures;
    failures.more("payments/webhooks", Class::Refused, 0);
    failures.more("payments/webhooks", Class::Refused, 0);
    assert_eq!(
        next(&watched.wakes.policies).await,
        policy_ref("payments", "webhooks")
    );
    assert_eq!(watched.caches.namespaces.len(), 1);
    assert!(
        !failures.waits("payments/webhooks"),
        "what failed while it was gone says nothing"
    );
}

/// The pods of clients are watched as all else is: a version that is gone is no end.
#[tokio::test(start_paused = true)]
async fn client_pods_are_listed_anew_when_their_version_is_gone() {
    let pod = |name: &str, ip: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "payments", "uid": name, "resourceVersion": "1"},
            "spec": {}, "status": {"phase": "Running", "podIPs": [{"ip": ip}], "startTime": "2027-01-01T00:00:00Z"}})
    };
    for code in [410, 504] {
        let pods = vec![
            Answer::List(10, vec![pod("old", "10.244.3.1")]),
            Answer::Refused(code),
            Answer::List(20, vec![pod("new", "10.244.3.2")]),
        ];
        let watched = watched([("/api/v1/pods", pods)]);
        let names = || -> Vec<String> {
            let pods = watched.client_pods.of("payments");
            pods.iter().map(|pod| pod.pod.name.clone()).collect()
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while names() != ["new"] {
            assert!(
                Instant::now() < deadline,
                "{code}: {:?} after {:?}",
                names(),
                watched.script.lock().unwrap().asked
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Everything is refused for a minute, as by an API server with another signing key, or is not answered at all.
#[tokio::test(start_paused = true)]
async fn watches_that_fail_show_and_work_goes_on_right_after() {
    for (outage, words) in [
        (Answer::Refused(401), "401"),
        (Answer::Refused(404), "404"),
        (Answer::Refused(503), "cannot for the moment"),
        (Answer::Dropped, "no answer"),
    ] {
        let watched = watched([(
            "/egresspolicies",
            vec![Answer::List(10, vec![stored(policy(), 2)])],
        )]);
        watched
            .until("the list", |caches| caches.policies.len() == 1)
            .await;
        watched.settled().await;
        assert_eq!(watched.health.unready(), None);
        let failures = &watched.wakes.failures;
        failures.more("payments/webhooks", Class::Refused, 0);
        watched.script.lock().unwrap().outage = Some(outage.clone());
        watched.script.lock().unwrap().cut.notify_waiters();
        tokio::time::sleep(Duration::from_secs(60)).await;
        let trouble = watched.health.unready().unwrap_or_default();
        assert!(
            trouble.contains(words) && trouble.contains("egresspolicies"),
            "{outage:?}: {trouble}"
        );
        watched.settled().await;
        watched.script.lock().unwrap().outage = None;
        let over = Instant::now();
        assert_eq!(
            next(&watched.wakes.policies).await,
            policy_ref("payments", "webhooks")
        );
        assert!(
            over.elapsed() < Duration::from_secs(5),
            "{outage:?}: {:?}",
            over.elapsed()
        );
        assert!(!watched.wakes.failures.waits("payments/webhooks"), "{outage:?}");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(watched.health.unready(), None, "{outage:?}");
    }
}
