//! The operator dies: for a while, and at every moment of its work. The data plane serves on, and what it finds undone
//! when it is back it does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use egressway_crds::EgressPolicy;
use futures::stream::{BoxStream, SelectAll};
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::lifecycle::{objects, settled};
use super::{SHARED, proxy_url, shared, shared_batch};
use crate::client_pod::{ClientPod, per_second};
use crate::cluster::{Cluster, FLEETS, SYSTEM};
use crate::fixtures;
use crate::wait::eventually;

/// The policy that the operator is killed over.
const TENANT: &str = "e2e-kills";
const STRUCK: &str = "struck";
/// Requests a second through another fleet meanwhile.
const RATE: u32 = 20;
const URL: &str = "http://v4.example.test/";
const OPERATOR: &str = "app.kubernetes.io/name=egressway-operator";
/// The operator's node, and what is done there: wait for the operator's process, then for a line, then kill the one that
/// runs. The kernel keeps 15 characters of a process's name.
const NODE: &str = "sys-1";
const STRIKE: &str = "operator() { pgrep -x egressway-opera; }
until operator; do sleep 0.02; done >/dev/null
echo armed
read -r _ || exit
until pid=$(operator) && kill -KILL $pid; do sleep 0.02; done
while kill -0 $pid; do sleep 0.02; done 2>/dev/null
echo killed";
/// So long an operator may take to be there again.
const BACK: Duration = Duration::from_secs(90);

pub(super) async fn and_kept_away(cluster: Cluster) -> Result<()> {
    let (edge, batch) = shared(&cluster).await?;
    let client = ClientPod::start(&cluster, SHARED, "client").await?;
    let (proxy, other) = (proxy_url(&edge)?, proxy_url(&batch)?);
    // Once the client is served everywhere, nothing is left to be written.
    for proxy in [&proxy, &other] {
        client.finds(proxy).await?;
        let answer = client.fetch(proxy, URL, &[]).await?;
        ensure!(answer.status == 200, "{proxy}: {answer:?}");
    }
    let before = (
        objects(&cluster, SHARED, "edge").await?,
        objects(&cluster, SHARED, "batch").await?,
    );
    let requests = client.requests(RATE, &proxy, URL, &[])?;
    let scale = async |namespace: &str, deployment: &str, replicas: &str| {
        let replicas = format!("--replicas={replicas}");
        cluster
            .kubectl(&["scale", "deployment", "-n", namespace, deployment, &replicas])
            .await
    };
    delete_operator(&cluster).await?;
    scale(SYSTEM, "egressway", "0").await?;
    let absence = client
        .many(&proxy, URL, &["-seconds", "12", "-gap", "200ms"])
        .await;
    // Somebody edits while nobody watches; the operator must find it when it is back.
    let deployment = before
        .1
        .keys()
        .find_map(|key| key.strip_prefix("Deployment/"))
        .context("no Deployment")?;
    let edited = scale(FLEETS, deployment, "0").await;
    scale(SYSTEM, "egressway", "1").await?;
    absence?;
    edited?;
    eventually("the same objects as before", Duration::from_secs(60), || async {
        let now = (
            objects(&cluster, SHARED, "edge").await?,
            objects(&cluster, SHARED, "batch").await?,
        );
        Ok(if now == before {
            Ok(())
        } else {
            Err("they differ".to_owned())
        })
    })
    .await?;
    cluster
        .await_condition(SHARED, "batch", "Ready", "True", Duration::from_secs(90))
        .await?;
    requests.stop("without the operator").await.map(|_| ())
}

/// Ends the operator's pod without a word to it, and without the wait of a container that is started again.
async fn delete_operator(cluster: &Cluster) -> Result<()> {
    Api::<Pod>::namespaced(cluster.client.clone(), SYSTEM)
        .delete_collection(
            &DeleteParams::default().grace_period(0),
            &ListParams::default().labels(OPERATOR),
        )
        .await
        .map(|_| ())
        .context("failed to delete the operator's pod")
}

