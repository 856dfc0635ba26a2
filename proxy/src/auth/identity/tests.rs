//! Who is who, as tables: clients of a policy against what a request presents.

use std::collections::BTreeMap;

use egressway_core::acl::{Floor, compile};
use egressway_core::wire::document::{
    self, Caps, Client, ClientAuth, ClientCertificate, Content, Listener, ListenerTls, PasswordDigest,
    SecretRef,
};

use super::*;

fn client(name: &str, pods: bool, auth: Option<Auth>) -> Client {
    Client {
        name: name.to_owned(),
        pods,
        auth,
    }
}

fn passwords(secrets: &[&str]) -> Auth {
    let secret = |name: &&str| SecretRef {
        name: (*name).to_owned(),
        key: None,
    };
    Auth::Passwords(secrets.iter().map(secret).collect())
}

fn certificate() -> Auth {
    Auth::Certificate(ClientCertificate {
        ca: "ca".to_owned(),
        identities: vec!["spiffe://corp/batch".to_owned()],
    })
}

struct World {
    policy: Arc<Policy>,
    wall: Wall,
    table: ClientTable,
    keyring: Keyring,
}

impl World {
    /// A policy with these clients; pods 10.0.0.1 (client `pods` and `both`) and 10.0.0.2 (no client); Secrets `old`,
    /// `new` with passwords of their own name.
    fn new(clients: Vec<Client>, required: bool) -> Self {
        let content = Content {
            clients,
            listener: Listener {
                tls: Some(ListenerTls {
                    certificate: "tls".to_owned(),
                }),
                ..Listener::default()
            },
            ..Content::default()
        };
        let policies = document::Policies {
            version: document::VERSION,
            policies: vec![document::Policy::seal("payments", "webhooks", 1, content)],
        };
        let policies = compile::policies(&policies).unwrap();
        let pod = |name: &str, ip: &str, clients: &[&str]| document::ClientPod {
            name: name.to_owned(),
            ips: vec![ip.to_owned()],
            clients: clients.iter().map(|name| (*name).to_owned()).collect(),
        };
        let pods = vec![
            pod("sender-1", "10.0.0.1", &["pods", "both"]),
            pod("other-1", "10.0.0.2", &[]),
        ];
        let clients = document::Clients {
            version: document::VERSION,
            issuer: None,
            policies: vec![document::PolicyClients {
                namespace: "payments".to_owned(),
                name: "webhooks".to_owned(),
                pods,
            }],
        };
        let secret = |name: &str| {
            let digest = PasswordDigest::new(&format!("salt of {name}"), name.as_bytes());
            let secret = document::Secret {
                passwords: BTreeMap::from([("password".to_owned(), digest)]),
                ..document::Secret::default()
            };
            (name.to_owned(), secret)
        };
        let secrets = document::Secrets {
            version: document::VERSION,
            policies: vec![document::PolicySecrets {
                namespace: "payments".to_owned(),
                name: "webhooks".to_owned(),
                secrets: BTreeMap::from(["old", "new"].map(secret)),
            }],
        };
        let caps = Caps {
            client_auth: if required {
                ClientAuth::Required
            } else {
                ClientAuth::Optional
            },
            ..Caps::default()
        };
        Self {
            keyring: Keyring::new(&policies, secrets),
            policy: Arc::clone(&policies[0]),
            wall: Wall {
                floor: Arc::new(Floor::new(&[])),
                caps: compile::caps(&caps).unwrap(),
            },
            table: ClientTable::new(&clients, None).unwrap(),
        }
    }

    fn identify(&self, ip: &str, password: Option<&str>, certified: &[&str]) -> (Identity, Credential) {
        let credential = password.map_or(Credential::None, |password| {
            Credential::Password(password.as_bytes().to_vec())
        });
        let certified: Vec<String> = certified.iter().map(|name| (*name).to_owned()).collect();
        let evidence = Evidence {
            ip: ip.parse().unwrap(),
            credential: &credential,
            certified: &certified,
        };
        (
            identify(&self.policy, &self.table, &self.keyring, evidence),
            credential,
        )
    }

