//! Who may use a proxy, told by what the client presents: a password, a token, a certificate.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use egressway_core::wire::names::fleet_name;
use egressway_crds::EgressPolicy;
use serde_json::{Value, json};

use super::proxy_url;
use crate::client_pod::{Answer, ClientPod, FILES, with_credential};
use crate::cluster::{Cluster, FLEETS, condition, describe};
use crate::fixtures;
use crate::pki::Ca;
use crate::wait::eventually;

const TENANT: &str = "e2e-credentials";
/// Namespace of the case with certificates.
const CERTIFIED: &str = "e2e-certificates";
const URL: &str = "http://echo.example.test/";
/// Requests a second that must not notice a change of Secrets.
const RATE: u32 = 20;
/// Secrets are read every 10 s, and a kubelet has to bring them.
const ROTATION: Duration = Duration::from_secs(40);

fn served(answer: &Answer, what: &str) -> Result<()> {
    ensure!(answer.status == 200, "{what}: {answer:?}");
    Ok(())
}

fn refused(answer: &Answer, status: u16, reason: &str, what: &str) -> Result<()> {
    let asked = !answer.header("proxy-authenticate").is_empty();
    ensure!(
        answer.status == status && answer.header("x-egressway-reason") == reason && asked == (status == 407),
        "{what} should be {reason}: {answer:?}"
    );
    Ok(())
}

/// A namespace with the right to its Secrets given away, and the pool.
async fn tenant(cluster: &Cluster, namespace: &str) -> Result<()> {
    cluster.fresh_namespace(namespace).await?;
    cluster.apply(&fixtures::batch().to_string()).await?;
    cluster
        .apply(&fixtures::secret_reader(namespace).to_string())
        .await
        .map(|_| ())
}

/// Clients of the policy `keyed`: a password of one of these Secrets, or a token of the ServiceAccount `sender`.
fn clients(passwords: &[&str]) -> Value {
    let refs: Vec<Value> = passwords.iter().map(|name| json!({"name": name})).collect();
    json!([
        {"name": "legacy", "auth": {"passwordSecretRefs": refs}},
        {"name": "sender", "auth": {"serviceAccounts": ["sender"]}},
    ])
}

async fn edit(cluster: &Cluster, passwords: &[&str], resolved: &str) -> Result<EgressPolicy> {
    let spec = json!({"spec": {"clients": clients(passwords)}});
    cluster.patch_policy(TENANT, "keyed", spec).await?;
    cluster
        .await_condition(TENANT, "keyed", "ResolvedRefs", resolved, ROTATION)
        .await?;
    cluster
        .await_condition(TENANT, "keyed", "Programmed", "True", ROTATION)
        .await
}

/// ResolvedRefs has this reason and says all of these words.
fn unresolved(policy: &EgressPolicy, reason: &str, words: &[&str]) -> Result<()> {
    let found = condition(policy, "ResolvedRefs");
    ensure!(
        found.is_some_and(|c| c.status == "False"
            && c.reason == reason
            && words.iter().all(|word| c.message.contains(word))),
        "ResolvedRefs should be {reason} and say {words:?}: {}",
        describe(policy)
    );
    Ok(())
}

async fn token(cluster: &Cluster, account: &str, audience: &str) -> Result<String> {
    let args = [
        "create",
        "token",
        account,
        "-n",
        TENANT,
        "--duration=600s",
        "--audience",
        audience,
    ];
    Ok(cluster.kubectl(&args).await?.trim().to_owned())
}

async fn uids(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let pods = cluster.fleet_pods(TENANT, "keyed").await?;
    Ok(pods.into_iter().filter_map(|pod| pod.metadata.uid).collect())
}

