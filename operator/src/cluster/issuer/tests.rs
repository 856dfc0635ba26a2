use super::*;

const DISCOVERY: &str = r#"{"issuer":"https://issuer.example","jwks_uri":"https://10.0.0.1:6443/openid/v1/jwks",
    "response_types_supported":["id_token"],"id_token_signing_alg_values_supported":["RS256"]}"#;

#[test]
fn the_same_keys_are_the_same_text_and_nothing_but_public_fields_is_kept() {
    let a = r#"{"use":"sig","kty":"RSA","kid":"b","alg":"RS256","n":"AQ","e":"AQAB","x5t":"x"}"#;
    let b = r#"{"kty":"EC","kid":"a","crv":"P-256","x":"AQ","y":"Ag","d":"private"}"#;
    let one = issuer(DISCOVERY, &format!(r#"{{"keys":[{a},{b}]}}"#)).unwrap();
    let other = issuer(DISCOVERY, &format!(r#"{{"keys":[{b},{a},{b}],"more":1}}"#)).unwrap();
    assert_eq!(one, other);
    assert_eq!(one.issuer, "https://issuer.example");
    assert_eq!(
        one.jwks,
        r#"{"keys":[{"alg":"RS256","e":"AQAB","kid":"b","kty":"RSA","n":"AQ"},{"crv":"P-256","kid":"a","kty":"EC","x":"AQ","y":"Ag"}]}"#
    );
}

#[test]
fn answers_that_verify_nothing_are_refused() {
    let key = r#"{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"}]}"#;
    assert!(issuer(DISCOVERY, key).is_ok());
    for (discovery, keys) in [
        (DISCOVERY, r#"{"keys":[]}"#),
        (DISCOVERY, r#"{"keys":[{"kty":"oct","k":"AQ"}]}"#),
        (
            DISCOVERY,
            r#"{"keys":[{"kty":"RSA","use":"enc","n":"AQ","e":"AQAB"}]}"#,
        ),
        (DISCOVERY, "{}"),
        (DISCOVERY, "<html>"),
        ("{}", key),
    ] {
        assert!(issuer(discovery, keys).is_err(), "{discovery} {keys}");
    }
}
