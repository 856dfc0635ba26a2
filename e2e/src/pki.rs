//! Certificates of the cases' own making. Nothing here is a secret worth keeping.

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// A certification authority.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub struct Leaf {
    /// The certificate.
    pub cert: String,
    /// The key.
    pub key: String,
}

impl Ca {
    /// A new one.
    ///
    /// # Errors
    /// No key could be made.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = named(name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
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

    fn sign(&self, params: CertificateParams) -> Result<Leaf> {
        let key = KeyPair::generate()?;
        Ok(Leaf {
            cert: params.signed_by(&key, &self.0)?.pem(),
            key: key.serialize_pem(),
        })
    }
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
