//! `egressway-proxy verify` as a receiver's author calls it: exit code, one line, and never the key.

use crate::alone::fed;

const KEY: &str = "cAnArYcAnArY";
const BODY: &str = "what do ya want for nothing?";
/// HMAC-SHA256 of the body with the key.
const SIGNATURE: &str = "ae7663bb589a2bf99bfdf3a45f51097cd7eec16ddebfc17a06740b896f8d5792";

fn run(args: &[&str], body: &str) -> (i32, String) {
    let (code, said) = fed(&[&["verify"], args].concat(), body);
    (code.unwrap(), said)
}

#[test]
fn it_says_good_or_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let file = file.to_str().unwrap();
    let args = |header: &'static str| {
        [
            "--scheme",
            "HMAC-SHA256",
            "--secret-file",
            file,
            "--header",
            header,
        ]
    };
    let signature: &'static str = Box::leak(format!("X-Signature: {SIGNATURE}").into_boxed_str());
    for (args, body, code, said) in [
        (args(signature), BODY, 0, "the signature is good\n"),
        (
            args(signature),
            "another",
            1,
            "the signature is not good: no signature matches: another key, or the body was changed\n",
        ),
        (
            args("X-Signature: zz"),
            BODY,
            1,
            "the signature is not good: the signature is not written in the encoding that was asked for\n",
        ),
        (args("no colon"), BODY, 2, "a header is NAME: VALUE"),
    ] {
        let (got, text) = run(&args, body);
        assert!(got == code && text.contains(said), "{got} {text}");
        assert!(!text.contains(KEY), "{text}");
    }
    let (code, text) = run(
        &[
            "--scheme",
            "HMAC-SHA256",
            "--header",
            "a: b",
            "--secret-file",
            "/nonexistent",
        ],
        "",
    );
    assert!(
        code == 2 && text.contains("failed to read /nonexistent"),
        "{code} {text}"
    );
}
