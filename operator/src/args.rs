//! Flags and environment, parsed once; no other defaults anywhere.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand};
use egressway_core::duration;
use ipnet::IpNet;

use crate::context::Settings;

/// Reconciles EgressPolicies and EgressPools into fleets of egress proxies.
#[derive(Clone, Debug, Parser)]
#[command(name = "egressway-operator", version, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Another job than being the operator.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Being the operator.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// Jobs of the chart's hooks.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Before uninstalling: stops the operator, deletes every fleet, takes the finalizers off.
    Cleanup(CleanupArgs),
    /// After installing: applies one EgressPool once the API server serves the kind.
    ApplyPool(ApplyPoolArgs),
}

/// Being the operator.
#[derive(Clone, Debug, clap::Args)]
pub struct OperatorArgs {
    /// Namespace in which fleets run.
    #[arg(long, default_value = "egressway-fleets")]
    pub fleet_namespace: String,
    /// Namespace in which the operator runs. Default: that of its ServiceAccount.
    #[arg(long)]
    pub operator_namespace: Option<String>,
    /// ServiceAccount of the operator, for what tenants are told to apply.
    #[arg(long, default_value = "egressway")]
    pub service_account: String,
    /// ClusterRole with which tenants let the operator read Secrets, for the same.
    #[arg(long, default_value = "egressway-secret-reader")]
    pub secret_reader_role: String,
    /// Image of the proxy.
    #[arg(long, default_value = concat!("egressway-proxy:", env!("CARGO_PKG_VERSION")))]
    pub proxy_image: String,
    /// Always, IfNotPresent or Never.
    #[arg(long, default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub proxy_image_pull_policy: String,
    /// Secret in the fleet namespace that opens the registry (repeatable).
    #[arg(long)]
    pub image_pull_secret: Vec<String>,
    /// Domain of the cluster's Services.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Range of the internal tier that cannot be discovered, such as the pods of a VPC CNI (repeatable).
    #[arg(long, value_name = "CIDR")]
    pub internal_cidr: Vec<IpNet>,
    /// Range that no policy may ever reach (repeatable).
    #[arg(long, value_name = "CIDR")]
    pub never_cidr: Vec<IpNet>,
    /// Range with name servers of nodes that the operator's own node does not ask (repeatable).
    #[arg(long, value_name = "CIDR")]
    pub name_server: Vec<IpNet>,
    /// Health and metrics.
    #[arg(long, value_name = "ADDR", default_value = "[::]:8080")]
    pub admin: SocketAddr,
}

/// Before uninstalling.
#[derive(Clone, Debug, clap::Args)]
pub struct CleanupArgs {
    /// Namespace in which the operator runs.
    #[arg(long)]
    pub operator_namespace: String,
    /// Its Deployment.
    #[arg(long)]
    pub operator_deployment: String,
    /// Namespace in which fleets run.
    #[arg(long)]
    pub fleet_namespace: String,
    /// How long it may take.
    #[arg(long, default_value = "180s", value_parser = duration::parse)]
    pub timeout: Duration,
}

/// After installing.
#[derive(Clone, Debug, clap::Args)]
pub struct ApplyPoolArgs {
    /// The EgressPool as JSON.
    #[arg(long)]
    pub manifest: String,
    /// How long to wait for the kind.
    #[arg(long, default_value = "120s", value_parser = duration::parse)]
    pub timeout: Duration,
}

