//! The custom resources of Taffrail: what people apply, and what the operator remembers in.

pub mod condition;
pub mod config;
pub mod generate;
pub mod internal;
pub mod logcluster;
pub mod topic;

pub use internal::{
    ClusterState, ClusterStateSpec, PartitionSlice, PartitionSliceSpec, TopicSlice, TopicSliceSpec,
};
pub use logcluster::{LogCluster, LogClusterSpec, LogClusterStatus};
pub use topic::{Topic, TopicSpec, TopicStatus};

/// The API group of all kinds.
pub const GROUP: &str = "taffrail.dev";

/// The one version of all kinds.
pub const VERSION: &str = "v1alpha1";

/// The label of everything that belongs to a LogCluster; its value is the LogCluster's name.
pub const CLUSTER_LABEL: &str = "taffrail.dev/cluster";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_what_the_kinds_say() {
        for definition in generate::definitions() {
            assert_eq!(definition.spec.group, GROUP);
            assert_eq!(definition.spec.versions[0].name, VERSION);
        }
        let cluster = serde_json::to_string(&generate::definitions()).unwrap();
        assert!(cluster.contains(&CLUSTER_LABEL.replace(".dev", r"\\.dev")));
    }
}
