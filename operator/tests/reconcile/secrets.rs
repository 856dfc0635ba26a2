//! A policy that refers to a tenant's Secret: what reaches the fleet, and what every answer to a read leads to.

use egressway_core::wire::document::PasswordDigest;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::{
    At, Fault, POLICY, POOL, World, bring_up, catches_up, conditions, fleet_secrets, policies, policy, pool,
    run, secrets_hash, settle,
};

const PASSWORD: &str = "/api/v1/namespaces/payments/secrets/legacy";

fn password(text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "legacy", "namespace": "payments", "uid": "secret-uid", "labels": {"egressway.dev/use": "proxy"}},
        "data": {"password": ByteString(text.as_bytes().to_vec()), "other": ByteString(b"c4n4ry".to_vec())}})
}

/// A policy whose only client presents a password.
fn with_password() -> World {
    let mut policy = policy();
    policy["spec"]["clients"] =
        json!([{"name": "legacy", "auth": {"passwordSecretRefs": [{"name": "legacy"}]}}]);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "payments"}});
    World::new(&[
        (POLICY, policy),
        (POOL, pool()),
        (PASSWORD, password("c4n4ry-1\n")),
        ("/api/v1/namespaces/payments", namespace),
    ])
}

fn digest(world: &World) -> Option<PasswordDigest> {
    let legacy = fleet_secrets(world)?.policies[0].secrets.get("legacy").cloned()?;
    assert!(
        legacy.data.is_empty(),
        "a password is taken as a digest and nothing else"
    );
    legacy.passwords.get("password").cloned()
}

#[tokio::test]
async fn a_password_reaches_the_fleet_as_a_digest_and_follows_its_secret() {
    let mut world = with_password();
    settle(&mut world).await;
    assert!(digest(&world).unwrap().matches(b"c4n4ry-1"));
    assert_eq!(conditions(&world)["ResolvedRefs"], "True Resolved");
    world.calls();
    run(&mut world).await.unwrap();
    assert_eq!(
        world.calls(),
        [format!("GET {PASSWORD}")],
        "settled: it is looked at, and nothing else happens"
    );
    world.edit(PASSWORD, |secret| *secret = password("c4n4ry-2"));
    settle(&mut world).await;
    assert!(digest(&world).unwrap().matches(b"c4n4ry-2"));
    for (path, object) in world.fleet() {
        assert!(!object.to_string().contains("c4n4ry"), "{path}");
    }
    assert!(!world.get(POLICY).unwrap().to_string().contains("c4n4ry"));
    // Once no client has a password any more, nothing of it is kept.
    world.edit(POLICY, |policy| {
        policy["spec"].as_object_mut().unwrap().remove("clients");
    });
    settle(&mut world).await;
    assert!(world.calls().iter().all(|call| !call.contains(PASSWORD)));
}

/// A pod counts as programmed once it has the secrets as well.
#[tokio::test]
async fn programmed_waits_for_the_secrets() {
    let mut world = with_password();
    settle(&mut world).await;
    bring_up(&world);
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Programmed"], "True InSync");
    let stale = secrets_hash(&world);
    world.edit(PASSWORD, |secret| *secret = password("c4n4ry-2"));
    settle(&mut world).await;
    assert_ne!(secrets_hash(&world), stale);
    catches_up(&mut world).await;
}

#[tokio::test]
async fn a_secret_that_is_taken_away_denies_and_one_that_cannot_be_asked_for_stays() {
    type Change = fn(&mut Value);
    let unlabel: Change = |secret| secret["metadata"]["labels"] = json!({});
    let empty: Change = |secret| secret["data"] = json!({});
    let broken: Change =
        |secret| secret["data"]["password"] = serde_json::to_value(ByteString(vec![])).unwrap();
    for (change, condition) in [
        (unlabel, "False SecretNotLabelled"),
        (empty, "False SecretKeyMissing"),
        (broken, "False SecretInvalid"),
    ] {
        let mut world = with_password();
        settle(&mut world).await;
        world.edit(PASSWORD, change);
        settle(&mut world).await;
        assert_eq!(conditions(&world)["ResolvedRefs"], condition);
        assert_eq!(digest(&world), None, "{condition}");
    }
    for (code, condition, stays) in [
        (403, "False SecretForbidden", false),
        (404, "False SecretNotFound", false),
        (429, "Unknown SecretUnreadable", true),
        (500, "Unknown SecretUnreadable", true),
        (503, "Unknown SecretUnreadable", true),
    ] {
        let mut world = with_password();
        settle(&mut world).await;
        world.api.lock().unwrap().refused = Some((PASSWORD.to_owned(), code));
        settle(&mut world).await;
        assert_eq!(conditions(&world)["ResolvedRefs"], condition, "{code}");
        assert_eq!(digest(&world).is_some(), stays, "{code}");
        // Nor does a new operator, which has nothing but what stands in the cluster.
        world.restart();
        settle(&mut world).await;
        assert_eq!(digest(&world).is_some(), stays, "{code}");
        world.api.lock().unwrap().refused = None;
        settle(&mut world).await;
        assert!(digest(&world).unwrap().matches(b"c4n4ry-1"));
        assert_eq!(conditions(&world)["ResolvedRefs"], "True Resolved");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_nobody_answers_for_holds_no_acl_up() {
    let mut world = with_password();
    settle(&mut world).await;
    world.api.lock().unwrap().silent = Some(PASSWORD.to_owned());
    world.edit(POLICY, |policy| {
        policy["spec"]["rules"][0]["hosts"] = json!(["*.example.org"])
    });
    settle(&mut world).await;
    assert_eq!(
        policies(&world)["policies"][0]["content"]["rules"][0]["hosts"],
        json!(["*.example.org"])
    );
    assert!(digest(&world).is_some());
    assert_eq!(conditions(&world)["ResolvedRefs"], "Unknown SecretUnreadable");
}

/// Whichever call fails while a policy with a Secret is set up, the end is the same.
#[tokio::test]
async fn whichever_call_fails_the_secret_arrives() {
    let mut straight = with_password();
    settle(&mut straight).await;
    let calls = straight.api.lock().unwrap().count;
    let end = digest(&straight);
    for code in [500, 403, 404] {
        for at in 1..=calls {
            let mut world = with_password();
            world.api.lock().unwrap().fail = Some((At::Call(at), Fault::Refused(code)));
            let _ = run(&mut world).await;
            settle(&mut world).await;
            assert_eq!(digest(&world), end, "call {at} answers {code}");
        }
    }
}