    /// The names, or the code that a refused one reads.
    fn outcome(&self, ip: &str, password: Option<&str>, certified: &[&str]) -> String {
        let (identity, credential) = self.identify(ip, password, certified);
        match self.policy.admits(&self.wall, identity.caller) {
            Ok(()) => self
                .policy
                .names_of(identity.caller)
                .collect::<Vec<_>>()
                .join(","),
            Err(deny) => self.refused(ip, &identity, &credential, deny, Caller::is_known),
        }
    }
}

impl World {
    /// The code that a refused one reads, where rules let through whom `permits` names.
    fn refused(
        &self,
        ip: &str,
        identity: &Identity,
        credential: &Credential,
        deny: Deny,
        permits: impl FnOnce(Caller) -> bool,
    ) -> String {
        let refused = Refused {
            policy: &self.policy,
            wall: &self.wall,
            table: &self.table,
            ip: ip.parse().unwrap(),
            identity,
            credential,
        };
        refusal(refused, deny, permits).code().to_owned()
    }
}

#[test]
fn everything_that_a_client_has_holds_together() {
    let world = World::new(
        vec![
            client("pods", true, None),
            client("both", true, Some(passwords(&["old", "new"]))),
            client("password", false, Some(passwords(&["new"]))),
            client("cert", false, Some(certificate())),
        ],
        false,
    );
    for (ip, password, certified, expected) in [
        ("10.0.0.1", None, &[][..], "pods"),
        ("::ffff:10.0.0.1", None, &[], "pods"),
        ("10.0.0.1", Some("old"), &[], "pods,both"),
        ("10.0.0.1", Some("new"), &[], "pods,both,password"),
        ("10.0.0.1", Some("wrong"), &[], "pods"),
        ("10.0.0.2", Some("old"), &[], "client_unknown"),
        ("10.0.0.3", Some("new"), &[], "password"),
        ("10.0.0.3", None, &["cert"], "cert"),
        ("10.0.0.1", Some("new"), &["cert"], "pods,both,password,cert"),
        // One client needs no credential, but this is not that one, and a password would let it in.
        ("10.0.0.3", None, &[], "credentials_missing"),
        ("10.0.0.3", Some("wrong"), &[], "credentials_invalid"),
    ] {
        assert_eq!(
            world.outcome(ip, password, certified),
            expected,
            "{ip} {password:?} {certified:?}"
        );
    }
}

#[test]
fn a_credential_is_asked_for_wherever_one_could_let_the_source_in() {
    let all_need = World::new(
        vec![
            client("both", true, Some(passwords(&["old"]))),
            client("cert", false, Some(certificate())),
        ],
        false,
    );
    for (ip, password, expected) in [
        ("10.0.0.1", None, "credentials_missing"),
        ("10.0.0.1", Some(""), "credentials_invalid"),
        ("10.0.0.1", Some("new"), "credentials_invalid"),
        ("10.0.0.1", Some("old"), "both"),
        // The right password from the wrong place: another one would not help.
        ("10.0.0.2", Some("old"), "client_unknown"),
        // The pod is no such client, whatever it presents.
        ("10.0.0.2", None, "client_unknown"),
        ("10.0.0.2", Some("new"), "client_unknown"),
        // No pod of the table, yet.
        ("10.0.0.9", None, "credentials_missing"),
    ] {
        assert_eq!(all_need.outcome(ip, password, &[]), expected, "{ip} {password:?}");
    }
    let only_certificates = World::new(vec![client("cert", false, Some(certificate()))], false);
    assert_eq!(only_certificates.outcome("10.0.0.1", None, &[]), "client_unknown");
    let required = World::new(
        vec![
            client("pods", true, None),
            client("password", false, Some(passwords(&["old"]))),
        ],
        true,
    );
    assert_eq!(required.outcome("10.0.0.1", None, &[]), "credentials_missing");
    assert_eq!(
        required.outcome("10.0.0.1", Some("x"), &[]),
        "credentials_invalid"
    );
    assert_eq!(required.outcome("10.0.0.1", Some("old"), &[]), "pods,password");
    let nobody_can = World::new(vec![client("pods", true, None)], true);
    assert_eq!(nobody_can.outcome("10.0.0.1", None, &[]), "client_unknown");
    let open = World::new(vec![], false);
    assert_eq!(open.outcome("10.0.0.9", None, &[]), "");
    assert_eq!(
        open.identify("10.0.0.1", None, &[]).0.pod.as_deref(),
        Some("sender-1")
    );
}

