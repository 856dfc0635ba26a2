//! Who may vouch for destinations: Mozilla's roots as compiled in, or a bundle that stands in a file.
//!
//! Compiled-in roots age with the binary: their date is shown and measured, and `--roots FILE` replaces them without a
//! new one. A bundle is read again when its file changes; one that cannot be used changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use egressway_core::pem_text;
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use webpki::OwnedCertRevocationList;

use super::x509;
use crate::followed::{self, Followed};
use crate::input;

/// The crate that the compiled-in roots come from, and its version; a test compares it with the lock file.
pub const BUILT_IN_VERSION: &str = "webpki-roots 1.0.10";
/// When that version was published, with what Mozilla trusted then.
pub const BUILT_IN_DATE: &str = "2026-10-19";
/// The same in seconds since 1970.
const BUILT_IN_SECONDS: i64 = 1_792_368_000;

/// Largest bundle; Mozilla's is 230 KB.
const BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How often the file is looked at where the kernel tells nothing. A bundle changes a few times a year.
const POLL: Duration = Duration::from_secs(10);

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("failed to read the bundle")]
    Read(#[source] std::io::Error),
    /// Not PEM.
    #[error("the bundle is not PEM: {0}")]
    Pem(String),
    /// PEM without a certificate.
    #[error("the bundle holds no certificate")]
    Empty,
    /// A certificate that cannot be a root.
    #[error("certificate {number} of the bundle cannot be a root: {reason}")]
    Certificate {
        /// Counted from 1.
        number: usize,
        /// Why not.
        reason: String,
    },
    /// Nothing in it revokes anything: a list that is being written, or something else.
    #[error("ca.crl holds no revocation list; where nothing is revoked, leave it out")]
    NoList,
    /// PEM around something else.
    #[error("ca.crl: list {number} cannot be read: {reason}")]
    List {
        /// Counted from 1.
        number: usize,
        /// Why not.
        reason: String,
    },
}

/// Certificates from PEM, as roots.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) store: Arc<RootCertStore>,
    /// When the last of its certificates expires.
    valid_until: Option<Timestamp>,
}

impl Bundle {
    /// Takes all of them or none: half a bundle would refuse destinations without saying why.
    pub(crate) fn parse(pem: &[u8]) -> Result<Self, Error> {
        let pem = pem_text(pem).ok_or(Error::Empty)?;
        let mut store = RootCertStore::empty();
        let mut valid_until = None;
        for (index, certificate) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
            let certificate = certificate.map_err(|error| Error::Pem(error.to_string()))?;
            let facts = x509::facts(&certificate);
            valid_until = valid_until.max(facts.map(|facts| facts.not_after));
            store.add(certificate).map_err(|error| Error::Certificate {
                number: index + 1,
                reason: error.to_string(),
            })?;
        }
        if store.is_empty() {
            return Err(Error::Empty);
        }
        let store = Arc::new(store);
        Ok(Self { store, valid_until })
    }

    /// Whether every certificate has expired: then no destination can be verified.
    pub(crate) fn is_stale(&self, now: Timestamp) -> bool {
        self.valid_until.is_some_and(|end| end < now)
    }
}

/// Certificates that were revoked, from PEM: all lists or none, and at least one, since a file that is cut short would
/// otherwise bring revoked certificates back.
pub(crate) fn revocations(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let mut lists = Vec::new();
    for (number, list) in (1..).zip(CertificateRevocationListDer::pem_slice_iter(pem)) {
        let broken = |reason: String| Error::List { number, reason };
        let list = list.map_err(|error| broken(error.to_string()))?;
        OwnedCertRevocationList::from_der(&list).map_err(|error| broken(error.to_string()))?;
        lists.push(list);
    }
    if lists.is_empty() {
        return Err(Error::NoList);
    }
    Ok(lists)
}

/// The roots in force where a rule names none of its own.
#[derive(Debug)]
pub struct Roots {
    current: ArcSwap<Current>,
    file: Option<PathBuf>,
}

