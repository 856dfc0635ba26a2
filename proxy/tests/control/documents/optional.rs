//! `clients.json` and `secrets.json` on disk: optional, atomic with the others, and never half in force.

use std::fs;
use std::sync::Arc;

use egressway_core::wire::document::{self, Clients, Secrets};
use egressway_core::wire::names::{CLIENTS_KEY, SECRETS_KEY};
use egressway_proxy::documents::BYTES_MAX;

use super::{Loaded, good};
use crate::mount::{Files, Mount};

impl Loaded {
    fn plain() -> Self {
        let mount = Mount::empty();
        mount.write_plain(&good());
        Self::new(mount)
    }

    fn write(&mut self, file: &str, text: impl AsRef<[u8]>) -> Option<String> {
        fs::write(self.mount.path().join(file), text).unwrap();
        self.documents.load();
        self.state.load_error()
    }

    fn hashes(&self) -> (String, String) {
        let in_force = self.state.in_force();
        (
            in_force.clients.hash().to_owned(),
            in_force.secrets.hash().to_owned(),
        )
    }
}

fn clients(ip: &str) -> Clients {
    Clients {
        version: 1,
        issuer: None,
        policies: vec![document::PolicyClients {
            namespace: "payments".to_owned(),
            name: "webhooks".to_owned(),
            pods: vec![document::ClientPod {
                name: "sender-1".to_owned(),
                ips: vec![ip.to_owned()],
                clients: vec!["sender".to_owned()],
            }],
        }],
    }
}

#[test]
fn both_are_optional_and_their_digests_are_those_of_the_documents() {
    let mut loaded = Loaded::plain();
    loaded.documents.load();
    assert_eq!(loaded.hashes(), (String::new(), String::new()));
    let clients = clients("10.0.0.1");
    assert_eq!(loaded.write(CLIENTS_KEY, document::to_json(&clients)), None);
    let secrets = Secrets {
        version: 1,
        policies: vec![document::PolicySecrets {
            namespace: "payments".to_owned(),
            name: "webhooks".to_owned(),
            ..document::PolicySecrets::default()
        }],
    };
    assert_eq!(loaded.write(SECRETS_KEY, document::to_json(&secrets)), None);
    assert_eq!(
        loaded.hashes(),
        (document::digest(&clients), document::digest(&secrets))
    );
    let in_force = loaded.state.in_force();
    let pod = in_force
        .clients
        .pod(&in_force.policies[0], "10.0.0.1".parse().unwrap());
    assert_eq!(&*pod.unwrap().name, "sender-1");
    // One that did not change is not compiled again: its verified tokens and handshakes stay.
    let before = Arc::clone(&in_force.secrets);
    loaded.write(CLIENTS_KEY, document::to_json(&self::clients("10.0.0.2")));
    assert!(Arc::ptr_eq(&before, &loaded.state.in_force().secrets));
    fs::remove_file(loaded.mount.path().join(CLIENTS_KEY)).unwrap();
    loaded.documents.load();
    assert_eq!(loaded.hashes().0, "");
}

#[test]
fn a_broken_one_keeps_everything_that_was_in_force() {
    let mut loaded = Loaded::plain();
    loaded.write(CLIENTS_KEY, document::to_json(&clients("10.0.0.1")));
    let good = loaded.hashes();
    let long = vec![b' '; usize::try_from(BYTES_MAX).unwrap() + 1];
    let jwks = |text: &str| {
        let mut broken = clients("10.0.0.1");
        broken.issuer = Some(document::Issuer {
            issuer: "https://issuer".to_owned(),
            jwks: text.to_owned(),
        });
        document::to_json(&broken).into_bytes()
    };
    for (file, text, expected) in [
        (
            CLIENTS_KEY,
            document::to_json(&clients("10.0.0")).into_bytes(),
            "\"10.0.0\" is no address",
        ),
        (CLIENTS_KEY, b"{".to_vec(), "failed to parse clients.json"),
        (
            CLIENTS_KEY,
            br#"{"version":2,"policies":[]}"#.to_vec(),
            "clients.json has version 2",
        ),
        (CLIENTS_KEY, jwks("{"), "issuer: the key set is no JSON"),
        (CLIENTS_KEY, jwks("{}"), "issuer: the key set has no keys"),
        (CLIENTS_KEY, long.clone(), "clients.json is larger"),
        (
            SECRETS_KEY,
            b"[]".to_vec(),
            "failed to parse secrets.json at line 1",
        ),
        (
            SECRETS_KEY,
            br#"{"version":2,"policies":[]}"#.to_vec(),
            "secrets.json has version 2",
        ),
        (SECRETS_KEY, long, "secrets.json is larger"),
    ] {
        // Policies that came along are not put in force either.
        loaded.mount.write_plain(&Files::allowing(2, &["next.example"]));
        let error = loaded.write(file, text).unwrap();
        assert!(error.contains(expected), "{error}");
        assert_eq!(loaded.hashes(), good);
        assert_eq!(loaded.state.in_force().policies[0].generation(), 1, "{expected}");
        loaded.mount.write_plain(&Files::allowing(1, &["good.example"]));
        fs::remove_file(loaded.mount.path().join(file)).unwrap();
        loaded.write(CLIENTS_KEY, document::to_json(&clients("10.0.0.1")));
        assert_eq!(loaded.state.load_error(), None);
    }
    let text = loaded.metrics();
    assert!(text.contains("secrets_broken 0"), "{text}");
}
