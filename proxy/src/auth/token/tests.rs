//! Tokens signed by keys of this test; every way to be wrong is a row.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData as _};
use serde_json::json;

use super::*;

const ISSUER: &str = "https://kubernetes.default.svc";
const AUDIENCE: &str = "egressway.dev/payments/webhooks";

struct Signer {
    key: EncodingKey,
    jwk: Value,
    algorithm: Algorithm,
}

/// A key pair whose public half is in a set under `id`.
fn signer(id: &str, algorithm: Algorithm) -> Signer {
    let kind = match algorithm {
        Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
        Algorithm::ES384 => &PKCS_ECDSA_P384_SHA384,
        _ => &PKCS_RSA_SHA256,
    };
    let pair = KeyPair::generate_for(kind).unwrap();
    let der = pair.serialize_der();
    let (key, public) = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => {
            let point = &pair.der_bytes()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            let curve = if algorithm == Algorithm::ES256 {
                "P-256"
            } else {
                "P-384"
            };
            let x_y = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
            let jwk = json!({"kty": "EC", "crv": curve, "x": x_y[0], "y": x_y[1]});
            (EncodingKey::from_ec_der(&der), jwk)
        }
        _ => {
            let (n, e) = rsa(pair.der_bytes());
            let jwk = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e)});
            // What stands inside of PKCS #8 is what it wants; the frame of a 2048-bit key has 26 bytes.
            (EncodingKey::from_rsa_der(&der[26..]), jwk)
        }
    };
    let mut jwk = public;
    jwk["kid"] = json!(id);
    jwk["use"] = json!("sig");
    Signer { key, jwk, algorithm }
}

/// Modulus and exponent of an RSAPublicKey: a SEQUENCE of two INTEGERs.
fn rsa(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let integer = |der: &[u8]| {
        let (length, rest) = match der[1] {
            0x82 => (usize::from(der[2]) << 8 | usize::from(der[3]), &der[4..]),
            short => (usize::from(short), &der[2..]),
        };
        let value = rest[..length]
            .iter()
            .copied()
            .skip_while(|byte| *byte == 0)
            .collect::<Vec<u8>>();
        (value, rest[length..].to_vec())
    };
    let (n, rest) = integer(&der[4..]);
    (n, integer(&rest).0)
}

fn issuer(signers: &[&Signer]) -> Issuer {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk.clone()).collect();
    Issuer::new(&document::Issuer {
        issuer: ISSUER.to_owned(),
        jwks: json!({ "keys": keys }).to_string(),
    })
    .unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": [AUDIENCE], "sub": "system:serviceaccount:payments:sender",
        "iat": now(), "nbf": now(), "exp": now() + 3600,
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn sign(signer: &Signer, id: Option<&str>, claims: &Value) -> String {
    let header = Header {
        kid: id.map(str::to_owned),
        ..Header::new(signer.algorithm)
    };
    encode(&header, claims, &signer.key).unwrap()
}

#[test]
fn a_good_token_of_every_algorithm() {
    for algorithm in [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
    ] {
        let signer = signer("one", algorithm);
        let issuer = issuer(&[&signer]);
        for id in [Some("one"), None] {
            let subject = issuer.verify(&sign(&signer, id, &claims()), AUDIENCE);
            assert_eq!(subject.unwrap().as_str(), "payments/sender", "{algorithm:?}");
        }
    }
}

#[test]
fn every_way_to_be_wrong() {
    let signer = signer("one", Algorithm::ES256);
    let issuer = issuer(&[&signer]);
    for (name, value, expected) in [
        ("iss", json!("https://other"), InvalidToken::Issuer),
        ("iss", json!([ISSUER]), InvalidToken::Malformed),
        (
            "aud",
            json!("https://kubernetes.default.svc"),
            InvalidToken::Audience,
        ),
        (
            "aud",
            json!(["egressway.dev/payments/other"]),
            InvalidToken::Audience,
        ),
        ("aud", json!([]), InvalidToken::Audience),
        ("aud", Value::Null, InvalidToken::Malformed),
        ("exp", Value::Null, InvalidToken::Malformed),
        ("exp", json!(now() - 31), InvalidToken::Expired),
        ("exp", json!(now() + 3600 + 60), InvalidToken::Lifetime),
        ("exp", json!(u64::MAX), InvalidToken::Lifetime),
        ("iat", Value::Null, InvalidToken::Malformed),
        ("nbf", json!(now() + 60), InvalidToken::NotYet),
        (
            "sub",
            json!("system:serviceaccount:payments"),
            InvalidToken::Subject,
        ),
        (
            "sub",
            json!("system:serviceaccount:payments:a:b"),
            InvalidToken::Subject,
        ),
        ("sub", json!("system:node:one"), InvalidToken::Subject),
        ("sub", json!("payments/sender"), InvalidToken::Subject),
    ] {
        let token = sign(&signer, Some("one"), &with(name, value.clone()));
        assert_eq!(
            issuer.verify(&token, AUDIENCE).unwrap_err(),
            expected,
            "{name} {value}"
        );
    }
    // Within the leeway.
    for (name, value) in [
        ("exp", json!(now() - 25)),
        ("nbf", json!(now() + 25)),
        ("aud", json!(AUDIENCE)),
    ] {
        let mut claims = with(name, value);
        claims["iat"] = json!(now() - 10);
        assert!(
            issuer
                .verify(&sign(&signer, Some("one"), &claims), AUDIENCE)
                .is_ok(),
            "{name}"
        );
    }
}

