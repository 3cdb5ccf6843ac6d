//! The options of `taffrail-operator`, which the Helm chart sets by environment variables.

use std::net::{IpAddr, SocketAddr};

use clap::Parser;

/// Run LogClusters and Topics: the cluster controller of Taffrail on Kubernetes
#[derive(Debug, Clone, Parser)]
#[command(
    name = "taffrail-operator",
    version,
    long_about = "\
Run LogClusters and Topics: the cluster controller of Taffrail on Kubernetes.

It is installed by the Helm chart, which sets everything below. Two or more of it may run; the one that holds the Lease is \
the active one, and brokers find it by way of any of them.",
    after_long_help = "\
Exit status: 0 after a clean stop, 1 after a failure, 2 for options that are not valid."
)]
pub struct OperatorOptions {
    /// The namespace that the operator runs in, and keeps its Lease and its authority's key in
    #[arg(long, value_name = "NAMESPACE", env = "TAFFRAIL_OPERATOR_NAMESPACE", hide_env_values = true)]
    pub namespace: String,

    /// What this operator is told apart by: its pod's name
    #[arg(long, value_name = "NAME", env = "TAFFRAIL_OPERATOR_POD_NAME", hide_env_values = true)]
    pub pod_name: String,

    /// Where brokers reach this operator: its pod's address
    #[arg(long, value_name = "ADDRESS", env = "TAFFRAIL_OPERATOR_POD_IP", hide_env_values = true)]
    pub pod_ip: IpAddr,

    /// The headless Service that names all operators; brokers are told to find them by it
    #[arg(
        long,
        value_name = "NAME",
        env = "TAFFRAIL_OPERATOR_SERVICE",
        hide_env_values = true,
        default_value = "taffrail-operator-controllers"
    )]
    pub service: String,

    /// The namespaces whose LogClusters and Topics are looked after [default: all]
    #[arg(
        long,
        value_name = "NAMESPACE[,…]",
        env = "TAFFRAIL_OPERATOR_WATCH_NAMESPACES",
        hide_env_values = true,
        value_delimiter = ','
    )]
    watch_namespaces: Vec<String>,

    /// Where brokers connect
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "TAFFRAIL_OPERATOR_LISTEN",
        hide_env_values = true,
        default_value = "0.0.0.0:9190"
    )]
    pub listen: SocketAddr,

    /// Where /livez, /readyz and /metrics are served over HTTP
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "TAFFRAIL_OPERATOR_ADMIN",
        hide_env_values = true,
        default_value = "0.0.0.0:9644"
    )]
    pub admin: SocketAddr,

    /// The Lease by which operators agree on the active one
    #[arg(
        long,
        value_name = "NAME",
        env = "TAFFRAIL_OPERATOR_LEASE_NAME",
        hide_env_values = true,
        default_value = "taffrail-operator"
    )]
    pub lease_name: String,

    /// The Secret with the key of the authority that signs the certificates of controllers
    #[arg(
        long,
        value_name = "NAME",
        env = "TAFFRAIL_OPERATOR_CA_SECRET",
        hide_env_values = true,
        default_value = "taffrail-operator-ca"
    )]
    pub ca_secret: String,

    /// The image of brokers, without a tag: that is a LogCluster's version
    #[arg(
        long,
        value_name = "IMAGE",
        env = "TAFFRAIL_OPERATOR_BROKER_IMAGE",
        hide_env_values = true,
        default_value = "taffrail/broker"
    )]
    pub broker_image: String,

    /// The tag of that image for LogClusters of this release [default: the release's version]
    #[arg(long, value_name = "TAG", env = "TAFFRAIL_OPERATOR_BROKER_TAG", hide_env_values = true)]
    pub broker_tag: Option<String>,

    /// When nodes pull the image of brokers: Always, IfNotPresent or Never
    #[arg(
        long,
        value_name = "POLICY",
        env = "TAFFRAIL_OPERATOR_IMAGE_PULL_POLICY",
        hide_env_values = true,
        value_parser = ["Always", "IfNotPresent", "Never"]
    )]
    pub image_pull_policy: Option<String>,

    /// What is logged: error, warn, info, debug or trace, or filters such as info,taffrail_operator=debug
    #[arg(
        long,
        value_name = "FILTER",
        env = "TAFFRAIL_OPERATOR_LOG",
        hide_env_values = true,
        default_value = "info"
    )]
    pub log_level: String,
}

impl OperatorOptions {
    /// The namespaces that are looked after; `None` for all of them.
    pub fn watched_namespaces(&self) -> Option<Vec<String>> {
        let named = self.watch_namespaces.iter().map(|name| name.trim()).filter(|name| !name.is_empty());
        let named: Vec<String> = named.map(str::to_owned).collect();
        (!named.is_empty()).then_some(named)
    }

    /// Where brokers find the operators.
    pub fn controller_address(&self) -> String {
        format!("https://{}.{}.svc:{}", self.service, self.namespace, self.listen.port())
    }

    /// Where brokers find this operator.
    pub fn own_address(&self) -> String {
        format!("https://{}", SocketAddr::new(self.pod_ip, self.listen.port()))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn options(more: &[&str]) -> OperatorOptions {
        let own = ["taffrail-operator", "--namespace", "infra", "--pod-name", "p-0", "--pod-ip", "fd00::1"];
        OperatorOptions::try_parse_from([&own, more].concat()).unwrap()
    }

    #[test]
    fn options_are_sound_and_brokers_are_told_names_and_addresses() {
        OperatorOptions::command().debug_assert();
        let options = options(&["--listen", "[::]:9999"]);
        assert_eq!(options.controller_address(), "https://taffrail-operator-controllers.infra.svc:9999");
        assert_eq!(options.own_address(), "https://[fd00::1]:9999");
    }

    #[test]
    fn without_namespaces_all_are_looked_after() {
        assert_eq!(options(&[]).watched_namespaces(), None);
        assert_eq!(options(&["--watch-namespaces", ""]).watched_namespaces(), None);
        let two = options(&["--watch-namespaces", "a, b"]).watched_namespaces();
        assert_eq!(two, Some(vec!["a".to_owned(), "b".to_owned()]));
    }
}
