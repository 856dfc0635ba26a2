//! The webhook policies of examples/, applied as they stand, keep what docs/how-to/webhooks.md promises of them: seen by
//! a sender that leaves its proxy to Go's net/http, as Convoy does, and by one that leaves TLS to the proxy.
//!
//! What the proxy signs and which certificates it shows is for `webhooks`.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::proxy_url;
use crate::client_pod::{Answer, ClientPod, FILES};
use crate::cluster::Cluster;
use crate::fixtures;

/// The files' namespace.
const TENANT: &str = "payments";
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/policies");
const RECEIVER: &str = "receiver.example.test";
/// A name that a customer may well enter, and that leads to a private address.
const INSIDE: &str = "hook-inside.example.test";
/// The presets' bound on answers.
const BODY_MAX: u32 = 1 << 20;
/// The bounds on silence and on all of a request where TLS is the proxy's, and how much later an end may be seen.
const IDLE_MS: i64 = 10_000;
const LIFETIME_MS: i64 = 60_000;
const LATE_MS: i64 = 5_000;
const EVENT: &str = "{\"event\": 1}";

/// Applies a file of examples/policies as it is, and waits until its policy is Ready.
async fn preset(cluster: &Cluster, name: &str) -> Result<String> {
    let file = format!("{EXAMPLES}/{name}.yaml");
    cluster
        .kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &file])
        .await?;
    let ready = cluster.await_condition(TENANT, name, "Ready", "True", Duration::from_secs(90));
    proxy_url(&ready.await?)
}

fn refused(answer: &Answer, status: u16, reason: &str, what: &str) -> Result<()> {
    ensure!(
        answer.status == status && answer.header("x-egressway-reason") == reason,
        "{what} should be {status} {reason}: {answer:?}"
    );
    Ok(())
}

/// The bound ended it, and neither the server nor the client did.
fn timely(answer: &Answer, ended: Range<i64>, what: &str) -> Result<()> {
    ensure!(
        ended.contains(&answer.duration_ms),
        "{what} ended after {} ms: {answer:?}",
        answer.duration_ms
    );
    Ok(())
}

pub(super) async fn hold(cluster: Cluster) -> Result<()> {
    let lab = cluster.lab()?;
    let ca = lab.internet_ca().await?;
    lab.run(&["dns", "set", INSIDE, "10.0.0.5"]).await?;
    cluster.fresh_namespace(TENANT).await?;
    let roots = fixtures::secret(TENANT, "roots", &json!({"ca.crt": ca}));
    cluster.apply(&roots.to_string()).await?;
    let (tunnels, plain, client) = tokio::try_join!(
        preset(&cluster, "webhook-tunnel"),
        preset(&cluster, "webhook"),
        ClientPod::start_with(
            &cluster,
            TENANT,
            "sender",
            "default",
            Some(json!({"secret": {"secretName": "roots"}})),
        )
    )?;
    for proxy in [&tunnels, &plain] {
        client.finds(proxy).await?;
    }
    tokio::try_join!(
        through_tunnels(&client, &tunnels),
        through_the_preset(&cluster, &client, &plain)
    )?;
    lab.run(&["dns", "clear", INSIDE]).await?;
    client.delete().await?;
    cluster.leave_namespace(TENANT).await
}

/// As Convoy and Svix send: TLS and CONNECT are the sender's.
async fn through_tunnels(client: &ClientPod, proxy: &str) -> Result<()> {
    let ca = format!("{FILES}/ca.crt");
    let ordinary = ["-ordinary", "-ca", &ca, "-data", EVENT];
    let url = format!("https://{RECEIVER}/echo");
    let sent = client.fetch(proxy, &url, &ordinary).await?;
    ensure!(sent.status == 200 && sent.body == EVENT, "a webhook: {sent:?}");

    // Both senders wait for 30 s: the proxy must not be the first to lose patience.
    let slow = async {
        let url = format!("https://{RECEIVER}/late/12");
        let args = ["-ca", &ca, "-data", EVENT, "-timeout", "30s"];
        let slow = client.fetch(proxy, &url, &args).await?;
        ensure!(slow.status == 200, "a slow receiver: {slow:?}");
        Ok(())
    };
    let turned_away = async {
        for (url, reason) in [
            (format!("https://{RECEIVER}:8443/echo"), "no_rule_matches"),
            (format!("http://{RECEIVER}/echo"), "no_rule_matches"),
            ("https://10.0.0.1/".to_owned(), "address_internal"),
            ("https://127.0.0.1/".to_owned(), "address_forbidden"),
            ("https://169.254.169.254/".to_owned(), "address_forbidden"),
            (format!("https://{INSIDE}/"), "address_internal"),
            ("https://kubernetes.default.svc/".to_owned(), "name_internal"),
        ] {
            let answer = client.fetch(proxy, &url, &["-ca", &ca, "-data", EVENT]).await?;
            refused(&answer, 403, reason, &url)?;
            if url.starts_with("https:") {
                // What the sender itself can write into its log.
                let seen = client.fetch(proxy, &url, &ordinary).await?;
                ensure!(
                    seen.error.contains("Egress denied by payments/webhook-tunnel"),
                    "{url}: {seen:?}"
                );
            }
        }
        anyhow::Ok(())
    };
    tokio::try_join!(slow, turned_away).map(|_| ())
}

