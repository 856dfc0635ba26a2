//! A client sends plain HTTP; what arrives outside is TLS with a client certificate and a signature. The receiver is
//! the lab's, and shares no code with the proxy.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::proxy_url;
use crate::client_pod::{Answer, ClientPod, per_second};
use crate::cluster::Cluster;
use crate::fixtures;
use crate::lab::{Receipt, Receiver};
use crate::pki::{self, Ca, Leaf, RsaKey};
use crate::wait::eventually;

const TENANT: &str = "e2e-webhooks";
const HOST: &str = "receiver.example.test";
/// Where `*.example.test` leads.
const ADDRESSES: [&str; 2] = ["192.175.48.81", "[2620:4f:8000:1::81]"];
/// Certificates that the receiver serves, by port.
const GOOD: u16 = 9443;
const WRONG_NAME: u16 = 9444;
const SELF_SIGNED: u16 = 9445;
const EXPIRED: u16 = 9446;
/// The good one again, for a rule without client certificate.
const BARE: u16 = 9447;
/// And for rules that sign in the two older ways.
const HMAC: u16 = 9448;
const RSA: u16 = 9449;
/// A certificate of a CA that the rule does not name, and a server that stopped at TLS 1.1.
const UNKNOWN_ISSUER: u16 = 9450;
const OLD_TLS: u16 = 9451;
/// Requests a second while certificate and key change.
const RATE: u32 = 200;
const FIRST_KEY: &str = "whsec_Zmlyc3QtZmlyc3QtZmlyc3QtZmlyc3Q=";
const SECOND_KEY: &str = "whsec_c2Vjb25kLXNlY29uZC1zZWNvbmQ=";
/// A key that is used as it stands there.
const PLAIN_KEY: &str = "a key of some bank, as it is";
/// Secrets are read every 10 s, and a kubelet has to bring them.
const ROTATION: Duration = Duration::from_secs(40);