impl OperatorArgs {
    /// The settings; `namespace` is that of the operator's ServiceAccount, `name_servers` are those of its node.
    #[must_use]
    pub fn settings(&self, namespace: &str, name_servers: &[IpNet]) -> Settings {
        let texts = |nets: &[IpNet]| nets.iter().map(ToString::to_string).collect();
        let name_servers: BTreeSet<IpNet> = self
            .name_server
            .iter()
            .chain(name_servers)
            .map(IpNet::trunc)
            .collect();
        Settings {
            fleet_namespace: self.fleet_namespace.clone(),
            operator_namespace: self
                .operator_namespace
                .clone()
                .unwrap_or_else(|| namespace.to_owned()),
            service_account: self.service_account.clone(),
            secret_reader_role: self.secret_reader_role.clone(),
            proxy_image: self.proxy_image.clone(),
            proxy_image_pull_policy: self.proxy_image_pull_policy.clone(),
            image_pull_secrets: self.image_pull_secret.clone(),
            cluster_domain: self.cluster_domain.clone(),
            internal_cidrs: texts(&self.internal_cidr),
            never_cidrs: texts(&self.never_cidr),
            name_servers: name_servers.iter().map(ToString::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_need_no_flag_and_nonsense_is_refused() {
        let args = Args::try_parse_from(["egressway-operator"]).unwrap();
        let settings = args.operator.settings("egressway-system", &[]);
        assert_eq!(
            (&*settings.fleet_namespace, &*settings.operator_namespace),
            ("egressway-fleets", "egressway-system")
        );
        let args = [
            "egressway-operator",
            "--name-server=10.0.0.2/24",
            "--name-server=10.9.0.2/32",
        ];
        let found = ["10.9.0.2/32", "10.1.0.2/32"].map(|net| net.parse().unwrap());
        let settings = Args::try_parse_from(args).unwrap().operator.settings("s", &found);
        assert_eq!(
            settings.name_servers,
            ["10.0.0.0/24", "10.1.0.2/32", "10.9.0.2/32"],
            "what is found and what is told, without host bits, each once"
        );
        for args in [
            &["o", "--never-cidr", "x"][..],
            &["o", "--proxy-image-pull-policy", "Sometimes"],
            &["o", "cleanup"],
        ] {
            assert!(Args::try_parse_from(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn the_page_of_command_lines_has_every_flag_and_no_other() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/cli.md");
        let page = std::fs::read_to_string(page).unwrap();
        let section = |heading: &str| {
            let (_, rest) = page.split_once(heading).unwrap();
            rest.split("\n## ").next().unwrap().to_owned()
        };
        let operator = section("## egressway-operator\n");
        let jobs = section("## Jobs of the chart's hooks\n");
        let job = |name: &str| jobs.lines().find(|line| line.contains(name)).unwrap().to_owned();
        let command = <Args as clap::CommandFactory>::command();
        for (command, text) in [
            (&command, operator),
            (
                command.find_subcommand("cleanup").unwrap(),
                job("`egressway-operator cleanup`"),
            ),
            (
                command.find_subcommand("apply-pool").unwrap(),
                job("`egressway-operator apply-pool`"),
            ),
        ] {
            let arguments = command.get_arguments().filter_map(clap::Arg::get_long);
            let known: BTreeSet<&str> = arguments.collect();
            let flags = text.split("`--").skip(1);
            let written = flags.map(|rest| rest.split(['`', ' ']).next().unwrap()).collect();
            assert_eq!(known, written, "{}", command.get_name());
        }
    }

    /// The chart and the binary are released together, and a flag that one of them lacks shows only at run time.
    #[test]
    fn every_flag_of_the_chart_is_known() {
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/egressway/templates");
        let flags = |file: &str| -> Vec<String> {
            let text = std::fs::read_to_string(format!("{chart}/{file}")).unwrap();
            let after = text.split("--").skip(1);
            let names = after.filter_map(|rest| rest.split_once('=').map(|(name, _)| name.to_owned()));
            names
                .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
                .collect()
        };
        let known = |command: &clap::Command| -> Vec<String> {
            command
                .get_arguments()
                .filter_map(|arg| arg.get_long().map(ToOwned::to_owned))
                .collect()
        };
        let command = <Args as clap::CommandFactory>::command();
        for (file, subcommand, at_least) in [
            ("deployment.yaml", None, 7),
            ("hooks/cleanup.yaml", Some("cleanup"), 4),
            ("hooks/default-pool.yaml", Some("apply-pool"), 2),
        ] {
            let known = known(subcommand.map_or(&command, |name| command.find_subcommand(name).unwrap()));
            let used = flags(file);
            assert!(
                used.len() >= at_least,
                "{file} has only {used:?}: does this test still read it right?"
            );
            for flag in used {
                assert!(
                    known.contains(&flag),
                    "{file} says --{flag}, which is none of {known:?}"
                );
            }
        }
    }
}