#[test]
fn whom_a_credential_would_let_through_is_asked_for_it_and_nobody_else() {
    let world = World::new(
        vec![
            client("pods", true, None),
            client("password", false, Some(passwords(&["old"]))),
            client("other", false, Some(passwords(&["new"]))),
            client("cert", false, Some(certificate())),
        ],
        false,
    );
    let is = |name: &str| {
        let (policy, name) = (Arc::clone(&world.policy), name.to_owned());
        move |caller| policy.names_of(caller).any(|own| own == name)
    };
    for (ip, password, lets_through, expected) in [
        ("10.0.0.1", None, "password", "credentials_missing"),
        ("10.0.0.1", Some("wrong"), "password", "credentials_invalid"),
        // It is a client, and no credential opens this.
        ("10.0.0.1", None, "nobody", "no_rule_matches"),
        ("10.0.0.1", Some("wrong"), "nobody", "no_rule_matches"),
        // Only a certificate would, which is no matter of a challenge.
        ("10.0.0.1", None, "cert", "no_rule_matches"),
        // What it has holds; it would only send it again.
        ("10.0.0.1", Some("new"), "password", "no_rule_matches"),
        ("10.0.0.3", Some("new"), "password", "no_rule_matches"),
        // Strangers are asked for a credential whatever rules say.
        ("10.0.0.3", None, "nobody", "credentials_missing"),
    ] {
        let (identity, credential) = world.identify(ip, password, &[]);
        let code = world.refused(ip, &identity, &credential, Deny::no_rule(), is(lets_through));
        assert_eq!(code, expected, "{ip} {password:?} {lets_through}");
    }
}

#[test]
fn only_a_source_that_a_row_would_let_in_is_waited_for() {
    let world = World::new(
        vec![
            client("both", true, Some(passwords(&["old"]))),
            client("cert", false, Some(certificate())),
        ],
        false,
    );
    for (ip, password, expected) in [
        ("10.0.0.9", None, false),
        ("10.0.0.9", Some("wrong"), false),
        ("10.0.0.9", Some("old"), true),
        ("10.0.0.1", Some("old"), false),
        ("10.0.0.2", Some("old"), false),
    ] {
        let (identity, _) = world.identify(ip, password, &[]);
        assert_eq!(identity.may_be_a_pod, expected, "{ip} {password:?}");
    }
}

#[test]
fn challenges_name_every_way_to_answer() {
    let basic = "Basic realm=\"egressway payments/webhooks\", charset=\"UTF-8\"";
    let bearer = "Bearer realm=\"egressway payments/webhooks\"";
    let accounts = Auth::ServiceAccounts(vec!["payments/sender".to_owned()]);
    for (auth, expected) in [
        (passwords(&["old"]), &[basic][..]),
        (accounts, &[basic, bearer]),
        (certificate(), &[]),
    ] {
        let world = World::new(vec![client("one", false, Some(auth))], false);
        assert_eq!(challenges(&world.policy), expected);
    }
}

#[test]
fn a_missing_secret_is_a_problem_and_lets_nobody_in() {
    let world = World::new(
        vec![
            client("gone", false, Some(passwords(&["gone", "old"]))),
            client("cert", false, Some(certificate())),
        ],
        false,
    );
    assert_eq!(
        world.keyring.problems(),
        [
            "policy payments/webhooks: client cert: Secret ca: is missing, or must not be read",
            "policy payments/webhooks: client gone: Secret gone: has no password",
            "policy payments/webhooks: listener: Secret tls: is missing, or must not be read",
        ]
    );
    assert_eq!(world.outcome("10.0.0.9", Some("old"), &[]), "gone");
    assert_eq!(
        world.outcome("10.0.0.9", Some("gone"), &[]),
        "credentials_invalid"
    );
}
