//! The receivers of the documentation, run on signatures of ours: what stands there is what is tested. A language that
//! is not on this machine is left out, aloud.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

#[path = "receivers/rust.rs"]
#[allow(unreachable_pub, reason = "it is what a reader copies")]
mod rust;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use egressway_core::wire::document::{Scheme, Secret, SecretRef, Signing};
use egressway_proxy::signing::{Added, Occasion, Signer};

const PAGE: &str = include_str!("../../docs/how-to/webhooks.md");
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &str = "{\"amount\": 1, \"note\": \"\u{e4}\"}";

/// The block of the page in a language.
fn block(language: &str) -> &'static str {
    let start = format!("```{language}\n");
    let from = PAGE.find(&start).unwrap() + start.len();
    PAGE[from..].split("```").next().unwrap()
}

fn signed() -> Vec<Added> {
    let secret = |text: &str| Secret {
        data: BTreeMap::from([("secret".to_owned(), text.to_owned())]),
        ..Secret::default()
    };
    let secrets = [("next", secret("another key")), ("now", secret(SECRET))];
    let signing = Signing {
        scheme: Scheme::StandardWebhooks,
        secrets: secrets
            .iter()
            .map(|(name, _)| SecretRef {
                name: (*name).to_owned(),
                key: None,
            })
            .collect(),
        ..Signing::default()
    };
    let find = |name: &str| {
        secrets
            .iter()
            .find(|(other, _)| *other == name)
            .map(|(_, secret)| secret)
    };
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let occasion = Occasion {
        seconds,
        random: [1; 16],
    };
    Signer::new(&signing, find)
        .unwrap()
        .sign(BODY.as_bytes(), None, occasion)
        .unwrap()
}

fn is_there(program: &str, args: &[&str]) -> bool {
    let found = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        eprintln!("{program} {args:?} is not on this machine: its receiver is not tested");
    }
    found
}

/// Runs a receiver with secret, id, time and signatures as arguments and the body on its input; whether it agreed.
fn run(dir: &Path, program: &str, args: &[&str], added: &[Added], body: &str) -> bool {
    let mut child = Command::new(program)
        .current_dir(dir)
        // Kept from run to run: compiling its library takes a minute.
        .env("GOCACHE", std::env::temp_dir().join("egressway-go-cache"))
        .env("GO111MODULE", "off")
        .args(args)
        .arg(SECRET)
        .args(added.iter().map(|(_, value)| value))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match &*said {
        "good" => true,
        "bad" => false,
        other => panic!(
            "{program} said {other:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

fn check(file: &str, text: &str, program: &str, args: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(file), text).unwrap();
    let added = signed();
    assert!(
        run(dir.path(), program, args, &added, BODY),
        "{program} refuses our signature"
    );
    assert!(
        !run(dir.path(), program, args, &added, "{}"),
        "{program} takes another body"
    );
    let mut late = added;
    late[1].1 = "1600000000".to_owned();
    assert!(
        !run(dir.path(), program, args, &late, BODY),
        "{program} takes an old time"
    );
}

#[test]
fn python() {
    if is_there("python3", &["--version"]) {
        let main = "\nimport sys\n_, secret, message, timestamp, signatures = sys.argv\nheaders = {\"webhook-id\": message, \
                    \"webhook-timestamp\": timestamp, \"webhook-signature\": signatures}\nprint(\"good\" if verify(secret, \
                    headers, sys.stdin.buffer.read()) else \"bad\")\n";
        check(
            "receiver.py",
            &format!("{}{main}", block("python")),
            "python3",
            &["receiver.py"],
        );
    }
}

#[test]
fn go() {
    if is_there("go", &["version"]) {
        let imports = block("go").replacen("import (", "import (\n\t\"fmt\"\n\t\"io\"\n\t\"os\"", 1);
        let main = "\nfunc main() {\n\tbody, _ := io.ReadAll(os.Stdin)\n\theader := http.Header{}\n\theader.Set(\"webhook-id\", \
                    os.Args[2])\n\theader.Set(\"webhook-timestamp\", os.Args[3])\n\theader.Set(\"webhook-signature\", \
                    os.Args[4])\n\tif Verify(os.Args[1], header, body) {\n\t\tfmt.Println(\"good\")\n\t} else \
                    {\n\t\tfmt.Println(\"bad\")\n\t}\n}\n";
        check(
            "main.go",
            &format!("package main\n\n{imports}{main}"),
            "go",
            &["run", "main.go"],
        );
    }
}

#[test]
fn node() {
    if is_there("node", &["--version"]) {
        let main = "\nimport { readFileSync } from \"node:fs\";\nconst [, , secret, message, timestamp, signatures] = \
                    process.argv;\nconst headers = { \"webhook-id\": message, \"webhook-timestamp\": timestamp, \
                    \"webhook-signature\": signatures };\nconsole.log(verify(secret, headers, readFileSync(0)) ? \"good\" : \
                    \"bad\");\n";
        check(
            "receiver.mjs",
            &format!("{}{main}", block("js")),
            "node",
            &["receiver.mjs"],
        );
    }
}

#[test]
fn java() {
    if is_there("java", &["--version"]) && is_there("javac", &["--version"]) {
        let (imports, class) = block("java").split_once("final class").unwrap();
        let main = "class Main {\n    public static void main(String[] args) throws Exception {\n        byte[] body = \
                    System.in.readAllBytes();\n        System.out.println(Webhooks.verify(args[0], args[1], args[2], args[3], \
                    body) ? \"good\" : \"bad\");\n    }\n}\n\n";
        check(
            "Main.java",
            &format!("{imports}{main}final class{class}"),
            "java",
            &["Main.java"],
        );
    }
}

#[test]
fn rust() {
    assert_eq!(
        include_str!("receivers/rust.rs").split_once("\n\n").unwrap().1,
        block("rust")
    );
    let added = signed();
    let verify = |timestamp: &str, body: &str| {
        rust::verify(SECRET, &added[0].1, timestamp, &added[2].1, body.as_bytes())
    };
    assert!(verify(&added[1].1, BODY));
    assert!(!verify(&added[1].1, "{}"));
    assert!(!verify("1600000000", BODY));
}

/// The published library, where it is installed: `pip install standardwebhooks`.
#[test]
fn the_published_library() {
    if is_there("python3", &["-c", "import standardwebhooks"]) {
        let text = "import sys\nfrom standardwebhooks import Webhook, WebhookVerificationError\n_, secret, message, timestamp, \
                    signatures = sys.argv\nheaders = {\"webhook-id\": message, \"webhook-timestamp\": timestamp, \
                    \"webhook-signature\": signatures}\ntry:\n    Webhook(secret).verify(sys.stdin.buffer.read(), \
                    headers)\n    print(\"good\")\nexcept WebhookVerificationError:\n    print(\"bad\")\n";
        check("library.py", text, "python3", &["library.py"]);
    }
}