/// SIGKILL for the operator, so near at hand that it strikes between two of its writes.
struct Killer {
    _child: Child,
    go: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Killer {
    /// Waits for an operator.
    async fn armed(cluster: &Cluster) -> Result<Self> {
        let mut child = cluster
            .lab()?
            .command(&["node", "exec", NODE, "/bin/sh", "-c", STRIKE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut killer = Self {
            go: child.stdin.take().context("no stdin")?,
            said: BufReader::new(child.stdout.take().context("no stdout")?).lines(),
            _child: child,
        };
        killer.says("armed").await?;
        Ok(killer)
    }

    async fn says(&mut self, word: &str) -> Result<()> {
        let line = timeout(BACK, self.said.next_line())
            .await
            .context("no operator runs")??;
        ensure!(line.as_deref() == Some(word), "instead of {word}: {line:?}");
        Ok(())
    }

    async fn strikes(mut self) -> Result<()> {
        self.go.write_all(b"\n").await?;
        self.says("killed").await
    }
}

/// Everything that happens to the policy and its objects, as the API server tells it.
struct Moments(SelectAll<BoxStream<'static, Result<String>>>);

impl Moments {
    fn of_the_policy(cluster: &Cluster) -> Self {
        let only = watcher::Config::default().fields(&format!("metadata.name={STRUCK}"));
        let fleet = format!("egressway.dev/policy-namespace={TENANT},egressway.dev/policy-name={STRUCK}");
        let fleet = watcher::Config::default().labels(&fleet);
        Self(futures::stream::select_all([
            told(cluster.policies(TENANT), only),
            told(cluster.fleet::<ServiceAccount>(), fleet.clone()),
            told(cluster.fleet::<Secret>(), fleet.clone()),
            told(cluster.fleet::<ConfigMap>(), fleet.clone()),
            told(cluster.fleet::<Service>(), fleet.clone()),
            told(cluster.fleet::<NetworkPolicy>(), fleet.clone()),
            told(cluster.fleet::<PodDisruptionBudget>(), fleet.clone()),
            told(cluster.fleet::<Deployment>(), fleet),
        ]))
    }

    /// The next one that is not known yet.
    async fn next(&mut self, known: &mut BTreeSet<String>) -> Result<String> {
        loop {
            let moment = self.0.next().await.context("the watches ended")??;
            if known.insert(moment.clone()) {
                return Ok(moment);
            }
        }
    }

    /// Those that have come already are known from now on.
    fn pass(&mut self, known: &mut BTreeSet<String>) -> Result<()> {
        while let Some(Some(moment)) = self.0.next().now_or_never() {
            known.insert(moment?);
        }
        Ok(())
    }
}

/// One kind's moments: an object written or gone.
fn told<K>(api: Api<K>, which: watcher::Config) -> BoxStream<'static, Result<String>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + 'static,
{
    let said = |object: &K, what: &str| format!("{}/{} {what}", K::kind(&()), object.name_any());
    watcher::watcher(api, which)
        .filter_map(move |event| {
            let moment = match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => Some(Ok(said(&object, "written"))),
                Ok(Event::Delete(object)) => Some(Ok(said(&object, "gone"))),
                Ok(Event::Init | Event::InitDone) => None,
                Err(error) => Some(Err(error.into())),
            };
            std::future::ready(moment)
        })
        .boxed()
}

/// Kills the operator at each moment that is new, until the work is done; returns with how many objects each kill left.
async fn struck<T>(
    cluster: &Cluster,
    moments: &mut Moments,
    done: impl Future<Output = Result<T>>,
) -> Result<Vec<usize>> {
    let (mut known, mut kills, mut done) = (BTreeSet::new(), Vec::new(), pin!(done));
    loop {
        let killer = Killer::armed(cluster).await?;
        tokio::select! {
            ended = &mut done => return ended.map(|_| kills),
            moment = moments.next(&mut known) => {
                let moment = moment?;
                killer.strikes().await.with_context(|| format!("at {moment}"))?;
                delete_operator(cluster).await?;
                kills.push(objects(cluster, TENANT, STRUCK).await?.len());
                moments.pass(&mut known)?;
            }
        }
    }
}

fn manifest(rules: &Value, cpu: &str) -> String {
    let mut policy = fixtures::policy(TENANT, STRUCK, fixtures::BATCH, rules);
    policy["spec"]["fleet"]["resources"] = json!({"requests": {"cpu": cpu}});
    policy.to_string()
}

/// Waits until everything of the policy is as its manifest says.
async fn finished(cluster: &Cluster) -> Result<EgressPolicy> {
    for (kind, status) in [("Programmed", "True"), ("Progressing", "False")] {
        cluster
            .await_condition(TENANT, STRUCK, kind, status, BACK)
            .await?;
    }
    cluster
        .await_condition(TENANT, STRUCK, "Ready", "True", BACK)
        .await
}

/// Waits until nothing of the policy is left.
async fn gone(cluster: &Cluster) -> Result<()> {
    eventually("the policy to go", BACK, || async {
        let there = cluster.policies(TENANT).get_opt(STRUCK).await?.is_some();
        let left = objects(cluster, TENANT, STRUCK).await?;
        Ok(if there || !left.is_empty() {
            Err(format!("{:?}", left.keys()))
        } else {
            Ok(())
        })
    })
    .await
}

/// The policy's objects without what is another one each time: its UID, and the key that is drawn with its digest.
async fn lasting(cluster: &Cluster) -> Result<BTreeMap<String, Value>> {
    let policy = cluster.policies(TENANT).get(STRUCK).await?;
    let uid = policy.uid().context("no UID")?;
    let mut found = BTreeMap::new();
    for (key, mut object) in objects(cluster, TENANT, STRUCK).await? {
        if key.starts_with("Secret/") {
            object["data"] = Value::Null;
        }
        if let Some(annotations) = object.pointer_mut("/spec/template/metadata/annotations") {
            annotations["egressway.dev/key-hash"] = Value::Null;
        }
        found.insert(
            key,
            serde_json::from_str(&object.to_string().replace(&uid, "UID"))?,
        );
    }
    Ok(found)
}

async fn same_as(cluster: &Cluster, undisturbed: &BTreeMap<String, Value>, what: &str) -> Result<()> {
    let what = format!("the objects of an undisturbed {what}");
    eventually(&what, Duration::from_secs(20), || async {
        let found = lasting(cluster).await?;
        let differs = undisturbed
            .iter()
            .find(|(key, object)| found.get(*key) != Some(object));
        Ok(match differs {
            None if found.len() == undisturbed.len() => Ok(()),
            None => Err(format!("{:?}", found.keys())),
            Some((key, object)) => Err(format!("{key}: {object} became {:?}", found.get(key))),
        })
    })
    .await
}

pub(super) async fn at_any_moment(cluster: Cluster) -> Result<()> {
    let proxy = proxy_url(&shared_batch(&cluster).await?)?;
    let client = ClientPod::start(&cluster, SHARED, "client").await?;
    client.finds(&proxy).await?;
    cluster.fresh_namespace(TENANT).await?;
    let first = manifest(&fixtures::allow_echo(), "50m");
    let rules = json!([{"name": "other", "hosts": ["v4.example.test"], "ports": [{"port": 80}]}]);
    let second = manifest(&rules, "51m");

    let mut undisturbed = Vec::new();
    for manifest in [&first, &second] {
        cluster.apply(manifest).await?;
        finished(&cluster).await?;
        undisturbed.push(lasting(&cluster).await?);
    }
    cluster.leave_policy(TENANT, STRUCK).await?;
    gone(&cluster).await?;

    let requests = client.requests(RATE, &proxy, URL, &[])?;
    let mut moments = Moments::of_the_policy(&cluster);
    let mut kills = Vec::new();
    for ((manifest, undisturbed), what) in [&first, &second]
        .into_iter()
        .zip(&undisturbed)
        .zip(["creation", "edit"])
    {
        moments.pass(&mut BTreeSet::new())?;
        let work = async {
            cluster.apply(manifest).await?;
            finished(&cluster).await
        };
        kills.push(struck(&cluster, &mut moments, work).await?);
        same_as(&cluster, undisturbed, what).await?;
    }
    moments.pass(&mut BTreeSet::new())?;
    let work = async {
        cluster.leave_policy(TENANT, STRUCK).await?;
        gone(&cluster).await
    };
    kills.push(struck(&cluster, &mut moments, work).await?);
    let all = undisturbed.first().map_or(0, BTreeMap::len);
    let halves: usize = kills
        .iter()
        .flatten()
        .filter(|left| (1..all).contains(left))
        .count();
    let [created, edited, deleted] = kills.as_slice() else {
        anyhow::bail!("three phases: {kills:?}");
    };
    ensure!(
        halves > 0 && !created.is_empty() && !edited.is_empty() && !deleted.is_empty(),
        "no kill found the work half done: {kills:?}"
    );
    let answers = requests.stop("while the operator was killed").await?;
    settled(&cluster).await?;
    cluster.note(format!(
        "killed {} times over a creation, {} over an edit and {} over a deletion, with 1 to {} of {all} objects there \
         in {halves} of them: the same objects in the end; {} requests meanwhile, {} a second, none failed",
        created.len(),
        edited.len(),
        deleted.len(),
        all - 1,
        answers.len(),
        per_second(&answers)
    ));
    cluster.leave_namespace(TENANT).await
}