/// Roots in force.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub(crate) store: Arc<RootCertStore>,
    /// Grows with every change.
    pub(crate) version: u64,
    /// Of the compiled-in roots their date, of a bundle its file's time; seconds since 1970.
    seconds: i64,
}

impl Roots {
    /// Those that are compiled in.
    #[must_use]
    pub fn built_in() -> Arc<Self> {
        let store = Arc::new(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect());
        Arc::new(Self {
            current: ArcSwap::from_pointee(Current {
                store,
                version: 0,
                seconds: BUILT_IN_SECONDS,
            }),
            file: None,
        })
    }

    /// Those in a file instead.
    ///
    /// # Errors
    /// The file cannot be used: a process that was told to trust it starts with nothing else.
    pub fn from_file(file: PathBuf) -> Result<Arc<Self>, Error> {
        let pem = read(&file)?;
        let bundle = Bundle::parse(&pem)?;
        warn_if_stale(&bundle);
        let current = Current {
            store: bundle.store,
            version: 0,
            seconds: changed(&file),
        };
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(current),
            file: Some(file),
        }))
    }

    /// Shows how old they are, whenever it is asked, under the prefix that the registry has.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.register_collector(Box::new(Age(Arc::clone(self))));
    }

    /// Those in force.
    pub(crate) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// When they were published, or when their file was written. Seconds since 1970.
    #[must_use]
    pub fn timestamp_seconds(&self) -> i64 {
        self.current.load().seconds
    }

    /// Reads the file again whenever somebody has written it, until `stop`. Without a file it only waits.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let Some(file) = &self.file else {
            return stop.cancelled().await;
        };
        let (mut files, mut tried) = (Followed::default(), input::read_bytes(file, BYTES_MAX).ok());
        loop {
            let mut dirs = vec![followed::parent(file).to_owned()];
            dirs.extend(
                file.canonicalize()
                    .ok()
                    .as_deref()
                    .map(|file| followed::parent(file).to_owned()),
            );
            files.arm(std::slice::from_ref(file), &dirs);
            match files.read(file, BYTES_MAX) {
                Ok(pem) if tried.as_ref() == Some(&pem) => {}
                Ok(pem) => {
                    self.replace(&pem, changed(file));
                    tried = Some(pem);
                }
                Err(error) if tried.is_none() => drop(error),
                Err(error) => {
                    warn!(
                        error = crate::error_chain(&error),
                        "the roots' file cannot be read, the last good ones stay in force"
                    );
                    tried = None;
                }
            }
            let next_look = files.next_look(POLL);
            tokio::select! {
                () = files.changed() => {}
                () = sleep(next_look) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn replace(&self, pem: &[u8], seconds: i64) {
        match Bundle::parse(pem) {
            Ok(bundle) => {
                warn_if_stale(&bundle);
                let version = self.current.load().version + 1;
                info!(certificates = bundle.store.len(), "new roots are in force");
                let store = bundle.store;
                self.current.store(Arc::new(Current {
                    store,
                    version,
                    seconds,
                }));
            }
            Err(error) => warn!(
                error = crate::error_chain(&error),
                "the roots' file is broken, the last good ones stay in force"
            ),
        }
    }
}

/// Reads the age when asked.
#[derive(Debug)]
struct Age(Arc<Roots>);

impl Collector for Age {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let source = if self.0.file.is_some() { "file" } else { "built-in" };
        let gauge = ConstGauge::new(self.0.timestamp_seconds());
        let mut encoder = encoder.encode_descriptor(
            "roots_timestamp_seconds",
            "When the roots in force were published, or their file was written",
            None,
            MetricType::Gauge,
        )?;
        gauge.encode(encoder.encode_family(&[("source", source)])?)
    }
}