/// As applications send that leave TLS to the proxy.
async fn through_the_preset(cluster: &Cluster, client: &ClientPod, proxy: &str) -> Result<()> {
    let post = ["-ordinary", "-data", EVENT];
    let url = format!("http://{RECEIVER}/echo");
    // The lab's CA is none of Mozilla's.
    let stranger = client.fetch(proxy, &url, &post).await?;
    refused(&stranger, 502, "tls_certificate_unknown_issuer", "an unknown CA")?;
    // The one thing that the lab needs otherwise than the file has it.
    cluster
        .apply(&fixtures::secret_reader(TENANT).to_string())
        .await?;
    let mut rules = json!(cluster.policies(TENANT).get("webhook").await?.spec.rules);
    let tls = rules
        .pointer_mut("/0/upstreamTLS")
        .context("the preset makes no TLS")?;
    *tls = json!({"caRef": {"name": "roots"}});
    cluster
        .patch_policy(TENANT, "webhook", json!({"spec": {"rules": rules}}))
        .await?;
    for condition in ["ResolvedRefs", "Programmed"] {
        cluster
            .await_condition(TENANT, "webhook", condition, "True", Duration::from_secs(40))
            .await?;
    }

    let sent = client.fetch(proxy, &url, &post).await?;
    ensure!(sent.status == 200 && sent.body == EVENT, "a webhook: {sent:?}");
    let silent = async {
        let url = format!("http://{RECEIVER}/late/40");
        let silent = client
            .fetch(proxy, &url, &["-data", EVENT, "-timeout", "30s"])
            .await?;
        refused(&silent, 504, "upstream_timeout", "a silent receiver")?;
        timely(&silent, IDLE_MS - 500..IDLE_MS + LATE_MS, "a silent receiver")
    };
    // A dot every 100 ms is no silence, and far from a large answer.
    let endless = async {
        let url = format!("http://{RECEIVER}/slow/90");
        let args = ["-data", EVENT, "-timeout", "80s"];
        let cut = client.fetch(proxy, &url, &args).await?;
        ensure!(
            cut.status == 200 && !cut.error.is_empty() && cut.body.len() > 400,
            "an answer without an end should break off: {} {:?}, {} bytes",
            cut.status,
            cut.error,
            cut.body.len()
        );
        timely(
            &cut,
            LIFETIME_MS..LIFETIME_MS + LATE_MS,
            "an answer without an end",
        )
    };
    let turned_away = async {
        for (url, reason) in [
            (format!("http://{RECEIVER}:8443/echo"), "no_rule_matches"),
            ("http://10.0.0.1/".to_owned(), "address_internal"),
            ("http://127.0.0.1/".to_owned(), "address_forbidden"),
            ("http://169.254.169.254/".to_owned(), "address_forbidden"),
            (format!("http://{INSIDE}/"), "address_internal"),
            ("http://kubernetes.default.svc/".to_owned(), "name_internal"),
        ] {
            refused(&client.fetch(proxy, &url, &post).await?, 403, reason, &url)?;
        }
        let get = client.fetch(proxy, &url, &["-ordinary"]).await?;
        refused(&get, 403, "no_rule_matches", "a GET")?;
        let tunnel = client
            .fetch(proxy, &format!("https://{RECEIVER}/echo"), &["-data", EVENT])
            .await?;
        refused(&tunnel, 403, "no_rule_matches", "a tunnel")?;
        let bytes = async |path: &str, count: u32| {
            let url = format!("http://{RECEIVER}/{path}/{count}");
            client.fetch(proxy, &url, &post).await
        };
        for path in ["bytes", "stream"] {
            let whole = bytes(path, BODY_MAX).await?;
            ensure!(
                whole.status == 200
                    && whole.body.len() == usize::try_from(BODY_MAX)?
                    && whole.error.is_empty(),
                "{path}: 1 MiB: {} {}, {} bytes",
                whole.status,
                whole.error,
                whole.body.len()
            );
        }
        let announced = bytes("bytes", BODY_MAX + 1).await?;
        refused(&announced, 502, "response_too_large", "a byte more, announced")?;
        let cut = bytes("stream", BODY_MAX + 1).await?;
        ensure!(
            cut.status == 200 && !cut.error.is_empty(),
            "a byte more, not announced, should break off: {} {:?}, {} bytes",
            cut.status,
            cut.error,
            cut.body.len()
        );
        Ok(())
    };
    tokio::try_join!(silent, endless, turned_away).map(|_| ())
}
