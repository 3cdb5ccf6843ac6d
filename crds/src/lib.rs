//! The custom resources of Taffrail: what people apply, and what the operator remembers in.

pub mod generate;
pub mod internal;

pub use internal::{
    ClusterState, ClusterStateSpec, PartitionSlice, PartitionSliceSpec, TopicSlice, TopicSliceSpec,
};

/// The API group of all kinds.
pub const GROUP: &str = "taffrail.dev";

/// The one version of all kinds.
pub const VERSION: &str = "v1alpha1";

/// The label of everything that belongs to a LogCluster; its value is the LogCluster's name.
pub const CLUSTER_LABEL: &str = "taffrail.dev/cluster";

#[cfg(test)]
mod tests {
    use kube::Resource;

    use super::*;

    #[test]
    fn constants_are_what_the_kinds_say() {
        assert_eq!(ClusterState::group(&()), GROUP);
        assert_eq!(ClusterState::version(&()), VERSION);
    }
}
