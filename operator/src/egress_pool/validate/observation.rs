//! How the pods of a pool find out which address they leave from.

use std::collections::BTreeSet;
use std::time::Duration;

use egressway_core::acl::Host;
use egressway_core::acl::compile::Problems;
use egressway_core::acl::target::Target;
use egressway_core::duration;
use egressway_core::wire::document::{self, OnMismatch};
use egressway_crds::{EgressPoolSpec, Observer};
use http::Uri;
use http::uri::Authority;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};

/// Interval of observation when the field is empty.
const INTERVAL: Duration = Duration::from_secs(60);

/// Reads it; a majority of observers is a quorum unless the pool says otherwise.
pub(super) fn observation(spec: &EgressPoolSpec, problems: &mut Problems) -> document::Observation {
    let Some(observation) = &spec.observation else {
        let interval_ms = u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX);
        return document::Observation {
            interval_ms,
            ..document::Observation::default()
        };
    };
    let interval = match observation.interval.as_str() {
        "" => Ok(INTERVAL),
        text => duration::parse(text),
    };
    let interval = interval.unwrap_or_else(|problem| {
        problems.push("spec.observation.interval", problem);
        INTERVAL
    });
    let observers = observation.observers.len();
    let majority = observers / 2 + 1;
    let quorum = observation
        .quorum
        .map_or(Some(majority), |quorum| usize::try_from(quorum).ok());
    let quorum = quorum
        .filter(|quorum| (1..=observers.max(1)).contains(quorum))
        .unwrap_or_else(|| {
            problems.push(
                "spec.observation.quorum",
                format!("is not from 1 to {observers}, the number of observers"),
            );
            majority
        });
    let mut names = BTreeSet::new();
    for observer in &observation.observers {
        let field = format!("spec.observation.observers[{}]", observer.name);
        if !names.insert(observer.name.as_str()) {
            problems.push(&field, "stands twice: give each observer its own name");
        }
        if let Err((part, problem)) = askable(observer) {
            problems.push(format!("{field}.{part}"), problem);
        }
    }
    let declared = spec.cells.iter().any(|cell| cell.addresses.is_some());
    let on_mismatch = match (observation.on_mismatch.as_deref(), declared) {
        (Some("Quarantine"), _) | (None, true) => OnMismatch::Quarantine,
        (Some("Warn"), _) | (None, false) => OnMismatch::Warn,
        (Some("Off"), _) => OnMismatch::Off,
        (Some(other), _) => {
            problems.push(
                "spec.observation.onMismatch",
                format!("{other:?} is not known: write Quarantine, Warn or Off"),
            );
            OnMismatch::Warn
        }
    };
    document::Observation {
        observers: observation
            .observers
            .iter()
            .map(|observer| document::Observer {
                name: observer.name.clone(),
                url: observer.url.clone(),
                ca_bundle: observer.ca_bundle.clone(),
            })
            .collect(),
        quorum: u32::try_from(quorum).unwrap_or(1),
        interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
        on_mismatch,
    }
}

/// Whether a proxy can ask it. A proxy that cannot read one observer refuses the whole pool, and with it every document
/// beside it: a withdrawn permission would not be heard of.
fn askable(observer: &Observer) -> Result<(), (&'static str, String)> {
    let url = |problem: String| ("url", problem);
    let uri: Uri = observer
        .url
        .parse()
        .map_err(|error| url(format!("is no URL: {error}")))?;
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        Some(_) | None => return Err(url("is no http:// or https:// URL".to_owned())),
    };
    let authority = uri.authority().map_or("", Authority::as_str);
    let target = Target::parse_with_default(authority, if secure { 443 } else { 80 })
        .map_err(|error| url(format!("names no host that can be asked: {error}")))?;
    if let (true, Host::Name(name)) = (secure, target.host())
        && let Err(error) = ServerName::try_from(name.as_str())
    {
        return Err(url(format!("names a host that no certificate is for: {error}")));
    }
    match (&observer.ca_bundle, secure) {
        (Some(pem), true) => bundle(pem).map_err(|problem| ("caBundle", problem)),
        (Some(_), false) => Err(("caBundle", "needs an https:// URL".to_owned())),
        (None, _) => Ok(()),
    }
}

/// All of its certificates can be roots, and there is one.
fn bundle(pem: &str) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for (n, certificate) in (1..).zip(CertificateDer::pem_slice_iter(pem.as_bytes())) {
        let certificate = certificate.map_err(|error| format!("certificate {n} is broken PEM: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("certificate {n} cannot be a root: {error}"))?;
    }
    if roots.is_empty() {
        return Err("holds no certificate in PEM".to_owned());
    }
    Ok(())
}