/// The receiver, with files in a directory that lives as long.
async fn receiver(
    cluster: &Cluster,
    server_ca: &Ca,
    client_ca: &Ca,
    rsa_key: &RsaKey,
) -> Result<(Receiver, TempDir)> {
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    let write = |name: &str, leaf: Leaf| -> Result<()> {
        std::fs::write(at(&format!("{name}.crt")), leaf.cert)?;
        Ok(std::fs::write(at(&format!("{name}.key")), leaf.key)?)
    };
    write("good", server_ca.leaf("good", &[HOST])?)?;
    write(
        "wrong-name",
        server_ca.leaf("wrong name", &["other.example.test"])?,
    )?;
    write("self-signed", pki::self_signed("self-signed", &[HOST])?)?;
    write("expired", server_ca.expired("expired", &[HOST])?)?;
    write(
        "unknown-issuer",
        Ca::new("others")?.leaf("unknown issuer", &[HOST])?,
    )?;
    std::fs::write(at("clients.crt"), client_ca.pem())?;
    std::fs::write(at("first"), FIRST_KEY)?;
    std::fs::write(at("second"), SECOND_KEY)?;
    std::fs::write(at("plain"), PLAIN_KEY)?;
    std::fs::write(at("pair"), &rsa_key.public)?;
    let text = |path: &Path| {
        path.to_str()
            .map(str::to_owned)
            .context("a path that is not UTF-8")
    };
    let mut args = vec!["-dir".to_owned(), text(directory.path())?];
    for (flag, file) in [
        ("-client-ca", "clients.crt"),
        ("-webhook-secret", "first"),
        ("-webhook-secret", "second"),
        ("-hmac-secret", "plain"),
        ("-rsa-key", "pair"),
    ] {
        args.extend([flag.to_owned(), text(&at(file))?]);
    }
    for (flag, name, port) in [
        ("-tls", "good", GOOD),
        ("-tls", "wrong-name", WRONG_NAME),
        ("-tls", "self-signed", SELF_SIGNED),
        ("-tls", "expired", EXPIRED),
        ("-tls", "good", BARE),
        ("-tls", "good", HMAC),
        ("-tls", "good", RSA),
        ("-tls", "unknown-issuer", UNKNOWN_ISSUER),
        ("-old-tls", "good", OLD_TLS),
    ] {
        for address in ADDRESSES {
            args.extend([flag.to_owned(), format!("{name}={address}:{port}")]);
        }
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Ok((cluster.lab()?.receiver(&args).await?, directory))
}

/// The Secret with the certificate that the proxy sends with.
fn certificate(leaf: &Leaf) -> String {
    let data = json!({"tls.crt": leaf.cert, "tls.key": leaf.key});
    fixtures::secret(TENANT, "client", &data).to_string()
}

/// A Secret with a key that the proxy signs with.
fn key(name: &str, text: &str) -> String {
    fixtures::secret(TENANT, name, &json!({"secret": text})).to_string()
}

/// The rules, with the Secrets that sign by Standard Webhooks.
fn rules(signing: &[&str]) -> Value {
    let refs: Vec<Value> = signing.iter().map(|name| json!({"name": name})).collect();
    let tls = json!({"clientCertificateRef": {"name": "client"}, "caRef": {"name": "roots"}});
    json!([
        {"name": "receiver", "hosts": [HOST], "ports": [{"port": GOOD, "endPort": EXPIRED}, {"port": UNKNOWN_ISSUER}, {"port": OLD_TLS}],
         "http": {"methods": ["POST"]}, "upstreamTLS": tls,
         "signing": {"scheme": "StandardWebhooks", "secretRefs": refs}},
        {"name": "bare", "hosts": [HOST], "ports": [{"port": BARE}], "upstreamTLS": {"caRef": {"name": "roots"}}},
        {"name": "hmac", "hosts": [HOST], "ports": [{"port": HMAC}], "upstreamTLS": tls,
         "signing": {"scheme": "HMAC-SHA256", "header": "X-Hmac-Sha256", "secretRefs": [{"name": "plain"}]}},
        {"name": "rsa", "hosts": [HOST], "ports": [{"port": RSA}], "upstreamTLS": tls,
         "signing": {"scheme": "RSA-SHA256", "header": "X-Rsa-Sha256", "encoding": "Base64",
                     "secretRefs": [{"name": "pair"}]}},
    ])
}

fn receipt(answer: &Answer) -> Result<Receipt> {
    ensure!(answer.status == 200, "a webhook was not taken: {answer:?}");
    Ok(serde_json::from_str(&answer.body)?)
}

pub(super) async fn sent(cluster: Cluster) -> Result<()> {
    let (server_ca, client_ca) = (Ca::new("servers")?, Ca::new("clients")?);
    let rsa_key = pki::rsa_key()?;
    let (mut receiver, _files) = receiver(&cluster, &server_ca, &client_ca, &rsa_key).await?;
    cluster.fresh_namespace(TENANT).await?;
    for manifest in [
        fixtures::batch().to_string(),
        fixtures::secret_reader(TENANT).to_string(),
        fixtures::secret(TENANT, "roots", &json!({"ca.crt": server_ca.pem()})).to_string(),
        certificate(&client_ca.leaf("first", &[])?),
        key("signing", FIRST_KEY),
        key("next", SECOND_KEY),
        key("plain", PLAIN_KEY),
        fixtures::secret(TENANT, "pair", &json!({"tls.key": rsa_key.private})).to_string(),
    ] {
        cluster.apply(&manifest).await?;
    }
    let policy = fixtures::policy(TENANT, "sender", fixtures::BATCH, &rules(&["signing"]));
    cluster.apply(&policy.to_string()).await?;
    let ready = cluster.await_condition(TENANT, "sender", "Ready", "True", Duration::from_secs(90));
    let proxy = proxy_url(&ready.await?)?;
    let client = ClientPod::start(&cluster, TENANT, "client").await?;
    client.finds(&proxy).await?;
    let url = |port: u16| format!("http://{HOST}:{port}/hook");
    let post = async |port: u16| {
        // What a client says in the field of the signature must not be passed on: the receiver takes one.
        let forged = match port {
            HMAC => "X-Hmac-Sha256: 00",
            RSA => "X-Rsa-Sha256: AA==",
            _ => "webhook-signature: v1,AAAA",
        };
        // Nor may a client undo what a rule always does.
        let plain = "X-Egressway-TLS: false";
        let args = ["-data", "{\"event\": 1}", "-header", forged, "-header", plain];
        client.fetch(&proxy, &url(port), &args).await
    };

    let sends = async |what: &str, subject: &str, secret: &str| {
        eventually(what, ROTATION, || async {
            let receipt = receipt(&post(GOOD).await?)?;
            Ok(if receipt.subject == subject && receipt.secret == secret {
                Ok(())
            } else {
                Err(format!("{receipt:?}"))
            })
        })
        .await
    };

    let first = receipt(&post(GOOD).await?)?;
    ensure!(
        first.server == "good" && first.subject == "first" && first.secret == "first" && !first.id.is_empty(),
        "{first:?}"
    );
    for (port, by) in [(HMAC, "plain"), (RSA, "pair")] {
        let older = receipt(&post(port).await?)?;
        ensure!(
            older.subject == "first" && older.secret == by,
            "port {port} should be signed by {by}: {older:?}"
        );
    }
    receiver.receipts()?;
    for (port, reason) in [
        (WRONG_NAME, "tls_certificate_wrong_name"),
        (SELF_SIGNED, "tls_certificate_self_signed"),
        (EXPIRED, "tls_certificate_expired"),
        (UNKNOWN_ISSUER, "tls_certificate_unknown_issuer"),
        (OLD_TLS, "tls_version_unsupported"),
        (BARE, "tls_client_certificate_required"),
    ] {
        let answer = post(port).await?;
        ensure!(
            answer.status == 502 && answer.header("x-egressway-reason") == reason,
            "port {port} should be {reason}: {answer:?}"
        );
    }
    let tunnel = client.fetch(&proxy, &url(GOOD), &["-tunnel"]).await?;
    ensure!(
        tunnel.status == 403 && tunnel.header("x-egressway-reason") == "tunnel_unsigned",
        "a rule that signs lets no tunnel through: {tunnel:?}"
    );
    let seen = receiver.receipts()?;
    ensure!(seen.is_empty(), "a refused request arrived: {seen:?}");

    let requests = client.requests(RATE, &proxy, &url(GOOD), &["-data", "{\"event\": 2}"])?;
    // One after the other, so that the load goes on after each has changed.
    cluster
        .apply(&certificate(&client_ca.leaf("second", &[])?))
        .await?;
    sends("the second certificate", "second", "first").await?;
    for (secrets, by) in [
        (&["signing", "next"][..], "first second"),
        (&["next"][..], "second"),
    ] {
        cluster
            .patch_policy(TENANT, "sender", json!({"spec": {"rules": rules(secrets)}}))
            .await?;
        sends("a rotation of keys", "second", by).await?;
    }
    cluster.apply(&key("next", FIRST_KEY)).await?;
    sends("a key that was changed where it stands", "second", "first").await?;
    let answers = requests.stop("a rotation").await?;
    cluster.note(format!(
        "{} webhooks, {} a second, while certificate and keys were rotated: none failed",
        answers.len(),
        per_second(&answers)
    ));
    let refused: Vec<Receipt> = receiver
        .receipts()?
        .into_iter()
        .filter(|r| !r.error.is_empty())
        .collect();
    ensure!(refused.is_empty(), "{refused:?}");
    client.delete().await?;
    cluster.leave_namespace(TENANT).await
}
