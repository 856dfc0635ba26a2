//! The operator on the API server in memory: its context, its caches, and the writing ends of them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use egressway_core::wire::names;
use egressway_operator::cluster::caches::{Caches, Writers, caches};
use egressway_operator::cluster::client_pods::{ClientPods, PodSeen};
use egressway_operator::cluster::issuer::Issuers;
use egressway_operator::cluster::memory::Memory;
use egressway_operator::context::{Context, Settings, Wakes};
use egressway_operator::events::Events;
use egressway_operator::metrics::Metrics;
use egressway_operator::reports::Reports;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use kube_runtime::reflector::Lookup;
use kube_runtime::reflector::store::Writer;
use kube_runtime::watcher::Event;
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{FLEETS, Outcome, State, objects};

/// The server, the operator's context on it, and the caches' writing ends.
pub(crate) struct World {
    /// The server.
    pub(crate) api: Arc<Mutex<State>>,
    /// What reconciles get.
    pub(crate) ctx: Arc<Context>,
    writers: Writers,
    seen: BTreeMap<String, Value>,
}

/// The time in these tests.
pub(crate) fn now() -> Timestamp {
    "2027-01-01T00:00:00Z".parse().unwrap()
}

fn context(api: &Arc<Mutex<State>>) -> (Context, Writers) {
    let state = Arc::clone(api);
    let service = tower::service_fn(move |request: Request<Body>| {
        let state = Arc::clone(&state);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let silent = state.lock().unwrap().silent.clone();
            if silent.as_deref() == Some(head.uri.path()) {
                std::future::pending::<()>().await;
            }
            let outcome = state.lock().unwrap().answer(&head, &body);
            match outcome {
                Outcome::Answer(status, answer) => {
                    let response = Response::builder()
                        .status(status)
                        .header("content-type", "application/json");
                    let body = Body::from(answer.to_string().into_bytes());
                    Ok(response.body(body).unwrap())
                }
                Outcome::Broken => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
                Outcome::Silence => std::future::pending().await,
            }
        }
    });
    let client = Client::new(service, "system");
    let (caches, writers): (Caches, Writers) = caches();
    let context = Context {
        client: client.clone(),
        wakes: Arc::new(Wakes::new(&caches)),
        caches,
        client_pods: Arc::new(ClientPods::default()),
        issuers: Arc::new(Issuers::default()),
        memory: Memory::default(),
        reports: Arc::new(Reports::default()),
        settings: Settings {
            fleet_namespace: FLEETS.to_owned(),
            operator_namespace: "system".to_owned(),
            service_account: "egressway".to_owned(),
            secret_reader_role: "egressway-secret-reader".to_owned(),
            proxy_image: "registry.example/proxy:1".to_owned(),
            proxy_image_pull_policy: "IfNotPresent".to_owned(),
            image_pull_secrets: vec![],
            cluster_domain: "cluster.local".to_owned(),
            internal_cidrs: vec![],
            never_cidrs: vec![],
            name_servers: vec!["10.10.0.53/32".to_owned()],
        },
        metrics: Metrics::register(&mut Registry::default()),
        events: Events::new(client, None),
        now,
        since: "2026-12-31T00:00:00Z".parse().unwrap(),
    };
    (context, writers)
}

impl World {
    /// A server with these objects, and caches that have seen them.
    pub(crate) fn new(objects: &[(&str, Value)]) -> Self {
        let api = Arc::new(Mutex::new(State::default()));
        for (path, object) in objects {
            api.lock().unwrap().put(path, object.clone());
        }
        Self::on(api)
    }

    /// The same server once more, on its own from now on, and an operator that has just started on it.
    pub(crate) fn fork(&self) -> Self {
        let api = Arc::new(Mutex::new(self.api.lock().unwrap().clone()));
        Self::on(api)
    }

    fn on(api: Arc<Mutex<State>>) -> Self {
        let (ctx, writers) = context(&api);
        let mut world = Self {
            api,
            ctx: Arc::new(ctx),
            writers,
            seen: BTreeMap::new(),
        };
        world.sync();
        world
    }

