//! The template of the brokers' pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource,
    ResourceRequirements, SeccompProfile, SecurityContext, ServiceAccountTokenProjection,
    TopologySpreadConstraint, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use taffrail_crds::LogCluster;
use taffrail_crds::logcluster::LogClusterSpec;

use super::Release;
use super::config_maps::{ADDRESS, BROKER_YAML, CA};
use super::names::{
    ADMIN_PORT, ADMIN_PORT_NAME, BROKER_CONTAINER, Names, POD_INDEX, VERSION, labels, listener_name, selector,
};
use super::template::{hash_of, restart_settings};
use crate::access::AUDIENCE;

/// Nobody in particular, and never root.
const USER: i64 = 65532;
/// How long that token is good for; the kubelet replaces it in time.
const TOKEN_SECONDS: i64 = 3600;
const TOKEN_DIRECTORY: &str = "/var/run/secrets/taffrail.dev";
const CONTROLLER_DIRECTORY: &str = "/etc/taffrail/controller";
const CONFIG_DIRECTORY: &str = "/etc/taffrail/broker";
/// Tells what a broker reads only when it starts.
const CONFIG_HASH: &str = "taffrail.dev/config-hash";

/// The template that `cluster` asks for, without its own hash.
pub(super) fn template(cluster: &LogCluster, release: &Release) -> PodTemplateSpec {
    let overrides = &cluster.spec.brokers.pod;
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    // What people add gives way to what the operator needs.
    let mut all_labels = overrides.labels.clone();
    all_labels.extend(labels(name));
    let mut annotations = overrides.annotations.clone();
    let settings = serde_json::json!(restart_settings(cluster));
    annotations.insert(CONFIG_HASH.to_owned(), hash_of(&settings));
    annotations.insert(VERSION.to_owned(), release.version.clone());
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(all_labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(spec(cluster, release)),
    }
}

fn spec(cluster: &LogCluster, release: &Release) -> PodSpec {
    let brokers = &cluster.spec.brokers;
    let overrides = &brokers.pod;
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let names = Names::new(cluster.metadata.namespace.as_deref().unwrap_or_default(), name);
    let spread = match overrides.topology_spread_constraints.as_slice() {
        [] => spread(name, &brokers.rack.topology_key),
        wished => wished.to_vec(),
    };
    PodSpec {
        containers: vec![container(&cluster.spec, &names, release)],
        service_account_name: Some(names.cluster()),
        automount_service_account_token: Some(false),
        // A Service whose name begins with "taffrail" would set variables that are a broker's options.
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(brokers.termination_grace_period_seconds),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            // Otherwise a volume with many files takes minutes to be mounted each time.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(seccomp()),
            ..PodSecurityContext::default()
        }),
        volumes: Some(vec![
            config_map("broker", names.config()),
            config_map("controller", names.controller()),
            token(),
        ]),
        topology_spread_constraints: Some(spread),
        node_selector: some(&overrides.node_selector),
        affinity: overrides.affinity.clone(),
        tolerations: (!overrides.tolerations.is_empty()).then(|| overrides.tolerations.clone()),
        priority_class_name: overrides.priority_class_name.clone(),
        image_pull_secrets: (!overrides.image_pull_secrets.is_empty())
            .then(|| overrides.image_pull_secrets.clone()),
        ..PodSpec::default()
    }
}

fn some(map: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then(|| map.clone())
}