#[test]
fn keys_that_did_not_sign_and_algorithms_that_are_none() {
    let (one, two) = (signer("one", Algorithm::ES256), signer("two", Algorithm::ES256));
    let issuer_of_both = issuer(&[&one, &two]);
    let verify = |issuer: &Issuer, token: &str| issuer.verify(token, AUDIENCE).unwrap_err();
    assert_eq!(
        verify(&issuer_of_both, &sign(&one, Some("two"), &claims())),
        InvalidToken::Signature
    );
    assert_eq!(
        verify(&issuer_of_both, &sign(&one, Some("three"), &claims())),
        InvalidToken::UnknownKey
    );
    assert_eq!(
        verify(&issuer_of_both, &sign(&one, None, &claims())),
        InvalidToken::UnknownKey,
        "a token without a key's name, and two keys"
    );
    // HMAC with the public key as the secret, and no signature at all.
    let public = one.jwk["x"].as_str().unwrap();
    let header = Header {
        kid: Some("one".to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    let forged = encode(&header, &claims(), &EncodingKey::from_secret(public.as_bytes())).unwrap();
    assert_eq!(verify(&issuer_of_both, &forged), InvalidToken::Algorithm);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!(
        "{}.{}.",
        part(&json!({"alg": "none", "kid": "one"})),
        part(&claims())
    );
    assert_eq!(verify(&issuer_of_both, &none), InvalidToken::Malformed);
    // A key that says which algorithm it is for takes no other.
    let mut rsa = signer("rsa", Algorithm::RS256);
    rsa.jwk["alg"] = json!("PS256");
    assert_eq!(
        verify(&issuer(&[&rsa]), &sign(&rsa, Some("rsa"), &claims())),
        InvalidToken::Algorithm
    );
    for token in ["", "a", "a.b", "a.b.c", "....", "e30.e30.e30"] {
        assert_eq!(verify(&issuer_of_both, token), InvalidToken::Malformed, "{token}");
    }
}

#[test]
fn a_token_is_remembered_for_its_audience_alone() {
    let signer = signer("one", Algorithm::ES256);
    let known = issuer(&[&signer]);
    let token = sign(&signer, Some("one"), &claims());
    assert!(known.verify(&token, AUDIENCE).is_ok());
    assert_eq!(known.lock().len(), 1);
    assert!(known.verify(&token, AUDIENCE).is_ok());
    assert_eq!(
        known.verify(&token, "egressway.dev/payments/other").unwrap_err(),
        InvalidToken::Audience
    );
    assert_eq!(known.lock().len(), 1, "only what was verified is kept");
    // An entry that has expired is asked about anew.
    known
        .lock()
        .values_mut()
        .for_each(|verified| verified.expires = 0);
    assert!(known.verify(&token, AUDIENCE).is_ok());
    assert!(known.lock().values().all(|verified| verified.expires > 0));
    // Keys rotate: what the old ones signed is worth nothing.
    let rotated = issuer(&[&self::signer("two", Algorithm::ES256)]);
    assert_eq!(
        rotated.verify(&token, AUDIENCE).unwrap_err(),
        InvalidToken::UnknownKey
    );
}

#[test]
fn a_key_set_keeps_what_it_understands() {
    let mut good = signer("one", Algorithm::ES256).jwk;
    let symmetric = json!({"kty": "oct", "kid": "two", "k": "c2VjcmV0", "alg": "HS256"});
    let unknown = json!({"kty": "future", "kid": "three"});
    let mut encrypting = good.clone();
    encrypting["use"] = json!("enc");
    let compile = |jwks: &str| {
        Issuer::new(&document::Issuer {
            issuer: ISSUER.to_owned(),
            jwks: jwks.to_owned(),
        })
    };
    let set = json!({"keys": [good, symmetric, unknown, encrypting]}).to_string();
    assert_eq!(compile(&set).unwrap().keys.len(), 1);
    good["y"] = json!("!");
    assert_eq!(
        compile(&json!({"keys": [good]}).to_string()).unwrap().keys.len(),
        0
    );
    assert!(compile("{}").is_err() && compile("").is_err());
    assert!(compile(&json!({"keys": vec![json!({}); KEYS_MAX + 1]}).to_string()).is_err());
}
