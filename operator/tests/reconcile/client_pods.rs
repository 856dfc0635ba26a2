//! Client pods come and go: what is written then, how often, and who issues the tokens of ServiceAccounts.

use super::*;

#[tokio::test]
async fn a_client_pod_rewrites_the_client_pods_and_nothing_else() {
    let mut world = settled().await;
    let (whole, status) = (world.fleet(), world.get(POLICY).unwrap()["status"].clone());
    assert_eq!(client_pods(&world), "");
    client_pod(&world, "payments", "sender", "10.244.3.1", "2027-01-01T00:00:00Z");
    client_pod(&world, "other", "stranger", "10.244.3.2", "2027-01-01T00:00:00Z");
    run(&mut world).await.unwrap();
    assert_eq!(world.writes(), [format!("PATCH {}", clients_path())]);
    assert_eq!(client_pods(&world), "sender 10.244.3.1");
    let wanted = world.ctx.reports.wanted("policy-uid").unwrap();
    assert_eq!(wanted.hashes.clients, document::digest(&clients(&world)));
    assert_eq!(
        world.get(POLICY).unwrap()["status"],
        status,
        "Programmed is not about it"
    );
    settle(&mut world).await;
    world.restart();
    run(&mut world).await.unwrap();
    assert!(world.writes().is_empty(), "a new operator writes the same bytes");
    world
        .api
        .lock()
        .unwrap()
        .objects
        .remove("/api/v1/namespaces/payments/pods/sender");
    run(&mut world).await.unwrap();
    assert_eq!(world.writes(), [format!("PATCH {}", clients_path())]);
    let without_hash = |mut fleet: BTreeMap<String, Value>| {
        fleet.retain(|path, _| *path != clients_path());
        fleet
    };
    assert_eq!(
        (client_pods(&world), without_hash(world.fleet())),
        (String::new(), without_hash(whole))
    );
}

#[tokio::test]
async fn an_address_that_a_pod_of_another_namespace_took_over_is_no_client_any_more() {
    let mut world = settled().await;
    client_pod(&world, "payments", "sender", "10.244.3.1", "2027-01-01T00:00:00Z");
    settle(&mut world).await;
    assert_eq!(client_pods(&world), "sender 10.244.3.1");
    client_pod(&world, "other", "stranger", "10.244.3.1", "2027-01-01T00:00:05Z");
    settle(&mut world).await;
    assert_eq!(client_pods(&world), "");
}

#[tokio::test]
async fn a_refused_edit_keeps_the_selectors_and_pods_come_and_go_all_the_same() {
    let mut world = settled().await;
    let only = |name: &str| json!([{"name": "it", "from": {"podSelector": {"matchLabels": {"app": name}}}}]);
    client_pod(&world, "payments", "old", "10.244.3.1", "2027-01-01T00:00:00Z");
    world.edit(POLICY, |policy| policy["spec"]["clients"] = only("old"));
    settle(&mut world).await;
    assert_eq!(client_pods(&world), "old 10.244.3.1");
    world.edit(POLICY, |policy| {
        policy["spec"]["clients"] = only("new");
        policy["spec"]["rules"][0] =
            json!({"name": "net", "cidrs": ["192.175.48.1/24"], "ports": [{"port": 443}]});
    });
    client_pod(&world, "payments", "new", "10.244.3.2", "2027-01-01T00:00:00Z");
    settle(&mut world).await;
    world.restart();
    report(&world, &hash(&world));
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Accepted"], "False InvalidRule");
    assert_eq!(
        client_pods(&world),
        "old 10.244.3.1",
        "the whole of the last good policy is in force"
    );
    world.edit(
        POLICY,
        |policy| {
            policy["spec"]["rules"] =
                json!([{"name": "echo", "hosts": ["*.example.test"], "ports": [{"port": 443}]}])
        },
    );
    settle(&mut world).await;
    assert_eq!(client_pods(&world), "new 10.244.3.2");
    world.edit(POLICY, |policy| {
        policy["spec"]["clients"] = json!([{"name": "it", "from": {"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn"}]}}}]);
    });
    settle(&mut world).await;
    assert_eq!(conditions(&world)["Accepted"], "False InvalidClient");
    assert_eq!(client_pods(&world), "new 10.244.3.2");
}

