//! A manifest as the documents that an operator would have mounted.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use egressway_core::acl::compile;
use egressway_core::manifest::{self, Place, PolicySpec, PoolSpec};
use egressway_core::wire::document::{self, Auth, Content, PolicySecrets, Secrets, VERSION};
use tracing::info;

use super::{Manifest, Named, Refused, SecretsDir, needed};
use crate::input;

/// Largest manifest; as much as a mounted document may have.
const BYTES_MAX: u64 = crate::documents::BYTES_MAX;

/// Of one file.
pub type Signature = (u64, u64, u64, (i64, i64));

/// Where a proxy that runs alone has its documents from.
#[derive(Clone, Debug)]
pub struct Source {
    file: PathBuf,
    /// What stood there, where it can be read only once.
    text: Option<String>,
    secrets: SecretsDir,
}

/// The documents of one manifest.
#[derive(Clone, Debug)]
pub struct Documents {
    /// Its only policy.
    pub policies: document::Policies,
    /// What it adds to the compiled-in floor.
    pub floor: document::Floor,
    /// The pool, or one that adds nothing.
    pub pool: document::Pool,
    /// What the policy refers to.
    pub secrets: Secrets,
    /// Fields that have a meaning in a cluster only.
    pub idle: Vec<String>,
}

impl Source {
    /// Reads what is no file, to its end; of a file nothing yet.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(file: PathBuf, secrets_dir: Option<PathBuf>) -> Result<Self, Refused> {
        let text = if input::is_read_once(&file) {
            // Before it is waited for, which may take for ever.
            info!(
                policy = input::name(&file),
                "the policy is read once and to the end, because it is no file; it is not read again"
            );
            Some(read(&file)?)
        } else {
            None
        };
        Ok(Self {
            file,
            text,
            secrets: SecretsDir::new(secrets_dir),
        })
    }

    /// Reads the file and the Secrets. The generation is that of the policy with this hash, or the next.
    ///
    /// # Errors
    /// Every problem.
    pub fn read(&self, in_force: Option<(&str, i64)>) -> Result<Documents, Refused> {
        let name = input::name(&self.file);
        let manifest = match &self.text {
            Some(text) => Manifest::parse(&name, text)?,
            None => Manifest::parse(&name, &read(&self.file)?)?,
        };
        let mut refused = Refused::default();
        let (policy, pool) = match (manifest.policies.as_slice(), manifest.pools.as_slice()) {
            ([policy], pools @ ([] | [_])) => (policy, pools.first()),
            ([], _) => {
                refused.push(format!("{name}: holds no EgressPolicy"));
                return Err(refused);
            }
            (policies, pools) => {
                for other in policies.iter().skip(1) {
                    refused.push(format!(
                        "{name}:{}: a second EgressPolicy, {}; a proxy enforces one: give each a file",
                        other.line, other.name
                    ));
                }
                for other in pools.iter().skip(1) {
                    refused.push(format!(
                        "{name}:{}: a second EgressPool, {}",
                        other.line, other.name
                    ));
                }
                return Err(refused);
            }
        };
        let mut documents = documents(&name, policy, pool, in_force, Place::Alone)?;
        let secrets = documents
            .policies
            .policies
            .first()
            .map(|policy| needed(&policy.content));
        let secrets = self.secrets.read(&secrets.unwrap_or_default())?;
        documents.secrets.policies = vec![PolicySecrets {
            namespace: policy.namespace.clone(),
            name: policy.name.clone(),
            secrets,
        }];
        Ok(documents)
    }

    /// What tells one state of the files from another without reading them: device, inode, size and time of each.
    #[must_use]
    pub fn signature(&self, content: Option<&Content>) -> Vec<Option<Signature>> {
        let needed = content.map(needed).unwrap_or_default();
        let secrets = self.secrets.paths(&needed);
        let of = |path: PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            let time = (metadata.mtime(), metadata.mtime_nsec());
            Some((metadata.dev(), metadata.ino(), metadata.len(), time))
        };
        let file = self.text.is_none().then(|| self.file.clone());
        file.into_iter().chain(secrets).map(of).collect()
    }

    /// The directories in which something may change: of the file, of what it links to, of the Secrets.
    #[must_use]
    pub fn watched(&self, content: Option<&Content>) -> Vec<PathBuf> {
        let parent = |path: &Path| match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        let mut dirs = Vec::new();
        if self.text.is_none() {
            dirs.push(parent(&self.file));
            dirs.extend(self.file.canonicalize().ok().as_deref().map(parent));
        }
        dirs.extend(self.secrets.watched(&content.map(needed).unwrap_or_default()));
        dirs.sort();
        dirs.dedup();
        dirs
    }
}

