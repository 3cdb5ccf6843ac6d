//! Moving partitions to other replicas (KIP-455, KIP-860).
//!
//! | what is asked | replicas | adding | removing |
//! |---|---|---|---|
//! | nothing yet | origin | | |
//! | a move | targets, then what is left of the origin | targets that are new | what is left of the origin |
//! | another move meanwhile | the same, from the same origin: former targets that are no longer wanted go at once | | |
//! | all targets in sync and counted | targets | | |
//! | cancelled | origin | | |
//!
//! New replicas get into the ISR as any other does, by their leader's proposal. The last step is one swap (rule 24). While
//! a partition moves, `min_isr` is that of its origin: replicas that are still being filled do not raise what a write needs.

use taffrail_control::session::{ApiError, Reassignment};
use taffrail_control::slices::topic_slice;
use taffrail_protocol::{ErrorCode, Uuid};

use crate::cell::Verdict;
use crate::controller::Controller;
use crate::election::View;
use crate::message::{Event, SessionId};
use crate::model::{Member, PartitionSlice, PartitionState, SliceTopic};
use crate::partitions::{self, PartitionDecision, PartitionIntent};
use crate::requests::{Form, Ticket};
use crate::topics;
use crate::validate::{self, refuse};

/// What somebody wants of one partition, and what may be asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) partition: i32,
    /// The replicas it shall have; `None` cancels the move under way.
    pub(crate) targets: Option<Vec<i32>>,
    /// Whether the number of replicas may change (KIP-860).
    pub(crate) allow_replication_factor_change: bool,
    /// It was decided before, and that may have been stored.
    pub(crate) proposed: bool,
}

/// The smaller of the setting and the number of replicas (rule 23).
pub(crate) fn min_isr_of(min_insync_replicas: i32, replicas: usize) -> i32 {
    min_insync_replicas.clamp(1, i32::try_from(replicas.max(1)).unwrap_or(i32::MAX))
}

/// The record with another `min_isr`, if it ought to have one (rule 23). Nobody stays in an ELR over it (rule 22).
pub(crate) fn with_min_isr(record: &PartitionState, min_insync_replicas: i32) -> Option<PartitionState> {
    let min_isr = min_isr_of(min_insync_replicas, record.replicas.len() - record.adding.len());
    if min_isr == record.min_isr {
        return None;
    }
    Some(record.next(|next| {
        next.min_isr = min_isr;
        next.elr.clear();
    }))
}

/// Where a partition lives and is to live.
struct Shape {
    replicas: Vec<i32>,
    adding: Vec<i32>,
    removing: Vec<i32>,
    min_isr: i32,
}

impl Shape {
    fn settled(replicas: Vec<i32>, min_isr: i32) -> Self {
        Self { replicas, adding: Vec::new(), removing: Vec::new(), min_isr }
    }

    fn moving(origin: &[i32], targets: &[i32], min_isr: i32) -> Self {
        let removing: Vec<i32> = origin.iter().copied().filter(|id| !targets.contains(id)).collect();
        let adding = targets.iter().copied().filter(|id| !origin.contains(id)).collect();
        Self { replicas: [targets, &removing].concat(), adding, removing, min_isr }
    }
}

/// What `wish` makes of the record; `None` if it is so already.
pub(crate) fn reassign(
    record: &PartitionState,
    wish: &Wish,
    min_insync_replicas: i32,
    view: &View<'_>,
) -> Result<Option<PartitionState>, ApiError> {
    let origin = record.origin();
    let Some(targets) = &wish.targets else {
        return match record.is_moving() {
            true => reshaped(record, Shape::settled(origin, record.min_isr), view).map(Some),
            false if wish.proposed => Ok(None),
            false => refuse(ErrorCode::NO_REASSIGNMENT_IN_PROGRESS, "the partition is not being moved"),
        };
    };
    validate::targets(targets, view.cluster)?;
    let (factor, wanted) = (record.targets().len(), targets.len());
    if wanted != factor && !wish.allow_replication_factor_change {
        return refuse(
            ErrorCode::INVALID_REPLICATION_FACTOR,
            format!(
                "the partition has {factor} replicas and would get {wanted}, which the request does not allow"
            ),
        );
    }
    if record.targets() == *targets {
        return Ok(None);
    }
    let moving = reshaped(record, Shape::moving(&origin, targets, record.min_isr), view)?;
    // There may be nothing to wait for.
    let settled = end(&moving, min_insync_replicas, view).map(|shape| reshaped(record, shape, view));
    settled.unwrap_or(Ok(moving)).map(Some)
}

