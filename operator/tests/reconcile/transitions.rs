//! A random walk over specs of policy and pool: what is reached over other states is what is reached at once, going back
//! brings back what was, and a fleet at rest costs no call. On the way cells are drained, disabled, dark, without nodes and in
//! quarantine, and pools are deleted and made anew; a walk of its own goes over documents that have no room.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::life::{difference, end, kubelets, rest};
use super::*;

/// Steps of one walk, and walks.
const STEPS: usize = 10;
const WALKS: u32 = 8;

/// A policy's spec and a pool's.
#[derive(Clone, Debug)]
struct Specs {
    policy: Value,
    pool: Value,
}

/// Specs, and what happens while they are on their way or once they are there.
#[derive(Clone, Debug)]
struct Step {
    specs: Specs,
    held: Option<Held>,
    /// The pool is deleted, and made anew.
    gone: bool,
}

/// What is the matter with the second cell while specs change.
#[derive(Clone, Copy, Debug)]
enum Held {
    Dark,
    NoNodes,
    Quarantined,
}

fn pick(values: Vec<Value>) -> impl Strategy<Value = Value> {
    proptest::sample::select(values)
}

fn policy_spec() -> impl Strategy<Value = Value> {
    let rules = pick(vec![
        json!([{"name": "echo", "hosts": ["*.example.test"]}]),
        json!([{"name": "echo", "hosts": ["a.example.test"], "ports": [{"port": 8000, "endPort": 8999}]},
            {"name": "net", "action": "Deny", "cidrs": ["192.175.48.0/24"]}]),
        json!([]),
        json!([{"name": "net", "cidrs": ["192.175.48.1/24"]}]),
    ]);
    let fleet = pick(vec![
        json!(null),
        json!({"replicasPerCell": 3}),
        json!({"drain": "60s", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}),
        json!({"resources": {"requests": {"cpu": "100m"}}}),
        json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
    ]);
    let clients = pick(vec![
        json!(null),
        json!([{"name": "some", "from": {"podSelector": {"matchLabels": {"app": "sender"}}}}]),
        json!([{"name": "token", "auth": {"serviceAccounts": ["sender"]}}]),
    ]);
    let rest = pick(vec![
        json!({}),
        json!({"suspend": true}),
        json!({"mode": "Report"}),
        json!({"timeouts": {"idle": "60s"}, "limits": {"tunnels": 10}, "revokeTunnels": "OnClose"}),
    ]);
    (rules, fleet, clients, rest).prop_map(|(rules, fleet, clients, rest)| {
        let mut spec = json!({"poolRef": {"name": "edge"}, "rules": rules});
        for (field, value) in [("fleet", fleet), ("clients", clients)] {
            if !value.is_null() {
                spec[field] = value;
            }
        }
        spec.as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        spec
    })
}

fn pool_spec() -> impl Strategy<Value = Value> {
    let namespaces = proptest::sample::select(vec![
        json!({"from": "All"}),
        json!({"from": "All"}),
        json!({"from": "Names", "names": ["other"]}),
    ]);
    let second = pick(vec![
        json!({"state": "Active"}),
        json!({"state": "Draining", "nodeSelector": {"zone": "c"}}),
        json!({"state": "Disabled"}),
        json!({"tolerations": [{"key": "pool", "operator": "Exists"}]}),
        json!(null),
    ]);
    let rest = pick(vec![
        json!({}),
        json!({"caps": {"modes": ["Enforce", "Report"], "maxReplicasPerCell": 2}}),
        json!({"caps": {"clientAuth": "Required", "ports": [{"port": 443}]}}),
        json!({"fleet": {"replicasPerCell": 2, "drain": "30s"}, "nat64Prefixes": ["2001:db8:64::/96"]}),
    ]);
    (namespaces, second, rest).prop_map(|(namespaces, second, rest)| {
        let mut spec = pool()["spec"].clone();
        spec["allowedNamespaces"] = namespaces;
        let fields = spec.as_object_mut().unwrap();
        fields.extend(rest.as_object().unwrap().clone());
        let cells = fields["cells"].as_array_mut().unwrap();
        match second.as_object() {
            Some(second) => cells[1].as_object_mut().unwrap().extend(second.clone()),
            None => drop(cells.pop()),
        }
        spec
    })
}

