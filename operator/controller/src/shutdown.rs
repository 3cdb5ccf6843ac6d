//! Controlled shutdown: leaders leave before the process does.
//!
//! A broker that asks is fenced, and told that it may go when nothing is led by it any more that another could lead. Where
//! that would leave a partition with fewer than `min_isr` members in sync, and a replica is there that may soon be in sync,
//! it is asked to wait a little first: in a rolling restart that is the broker that was restarted before it.

use crate::controller::Controller;
use crate::message::SessionId;
use crate::model::{Member, PartitionState};
use crate::partitions;
use taffrail_control::session::FromController;

impl Controller {
    pub(crate) fn on_shutdown(&mut self, session: SessionId, incarnation: u64) {
        if self.speaker(session, incarnation).is_none() {
            return;
        }
        if let Some(session) = self.sessions.get_mut(&session) {
            session.stopping_since_ms.get_or_insert(self.clock.now_ms());
        }
        self.see_to_shutdowns();
    }

    /// Fences those that need not wait any longer. The last broker may go at once: nobody could take over from it.
    pub(crate) fn see_to_shutdowns(&mut self) {
        self.shutdowns_stirred = true;
        let now_ms = self.clock.now_ms();
        for (session, member, since_ms) in self.stopping() {
            let brokers = &self.cluster.committed().brokers;
            let fenced = |id: i32| brokers.iter().any(|broker| broker.broker_id == id && broker.fenced);
            let others = brokers.iter().any(|broker| !broker.fenced && broker.broker_id != member.broker_id);
            if fenced(member.broker_id) || self.going.contains(&member) {
                continue;
            }
            if !others {
                self.grant(session);
            } else if since_ms + self.policy.shutdown_patience_ms <= now_ms || !self.is_awaited(member) {
                self.fence(member, "it asked to be shut down");
            }
        }
    }

    /// The sessions whose brokers wait to be allowed to stop, and since when.
    fn stopping(&self) -> Vec<(SessionId, Member, u64)> {
        let waiting = self.sessions.iter().filter(|(_, session)| !session.granted);
        waiting.filter_map(|(id, session)| Some((*id, session.broker?, session.stopping_since_ms?))).collect()
    }

    /// Whether some partition needs the broker until another replica has caught up.
    fn is_awaited(&self, member: Member) -> bool {
        let outlook = self.outlook();
        let needs = |record: &PartitionState, view: crate::election::View<'_>| {
            let counted = record.isr.iter().filter(|m| view.is_fit(**m)).count();
            let may_join = |id: &i32| {
                let outside = record.isr.iter().all(|m| m.broker_id != *id);
                outside && view.in_session(*id).is_some_and(|m| view.is_fit(m))
            };
            record.isr.contains(&member)
                && counted == record.min_isr.max(1) as usize
                && record.replicas.iter().any(may_join)
        };
        self.partitions.values().flat_map(|cell| &cell.committed().topics).any(|topic| {
            let mut records = topic.partitions.iter();
            records.any(|record| needs(record, outlook.on(topic.topic_id, record.partition)))
        })
    }

    /// Grants the shutdown of every broker that is fenced and from which all leadership has gone that can go.
    pub(crate) fn grant_shutdowns(&mut self) {
        if !std::mem::take(&mut self.shutdowns_stirred) {
            return;
        }
        let cluster = self.cluster.committed();
        let fenced = |id: i32| cluster.broker(id).is_some_and(|broker| broker.fenced);
        let mut asking = self.stopping();
        asking.retain(|(_, member, _)| fenced(member.broker_id));
        if asking.is_empty() {
            return;
        }
        let outlook = self.outlook();
        let needs_nothing =
            |cell: &crate::controller::PartitionCell| !partitions::needs_mending(cell.committed(), &outlook);
        // While something is being written, no record need be looked at.
        let settled = self.partitions.values().all(|cell| cell.is_idle())
            && self.partitions.values().all(needs_nothing);
        if settled {
            asking.into_iter().for_each(|(session, _, _)| self.grant(session));
        }
    }

    fn grant(&mut self, session: SessionId) {
        self.send(session, FromController::ShutdownGranted);
        if let Some(session) = self.sessions.get_mut(&session) {
            session.granted = true;
        }
    }
}
