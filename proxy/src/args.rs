//! Flags and environment, parsed once; no other defaults anywhere.
//!
//! It opens nothing and checks nothing that needs the machine: that is `app`'s.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::builder::ArgPredicate;
use clap::{Args as _, Parser, Subcommand};
use egressway_core::{duration, quantity, wire::names};
use ipnet::IpNet;

use crate::access_log::Format;
use crate::upstream_tls::roots;
use crate::verify::VerifyArgs;

/// The egress proxy of Egressway: with --policy alone, without it as a pod of a fleet.
#[derive(Clone, Debug, Parser)]
#[command(name = "egressway-proxy", version = version(), args_conflicts_with_subcommands = true)]
pub struct Args {
    /// What to run; without one, the proxy.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The proxy.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

/// Where a proxy that runs alone is reached: from this machine only, unless told otherwise.
const LISTEN_ALONE: &str = "127.0.0.1:4750";
/// The same for health and metrics.
const ADMIN_ALONE: &str = "127.0.0.1:4751";

/// Least memory that a limit may be: what the operator asks for a pod.
const MEMORY_BYTES_MIN: u64 = 64 << 20;

/// What else the binary can be.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Answer every request with the address it came from. Host it outside of the cluster.
    Observer(ObserverArgs),
    /// Explain what a policy says to targets; without any, whether the policy can be enforced.
    Check(CheckArgs),
    /// Stand beside a client that cannot hold a changing password, and add it to what the client sends to its proxy.
    Forward(ForwardArgs),
    /// Turn the configuration of another proxy into an EgressPolicy, on standard output.
    Convert(ConvertArgs),
    /// Check the signature of a webhook; the body comes in on standard input.
    Verify(VerifyArgs),
}

/// A configuration to convert.
#[derive(Clone, Debug, clap::Args)]
pub struct ConvertArgs {
    /// Whose configuration it is.
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub from: From,
    /// Of a Smokescreen ACL only this service, or default.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// The files, each by itself; - is standard input.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// Whose configuration is converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum From {
    /// Smokescreen's ACL, version 1.
    SmokescreenAcl,
    /// Smokescreen's configuration file.
    SmokescreenConfig,
    /// mole's acl.yaml.
    Mole,
    /// Webhook Sentry's configuration file.
    WebhookSentry,
}

/// The helper of a client.
#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("credential").required(true))]
pub struct ForwardArgs {
    /// Where the client connects.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3128")]
    pub listen: SocketAddr,
    /// Listen elsewhere than on loopback: whoever reaches the address uses the credential.
    #[arg(long)]
    pub allow_remote_clients: bool,
    /// The proxy: http://host:4750, or https:// where it speaks TLS.
    #[arg(long, value_name = "URL", value_parser = ProxyUrl::parse)]
    pub proxy: ProxyUrl,
    /// File with a token of a ServiceAccount, sent as the password; read for each request.
    #[arg(long, value_name = "FILE", group = "credential")]
    pub token_file: Option<PathBuf>,
    /// File with a password; read for each request.
    #[arg(long, value_name = "FILE", group = "credential")]
    pub password_file: Option<PathBuf>,
    /// User name beside the password. The proxy does not look at it.
    #[arg(long, value_name = "NAME", default_value = "egressway", value_parser = user_name)]
    pub user: String,
    /// PEM certificates that an https:// proxy is verified with, in place of the public roots.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// How long open connections may go on after the first signal.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    pub drain: Duration,
}

/// Where the real proxy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl {
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl ProxyUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let url: http::Uri = text.parse().map_err(|error| format!("{error}"))?;
        let tls = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err("write http://host:port or https://host:port".to_owned()),
        };
        let authority = url.authority().ok_or("the host is missing")?;
        if authority.as_str().contains('@') {
            return Err("the credential comes from a file, not from the URL".to_owned());
        }
        if url.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err("a proxy has no path".to_owned());
        }
        Ok(Self {
            tls,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(names::PROXY_PORT),
        })
    }
}

/// RFC 7617: the first colon ends the user name.
fn user_name(text: &str) -> Result<String, String> {
    if text.contains(':') || text.chars().any(char::is_control) {
        return Err("a user name has no colon and no control characters".to_owned());
    }
    Ok(text.to_owned())
}