    /// An empty world whose every call is answered so, for what this server does not tell apart: request and body in,
    /// body out.
    pub(crate) fn answered_by(answer: impl Fn(&Parts, &Value) -> Value + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = Arc::clone(&answer);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let answer = answer(&head, &body).to_string().into_bytes();
                Ok::<_, Infallible>(Response::new(Body::from(answer)))
            }
        });
        let mut world = Self::new(&[]);
        Arc::get_mut(&mut world.ctx).unwrap().client = Client::new(service, "system");
        world
    }

    /// The operator starts anew: nothing but the server's objects is left.
    pub(crate) fn restart(&mut self) {
        let (ctx, writers) = context(&self.api);
        (self.ctx, self.writers) = (Arc::new(ctx), writers);
        self.seen.clear();
        self.sync();
    }

    /// Caches see what the server has.
    pub(crate) fn sync(&mut self) {
        let state = self.api.lock().unwrap();
        let seen = std::mem::replace(&mut self.seen, state.objects.clone());
        let gone = seen.keys().filter(|path| !state.objects.contains_key(*path));
        let new = state
            .objects
            .iter()
            .filter(|(path, object)| seen.get(*path) != Some(*object));
        let changed: Vec<&str> = gone
            .chain(new.map(|(path, _)| path))
            .map(String::as_str)
            .collect();
        let news = News {
            objects: &state.objects,
            changed: &changed,
            first: seen.is_empty(),
        };
        let writers = &mut self.writers;
        news.fill("/egresspolicies/", &mut writers.policies);
        news.fill("/egresspools/", &mut writers.pools);
        news.fill("/api/v1/namespaces/", &mut writers.namespaces);
        news.fill("/nodes/", &mut writers.nodes);
        news.fill("/pods/", &mut writers.pods);
        news.fill("/deployments/", &mut writers.deployments);
        news.fill("/services/", &mut writers.services);
        news.fill("/configmaps/", &mut writers.config_maps);
        news.fill(&format!("/namespaces/{FLEETS}/secrets/"), &mut writers.secrets);
        news.fill("/serviceaccounts/", &mut writers.service_accounts);
        news.fill("/networkpolicies/", &mut writers.network_policies);
        news.fill("/poddisruptionbudgets/", &mut writers.disruption_budgets);
        let Some(pods) = news.of::<PodSeen>("/pods/") else {
            return;
        };
        drop(state);
        self.ctx.client_pods.apply(Event::Init);
        for pod in pods {
            self.ctx.client_pods.apply(Event::InitApply(pod));
        }
        self.ctx.client_pods.apply(Event::InitDone);
    }

    /// The server fails no more.
    pub(crate) fn heals(&self) {
        let mut api = self.api.lock().unwrap();
        (api.silent, api.refused, api.fail) = (None, None, None);
    }

    /// The calls since the last time, without the Events.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = std::mem::take(&mut self.api.lock().unwrap().calls);
        calls
            .into_iter()
            .filter(|call| !call.contains("/events"))
            .collect()
    }

    /// The calls since the last time that write.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.calls()
            .into_iter()
            .filter(|call| !call.starts_with("GET"))
            .collect()
    }

    /// An object, changed in place as somebody else would.
    pub(crate) fn edit(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.api.lock().unwrap();
        let mut object = state.objects[path].clone();
        change(&mut object);
        if state.objects[path] != object {
            state.put(path, object);
        }
    }

    /// Whether the server takes this in an object's place, as somebody's edit; then it stands there.
    pub(crate) fn takes(&self, path: &str, object: Value) -> bool {
        let mut state = self.api.lock().unwrap();
        let before = state.objects.get(path).cloned();
        let taken = before.as_ref() != Some(&object) && objects::refusal(before.as_ref(), &object).is_none();
        if taken {
            state.put(path, object);
        }
        taken
    }

    /// An object.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.api.lock().unwrap().objects.get(path).cloned()
    }

    /// The path of the only object of a kind in the fleet namespace whose name begins so.
    pub(crate) fn path(&self, plural: &str, name: &str) -> String {
        let state = self.api.lock().unwrap();
        let part = format!("/{plural}/{name}");
        let found: Vec<&String> = state.objects.keys().filter(|path| path.contains(&part)).collect();
        assert_eq!(found.len(), 1, "{part}: {found:?}");
        found[0].clone()
    }

    /// The fleet's objects without what the server counts: for comparing ends of different ways.
    pub(crate) fn fleet(&self) -> BTreeMap<String, Value> {
        let state = self.api.lock().unwrap();
        let ours = state
            .objects
            .iter()
            .filter(|(path, _)| path.contains(&format!("/namespaces/{FLEETS}/")));
        ours.map(|(path, object)| {
            let mut object = object.clone();
            for field in ["resourceVersion", "uid", "generation"] {
                object["metadata"].as_object_mut().unwrap().remove(field);
            }
            (path.clone(), object)
        })
        .collect()
    }
}

/// What the caches have not seen yet. Kinds of which nothing has changed are left as they are: reading every object anew
/// for every run is most of these tests' time.
struct News<'a> {
    objects: &'a BTreeMap<String, Value>,
    changed: &'a [&'a str],
    first: bool,
}

impl News<'_> {
    /// All objects of a kind, if something about it is new.
    fn of<K: DeserializeOwned>(&self, part: &str) -> Option<Vec<K>> {
        let is = |path: &str| match part {
            "/api/v1/namespaces/" => path.strip_prefix(part).is_some_and(|name| !name.contains('/')),
            _ => path.contains(part),
        };
        if !self.first && !self.changed.iter().any(|path| is(path)) {
            return None;
        }
        // Watches of what the operator owns see labelled objects only.
        let owned = |path: &str, object: &Value| {
            !path.contains(&format!("/namespaces/{FLEETS}/"))
                || object["metadata"]["labels"][names::MANAGED_BY_LABEL] == names::MANAGED_BY
        };
        let objects = self
            .objects
            .iter()
            .filter(|(path, object)| is(path) && owned(path, object));
        Some(
            objects
                .map(|(_, object)| serde_json::from_value(object.clone()).unwrap())
                .collect(),
        )
    }

    fn fill<K>(&self, part: &str, writer: &mut Writer<K>)
    where
        K: Lookup<DynamicType = ()> + Clone + DeserializeOwned + 'static,
    {
        let Some(objects) = self.of::<K>(part) else { return };
        writer.apply_watcher_event(&Event::Init);
        for object in objects {
            writer.apply_watcher_event(&Event::InitApply(object));
        }
        writer.apply_watcher_event(&Event::InitDone);
    }
}
