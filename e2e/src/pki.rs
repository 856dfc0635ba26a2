//! Certificates of the cases' own making. Nothing here is a secret worth keeping.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RevokedCertParams, SerialNumber, date_time_ymd,
};

static SERIAL: AtomicU64 = AtomicU64::new(1);

/// A certification authority.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub struct Leaf {
    /// The certificate.
    pub cert: String,
    /// The key.
    pub key: String,
    serial: u64,
}

impl Ca {
    /// A new one.
    ///
    /// # Errors
    /// No key could be made.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = named(name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// Its certificate.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// A certificate for a common name and DNS names.
    ///
    /// # Errors
    /// A name is not ASCII.
    pub fn leaf(&self, name: &str, hosts: &[&str]) -> Result<Leaf> {
        self.sign(named(name, hosts)?)
    }

    /// The same, long expired.
    ///
    /// # Errors
    /// A name is not ASCII.
    pub fn expired(&self, name: &str, hosts: &[&str]) -> Result<Leaf> {
        let mut params = named(name, hosts)?;
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign(params)
    }

    /// A list, good for long, that revokes a certificate.
    ///
    /// # Errors
    /// It could not be signed.
    pub fn revoke(&self, leaf: &Leaf) -> Result<String> {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(leaf.serial),
                revocation_time: date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.0)?.pem()?)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Leaf> {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate()?;
        Ok(Leaf {
            cert: params.signed_by(&key, &self.0)?.pem(),
            key: key.serialize_pem(),
            serial,
        })
    }
}

/// A pair of keys for signatures, as PEM.
pub struct RsaKey {
    /// For who verifies.
    pub public: String,
    /// For who signs.
    pub private: String,
}

/// A new pair of 2048 bits.
///
/// # Errors
/// No key could be made.
pub fn rsa_key() -> Result<RsaKey> {
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
    Ok(RsaKey {
        public: key.public_key_pem(),
        private: key.serialize_pem(),
    })
}

/// A certificate that vouches for itself.
///
/// # Errors
/// A name is not ASCII.
pub fn self_signed(name: &str, hosts: &[&str]) -> Result<Leaf> {
    let key = KeyPair::generate()?;
    Ok(Leaf {
        cert: named(name, hosts)?.self_signed(&key)?.pem(),
        key: key.serialize_pem(),
        serial: 0,
    })
}

fn named(name: &str, hosts: &[&str]) -> Result<CertificateParams> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    // Without its own there is rcgen's.
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
