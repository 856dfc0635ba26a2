//! Certificates that are refused for what they are made of. No library of ours makes such any more; these are OpenSSL's.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;

use super::*;

/// P-256.
const ROOT: &str = "-----BEGIN CERTIFICATE-----
MIIBVDCB+qADAgECAhRIBvO9bxPBK02QWIbSrLwDt5s34jAKBggqhkjOPQQDAjAP
MQ0wCwYDVQQDDARyb290MCAXDTIwMDEwMTAwMDAwMFoYDzIwOTkwMTAxMDAwMDAw
WjAPMQ0wCwYDVQQDDARyb290MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEevIk
2bcSTtSvHIU69hAivRQFpbQngLJZ61ffvnaknvUCkzGI/yV+Gf9vZKZ08rH9FlsH
sGaBy/6OHF5Esr3dSaMyMDAwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQUQvuc
j/0rjwq2ZD3kubdHTnBvUicwCgYIKoZIzj0EAwIDSQAwRgIhAKYe8HubuUyFAkqe
wfJbhDY6SOT9swe7Thi2GetSgP3oAiEA2knKelL5KhkBDAc4NUsV1XnHyRkLXpyI
wF3xiVn/p2o=
-----END CERTIFICATE-----
";
/// Of the root, with an RSA key of 1024 bits.
const SHORT: &str = "-----BEGIN CERTIFICATE-----
MIIBnDCCAUKgAwIBAgIUFO0NL7mOEzrjXkLPEe7bydY/0bMwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEcm9vdDAgFw0yMDAxMDEwMDAwMDBaGA8yMDk5MDEwMTAwMDAw
MFowEDEOMAwGA1UEAwwFc2hvcnQwgZ8wDQYJKoZIhvcNAQEBBQADgY0AMIGJAoGB
AMUXFj4aP1eIovryUCZiAZkA5cahwMuHgoGcZHgHZJps3O79NgFSBdRsawJolSYU
/IHCbyC1/B9Er/bGN0DsLZcRW2Vb6Ldg+isD3tq4GfvWYRDMKUsq8V9yiosRqOBR
vkdlCUh49vGpWwOYEpswMjQr8TDu6Pej0Qyd2tAC094ZAgMBAAGjMjAwMA8GA1Ud
EwEB/wQFMAMBAf8wHQYDVR0OBBYEFCAtuHj2aXWxDbfyIowgW+MgthuSMAoGCCqG
SM49BAMCA0gAMEUCIQCDsvwnxkedJ/NOaquA5HUhOssQHZkeDXXKdB0yt2YrqwIg
ODyrw7/3cQX5zYQ6izVPU9OdbEka2Ncz37lt7C879wY=
-----END CERTIFICATE-----
";
/// Of [`SHORT`], for good.example.
const OF_SHORT: &str = "-----BEGIN CERTIFICATE-----
MIIBqDCCARGgAwIBAgIUKlr5unHmKwZMNBW3razQyfORIikwDQYJKoZIhvcNAQEL
BQAwEDEOMAwGA1UEAwwFc2hvcnQwIBcNMjAwMTAxMDAwMDAwWhgPMjA5OTAxMDEw
MDAwMDBaMAwxCjAIBgNVBAMMAXgwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATl
qPIyc5eHtkj9IhdPX2MuHJVmiBe5JQjfKE+x7siFOIuUqEOavuZBwKop1MGOhUR5
bCefQmNdYsVcutrGWvjuo0gwRjAXBgNVHREEEDAOggxnb29kLmV4YW1wbGUwDAYD
VR0TAQH/BAIwADAdBgNVHQ4EFgQUUFXLxRi4bb5eHPLnJe6lD2tLBYowDQYJKoZI
hvcNAQELBQADgYEAuq2SiD9LCzRQef0zH5YC7998t5EHUyCCvotUMkNzL+WESOYz
/jm+FGdUHEFRhHQGhM0hnCrAveBoItyDxNwLqynzWVu/EMTVoHL5L9b3pVCRM7t0
rj1sI9WhzMkNFhzgMWTUOhcpvPCG7JAAFizp0sh3VBvGyPyJ1Sm1dEmuEGA=
-----END CERTIFICATE-----
";
/// Of the root, for good.example, signed with SHA-1.
const OF_SHA1: &str = "-----BEGIN CERTIFICATE-----
MIIBeDCCAR+gAwIBAgIUEW/THt8w2a51tUfivex1ZXow/dMwCQYHKoZIzj0EATAP
MQ0wCwYDVQQDDARyb290MCAXDTI2MTEyNDIwMTQ1MVoYDzIwOTgwMTMwMjAxNDUx
WjAMMQowCAYDVQQDDAF4MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE5ajyMnOX
h7ZI/SIXT19jLhyVZogXuSUI3yhPse7IhTiLlKhDmr7mQcCqKdTBjoVEeWwnn0Jj
XWLFXLraxlr47qNbMFkwFwYDVR0RBBAwDoIMZ29vZC5leGFtcGxlMB0GA1UdDgQW
BBRQVcvFGLhtvl4c8ucl7qUPa0sFijAfBgNVHSMEGDAWgBRC+5yP/SuPCrZkPeS5
t0dOcG9SJzAJBgcqhkjOPQQBA0gAMEUCIDaPTl4lwWwB8zY/Bk2rBSGV7sPBvvsp
JM4WmMboHD3AAiEAxxlIvyxvduhMN9PbAmz43lVfZpLlIaYTcSAOacj2Wqo=
-----END CERTIFICATE-----
";

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn refused(chain: &[&str]) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(der(ROOT)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = Verifier(inner.build().unwrap());
    let chain: Vec<_> = chain.iter().copied().map(der).collect();
    // 2027.
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
    let name = ServerName::try_from("good.example").unwrap();
    let verified = verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], now);
    verified.unwrap_err().to_string()
}

#[test]
fn a_short_key_is_no_wrong_signature_and_sha_1_is_named() {
    for (chain, expected) in [
        (&[OF_SHORT, SHORT][..], "RsaKey { bits: 1024 }"),
        (&[OF_SHA1], "Sha1Signature"),
    ] {
        let error = refused(chain);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_wrong_signature_stays_one() {
    // One bit of the signature, which stands last.
    let mut bytes = der(OF_SHA1).to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let other = CertificateDer::from(bytes);
    let error = || Error::InvalidCertificate(CertificateError::BadSignature);
    assert_eq!(explained(error(), &other, &[der(ROOT)]), error());
}