/// The record of a partition whose move has come to its end; `None` while it has not, or if there is none.
pub(crate) fn ended(
    record: &PartitionState,
    min_insync_replicas: i32,
    view: &View<'_>,
) -> Option<PartitionState> {
    reshaped(record, end(record, min_insync_replicas, view)?, view).ok()
}

/// What a move comes to once all of its targets are in the ISR and counted (rule 24).
fn end(moving: &PartitionState, min_insync_replicas: i32, view: &View<'_>) -> Option<Shape> {
    let targets = moving.targets();
    let in_sync = |id: &i32| moving.isr.iter().any(|m| m.broker_id == *id && view.is_fit(*m));
    let min_isr = min_isr_of(min_insync_replicas, targets.len());
    (moving.is_moving() && targets.iter().all(in_sync)).then(|| Shape::settled(targets, min_isr))
}

/// The record in its new shape. Who is no replica any more leaves ISR, ELR and leadership.
fn reshaped(record: &PartitionState, shape: Shape, view: &View<'_>) -> Result<PartitionState, ApiError> {
    let Shape { replicas, adding, removing, min_isr } = shape;
    let stays = |member: &Member| replicas.contains(&member.broker_id);
    let place = |member: &Member| replicas.iter().position(|id| *id == member.broker_id);
    let staying = |members: &[Member]| members.iter().copied().filter(stays).collect::<Vec<Member>>();
    let (mut isr, mut elr) = (staying(&record.isr), staying(&record.elr));
    let is_live = |member: &&Member| view.is_fit(**member);
    let counted = isr.iter().filter(is_live).count();
    // Rule 24. Who is in neither has nothing that the others lack.
    let loses_records = isr.len() < record.isr.len() || elr.len() < record.elr.len();
    if loses_records && counted < min_isr.max(1) as usize {
        return refuse(
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            format!(
                "of the replicas that would stay only {counted} are in sync, and {min_isr} must be: wait until more of \
                 them are, or keep those that are being added"
            ),
        );
    }
    isr.sort_by_key(place);
    if isr.len() >= min_isr.max(0) as usize || min_isr != record.min_isr {
        elr.clear();
    }
    let leader = record.leader.filter(stays).or_else(|| view.foremost(isr.iter().filter(is_live).copied()));
    Ok(record.next(|next| {
        (next.replicas, next.adding, next.removing) = (replicas, adding, removing);
        (next.leader, next.isr, next.elr, next.min_isr) = (leader, isr, elr, min_isr);
    }))
}

impl Controller {
    pub(crate) fn take_reassignments(
        &mut self,
        session: SessionId,
        request_id: u64,
        partitions: Vec<Reassignment>,
        allow_replication_factor_change: bool,
    ) {
        let names = partitions.iter().map(|wanted| (wanted.topic.clone(), wanted.partition)).collect();
        let form = Form::Partitions(names);
        let Some(ticket) = self.open_request(session, request_id, form, partitions.len()) else { return };
        for (slot, Reassignment { topic, partition, replicas: targets }) in partitions.into_iter().enumerate()
        {
            let ticket = ticket(slot);
            match self.slice_of(&topic, partition) {
                Err(error) => self.requests.settle(ticket, Err(error)),
                Ok((slice, topic_id)) => {
                    let proposed = false;
                    let wish = Wish { partition, targets, allow_replication_factor_change, proposed };
                    self.enqueue_partitions(slice, PartitionIntent::Reassign { ticket, topic_id, wish });
                }
            }
        }
    }

    /// Decides one wish on its slice.
    pub(crate) fn reassign(
        &self,
        slice: &mut PartitionSlice,
        ticket: Ticket,
        topic_id: Uuid,
        wish: Wish,
    ) -> Verdict<PartitionIntent, PartitionDecision> {
        let number = wish.partition;
        let found = slice.topic_mut(topic_id).and_then(|topic| topic.partition_mut(number));
        let wanted = self.min_insync_replicas(topic_id);
        let decided = match (found, wanted) {
            (Some(record), Some(wanted)) => {
                match reassign(record, &wish, wanted, &self.outlook().on(topic_id, number)) {
                    Ok(Some(after)) => {
                        *record = after;
                        Ok(true)
                    }
                    Ok(None) => Ok(false),
                    Err(error) => Err(error),
                }
            }
            _ => refuse(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "the topic is being deleted"),
        };
        let changed = decided == Ok(true);
        let decision = PartitionDecision::Through(decided.map(|_| ()));
        let proposed = wish.proposed || changed;
        let intent = PartitionIntent::Reassign { ticket, topic_id, wish: Wish { proposed, ..wish } };
        if changed { Verdict::Changed(intent, decision) } else { Verdict::Unchanged(intent, decision) }
    }

