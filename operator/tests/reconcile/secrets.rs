//! A policy that refers to a tenant's Secret: what reaches the fleet, and what every answer to a read leads to.

use std::collections::BTreeMap;
use std::sync::Arc;

use egressway_core::wire::document::PasswordDigest;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::{
    At, Fault, POLICY, POOL, World, bring_up, catches_up, conditions, fleet_secrets, hash, policies, policy,
    pool, report, run, secrets_hash, settle,
};

const PASSWORD: &str = "/api/v1/namespaces/payments/secrets/legacy";
const LISTENER: &str = "/api/v1/namespaces/payments/secrets/listener";

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

/// A certificate that ends in 2035, and its key.
fn pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["proxy.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2035, 1, 2);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn listener(cert: &str, key: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "listener", "namespace": "payments", "uid": "secret-uid", "labels": {"egressway.dev/use": "proxy"}},
        "data": {"tls.crt": ByteString(cert.into()), "tls.key": ByteString(key.into())}})
}

/// A policy whose listener has a certificate, on a fleet that is up.
async fn with_certificate(cert: &str, key: &str) -> World {
    let mut policy = policy();
    policy["spec"]["listener"] = json!({"tls": {"certificateRef": {"name": "listener"}}});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "payments"}});
    let mut world = World::new(&[
        (POLICY, policy),
        (POOL, pool()),
        (LISTENER, listener(cert, key)),
        ("/api/v1/namespaces/payments", namespace),
    ]);
    settle(&mut world).await;
    bring_up(&world);
    settle(&mut world).await;
    world
}

/// What of the listener's Secret the fleet's pods have.
fn pair_in_force(world: &World) -> Option<BTreeMap<String, String>> {
    let secrets = fleet_secrets(world)?;
    Some(secrets.policies[0].secrets.get("listener")?.data.clone())
}

fn resolved_refs(world: &World) -> String {
    let policy = world.get(POLICY).unwrap();
    let all = policy["status"]["conditions"].as_array().unwrap();
    let one = all.iter().find(|one| one["type"] == "ResolvedRefs").unwrap();
    one["message"].as_str().unwrap().to_owned()
}

fn at(world: &mut World, now: fn() -> Timestamp) {
    Arc::get_mut(&mut world.ctx).unwrap().now = now;
}

#[tokio::test]
async fn a_broken_rotation_leaves_the_listener_its_last_good_certificate_until_that_expires() {
    let ((cert, key), (next_cert, next_key)) = (pair(), pair());
    let mut world = with_certificate(&cert, &key).await;
    let good = pair_in_force(&world);
    assert_eq!(good.as_ref().unwrap()["tls.key"], key);
    assert_eq!(conditions(&world)["Ready"], "True Serving");
    // A new certificate beside the old key.
    world.edit(LISTENER, |secret| *secret = listener(&next_cert, &key));
    settle(&mut world).await;
    let before = |world: &World| {
        assert_eq!(pair_in_force(world), good);
        let all = conditions(world);
        assert_eq!(all["ResolvedRefs"], "False SecretInvalid");
        let message = resolved_refs(world);
        for words in [
            "payments/listener",
            "tls.key does not belong",
            "in force until 2035-01-02T00:00:00Z",
        ] {
            assert!(message.contains(words), "{message}");
        }
    };
    before(&world);
    let all = conditions(&world);
    assert_eq!(
        (&*all["Ready"], &*all["Programmed"]),
        ("True Serving", "True InSync")
    );
    // A new operator has nothing but what stands in the cluster.
    world.restart();
    report(&world, &hash(&world));
    settle(&mut world).await;
    before(&world);
    // Nobody answers for a while, and it is still broken then.
    world.api.lock().unwrap().refused = Some((LISTENER.to_owned(), 503));
    settle(&mut world).await;
    assert_eq!(pair_in_force(&world), good);
    world.api.lock().unwrap().refused = None;
    settle(&mut world).await;
    before(&world);
    // Each end of it, from here.
    type Change = fn(&mut World);
    let deleted: Change = |world| {
        world.api.lock().unwrap().objects.remove(LISTENER);
    };
    let not_granted: Change = |world| world.api.lock().unwrap().refused = Some((LISTENER.to_owned(), 403));
    let not_labelled: Change =
        |world| world.edit(LISTENER, |secret| secret["metadata"]["labels"] = json!({}));
    let expired: Change = |world| at(world, || "2035-01-02T00:00:00Z".parse().unwrap());
    for (change, condition) in [
        (deleted, "False SecretNotFound"),
        (not_granted, "False SecretForbidden"),
        (not_labelled, "False SecretNotLabelled"),
        (expired, "False SecretInvalid"),
    ] {
        let mut world = world.fork();
        report(&world, &hash(&world));
        settle(&mut world).await;
        before(&world);
        change(&mut world);
        settle(&mut world).await;
        assert_eq!(pair_in_force(&world), None, "{condition}");
        let all = conditions(&world);
        assert_eq!(
            (&*all["ResolvedRefs"], &*all["Ready"]),
            (condition, "False UnresolvedRefs")
        );
        assert!(!resolved_refs(&world).contains("in force until"));
        // What was taken away does not come back with a Secret that is broken.
        world.api.lock().unwrap().refused = None;
        world.restart();
        world
            .api
            .lock()
            .unwrap()
            .objects
            .insert(LISTENER.to_owned(), listener(&next_cert, &key));
        settle(&mut world).await;
        assert_eq!(pair_in_force(&world), None, "{condition}");
    }
    // The rotation is finished.
    world.edit(LISTENER, |secret| *secret = listener(&next_cert, &next_key));
    settle(&mut world).await;
    assert_eq!(pair_in_force(&world).unwrap()["tls.key"], next_key);
    assert_eq!(conditions(&world)["ResolvedRefs"], "True Resolved");
}