/// What a fleet and its policy are, without the numbers of generations: ways of different length count differently.
fn reached(world: &World) -> Value {
    let mut objects = end(world);
    for object in objects.as_object_mut().unwrap().values_mut() {
        if let Some(json) = object["data"]["policies.json"].as_str() {
            let mut documents: Value = serde_json::from_str(json).unwrap();
            documents["policies"][0]["generation"] = json!(0);
            object["data"]["policies.json"] = documents;
        }
    }
    let status = &mut objects[POLICY]["status"];
    status["observedGeneration"] = json!(0);
    status["config"]["generation"] = json!(0);
    // Which addresses were seen is history, and meant to be.
    status["egressIPs"] = json!([]);
    let conditions = status["conditions"].as_array_mut().unwrap();
    conditions.retain(|condition| condition["type"] != "EgressIPsVerified");
    for condition in conditions {
        condition["observedGeneration"] = json!(0);
        // "generation 12 is accepted; what has no effect in it"
        if condition["type"] == "Accepted" && condition["status"] == "True" {
            let message = condition["message"].as_str().unwrap_or_default();
            condition["message"] = json!(message.split_once(';').map(|(_, warnings)| warnings));
        }
    }
    objects
}

fn is_accepted(world: &World) -> bool {
    conditions(world)["Accepted"].starts_with("True")
}

async fn directly(specs: &Specs) -> World {
    let mut world = world();
    client_pod(&world, "payments", "sender", "10.244.3.1", "2027-01-01T00:00:00Z");
    go(&mut world, specs).await;
    world
}

/// To other specs, until no call is made any more.
async fn go(world: &mut World, specs: &Specs) {
    world.edit(POLICY, |policy| policy["spec"] = specs.policy.clone());
    world.edit(POOL, |pool| pool["spec"] = specs.pool.clone());
    rest(world, async |_| {}).await;
}

/// To other specs while a cell serves nobody, until no call is made any more.
async fn go_held(world: &mut World, specs: &Specs, held: Held) {
    world.edit(POLICY, |policy| policy["spec"] = specs.policy.clone());
    world.edit(POOL, |pool| pool["spec"] = specs.pool.clone());
    for _ in 0..60 {
        hold(world, held);
        world.calls();
        if run(world).await.is_ok() && world.calls().is_empty() {
            return;
        }
        kubelets(world);
    }
    panic!("no rest");
}

/// The second cell serves nobody.
fn hold(world: &World, held: Held) {
    let name = names::cell_name("payments", "webhooks", "b");
    let deployment = format!("/apis/apps/v1/namespaces/{FLEETS}/deployments/{name}");
    let pod = format!("/api/v1/namespaces/{FLEETS}/pods/{name}-x");
    if world.get(&deployment).is_none() || world.get(&pod).is_none() {
        return;
    }
    world.edit(&deployment, |object| {
        object["status"]["availableReplicas"] = json!(0);
        object["status"]["readyReplicas"] = json!(0);
    });
    world.edit(&pod, |pod| {
        pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
        if matches!(held, Held::NoNodes) {
            pod["status"]["phase"] = json!("Pending");
            pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False",
                "reason": "Unschedulable", "message": "0/3 nodes are available"}]);
        }
    });
    if let (Held::Quarantined, Some(mut report)) = (held, world.ctx.reports.of("pod-b").report) {
        report.phase = Phase::Quarantined;
        world.ctx.reports.answered("pod-b", report);
    }
}

/// What is wanted of every Deployment.
fn wanted(world: &World) -> Value {
    let objects = end(world);
    let deployments = objects.as_object().unwrap().iter();
    deployments
        .filter(|(_, object)| object["kind"] == "Deployment")
        .map(|(path, object)| (path.clone(), object["spec"].clone()))
        .collect()
}

/// The fleet alone.
fn fleet(world: &World) -> Value {
    let mut objects = end(world);
    objects.as_object_mut().unwrap().remove(POLICY);
    objects
}

/// The pool goes, which changes nothing but what is said, and comes back.
async fn lose_the_pool(world: &mut World, what: &str) -> Result<(), TestCaseError> {
    let before = fleet(world);
    let lost = world.api.lock().unwrap().objects.remove(POOL).unwrap();
    rest(world, async |_| {}).await;
    prop_assert_eq!(
        difference(&fleet(world), &before),
        None,
        "without its pool, {}",
        what
    );
    prop_assert!(
        !is_accepted(world),
        "nothing is accepted without a pool, {}",
        what
    );
    let spec = lost["spec"].clone();
    world.api.lock().unwrap().objects.insert(POOL.to_owned(), lost);
    world.edit(POOL, |pool| pool["spec"] = spec);
    rest(world, async |_| {}).await;
    Ok(())
}