    /// If a move in the slice has come to its end.
    pub(crate) fn enqueue_end_of_moves(&mut self, slice: u32) {
        let Some(cell) = self.partitions.get(&slice) else { return };
        let wanted = |topic_id| self.min_insync_replicas(topic_id);
        if !cell.is_idle() || partitions::has_ended_moves(cell.committed(), &self.outlook(), wanted) {
            self.enqueue_partitions(slice, PartitionIntent::EndMoves);
        }
    }

    /// If a record of the topic needs another number of replicas in sync (rule 23).
    pub(crate) fn follow_up_min_isr(&mut self, topic_id: Uuid) {
        let Some(wanted) = self.min_insync_replicas(topic_id) else { return };
        let Some((_, entry)) = self.entry(topic_id) else { return };
        let mut slices: Vec<u32> = entry.pieces.iter().map(|piece| piece.slice).collect();
        slices.sort_unstable();
        slices.dedup();
        slices.retain(|slice| {
            let content = self.partitions.get(slice).map(|cell| cell.committed());
            content.is_some_and(|content| partitions::needs_min_isr(content, topic_id, wanted))
        });
        slices.into_iter().for_each(|s| self.enqueue_partitions(s, PartitionIntent::SetMinIsr { topic_id }));
    }

    /// The slice that holds the record of a partition that brokers know of, and the id of its topic.
    pub(crate) fn slice_of(&self, topic: &str, partition: i32) -> Result<(u32, Uuid), ApiError> {
        let entries = &self.topics[topic_slice(topic) as usize].committed().topics;
        let entry = entries.get(topic).filter(|entry| entry.deleting_since_ms.is_none());
        let Some(entry) = entry else { return topics::unknown_topic(topic) };
        let piece = entry.pieces.iter().find(|piece| piece.partitions().contains(&partition));
        let known = piece.filter(|_| partition < self.published.count(entry.topic_id));
        known.map(|piece| (piece.slice, entry.topic_id)).ok_or_else(|| unknown_partition(topic, partition))
    }
}

/// What people may want to know of the decisions between two contents of a topic's records.
pub(crate) fn events(before: &SliceTopic, after: &SliceTopic) -> Vec<Event> {
    let (mut begun, mut ended, mut cancelled, mut needs) = (0, 0, 0, 0);
    let known = after.partitions.iter().filter_map(|now| Some((before.partition(now.partition)?, now)));
    for (was, now) in known {
        needs += usize::from(was.min_isr != now.min_isr && !was.is_moving() && !now.is_moving());
        if now.is_moving() {
            begun += usize::from((&was.adding, &was.removing) != (&now.adding, &now.removing));
        } else if was.is_moving() {
            let there = was.targets() == now.replicas;
            ended += usize::from(there);
            cancelled += usize::from(!there);
        }
    }
    let topic = || after.name.clone();
    let events = [
        (begun, Event::Reassigning { topic: topic(), partitions: begun }),
        (ended, Event::Reassigned { topic: topic(), partitions: ended, cancelled: false }),
        (cancelled, Event::Reassigned { topic: topic(), partitions: cancelled, cancelled: true }),
        (needs, Event::MinIsrChanged { topic: topic(), partitions: needs }),
    ];
    events.into_iter().filter(|(count, _)| *count > 0).map(|(_, event)| event).collect()
}

