//! A member of a classic group. (`org.apache.kafka.coordinator.group.classic.ClassicGroupMember`.)

use std::borrow::Cow;
use std::sync::Arc;

use super::records::MemberMetadata;
use super::{ClientContext, JoinGroupRequest, Protocol};

/// A member of a group. `T` names a parked request.
#[derive(Debug)]
pub(super) struct Member<T> {
    pub(super) member_id: Arc<str>,
    pub(super) group_instance_id: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    /// The preferred one first; each name once.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Arc<[u8]>,
    /// Whether it has never had a generation, so that it does not send heartbeats yet.
    pub(super) is_new: bool,
    /// The parked JoinGroup; set through the group only, which counts them.
    pub(super) awaiting_join: Option<T>,
    /// The parked SyncGroup.
    pub(super) awaiting_sync: Option<T>,
}

impl<T> Member<T> {
    pub(super) fn joining(member_id: Arc<str>, request: &JoinGroupRequest, context: &ClientContext) -> Self {
        Self {
            member_id,
            group_instance_id: request.group_instance_id.clone(),
            client_id: context.client_id.clone(),
            client_host: context.client_host.clone(),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols.clone(),
            assignment: Arc::from([]),
            is_new: true,
            awaiting_join: None,
            awaiting_sync: None,
        }
    }

    pub(super) fn loaded(record: MemberMetadata<'_>, protocol: &str) -> Self {
        let rebalance_timeout_ms =
            if record.rebalance_timeout == -1 { record.session_timeout } else { record.rebalance_timeout };
        Self {
            member_id: Arc::from(&*record.member_id),
            group_instance_id: record.group_instance_id.as_deref().map(Arc::from),
            client_id: Arc::from(&*record.client_id),
            client_host: Arc::from(&*record.client_host),
            rebalance_timeout_ms,
            session_timeout_ms: record.session_timeout,
            protocols: vec![Protocol {
                name: Arc::from(protocol),
                metadata: Arc::from(&*record.subscription),
            }],
            assignment: Arc::from(&*record.assignment),
            is_new: false,
            awaiting_join: None,
            awaiting_sync: None,
        }
    }

    pub(super) fn is_awaiting_join(&self) -> bool {
        self.awaiting_join.is_some()
    }

    /// Whether silence is no sign of death: a parked request stands for heartbeats, except a new member's.
    pub(super) fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    /// Its metadata in `protocol`, empty where it does not have it.
    pub(super) fn metadata(&self, protocol: Option<&str>) -> Arc<[u8]> {
        let found = self.protocols.iter().find(|candidate| Some(&*candidate.name) == protocol);
        found.map_or_else(|| Arc::from([]), |protocol| protocol.metadata.clone())
    }

    /// The member's part of the group's record.
    pub(super) fn record<'a>(&'a self, protocol: Option<&str>, assignment: &'a [u8]) -> MemberMetadata<'a> {
        MemberMetadata {
            member_id: Cow::Borrowed(&*self.member_id),
            group_instance_id: self.group_instance_id.as_deref().map(Cow::Borrowed),
            client_id: Cow::Borrowed(&*self.client_id),
            client_host: Cow::Borrowed(&*self.client_host),
            rebalance_timeout: self.rebalance_timeout_ms,
            session_timeout: self.session_timeout_ms,
            subscription: Cow::Owned(self.metadata(protocol).to_vec()),
            assignment: Cow::Borrowed(assignment),
        }
    }
}