pub(super) async fn open(cluster: Cluster) -> Result<()> {
    tenant(&cluster, TENANT).await?;
    let account = |name| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": TENANT, "name": name}});
    let mut policy = fixtures::policy(TENANT, "keyed", fixtures::BATCH, &fixtures::allow_echo());
    policy["spec"]["clients"] = clients(&["old"]);
    for manifest in [
        account("sender"),
        account("other"),
        fixtures::secret(TENANT, "old", &json!({"password": "first-password"})),
        fixtures::unlabelled_secret(TENANT, "new", &json!({"password": "second-password"})),
        policy,
    ] {
        cluster.apply(&manifest.to_string()).await?;
    }
    let ready = cluster.await_condition(TENANT, "keyed", "Ready", "True", Duration::from_secs(90));
    let proxy = proxy_url(&ready.await?)?;
    let audience = format!("egressway.dev/{TENANT}/keyed");
    let projected = json!({"projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "audience": audience, "expirationSeconds": 3600}},
        {"serviceAccountToken": {"path": "other", "audience": "egressway.dev/other/keyed", "expirationSeconds": 3600}},
    ]}});
    let client = ClientPod::start_with(&cluster, TENANT, "client", "sender", Some(projected)).await?;
    client.finds(&proxy).await?;
    let password = |word: &str| with_credential(&proxy, "anybody", word);
    let basic = |token: &str| with_credential(&proxy, &format!("{TENANT}/keyed"), token);
    let good = basic(&token(&cluster, "sender", &audience).await?);
    let get = async |proxy: &str| client.fetch(proxy, URL, &[]).await;

    refused(&get(&proxy).await?, 407, "credentials_missing", "no credential")?;
    let tunnel = client
        .fetch(&proxy, "https://v4.example.test/", &["-insecure"])
        .await?;
    refused(
        &tunnel,
        407,
        "credentials_missing",
        "a CONNECT without credential",
    )?;
    served(&get(&password("first-password")).await?, "the password")?;
    served(&get(&good).await?, "the token")?;
    let tunnel = client
        .fetch(&good, "https://v4.example.test/", &["-insecure"])
        .await?;
    served(&tunnel, "a CONNECT with the token")?;
    let (mounted, foreign) = (format!("{FILES}/token"), format!("{FILES}/other"));
    for url in [URL, "https://v4.example.test/"] {
        let bearer = async |file: &str| {
            let args = ["-insecure", "-proxy-bearer", file];
            client.fetch(&proxy, url, &args).await
        };
        served(
            &bearer(&mounted).await?,
            &format!("{url} with the mounted token as Bearer"),
        )?;
        refused(
            &bearer(&foreign).await?,
            407,
            "credentials_invalid",
            &format!("{url} with a mounted token for another policy"),
        )?;
    }
    for (what, wrong) in [
        ("a wrong password", password("wrong-password")),
        (
            "the password before its Secret is named",
            password("second-password"),
        ),
        (
            "another account's token",
            basic(&token(&cluster, "other", &audience).await?),
        ),
        (
            "a token for another policy",
            basic(&token(&cluster, "sender", "egressway.dev/other/keyed").await?),
        ),
        ("a token for the API server", {
            basic(&token(&cluster, "sender", "https://kubernetes.default.svc").await?)
        }),
    ] {
        refused(&get(&wrong).await?, 407, "credentials_invalid", what)?;
    }

    // A rotation, as the how-to says: both Secrets, then the new one alone.
    let pods = uids(&cluster).await?;
    let tokens = client.requests(RATE, &good, URL, &[])?;
    let first = client.requests(RATE, &password("first-password"), URL, &[])?;
    let policy = edit(&cluster, &["old", "new"], "False").await?;
    let label = "egressway.dev/use=proxy";
    unresolved(&policy, "SecretNotLabelled", &["kubectl label secret new", label])?;
    refused(
        &get(&password("second-password")).await?,
        407,
        "credentials_invalid",
        "a Secret without the label",
    )?;
    cluster
        .kubectl(&["label", "secret", "-n", TENANT, "new", label])
        .await?;
    for kind in ["ResolvedRefs", "Programmed"] {
        cluster
            .await_condition(TENANT, "keyed", kind, "True", ROTATION)
            .await?;
    }
    served(&get(&password("second-password")).await?, "the second password")?;
    let second = client.requests(RATE, &password("second-password"), URL, &[])?;
    first.stop("the first password").await?;
    edit(&cluster, &["new"], "True").await?;
    refused(
        &get(&password("first-password")).await?,
        407,
        "credentials_invalid",
        "the password that was taken away",
    )?;
    second.stop("the second password").await?;

    cluster
        .kubectl(&["delete", "secret", "-n", TENANT, "new"])
        .await?;
    eventually("a deleted Secret to open nothing", ROTATION, || async {
        let answer = get(&password("second-password")).await?;
        Ok(refused(&answer, 407, "credentials_invalid", "a deleted Secret")
            .map_err(|error| error.to_string()))
    })
    .await?;
    let policy = cluster
        .await_condition(TENANT, "keyed", "ResolvedRefs", "False", ROTATION)
        .await?;
    unresolved(&policy, "SecretNotFound", &["new"])?;
    tokens.stop("the token").await?;
    ensure!(uids(&cluster).await? == pods, "the rotation replaced pods");
    client.delete().await?;
    cluster.leave_namespace(TENANT).await
}