pub(crate) fn unknown_partition(topic: &str, partition: i32) -> ApiError {
    let message = format!("topic \"{topic}\" has no partition {partition}");
    ApiError { code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use crate::election::{first_record, mend};
    use crate::model::ClusterState;
    use crate::test_support::cluster_of;
    use proptest::prelude::*;

    fn member(id: i32) -> Member {
        Member { broker_id: id, incarnation: id as u64 }
    }

    fn members(ids: &[i32]) -> Vec<Member> {
        ids.iter().copied().map(member).collect()
    }

    fn to(targets: &[i32]) -> Wish {
        Wish {
            partition: 0,
            targets: Some(targets.to_vec()),
            allow_replication_factor_change: true,
            proposed: false,
        }
    }

    const CANCEL: Wish =
        Wish { partition: 0, targets: None, allow_replication_factor_change: true, proposed: false };

    /// Six brokers, and a partition on the first three that needs two in sync.
    fn start() -> (ClusterState, PartitionState) {
        let cluster = cluster_of(6);
        let record = first_record(0, vec![1, 2, 3], 2, &View::of(&cluster));
        (cluster, record)
    }

    /// A leader's proposal that was taken.
    fn with_isr(record: &PartitionState, ids: &[i32]) -> PartitionState {
        record.next(|next| {
            next.isr = members(ids);
            next.elr.clear();
        })
    }

    fn shape(record: &PartitionState) -> (&[i32], &[i32], &[i32]) {
        (&record.replicas, &record.adding, &record.removing)
    }

    #[test]
    fn a_move_takes_the_leader_away_and_one_that_yields_does_not_take_over_while_another_can() {
        let (cluster, record) = start();
        let moving = reassign(&record, &to(&[2, 3, 4]), 2, &View::of(&cluster)).unwrap().unwrap();
        let ready = with_isr(&moving, &[2, 3, 4, 1]);
        let leader_with = |yielding: &[i32]| {
            let yielding: BTreeSet<i32> = yielding.iter().copied().collect();
            let view = View { yielding: Some(&yielding), ..View::of(&cluster) };
            ended(&ready, 2, &view).unwrap().leader
        };
        assert_eq!(leader_with(&[]), Some(member(2)));
        assert_eq!(leader_with(&[2]), Some(member(3)));
        assert_eq!(leader_with(&[2, 3, 4]), Some(member(2)));
    }

    #[test]
    fn a_move_adds_the_targets_and_ends_in_one_swap_when_all_are_in_sync() {
        let (cluster, record) = start();
        let moving = reassign(&record, &to(&[4, 5, 3]), 2, &View::of(&cluster)).unwrap().unwrap();
        assert_eq!(shape(&moving), (&[4, 5, 3, 1, 2][..], &[4, 5][..], &[1, 2][..]));
        assert_eq!((moving.leader, moving.leader_epoch, moving.partition_epoch), (Some(member(1)), 0, 1));
        assert_eq!(moving.isr, members(&[3, 1, 2]), "in order of replicas");
        let almost = with_isr(&moving, &[4, 3, 1, 2]);
        assert_eq!(ended(&almost, 2, &View::of(&cluster)), None);
        let ready = with_isr(&almost, &[4, 5, 3, 1, 2]);
        let after = ended(&ready, 2, &View::of(&cluster)).unwrap();
        assert_eq!(shape(&after), (&[4, 5, 3][..], &[][..], &[][..]));
        assert_eq!((after.leader, after.isr.clone()), (Some(member(4)), members(&[4, 5, 3])));
        assert_eq!((after.leader_epoch, after.partition_epoch), (1, ready.partition_epoch + 1));
        assert_eq!(ended(&after, 2, &View::of(&cluster)), None);
    }

    #[test]
    fn a_leader_that_stays_leads_on_in_a_new_epoch() {
        let (cluster, record) = start();
        let moving = reassign(&record, &to(&[4, 1, 3]), 2, &View::of(&cluster)).unwrap().unwrap();
        let after = ended(&with_isr(&moving, &[4, 1, 3]), 2, &View::of(&cluster)).unwrap();
        assert_eq!((after.leader, after.leader_epoch), (Some(member(1)), 1), "rule 2: broker 2 left");
    }

    #[test]
    fn targets_that_are_fenced_or_in_an_earlier_life_do_not_end_a_move() {
        let (mut cluster, record) = start();
        let moving = reassign(&record, &to(&[4, 5, 3]), 2, &View::of(&cluster)).unwrap().unwrap();
        let ready = with_isr(&moving, &[4, 5, 3, 1]);
        assert!(ended(&ready, 2, &View::of(&cluster)).is_some());
        cluster.broker_mut(5).unwrap().fenced = true;
        assert_eq!(ended(&ready, 2, &View::of(&cluster)), None);
        cluster.broker_mut(5).unwrap().fenced = false;
        cluster.broker_mut(5).unwrap().incarnation = 9;
        assert_eq!(ended(&ready, 2, &View::of(&cluster)), None);
    }

    #[test]
    fn fewer_replicas_or_another_order_need_no_waiting() {
        let (cluster, record) = start();
        let fewer = reassign(&record, &to(&[2]), 2, &View::of(&cluster)).unwrap().unwrap();
        assert_eq!(shape(&fewer), (&[2][..], &[][..], &[][..]));
        assert_eq!((fewer.leader, fewer.leader_epoch, fewer.min_isr), (Some(member(2)), 1, 1));
        assert_eq!(fewer.partition_epoch, 1, "one swap");
        let turned = reassign(&record, &to(&[3, 2, 1]), 2, &View::of(&cluster)).unwrap().unwrap();
        assert_eq!(shape(&turned), (&[3, 2, 1][..], &[][..], &[][..]));
        assert_eq!(
            (turned.leader, turned.leader_epoch),
            (Some(member(1)), 0),
            "nobody left, nobody else leads"
        );
        assert_eq!(reassign(&turned, &to(&[3, 2, 1]), 2, &View::of(&cluster)), Ok(None));
    }

    #[test]
    fn while_replicas_are_added_writes_need_no_more_of_them_than_before() {
        let cluster = cluster_of(6);
        let record = first_record(0, vec![1], 2, &View::of(&cluster));
        let moving = reassign(&record, &to(&[1, 2, 3]), 2, &View::of(&cluster)).unwrap().unwrap();
        assert_eq!(moving.min_isr, 1);
        assert_eq!(with_min_isr(&moving, 2), None);
        let after = ended(&with_isr(&moving, &[1, 2, 3]), 2, &View::of(&cluster)).unwrap();
        assert_eq!(after.min_isr, 2);
    }

    #[test]
    fn another_move_starts_from_the_same_origin_and_drops_what_is_no_longer_wanted() {
        let (cluster, record) = start();
        let first = reassign(&record, &to(&[4, 5, 3]), 2, &View::of(&cluster)).unwrap().unwrap();
        let first = with_isr(&first, &[4, 3, 1, 2]);
        let second = reassign(&first, &to(&[5, 6, 1]), 2, &View::of(&cluster)).unwrap().unwrap();
        assert_eq!(shape(&second), (&[5, 6, 1, 3, 2][..], &[5, 6][..], &[3, 2][..]));
        assert_eq!((second.leader_epoch, second.isr.clone()), (1, members(&[1, 3, 2])), "broker 4 left");
        let back = reassign(&second, &CANCEL, 2, &View::of(&cluster)).unwrap().unwrap();
        assert_eq!(shape(&back), (&[1, 3, 2][..], &[][..], &[][..]));
    }

    #[test]
    fn a_cancelled_move_goes_back_to_the_origin_also_when_a_target_leads() {
        let (mut cluster, record) = start();
        let moving = reassign(&record, &to(&[4, 5, 6]), 2, &View::of(&cluster)).unwrap().unwrap();
        let ready = with_isr(&moving, &[4, 1, 2, 3]);
        cluster.broker_mut(1).unwrap().fenced = true;
        let led = mend(&ready, &View::of(&cluster)).unwrap();
        assert_eq!(led.leader, Some(member(4)));
        let back = reassign(&led, &CANCEL, 2, &View::of(&cluster)).unwrap().unwrap();
        assert_eq!(shape(&back), (&[1, 2, 3][..], &[][..], &[][..]));
        assert_eq!((back.leader, back.isr.clone()), (Some(member(2)), members(&[2, 3])));
        assert_eq!(back.leader_epoch, led.leader_epoch + 1);
        let none = reassign(&back, &CANCEL, 2, &View::of(&cluster)).unwrap_err();
        assert_eq!(none.code, ErrorCode::NO_REASSIGNMENT_IN_PROGRESS);
        assert_eq!(reassign(&back, &Wish { proposed: true, ..CANCEL }, 2, &View::of(&cluster)), Ok(None));
    }

    #[test]
    fn a_move_is_not_cancelled_while_the_origin_is_not_in_sync() {
        let (cluster, record) = start();
        let moving = reassign(&record, &to(&[4, 5, 6]), 2, &View::of(&cluster)).unwrap().unwrap();
        let thin = PartitionState { leader: Some(member(4)), leader_epoch: 1, ..with_isr(&moving, &[4, 1]) };
        let refused = reassign(&thin, &CANCEL, 2, &View::of(&cluster)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::INVALID_REPLICA_ASSIGNMENT);
        // Who was never in sync may go whatever the others are.
        let unfilled = with_isr(&moving, &[1]);
        assert_eq!(reassign(&unfilled, &CANCEL, 2, &View::of(&cluster)).unwrap().unwrap().isr, members(&[1]));
    }

    #[test]
    fn targets_that_cannot_be_are_refused() {
        let (cluster, record) = start();
        let code = |wish: &Wish| reassign(&record, wish, 2, &View::of(&cluster)).unwrap_err().code;
        for targets in [&[][..], &[1, 1], &[1, 9], &[-1]] {
            assert_eq!(code(&to(targets)), ErrorCode::INVALID_REPLICA_ASSIGNMENT, "{targets:?}");
        }
        let fixed = Wish { allow_replication_factor_change: false, ..to(&[1, 2]) };
        assert_eq!(code(&fixed), ErrorCode::INVALID_REPLICATION_FACTOR);
        let fixed = Wish { allow_replication_factor_change: false, ..to(&[4, 5, 6]) };
        let moving = reassign(&record, &fixed, 2, &View::of(&cluster)).unwrap().unwrap();
        assert_eq!(
            reassign(&moving, &Wish { proposed: true, ..fixed }, 2, &View::of(&cluster)),
            Ok(None),
            "asked again"
        );
    }

    #[test]
    fn rule_23_another_min_insync_replicas_is_a_step_of_the_record_that_empties_the_elr() {
        let (mut cluster, record) = start();
        cluster.broker_mut(2).unwrap().fenced = true;
        cluster.broker_mut(3).unwrap().fenced = true;
        let alone = mend(&record, &View::of(&cluster)).unwrap();
        assert!(!alone.elr.is_empty());
        let lowered = with_min_isr(&alone, 1).unwrap();
        assert_eq!((lowered.min_isr, lowered.elr.len()), (1, 0));
        assert_eq!(with_min_isr(&lowered, 1), None);
        assert_eq!(with_min_isr(&lowered, 7).unwrap().min_isr, 3, "no more than there are replicas");
    }

    proptest! {
        /// Each step asserts the rules; and a move that is left alone ends where it was meant to.
        #[test]
        fn any_history_of_moves_keeps_the_rules(
            steps in prop::collection::vec((0_u8..7, 1_i32..7, any::<u8>()), 1..60),
        ) {
            let (mut cluster, mut record) = start();
            let mut incarnation = 100;
            for (what, broker, bits) in steps {
                let chosen: Vec<i32> = (1..=6).filter(|id| bits & (1 << id) != 0).collect();
                let next = match what {
                    0 | 1 => reassign(&record, &to(&chosen), 2, &View::of(&cluster)).ok().flatten(),
                    2 => reassign(&record, &CANCEL, 2, &View::of(&cluster)).ok().flatten(),
                    3 => { cluster.broker_mut(broker).unwrap().fenced ^= true; None }
                    4 => {
                        incarnation += 1;
                        let broker = cluster.broker_mut(broker).unwrap();
                        broker.last = Some(broker.incarnation);
                        broker.incarnation = incarnation;
                        None
                    }
                    // The leader proposes all that are live, or some of them.
                    _ => record.leader.filter(|leader| View::of(&cluster).is_fit(*leader)).map(|leader| {
                        let all = record.replicas.iter().filter_map(|id| cluster.broker(*id));
                        let live = all.filter(|b| !b.fenced).map(|b| b.member());
                        let isr = live.filter(|m| what == 5 || *m == leader || chosen.contains(&m.broker_id));
                        let isr: Vec<Member> = isr.collect();
                        let left = record.isr.iter().chain(&record.elr).copied();
                        let elr: Vec<Member> = match isr.len() < record.min_isr as usize {
                            true => left.filter(|m| isr.iter().all(|i| i.broker_id != m.broker_id)).collect(),
                            false => Vec::new(),
                        };
                        record.next(|next| (next.isr, next.elr) = (isr, elr))
                    }),
                };
                record = next.unwrap_or(record);
                record = mend(&record, &View::of(&cluster)).unwrap_or(record);
                if let Some(after) = ended(&record, 2, &View::of(&cluster)) {
                    prop_assert_eq!(&after.replicas, &record.targets());
                    prop_assert!(!after.is_moving());
                    prop_assert!(after.isr.len() >= after.min_isr as usize);
                    record = after;
                }
                prop_assert_eq!(mend(&record, &View::of(&cluster)), None);
            }
        }
    }
}
