//! What happens in the broker's session with the controller, and who acts on it.

use std::sync::Arc;

use taffrail_control::session::{ClusterUpdate, HeldPartition, LogEnd, RefusedIsr, SliceDigest};
use taffrail_protocol::Uuid;

use crate::advertised::Advertised;
use crate::updates::Updates;

/// Acts on what the controller says. The methods run one after the other, in the order in which it was said, on a thread
/// that may wait for the disk.
pub trait SessionEvents: Send + Sync + 'static {
    /// The registration was answered: this is what clients are told of this broker.
    fn registered(&self, advertised: Advertised);

    /// The records that the broker acted on before this session (rule 25): told to the controller as soon as the session
    /// is open, and before anything of the session is applied.
    fn held(&self) -> Vec<HeldPartition>;

    /// What the broker holds of topics, which the next session need not tell again. Asked between sessions.
    fn slices(&self) -> Vec<SliceDigest>;

    /// The cluster's state or a change of it. A snapshot may come again in each session, as its first update: proposals
    /// that an earlier session left unanswered were taken or not (rule 10). Answers what the broker holds that is newer than
    /// what a snapshot tells, for the controller (rule 25).
    fn apply(&self, update: &ClusterUpdate) -> Vec<HeldPartition>;

    /// Whether what was applied is of a time after this broker's registration.
    fn is_caught_up(&self) -> bool;

    /// Proposals that the controller did not take (rule 10).
    fn isr_refused(&self, refused: &[RefusedIsr]);

    /// How far these logs reach; those that are not here or not sound are left out (rules 4, 17).
    fn log_ends(&self, partitions: &[(Uuid, i32)]) -> Vec<LogEnd>;
}

impl SessionEvents for Arc<Updates> {
    fn registered(&self, advertised: Advertised) {
        Updates::registered(self, advertised);
    }

    fn held(&self) -> Vec<HeldPartition> {
        self.held_records()
    }

    fn slices(&self) -> Vec<SliceDigest> {
        Updates::slices(self)
    }

    fn apply(&self, update: &ClusterUpdate) -> Vec<HeldPartition> {
        Updates::apply(self, update)
    }

    fn is_caught_up(&self) -> bool {
        !self.names_former_self()
    }

    fn isr_refused(&self, refused: &[RefusedIsr]) {
        Updates::isr_refused(self, refused);
    }

    fn log_ends(&self, partitions: &[(Uuid, i32)]) -> Vec<LogEnd> {
        Updates::log_ends(self, partitions)
    }
}
