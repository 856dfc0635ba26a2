//! What takes something away waits for nothing: no room in the ConfigMap, no other object's failure, no Secret that nobody
//! answers for.

use super::refused::{hosts, message, nodes};
use super::*;

/// What the pods are told, in short.
fn told(world: &World) -> (Value, usize) {
    let content = policies(world)["policies"][0]["content"].clone();
    let rules = content["rules"].as_array().unwrap().len();
    (content["closed"].clone(), rules)
}

fn bytes(world: &World) -> usize {
    let fleet = names::fleet_name("payments", "webhooks");
    let config = world
        .get(&format!("/api/v1/namespaces/{FLEETS}/configmaps/{fleet}"))
        .unwrap();
    let values = config["data"].as_object().unwrap().values();
    values.map(|value| value.as_str().unwrap().len()).sum()
}

/// A fleet at rest whose ACL has some 860 KB.
async fn heavy() -> World {
    let mut world = settled().await;
    world.edit(POLICY, |policy| policy["spec"]["rules"] = hosts(3500));
    settle(&mut world).await;
    report(&world, &hash(&world));
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Accepted"], "True Accepted");
    world
}

/// Hosts that a pool denies, some 240 bytes each.
pub(super) fn denied(count: usize) -> Value {
    let rules = hosts(count);
    let hosts = rules.as_array().unwrap().iter();
    let hosts: Vec<Value> = hosts
        .flat_map(|rule| rule["hosts"].as_array().unwrap().clone())
        .collect();
    json!({"hosts": {"deny": hosts}})
}

#[tokio::test]
async fn a_pool_that_denies_a_host_beside_an_acl_without_room_for_it_closes_the_fleet() {
    let mut world = heavy().await;
    world.edit(POOL, |pool| pool["spec"]["caps"] = denied(1500));
    settle(&mut world).await;
    assert_eq!(
        told(&world),
        (json!("Unaccepted"), 0),
        "the denied host must not go on"
    );
    assert!(bytes(&world) <= 1024 * 1024);
    assert_eq!(
        document(&world, "pool.json")["caps"]["hosts"]["deny"]
            .as_array()
            .unwrap()
            .len(),
        1500
    );
    let now = conditions(&world);
    assert_eq!(
        (&*now["Accepted"], &*now["Ready"]),
        ("False ConfigTooLarge", "False NotAccepted")
    );
    let message = message(&world, "Accepted");
    assert!(
        message.contains("room") && message.contains("refuses every new request"),
        "{message}"
    );
    // A restart knows no more, and opens nothing.
    world.restart();
    report(&world, &hash(&world));
    settle(&mut world).await;
    assert_eq!(told(&world), (json!("Unaccepted"), 0));
    world.edit(POOL, |pool| pool["spec"]["caps"] = json!({}));
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Accepted"], "True Accepted");
    assert_eq!(told(&world).0, Value::Null);
}

#[tokio::test]
async fn a_namespace_withdrawn_together_with_the_room_is_withdrawn() {
    let mut world = heavy().await;
    world.edit(POOL, |pool| {
        pool["spec"]["allowedNamespaces"] = json!({"from": "Names", "names": ["other"]});
        pool["spec"]["caps"] = denied(1500);
    });
    settle(&mut world).await;
    assert_eq!(told(&world), (json!("Unaccepted"), 0));
    assert_eq!(conditions(&world)["Accepted"], "False NamespaceNotAllowed");
    let message = message(&world, "Ready");
    assert!(message.contains("refuses every new request"), "{message}");
}

#[tokio::test]
async fn a_cluster_and_a_pool_that_grow_at_once_leave_the_pools_denials_in_force() {
    let mut world = heavy().await;
    nodes(&world, 3000);
    world.edit(POOL, |pool| pool["spec"]["caps"] = denied(100));
    world.sync();
    run(&mut world).await.unwrap_err();
    let denied = document(&world, "pool.json")["caps"]["hosts"]["deny"].clone();
    assert_eq!(
        denied.as_array().unwrap().len(),
        100,
        "the cluster's ranges wait, the denials do not"
    );
    assert_eq!(
        told(&world).0,
        Value::Null,
        "and who has room beside them is served"
    );
    assert_eq!(conditions(&world)["Ready"], "False ConfigTooLarge");
}