#[tokio::test]
async fn clients_that_need_no_lookup_have_no_document_and_those_with_tokens_have_the_issuer() {
    let mut world = settled().await;
    let auth = |auth: Value| json!([{"name": "it", "auth": auth}]);
    world.edit(POLICY, |policy| {
        policy["spec"]["clients"] = auth(json!({"passwordSecretRefs": [{"name": "pass"}]}))
    });
    settle(&mut world).await;
    assert_eq!(world.get(&clients_path()), None);
    assert_eq!(world.ctx.reports.wanted("policy-uid").unwrap().hashes.clients, "");
    let put = |world: &World, path: &str, answer: Value| {
        world.api.lock().unwrap().objects.insert(path.to_owned(), answer)
    };
    put(
        &world,
        DISCOVERY_PATH,
        json!({"issuer": "https://issuer.example"}),
    );
    put(
        &world,
        KEYS_PATH,
        json!({"keys": [{"kty": "RSA", "kid": "a", "n": "AQ", "e": "AQAB"}]}),
    );
    world.ctx.issuers.read(&world.ctx.client).await.unwrap();
    world.edit(POLICY, |policy| {
        policy["spec"]["clients"] = auth(json!({"serviceAccounts": ["sender"]}))
    });
    settle(&mut world).await;
    let good = clients(&world);
    assert_eq!(good.issuer.as_ref().unwrap().issuer, "https://issuer.example");
    // A new operator that cannot read it writes what its predecessor read.
    put(&world, KEYS_PATH, json!({}));
    world.restart();
    world.ctx.issuers.start(&world.ctx.client).await;
    settle(&mut world).await;
    assert_eq!(clients(&world), good);
}

#[tokio::test]
async fn a_storm_of_pods_is_a_write_a_second() {
    let mut world = settled().await;
    tokio::time::pause();
    tokio::spawn(pace::run(
        Arc::clone(&world.ctx.client_pods),
        Arc::clone(&world.ctx.wakes),
    ));
    let mut wakes = pin!(Arc::clone(&world.ctx.wakes.policies).stream());
    while wakes.next().now_or_never().is_some() {}
    let start = Instant::now();
    let mut written = Vec::new();
    // A pod more every 20 ms for 5 s.
    for count in 0..250_u32 {
        client_pod(
            &world,
            "payments",
            &format!("sender-{count}"),
            &format!("10.244.3.{count}"),
            "2027-01-01T00:00:00Z",
        );
        world.sync();
        tokio::time::sleep(Duration::from_millis(20)).await;
        if wakes.next().now_or_never().is_some() {
            run_unsynced(&world).await.unwrap();
            written.extend(world.writes().iter().map(|call| {
                assert_eq!(*call, format!("PATCH {}", clients_path()));
                start.elapsed().as_millis()
            }));
        }
    }
    assert!(written[0] <= 120, "the first one is served at once: {written:?}");
    assert!((5..=6).contains(&written.len()), "{written:?}");
    tokio::time::timeout(Duration::from_secs(2), wakes.next())
        .await
        .unwrap();
    run_unsynced(&world).await.unwrap();
    assert_eq!(
        clients(&world).policies[0].pods.len(),
        250,
        "and the last one is not forgotten"
    );
}

#[tokio::test]
async fn the_issuer_is_read_from_the_api_server_and_the_last_good_one_stays() {
    let world = world();
    let issuers = &world.ctx.issuers;
    assert!(issuers.read(&world.ctx.client).await.is_err());
    assert_eq!(issuers.last(), None);
    let put = |path: &str, answer: Value| world.api.lock().unwrap().objects.insert(path.to_owned(), answer);
    put(DISCOVERY_PATH, json!({"issuer": "https://issuer.example"}));
    put(
        KEYS_PATH,
        json!({"keys": [{"kty": "RSA", "kid": "a", "n": "AQ", "e": "AQAB"}]}),
    );
    assert!(issuers.read(&world.ctx.client).await.unwrap());
    assert!(
        !issuers.read(&world.ctx.client).await.unwrap(),
        "the same is no news"
    );
    let good = issuers.last();
    assert_eq!(good.as_ref().unwrap().issuer, "https://issuer.example");
    put(KEYS_PATH, json!({"keys": []}));
    assert!(issuers.read(&world.ctx.client).await.is_err());
    assert_eq!(issuers.last(), good);
}