fn read(file: &Path) -> Result<String, Refused> {
    input::read(file, BYTES_MAX).map_err(|error| {
        let mut refused = Refused::default();
        refused.push(format!("{}: {error}", input::name(file)));
        refused
    })
}

/// What a policy and its pool mean where it `stands`; `file` is the name in problems. Secrets are left empty.
///
/// # Errors
/// Every problem.
pub fn documents(
    file: &str,
    policy: &Named<PolicySpec>,
    pool: Option<&Named<PoolSpec>>,
    in_force: Option<(&str, i64)>,
    stands: Place,
) -> Result<Documents, Refused> {
    let mut refused = Refused::default();
    let place = format!("{file}:{}", policy.line);
    let (content, problems) = manifest::draft(&policy.spec, &policy.namespace, stands);
    refused.extend(&place, &problems);
    if stands == Place::Alone {
        service_accounts(&place, &content, &mut refused);
    }
    if let (Some(wanted), Some(pool)) = (&policy.spec.pool_ref, pool)
        && wanted.name != pool.name
    {
        refused.push(format!(
            "{place}: spec.poolRef: names {:?}, and the pool of this file is {:?}",
            wanted.name, pool.name
        ));
    }
    let hash = document::digest(&content);
    let generation = in_force.map_or(1, |(before, generation)| generation + i64::from(before != hash));
    let policies = document::Policies {
        version: VERSION,
        policies: vec![document::Policy::seal(
            &policy.namespace,
            &policy.name,
            generation,
            content,
        )],
    };
    let mut idle = Vec::new();
    idle.extend(
        policy
            .spec
            .pool_ref
            .as_ref()
            .filter(|_| pool.is_none())
            .map(|_| "poolRef"),
    );
    idle.extend(policy.spec.fleet.as_ref().map(|_| "fleet"));
    let mut floor = document::Floor {
        version: VERSION,
        ..document::Floor::default()
    };
    let mut wire_pool = document::Pool {
        version: VERSION,
        ..document::Pool::default()
    };
    if let Some(Named { name, line, spec, .. }) = pool {
        let place = format!("{file}:{line}");
        wire_pool.name.clone_from(name);
        match manifest::caps(spec) {
            Ok(caps) => wire_pool.caps = caps,
            Err(problems) => refused.extend(&place, &problems),
        }
        floor.nat64_prefixes = manifest::nat64_prefixes(spec);
        idle.extend(idle_of(spec));
        // Compiled here too, so that what is wrong with them is told together with the policy's problems.
        if let Err(problems) = compile::caps(&wire_pool.caps) {
            refused.extend(&place, &problems);
        }
        if let Err(problems) = compile::floor(&floor, &[]) {
            refused.extend(&place, &problems);
        }
    }
    if let Err(problems) = compile::policies(&policies) {
        refused.extend(&place, &problems);
    }
    refused.into_result(Documents {
        policies,
        floor,
        pool: wire_pool,
        secrets: Secrets {
            version: VERSION,
            policies: Vec::new(),
        },
        idle: idle.into_iter().map(|field| format!("spec.{field}")).collect(),
    })
}

/// Where a policy can be enforced: one that names pods or their tokens only in a cluster.
#[must_use]
pub fn place(spec: &PolicySpec) -> Place {
    let of_cluster = |client: &manifest::Client| {
        let auth = client.auth.as_ref();
        client.from.is_some() || auth.is_some_and(|auth| auth.service_accounts.is_some())
    };
    if spec.clients.iter().flatten().any(of_cluster) {
        Place::Cluster
    } else {
        Place::Alone
    }
}

/// Their tokens are verified with keys that only an operator hands out.
fn service_accounts(place: &str, content: &Content, refused: &mut Refused) {
    for client in &content.clients {
        if matches!(client.auth, Some(Auth::ServiceAccounts(_))) {
            refused.push(format!(
                "{place}: spec.clients {}: serviceAccounts are a cluster's: use passwordSecretRefs or certificate",
                client.name
            ));
        }
    }
}

/// Fields of a pool that only a cluster acts on.
fn idle_of(spec: &PoolSpec) -> impl Iterator<Item = &'static str> {
    let caps = spec.caps.as_ref();
    [
        ("allowedNamespaces", spec.allowed_namespaces.is_some()),
        ("cells", spec.cells.is_some()),
        ("observation", spec.observation.is_some()),
        ("fleet", spec.fleet.is_some()),
        (
            "caps.maxReplicasPerCell",
            caps.is_some_and(|caps| caps.max_replicas_per_cell.is_some()),
        ),
        (
            "caps.maxRulesPerPolicy",
            caps.is_some_and(|caps| caps.max_rules_per_policy.is_some()),
        ),
    ]
    .into_iter()
    .filter_map(|(field, written)| written.then_some(field))
}