/// A question to a policy.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// A YAML file with EgressPolicies, and an EgressPool where there is one; - is standard input.
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// Which policy of the file.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Which client of the policy asks.
    #[arg(long, value_name = "NAME")]
    pub client: Option<String>,
    /// The method of http:// targets. [default: GET]
    #[arg(long, value_name = "METHOD")]
    pub method: Option<String>,
    /// Look names up with the system's DNS servers, and say which addresses may be dialled.
    #[arg(long)]
    pub resolve: bool,
    /// The same with this DNS server. Repeatable.
    #[arg(long, value_name = "ADDR", value_parser = dns_server)]
    pub resolver: Vec<SocketAddr>,
    /// Also show what each DNS server answers, and how fast; looks names up like --resolve.
    #[arg(long)]
    pub dns: bool,
    /// A fleet's floor.json: what its cluster adds to the SSRF floor.
    #[arg(long, value_name = "FILE")]
    pub floor: Option<PathBuf>,
    /// As for the proxy. Repeatable.
    #[arg(long, value_name = "CIDR")]
    pub insecure_allow: Vec<IpNet>,
    /// Also look whether the Secrets are there, as DIR/NAME/KEY.
    #[arg(long, value_name = "DIR")]
    pub secrets_dir: Option<PathBuf>,
    /// For people, or for programs.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// https://host, http://host/path, host:port or address:port.
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Text.
    Text,
    /// JSON.
    Json,
}

/// The proxy, in a fleet or alone.
#[derive(Clone, Debug, clap::Args)]
pub struct FleetArgs {
    /// Runs alone, without Kubernetes: a YAML file with one EgressPolicy, and an EgressPool where there is one; - is
    /// standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["report", "acl_dir", "report_key_file"])]
    pub policy: Option<PathBuf>,
    /// Where the Secrets are that the policy names, as DIR/NAME/KEY.
    #[arg(long, value_name = "DIR", requires = "policy")]
    pub secrets_dir: Option<PathBuf>,
    /// Where clients connect. With --policy 127.0.0.1:4750.
    #[arg(
        long,
        value_name = "ADDR",
        default_value_t = any(names::PROXY_PORT),
        default_value_if("policy", ArgPredicate::IsPresent, LISTEN_ALONE),
    )]
    pub listen: SocketAddr,
    /// Health and metrics: unauthenticated, nothing secret. With --policy 127.0.0.1:4751.
    #[arg(
        long,
        value_name = "ADDR",
        default_value_t = any(names::ADMIN_PORT),
        default_value_if("policy", ArgPredicate::IsPresent, ADMIN_ALONE),
    )]
    pub admin: SocketAddr,
    /// The authenticated report that the operator reads. None with --policy.
    #[arg(long, value_name = "ADDR", default_value_t = any(names::REPORT_PORT))]
    pub report: SocketAddr,
    /// Directory with policies.json, floor.json and pool.json.
    #[arg(long, value_name = "DIR", default_value = names::ACL_MOUNT)]
    pub acl_dir: PathBuf,
    /// Key of the report, 32 bytes or more.
    #[arg(long, value_name = "FILE", default_value_os_t = PathBuf::from(names::KEY_MOUNT).join(names::REPORT_KEY))]
    pub report_key_file: PathBuf,
    /// How long a terminating pod goes on serving new requests after it stopped being ready. With --policy 0s.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5s",
        default_value_if("policy", ArgPredicate::IsPresent, "0s"),
        value_parser = duration::parse
    )]
    pub drain_delay: Duration,
    /// How long open tunnels may go on after that. With --policy 30s.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "300s",
        default_value_if("policy", ArgPredicate::IsPresent, "30s"),
        value_parser = duration::parse
    )]
    pub drain: Duration,
    /// How lines of the access log are written.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Json)]
    pub log_format: Format,
    /// File to append the access log to, opened again on SIGHUP. [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Token that opens /tunnels, /policy and /log-level on the admin port; read for each request.
    #[arg(long, value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Most memory that the process may use, as 256Mi. [default: the limit of its cgroup, or half of the machine's memory]
    #[arg(long, value_name = "BYTES", value_parser = memory)]
    pub memory_limit: Option<usize>,
    /// PEM bundle of roots that destinations and observers are verified with, instead of those built in; followed.
    #[arg(long, value_name = "FILE")]
    pub roots: Option<PathBuf>,
    /// Opens a range that the SSRF floor refuses. Tests and benchmarks only. Repeatable.
    #[arg(long, value_name = "CIDR")]
    pub insecure_allow: Vec<IpNet>,
    /// Refuses an address that leads to this machine although no interface has it, as the outer one of a 1:1 NAT.
    /// Repeatable.
    #[arg(long, value_name = "IP")]
    pub own_address: Vec<IpAddr>,
    /// Lets clients reach an address of this machine, which is refused otherwise. Repeatable.
    #[arg(long, value_name = "IP")]
    pub allow_own_address: Vec<IpAddr>,
    /// DNS server to ask instead of the node's. Repeatable.
    #[arg(long, value_name = "ADDR", value_parser = dns_server)]
    pub resolver: Vec<SocketAddr>,
    /// Who this pod is.
    #[command(flatten)]
    pub identity: Identity,
}

