//! A random walk over specs of policy and pool: what is reached over other states is what is reached at once, going back
//! brings back what was, and a fleet at rest costs no call.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::life::{difference, end, rest};
use super::*;

/// Steps of one walk, and walks.
const STEPS: usize = 12;
const WALKS: u32 = 10;

/// A policy's spec and a pool's.
#[derive(Clone, Debug)]
struct Specs {
    policy: Value,
    pool: Value,
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
        if condition["reason"] == "Accepted" {
            condition["message"] = json!("");
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

async fn walk(steps: &[Specs]) -> Result<(), TestCaseError> {
    let mut world = directly(&steps[0]).await;
    let mut before: Option<(&Specs, Value)> = None;
    for (step, specs) in steps.iter().enumerate() {
        go(&mut world, specs).await;
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
    let specs = (policy_spec(), pool_spec()).prop_map(|(policy, pool)| Specs { policy, pool });
    let config = Config {
        cases: WALKS,
        max_shrink_iters: 16,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&proptest::collection::vec(specs, STEPS), |steps| {
        runtime.block_on(walk(&steps))
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