fn container(spec: &LogClusterSpec, names: &Names<'_>, release: &Release) -> Container {
    let port = |name: &str, port: i32| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let mut ports: Vec<_> =
        spec.listeners.iter().map(|listener| port(&listener.name, listener.port)).collect();
    ports.push(port(ADMIN_PORT_NAME, ADMIN_PORT));
    let resources = &spec.brokers.resources;
    let quantities = |map: &BTreeMap<String, Quantity>| (!map.is_empty()).then(|| map.clone());
    Container {
        name: BROKER_CONTAINER.to_owned(),
        image: Some(release.image.clone()),
        image_pull_policy: release.pull_policy.clone(),
        args: Some(vec![BROKER_CONTAINER.to_owned()]),
        env: Some(environment(spec, names)),
        ports: Some(ports),
        resources: Some(ResourceRequirements {
            requests: quantities(&resources.requests),
            limits: quantities(&resources.limits),
            ..ResourceRequirements::default()
        }),
        // A log that was not closed properly is read again before the port of clients opens, never before the one of
        // probes: what is not alive after a minute will not be.
        startup_probe: Some(probe("/livez", 1, 60)),
        liveness_probe: Some(probe("/livez", 10, 3)),
        readiness_probe: Some(probe("/readyz", 2, 3)),
        volume_mounts: Some(mounts(spec)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

/// A broker's options. Which broker it is follows from its pod: the template is one for all.
fn environment(spec: &LogClusterSpec, names: &Names<'_>) -> Vec<EnvVar> {
    let value =
        |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() };
    let field = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.to_owned(),
                api_version: Some("v1".to_owned()),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    let listeners = |host: &str| -> String {
        let all = spec.listeners.iter();
        let all = all.map(|listener| format!("{}://{host}:{}", listener_name(&listener.name), listener.port));
        all.collect::<Vec<_>>().join(",")
    };
    let volumes = spec.brokers.storage.volumes_by_name().into_iter();
    let directories: Vec<_> = volumes.map(|volume| directory(&volume.name)).collect();
    // Variables refer only to those before them.
    vec![
        field("POD_NAME", "metadata.name"),
        field("TAFFRAIL_ID", &format!("metadata.labels['{POD_INDEX}']")),
        value("TAFFRAIL_CONTROLLER_ADDRESS_FILE", format!("{CONTROLLER_DIRECTORY}/{ADDRESS}")),
        value("TAFFRAIL_CONTROLLER_CA_FILE", format!("{CONTROLLER_DIRECTORY}/{CA}")),
        value("TAFFRAIL_CONTROLLER_TOKEN_FILE", format!("{TOKEN_DIRECTORY}/token")),
        value("TAFFRAIL_DATA_DIR", directories.join(",")),
        value("TAFFRAIL_LISTEN", listeners("0.0.0.0")),
        // Where an external listener is reached is known to the operator alone, which tells clients so.
        value("TAFFRAIL_ADVERTISE", listeners(&format!("$(POD_NAME).{}", names.host(&names.brokers())))),
        value("TAFFRAIL_ADMIN", format!("0.0.0.0:{ADMIN_PORT}")),
        value("TAFFRAIL_CONFIG", format!("{CONFIG_DIRECTORY}/{BROKER_YAML}")),
    ]
}

fn directory(volume: &str) -> String {
    format!("/data/{volume}")
}

fn mounts(spec: &LogClusterSpec) -> Vec<VolumeMount> {
    let mount = |name: &str, path: String, read_only: Option<bool>| VolumeMount {
        name: name.to_owned(),
        mount_path: path,
        read_only,
        ..VolumeMount::default()
    };
    let volumes = spec.brokers.storage.volumes_by_name().into_iter();
    let data = volumes.map(|volume| mount(&volume.name, directory(&volume.name), None));
    let mounted = [
        (volume_name("broker"), CONFIG_DIRECTORY),
        (volume_name("controller"), CONTROLLER_DIRECTORY),
        (volume_name("token"), TOKEN_DIRECTORY),
    ];
    let read = mounted.map(|(name, path)| mount(&name, path.to_owned(), Some(true)));
    data.chain(read).collect()
}

/// Longer than the name of any volume of a LogCluster, so that people can call theirs what they like.
fn volume_name(what: &str) -> String {
    format!("taffrail-operator-{what}")
}

fn config_map(what: &str, name: String) -> Volume {
    let source = ConfigMapVolumeSource { name, ..ConfigMapVolumeSource::default() };
    Volume { name: volume_name(what), config_map: Some(source), ..Volume::default() }
}

fn token() -> Volume {
    let token = ServiceAccountTokenProjection {
        audience: Some(AUDIENCE.to_owned()),
        expiration_seconds: Some(TOKEN_SECONDS),
        path: "token".to_owned(),
    };
    let projection = VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() };
    let source =
        ProjectedVolumeSource { sources: Some(vec![projection]), ..ProjectedVolumeSource::default() };
    Volume { name: volume_name("token"), projected: Some(source), ..Volume::default() }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(ADMIN_PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

fn seccomp() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }
}

/// Over racks first, then over nodes. A broker that cannot be spread runs all the same: one replica in a bad place is
/// better than one that is not there.
fn spread(cluster: &str, rack: &str) -> Vec<TopologySpreadConstraint> {
    let over = |topology_key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(selector(cluster)),
        ..TopologySpreadConstraint::default()
    };
    vec![over(rack), over("kubernetes.io/hostname")]
}
