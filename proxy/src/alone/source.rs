//! A manifest as the documents that an operator would have mounted.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use egressway_core::acl::{Wall, compile, lint};
use egressway_core::manifest::{self, Place, PolicySpec, PoolSpec};
use egressway_core::wire::document::{self, Auth, Content, PolicySecrets, Secrets, VERSION};
use tracing::info;

use super::{Manifest, Named, Refused, SecretsDir, needed, warnings};
use crate::egress_ip::Plan;
use crate::{followed, input};

/// Largest manifest; as much as a mounted document may have.
const BYTES_MAX: u64 = crate::documents::BYTES_MAX;

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
    /// What has no effect, or more than its author may have meant.
    pub warnings: Vec<String>,
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
            Some(text(&file, &mut input::read_bytes)?)
        } else {
            None
        };
        Ok(Self {
            file,
            text,
            secrets: SecretsDir::new(secrets_dir),
        })
    }

    /// Reads the file and the Secrets, each once it is left alone: at the start, when nobody follows them yet.
    ///
    /// # Errors
    /// Every problem.
    pub fn read(&self) -> Result<Documents, Refused> {
        self.read_with(None, &mut |path, bytes_max| {
            followed::rested(path)?;
            input::read_bytes(path, bytes_max)
        })
    }

    /// Reads them in a way of the caller's. The generation is that of the policy with this hash, or the next.
    ///
    /// # Errors
    /// Every problem.
    pub(crate) fn read_with(
        &self,
        in_force: Option<(&str, i64)>,
        read: &mut Read<'_>,
    ) -> Result<Documents, Refused> {
        let name = input::name(&self.file);
        let manifest = match &self.text {
            Some(text) => Manifest::parse(&name, text)?,
            None => Manifest::parse(&name, &text(&self.file, read)?)?,
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
        let secrets = self.secrets.read_with(&secrets.unwrap_or_default(), read)?;
        documents.secrets.policies = vec![PolicySecrets {
            namespace: policy.namespace.clone(),
            name: policy.name.clone(),
            secrets,
        }];
        Ok(documents)
    }

    /// What is followed: the file and the Secrets, and the directories in which their names and links stand.
    pub(crate) fn followed(&self, content: Option<&Content>) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let needed = content.map(needed).unwrap_or_default();
        let mut files: Vec<_> = self.secrets.paths(&needed).collect();
        if self.text.is_none() {
            files.push(self.file.clone());
        }
        let mut dirs = self.secrets.dirs();
        for file in &files {
            dirs.push(followed::parent(file).to_owned());
            dirs.extend(
                file.canonicalize()
                    .ok()
                    .as_deref()
                    .map(|file| followed::parent(file).to_owned()),
            );
        }
        dirs.sort();
        dirs.dedup();
        (files, dirs)
    }
}

/// How files are read: the path, and the most bytes.
pub(super) type Read<'a> = dyn FnMut(&Path, u64) -> io::Result<Vec<u8>> + 'a;

fn text(file: &Path, read: &mut Read<'_>) -> Result<String, Refused> {
    let text = read(file, BYTES_MAX).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    });
    text.map_err(|error| {
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
        match manifest::observation(spec) {
            Ok(observation) => wire_pool.observation = observation,
            Err(problems) => refused.extend(&place, &problems),
        }
        if let Err(problems) = Plan::of(&wire_pool, "") {
            refused.extend(&place, &problems);
        }
        floor.nat64_prefixes = manifest::nat64_prefixes(spec);
        idle.extend(idle_of(spec));
        // Compiled here too, so that what is wrong with them is told together with the policy's problems.
        if let Err(problems) = compile::caps(&wire_pool.caps) {
            refused.extend(&place, &problems);
        }
        refused.extend(&place, &lint::caps(&wire_pool.caps, None).0);
        if let Err(problems) = compile::floor(&floor, &[]) {
            refused.extend(&place, &problems);
        }
    }
    let compiled = compile::policies(&policies);
    if let Err(problems) = &compiled {
        refused.extend(&place, problems);
    }
    let wall = (compile::floor(&floor, &[]), compile::caps(&wire_pool.caps));
    let warnings = match (compiled.as_deref(), policies.policies.first(), wall) {
        (Ok([compiled]), Some(policy), (Ok(floor), Ok(caps))) => warnings(
            compiled,
            &policy.content,
            &Wall { floor, caps },
            &wire_pool.caps,
            pool.map(|pool| &pool.spec),
            None,
        ),
        (Ok(_) | Err(_), _, _) => Vec::new(),
    };
    refused.into_result(Documents {
        warnings,
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
        (
            "observation.onMismatch",
            spec.observation
                .as_ref()
                .is_some_and(|observation| observation.on_mismatch.is_some()),
        ),
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