fn warn_if_stale(bundle: &Bundle) {
    if bundle.is_stale(Timestamp::now()) {
        warn!("every certificate of the roots has expired: no destination can be verified");
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    followed::rested(file)
        .and_then(|()| input::read_bytes(file, BYTES_MAX))
        .map_err(Error::Read)
}

fn changed(file: &Path) -> i64 {
    let changed = file.metadata().and_then(|metadata| metadata.modified());
    let since = changed
        .unwrap_or(UNIX_EPOCH)
        .duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ca(not_after: i32) -> String {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(not_after, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn the_built_in_roots_are_those_of_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        let (name, version) = BUILT_IN_VERSION.split_once(' ').unwrap();
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"");
        assert!(
            lock.contains(&entry),
            "webpki-roots changed: set its version, and the day it was published"
        );
        let date: Timestamp = format!("{BUILT_IN_DATE}T00:00:00Z").parse().unwrap();
        assert_eq!(date.as_second(), BUILT_IN_SECONDS);
        let (roots, mut registry, mut text) = (Roots::built_in(), Registry::default(), String::new());
        assert!(roots.current().store.len() > 100);
        roots.register(&mut registry);
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = format!("roots_timestamp_seconds{{source=\"built-in\"}} {BUILT_IN_SECONDS}\n");
        assert!(text.contains(&line), "{text}");
    }

    #[test]
    fn a_bundle_is_taken_whole_or_not_at_all() {
        let (good, other) = (ca(2099), ca(2098));
        assert_eq!(
            Bundle::parse(format!("{good}{other}").as_bytes())
                .unwrap()
                .store
                .len(),
            2
        );
        let cut = format!("{good}-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
        assert!(matches!(
            Bundle::parse(cut.as_bytes()),
            Err(Error::Certificate { number: 2, .. })
        ));
        let marked = [b"\xef\xbb\xbf# Z\xfcrich\n\xef\xbb\xbf", good.as_bytes()].concat();
        assert_eq!(
            Bundle::parse(&marked).unwrap().store.len(),
            1,
            "as editors leave it"
        );
        assert!(matches!(Bundle::parse(b"no PEM at all"), Err(Error::Empty)));
        assert!(matches!(Bundle::parse(b""), Err(Error::Empty)));
    }

    #[test]
    fn a_bundle_is_stale_once_its_last_certificate_has_expired() {
        let now = "2030-06-01T00:00:00Z".parse().unwrap();
        for (years, stale) in [(&[2029][..], true), (&[2029, 2030], true), (&[2029, 2031], false)] {
            let pem: String = years.iter().map(|year| ca(*year)).collect();
            assert_eq!(
                Bundle::parse(pem.as_bytes()).unwrap().is_stale(now),
                stale,
                "{years:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_taken_up_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("roots.pem");
        std::fs::write(&file, ca(2099)).unwrap();
        let roots = Roots::from_file(file.clone()).unwrap();
        let stop = CancellationToken::new();
        let following = tokio::spawn(Arc::clone(&roots).follow(stop.clone()));
        tokio::task::yield_now().await;
        std::fs::write(&file, format!("{}{}", ca(2099), ca(2098))).unwrap();
        sleep(POLL * 2).await;
        assert_eq!((roots.current().store.len(), roots.current().version), (2, 1));
        for broken in ["", "nonsense"] {
            std::fs::write(&file, broken).unwrap();
            sleep(POLL * 2).await;
            assert_eq!((roots.current().store.len(), roots.current().version), (2, 1));
        }
        std::fs::remove_file(&file).unwrap();
        sleep(POLL * 2).await;
        assert_eq!(roots.current().version, 1);
        std::fs::write(&file, ca(2097)).unwrap();
        sleep(POLL * 2).await;
        assert_eq!((roots.current().store.len(), roots.current().version), (1, 2));
        stop.cancel();
        following.await.unwrap();
    }

    #[test]
    fn a_process_does_not_start_with_roots_that_it_was_not_told_to_trust() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            Roots::from_file(dir.path().join("none")),
            Err(Error::Read(_))
        ));
        let file = dir.path().join("roots.pem");
        std::fs::write(&file, "nonsense").unwrap();
        assert!(matches!(Roots::from_file(file), Err(Error::Empty)));
    }
}