/// Who this pod is; the operator sets all of it through the downward API.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Identity {
    /// Name of the pod.
    #[arg(long, env = names::ENV_POD_NAME, default_value = "", hide = true)]
    pub pod_name: String,
    /// UID of the pod; without it no report is answered.
    #[arg(long, env = names::ENV_POD_UID, default_value = "", hide = true)]
    pub pod_uid: String,
    /// Name of the node.
    #[arg(long, env = names::ENV_NODE_NAME, default_value = "", hide = true)]
    pub node_name: String,
    /// Cell of the pool that the pod stands in.
    #[arg(long, env = names::ENV_CELL, default_value = "", hide = true)]
    pub cell: String,
}

/// The observer.
#[derive(Clone, Debug, clap::Args)]
pub struct ObserverArgs {
    /// Where to listen. Repeatable.
    #[arg(long, value_name = "ADDR", required = true)]
    pub listen: Vec<SocketAddr>,
    /// PEM certificate chain; with it every address speaks TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM private key of the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

impl FleetArgs {
    /// Neither alone nor a pod nor with documents: whoever starts it so would wait for ever. A pod may be there before its
    /// documents are.
    #[must_use]
    pub fn has_nothing_to_enforce(&self) -> bool {
        self.policy.is_none() && self.identity.pod_uid.is_empty() && !self.acl_dir.exists()
    }

    /// The defaults with the environment of this process; tests change what they need.
    ///
    /// # Errors
    /// An environment variable does not parse.
    pub fn from_env() -> Result<Self, clap::Error> {
        use clap::FromArgMatches as _;
        let command = Self::augment_args(clap::Command::new("egressway-proxy")).no_binary_name(true);
        Self::from_arg_matches(&command.try_get_matches_from(std::iter::empty::<&str>())?)
    }
}

/// The build's version, and how old the roots in it are.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let build = env!("CARGO_PKG_VERSION");
        format!(
            "{build} (roots: {} of {})",
            roots::BUILT_IN_VERSION,
            roots::BUILT_IN_DATE
        )
    });
    &VERSION
}

/// Bytes, as Kubernetes writes them; fewer than the process needs for itself would only refuse everything.
fn memory(text: &str) -> Result<usize, String> {
    let bytes = quantity::parse(text).map_err(|error| error.to_string())?;
    if bytes < MEMORY_BYTES_MIN {
        return Err("less than 64Mi is not enough to do anything".to_owned());
    }
    usize::try_from(bytes).map_err(|_| "more than any machine has".to_owned())
}

/// An address with a port, or without one and then 53.
fn dns_server(text: &str) -> Result<SocketAddr, std::net::AddrParseError> {
    text.parse()
        .or_else(|_| Ok(SocketAddr::new(text.parse::<IpAddr>()?, 53)))
}

/// `[::]` with the port: both families where there are two.
fn any(port: u16) -> SocketAddr {
    SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port))
}

#[cfg(test)]
mod tests;