pub(super) async fn certificate(cluster: Cluster) -> Result<()> {
    tenant(&cluster, CERTIFIED).await?;
    let service = format!("{}.{FLEETS}.svc", fleet_name(CERTIFIED, "locked"));
    let (old, new, clients) = (
        Ca::new("old servers")?,
        Ca::new("new servers")?,
        Ca::new("clients")?,
    );
    let listener = |ca: &Ca| -> Result<String> {
        let leaf = ca.leaf("proxy", &[&service])?;
        let data = json!({"tls.crt": leaf.cert, "tls.key": leaf.key});
        Ok(fixtures::secret(CERTIFIED, "listener", &data).to_string())
    };
    let client_ca = |data: Value| fixtures::secret(CERTIFIED, "client-ca", &data).to_string();
    let (batch, other) = (clients.leaf("batch", &[])?, clients.leaf("other", &[])?);
    let lost = clients.leaf("batch", &[])?;
    let files = json!({
        "old.crt": old.pem(), "new.crt": new.pem(), "both.crt": old.pem() + &new.pem(),
        "batch.crt": batch.cert, "batch.key": batch.key, "other.crt": other.cert, "other.key": other.key,
        "lost.crt": lost.cert, "lost.key": lost.key,
    });
    let mut policy = fixtures::policy(CERTIFIED, "locked", fixtures::BATCH, &fixtures::allow_echo());
    policy["spec"]["listener"] = json!({"tls": {"certificateRef": {"name": "listener"}}});
    let auth = json!({"certificate": {"caRef": {"name": "client-ca"}, "identities": ["CN=batch"]}});
    policy["spec"]["clients"] = json!([{"name": "batch", "auth": auth}]);
    for manifest in [
        listener(&old)?,
        client_ca(json!({"ca.crt": clients.pem()})),
        fixtures::unlabelled_secret(CERTIFIED, "files", &files).to_string(),
        policy.to_string(),
    ] {
        cluster.apply(&manifest).await?;
    }
    let ready = cluster.await_condition(CERTIFIED, "locked", "Ready", "True", Duration::from_secs(90));
    let proxy = proxy_url(&ready.await?)?;
    ensure!(proxy.starts_with(&format!("https://{service}:")), "{proxy}");
    let client = ClientPod::start_with(
        &cluster,
        CERTIFIED,
        "certified",
        "default",
        Some(json!({"secret": {"secretName": "files"}})),
    )
    .await?;
    client.finds(&proxy).await?;
    let file = |name: &str| format!("{FILES}/{name}");
    let get = async |ca: &str, identity: &str| {
        let (ca, cert, key) = (
            file(ca),
            file(&format!("{identity}.crt")),
            file(&format!("{identity}.key")),
        );
        let mut args = vec!["-ca", ca.as_str()];
        if !identity.is_empty() {
            args.extend(["-cert", &cert, "-key", &key]);
        }
        client.fetch(&proxy, URL, &args).await
    };
    for identity in ["batch", "lost"] {
        served(&get("old.crt", identity).await?, "the certificate")?;
    }
    refused(
        &get("old.crt", "").await?,
        403,
        "client_unknown",
        "no certificate",
    )?;
    refused(
        &get("old.crt", "other").await?,
        403,
        "client_unknown",
        "somebody else's certificate",
    )?;
    let plain = client
        .fetch(&proxy.replacen("https", "http", 1), URL, &[])
        .await?;
    ensure!(plain.status == 0, "plain text on the TLS listener: {plain:?}");

    let (ca, cert, key) = (file("both.crt"), file("batch.crt"), file("batch.key"));
    let args = ["-ca", &ca, "-cert", &cert, "-key", &key];
    let requests = client.requests(RATE, &proxy, URL, &args)?;
    cluster.apply(&listener(&new)?).await?;
    let revoked = json!({"ca.crt": clients.pem(), "ca.crl": clients.revoke(&lost)?});
    cluster.apply(&client_ca(revoked)).await?;
    eventually("the new certificate of the listener", ROTATION, || async {
        let answer = get("new.crt", "batch").await?;
        Ok(served(&answer, "with the new CA").map_err(|error| error.to_string()))
    })
    .await?;
    let before = get("old.crt", "batch").await?;
    ensure!(
        before.status == 0,
        "the old certificate is still served: {before:?}"
    );
    eventually("the revoked certificate to be refused", ROTATION, || async {
        let answer = get("new.crt", "lost").await?;
        let refused = answer.status == 0 && answer.error.contains("revoked");
        Ok(if refused {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        })
    })
    .await?;
    requests
        .stop("a rotation of the listener's certificate, and a list of revoked ones")
        .await?;
    client.delete().await?;
    cluster.leave_namespace(CERTIFIED).await
}