async fn walk(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = directly(&steps[0].specs).await;
    let mut before: Option<(&Specs, Value)> = None;
    for (step, Step { specs, held, gone }) in steps.iter().enumerate() {
        if let Some(held) = held {
            go_held(&mut world, specs, *held).await;
            let direct = directly(specs).await;
            if is_accepted(&world) {
                let there = wanted(&direct);
                prop_assert_eq!(
                    difference(&wanted(&world), &there),
                    None,
                    "{:?} and {:?}",
                    held,
                    specs
                );
            }
        }
        go(&mut world, specs).await;
        if *gone {
            lose_the_pool(&mut world, &format!("{specs:?}")).await?;
        }
        let direct = directly(specs).await;
        // What stays in force of a refused policy depends on what was accepted; that it is refused does not.
        prop_assert_eq!(is_accepted(&world), is_accepted(&direct), "{:?}", specs);
        if is_accepted(&world) {
            let here = reached(&world);
            prop_assert_eq!(difference(&here, &reached(&direct)), None, "{:?}", specs);
            if before.is_none() || step % 3 > 0 {
                before = Some((specs, here));
                continue;
            }
        }
        if let Some((specs, there)) = &before {
            go(&mut world, specs).await;
            prop_assert_eq!(difference(&reached(&world), there), None, "back to {:?}", specs);
        }
    }
    Ok(())
}

#[test]
fn whatever_the_way_the_end_is_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let held = proptest::sample::select(vec![
        None,
        None,
        Some(Held::Dark),
        Some(Held::NoNodes),
        Some(Held::Quarantined),
    ]);
    let steps = (policy_spec(), pool_spec(), held, proptest::bool::weighted(0.3));
    let steps = steps.prop_map(|(policy, pool, held, gone)| Step {
        specs: Specs { policy, pool },
        held,
        gone,
    });
    let config = Config {
        cases: WALKS,
        max_shrink_iters: 16,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&proptest::collection::vec(steps, STEPS), |steps| {
        runtime.block_on(walk(&steps))
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// Documents that have room and documents that have none, in any order: what a pool takes away is in force at every step,
/// and what is accepted is what is reached at once.
#[tokio::test]
async fn no_way_over_documents_without_room_leaves_anything_open() {
    let small = || policy()["spec"].clone();
    let heavy = || {
        let mut spec = small();
        spec["rules"] = refused::hosts(3500);
        spec
    };
    let pool = |denied: usize, allowed: bool| {
        let mut spec = pool()["spec"].clone();
        if denied > 0 {
            spec["caps"] = revocation::denied(denied);
        }
        if !allowed {
            spec["allowedNamespaces"] = json!({"from": "Names", "names": ["other"]});
        }
        spec
    };
    let mut world = directly(&Specs {
        policy: small(),
        pool: pool(0, true),
    })
    .await;
    for (what, policy, denied, allowed, gone) in [
        ("all is small", small(), 0, true, false),
        ("an ACL grows", heavy(), 0, true, false),
        ("a pool denies beside it", heavy(), 1500, true, false),
        ("and is gone", heavy(), 1500, true, true),
        ("the ACL shrinks", small(), 1500, true, false),
        ("the ACL grows again, and is refused", heavy(), 1500, true, false),
        ("the pool gives way", heavy(), 0, true, false),
        ("the pool withdraws, and denies", heavy(), 1500, false, false),
        ("all is small again", small(), 0, true, false),
    ] {
        let specs = Specs {
            policy,
            pool: pool(denied, allowed),
        };
        go(&mut world, &specs).await;
        if gone {
            lose_the_pool(&mut world, what).await.unwrap();
        }
        let content = policies(&world)["policies"][0]["content"].clone();
        let denies = document(&world, names::POOL_KEY)["caps"]["hosts"]["deny"].clone();
        assert_eq!(denies.as_array().map_or(0, Vec::len), denied, "{what}");
        assert!(
            allowed || content["closed"] == "Unaccepted",
            "{what}: {}",
            content["closed"]
        );
        if is_accepted(&world) {
            let direct = directly(&specs).await;
            assert_eq!(difference(&reached(&world), &reached(&direct)), None, "{what}");
        } else {
            assert!(denied > 0, "{what}: there is room");
        }
    }
}