#[tokio::test]
async fn suspend_is_obeyed_whatever_else_is_wrong_with_the_spec() {
    let mut world = settled().await;
    let good = policies(&world);
    let bad = |suspend: bool| {
        move |policy: &mut Value| {
            policy["spec"]["rules"][0] = json!({"name": "net", "cidrs": ["192.175.48.1/24"]});
            policy["spec"]["suspend"] = json!(suspend);
        }
    };
    world.edit(POLICY, bad(true));
    settle(&mut world).await;
    assert_eq!(told(&world), (json!("Suspended"), 1));
    let now = conditions(&world);
    assert_eq!(
        (&*now["Accepted"], &*now["Ready"]),
        ("False InvalidRule", "False NotAccepted")
    );
    world.edit(POLICY, bad(false));
    settle(&mut world).await;
    assert_eq!(policies(&world), good, "what was accepted comes back");
    // Nor does it need room.
    let mut world = heavy().await;
    world.edit(POOL, |pool| pool["spec"]["caps"] = denied(1500));
    world.edit(POLICY, |policy| policy["spec"]["suspend"] = json!(true));
    settle(&mut world).await;
    let (closed, rules) = told(&world);
    assert!(!closed.is_null() && rules == 0, "{closed}");
}

/// Every way in which a write of what stands beside the ACL fails.
#[tokio::test(start_paused = true)]
async fn no_failed_secret_or_account_stands_before_a_revocation() {
    let fleet = names::fleet_name("payments", "webhooks");
    for kind in ["secrets", "serviceaccounts"] {
        let path = format!("/api/v1/namespaces/{FLEETS}/{kind}/{fleet}");
        for fault in [
            None,
            Some(Fault::Unanswered),
            Some(Fault::Lost),
            Some(Fault::Refused(500)),
        ] {
            let what = format!("{kind}, {fault:?}");
            let mut world = settled().await;
            world.edit(&path, |object| {
                object["metadata"]["labels"]["egressway.dev/pool-name"] = json!("bent")
            });
            match fault {
                Some(fault) => world.api.lock().unwrap().fail = Some((At::Write(path.clone()), fault)),
                None => world.api.lock().unwrap().refused = Some((path.clone(), 403)),
            }
            world.edit(POLICY, |policy| policy["spec"]["rules"] = json!([]));
            run(&mut world).await.unwrap_err();
            assert_eq!(told(&world).1, 0, "{what}: the revocation waits");
            // Nor does the next one, though nobody can say any more what stands there.
            world.edit(POLICY, |policy| policy["spec"]["suspend"] = json!(true));
            world.api.lock().unwrap().silent = fault.map(|_| path.clone());
            let _ = run(&mut world).await;
            assert_eq!(
                policies(&world)["policies"][0]["content"]["suspended"],
                true,
                "{what}"
            );
            world.heals();
            settle(&mut world).await;
            report(&world, &hash(&world));
            settle(&mut world).await;
            assert_eq!(conditions(&world)["Ready"], "False Suspended", "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_that_nobody_answers_for_hold_no_revocation_off_for_longer_than_a_second() {
    let mut world = settled().await;
    let bundle = "/api/v1/namespaces/payments/secrets/roots".to_owned();
    world.api.lock().unwrap().silent = Some(bundle);
    world.edit(POLICY, |policy| {
        policy["spec"]["rules"] = json!([{"name": "echo", "hosts": ["a.example.test"],
            "upstreamTLS": {"caRef": {"name": "roots"}}}]);
    });
    world.sync();
    let begin = Instant::now();
    let run = run_unsynced(&world);
    tokio::pin!(run);
    loop {
        tokio::select! {
            _ = &mut run => break,
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        let rules = policies(&world)["policies"][0]["content"]["rules"].clone();
        if rules[0]["hosts"] == json!(["a.example.test"]) {
            break;
        }
    }
    assert!(
        begin.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begin.elapsed()
    );
}
