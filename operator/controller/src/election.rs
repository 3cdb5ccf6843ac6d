//! Who leads a partition and who counts as in sync, decided from its record and from who is there.
//!
//! [`mend`] brings a record to what it ought to be. It is a function of the record and of the [`View`] alone, so a record
//! is mended by whichever controller reads it, whatever made it look the way it does (rule 3), and mending twice changes
//! nothing.
//!
//! Leaders are looked for in this order; the first group that has somebody decides, and within it the order of replicas:
//!
//! | group | the ISR becomes |
//! |---|---|
//! | ISR, in session | the group |
//! | ISR, back in a new life with all that it had | the group |
//! | ELR, in session or back | the one that leads |
//! | the same three again, with logs that take no writes | the same |
//!
//! Brokers that yield come after the others of their group. To have a leader of them replaced takes a decision of its own,
//! [`relieve`]: nothing is wrong with the record.
//!
//! If all are empty nobody leads, and what is in the ISR stays there (rule 5). Then only [`elect_by_log`] helps.

use std::collections::BTreeSet;

use taffrail_protocol::ErrorCode;

use crate::health::{BadLog, BadLogs};
use crate::model::{BrokerState, ClusterState, Member, Other, PartitionState};

/// What a decision on a partition rests on besides its record.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The registered brokers.
    pub(crate) cluster: &'a ClusterState,
    /// Members that are being fenced: that write is on its way, and leadership need not wait for it. Should it fail, a
    /// leader was changed without need, and nothing worse (rule 3).
    pub(crate) going: Option<&'a BTreeSet<Member>>,
    /// Logs of this partition that are not there or take no writes.
    pub(crate) bad_logs: BadLogs<'a>,
    /// Brokers that lead only what nobody else in sync can.
    pub(crate) yielding: Option<&'a BTreeSet<i32>>,
}

impl<'a> View<'a> {
    /// The registrations, and nothing else known.
    pub fn of(cluster: &'a ClusterState) -> Self {
        Self { cluster, going: None, bad_logs: BadLogs::default(), yielding: None }
    }

    /// The registered, unfenced member that the broker is today.
    pub(crate) fn in_session(&self, broker_id: i32) -> Option<Member> {
        let broker = self.cluster.broker(broker_id).filter(|broker| !broker.fenced)?;
        let member = broker.member();
        self.going.is_none_or(|going| !going.contains(&member)).then_some(member)
    }

    /// Whether the member counts (rule 3), is in session, and has a log that takes writes.
    pub(crate) fn is_fit(&self, member: Member) -> bool {
        self.in_session(member.broker_id) == Some(member) && self.bad_logs.of(member).is_none()
    }

    /// Whether the broker leads only what nobody else in sync can.
    pub(crate) fn yields(&self, broker_id: i32) -> bool {
        self.yielding.is_some_and(|yielding| yielding.contains(&broker_id))
    }

    /// Whether leadership may be moved to the member where nothing forces it.
    pub(crate) fn may_take_over(&self, member: Member) -> bool {
        self.is_fit(member) && !self.yields(member.broker_id)
    }

    /// Who is to lead of `members`, which stand in the order of replicas.
    pub(crate) fn foremost(&self, members: impl IntoIterator<Item = Member>) -> Option<Member> {
        members.into_iter().min_by_key(|member| self.yields(member.broker_id))
    }

    fn standing(&self, record: &PartitionState, member: Member) -> Standing {
        let Some(broker) = self.cluster.broker(member.broker_id) else { return Standing::Away };
        let now = broker.member();
        if member.incarnation > now.incarnation {
            // Written by a controller that knows of a later registration.
            return Standing::Away;
        }
        if member != now && !broker.carries(member.incarnation) {
            return Standing::Lost;
        }
        let bad = self.bad_logs.of(now);
        // Who was elected with whatever it has begins with an empty log if it has none (rule 30).
        let begins = record.leader == Some(now) && record.unclean_epoch == Some(record.leader_epoch);
        if bad == Some(BadLog::Missing) && !begins {
            return Standing::Lost;
        }
        match self.in_session(member.broker_id) {
            None => Standing::Away,
            Some(_) if bad == Some(BadLog::Failed) => Standing::ReadOnly(now),
            Some(_) if member == now => Standing::Live,
            Some(_) => Standing::Carried(now),
        }
    }
}

/// How a member of an ISR or ELR stands today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Its incarnation is the registered one and it is not fenced.
    Live,
    /// Its broker is back in a new life, with all that it had (rule 17): the member it would be now.
    Carried(Member),
    /// One of the two, but its log takes no writes.
    ReadOnly(Member),
    /// Fenced, or not known here: it may come back with all that it had.
    Away,
    /// Its broker is back without what it had.
    Lost,
}

/// The record of a partition that is being made: every unfenced replica is in sync with an empty log. If all are fenced
/// they all count as in sync, and the first to come back leads.
pub fn first_record(
    partition: i32,
    replicas: Vec<i32>,
    min_insync_replicas: i32,
    view: &View<'_>,
) -> PartitionState {
    let in_session: Vec<Member> = replicas.iter().filter_map(|id| view.in_session(*id)).collect();
    let leader = view.foremost(in_session.iter().copied());
    let all = replicas.iter().filter_map(|id| view.cluster.broker(*id)).map(BrokerState::member);
    let isr = if in_session.is_empty() { all.collect() } else { in_session };
    let min_isr = min_insync_replicas.clamp(1, replicas.len().max(1) as i32);
    let record = PartitionState {
        partition,
        replicas,
        leader,
        leader_epoch: 0,
        partition_epoch: 0,
        isr,
        elr: Vec::new(),
        min_isr,
        adding: Vec::new(),
        removing: Vec::new(),
        unclean_epoch: None,
        other: Other::new(),
    };
    assert_eq!(record.is_sound(), Ok(()), "a new record breaks a rule: {record:?}");
    record
}

/// The record as it ought to be with `view`'s brokers; `None` if it is as it ought to be.
pub fn mend(record: &PartitionState, view: &View<'_>) -> Option<PartitionState> {
    if is_well(record, view) {
        return None;
    }
    let outcome = decide(record, view);
    let isr = in_order(record, outcome.isr);
    let leader = match record.leader {
        Some(leader) if outcome.leads && isr.contains(&leader) => Some(leader),
        _ if outcome.leads => view.foremost(isr.iter().copied()),
        _ => None,
    };
    let elr = elr_beside(record, &isr, outcome.outside);
    if leader == record.leader && isr == record.isr && elr == record.elr && !outcome.unclean {
        return None;
    }
    Some(record.next(|next| {
        (next.leader, next.isr, next.elr) = (leader, isr, elr);
        if outcome.unclean {
            next.unclean_epoch = Some(record.leader_epoch + 1);
        }
    }))
}

/// The short way for what most records look like.
fn is_well(record: &PartitionState, view: &View<'_>) -> bool {
    record.elr.is_empty()
        && record.leader.is_some_and(|leader| record.isr.contains(&leader))
        && record.isr.iter().all(|member| view.standing(record, *member) == Standing::Live)
}

/// An ISR or ELR is written in order of `replicas`.
pub(crate) fn in_order(record: &PartitionState, mut members: Vec<Member>) -> Vec<Member> {
    members.sort_by_key(|member| record.replicas.iter().position(|id| *id == member.broker_id));
    members
}

/// The ELR beside `isr`, of those outside of it that lack nothing. Rule 22, sizes as written: with min_isr members in
/// the ISR, something may be committed that the others lack.
pub(crate) fn elr_beside(record: &PartitionState, isr: &[Member], outside: Vec<Member>) -> Vec<Member> {
    if isr.len() >= record.min_isr.max(0) as usize {
        return Vec::new();
    }
    let mut elr = outside;
    elr.retain(|member| isr.iter().all(|m| m.broker_id != member.broker_id));
    elr = in_order(record, elr);
    elr.dedup_by_key(|member| member.broker_id);
    elr
}

/// The members that are not lost, under the incarnation that they would be written with.
pub(crate) fn kept(record: &PartitionState, members: &[Member], view: &View<'_>) -> Vec<Member> {
    let keep = |member: &Member| match view.standing(record, *member) {
        Standing::Carried(now) | Standing::ReadOnly(now) => Some(now),
        Standing::Live | Standing::Away => Some(*member),
        Standing::Lost => None,
    };
    members.iter().filter_map(keep).collect()
}

/// What ISR, ELR and leadership ought to be.
struct Outcome {
    isr: Vec<Member>,
    /// Those that left the ISR or were in the ELR, as they would be written in the ELR.
    outside: Vec<Member>,
    leads: bool,
    unclean: bool,
}

fn decide(record: &PartitionState, view: &View<'_>) -> Outcome {
    let who = |members: &[Member], group: fn(Member, Standing) -> Option<Member>| -> Vec<Member> {
        members.iter().filter_map(|member| group(*member, view.standing(record, *member))).collect()
    };
    let mut outside = kept(record, &record.isr, view);
    outside.extend(kept(record, &record.elr, view));
    let leads = |isr: Vec<Member>, outside| Outcome { isr, outside, leads: true, unclean: false };
    let live = |member, standing| (standing == Standing::Live).then_some(member);
    let carried = |_, standing| match standing {
        Standing::Carried(now) => Some(now),
        _ => None,
    };
    let read_only = |_, standing| match standing {
        Standing::ReadOnly(now) => Some(now),
        _ => None,
    };
    // Who restarted leaves the ISR all the same where another counted member is in session (rule 17).
    for group in [live, carried] {
        let isr = who(&record.isr, group);
        if !isr.is_empty() {
            return leads(isr, outside);
        }
    }
    let fit = |member, standing| match standing {
        Standing::Live => Some(member),
        Standing::Carried(now) => Some(now),
        _ => None,
    };
    if let Some(first) = view.foremost(in_order(record, who(&record.elr, fit))) {
        return leads(vec![first], outside);
    }
    // Nobody takes writes: who has the log serves it.
    let isr = who(&record.isr, read_only);
    if !isr.is_empty() {
        return leads(isr, outside);
    }
    if let Some(first) = view.foremost(in_order(record, who(&record.elr, read_only))) {
        return leads(vec![first], outside);
    }
    if let Some(sole) = sole_replica_back(record, view) {
        return Outcome { isr: vec![sole], outside: Vec::new(), leads: true, unclean: true };
    }
    // Rule 5: nobody can lead; whoever may come back with everything keeps its place, and the ISR is never empty.
    let waiting = kept(record, &record.isr, view);
    let isr = if waiting.is_empty() { record.isr.clone() } else { waiting };
    Outcome { isr, outside: kept(record, &record.elr, view), leads: false, unclean: false }
}

/// Rule 17's last resort where no log has to be compared with another: the only replica is back, UNCLEAN, and what it
/// has is all there is.
fn sole_replica_back(record: &PartitionState, view: &View<'_>) -> Option<Member> {
    let [only] = record.replicas[..] else { return None };
    let all_lost = record.isr.iter().all(|member| view.standing(record, *member) == Standing::Lost);
    view.in_session(only).filter(|_| all_lost)
}

/// Takes leadership from a broker that yields; `None` if none does, or nobody else in sync can lead.
pub(crate) fn relieve(record: &PartitionState, view: &View<'_>) -> Option<PartitionState> {
    record.leader.filter(|leader| view.yields(leader.broker_id))?;
    let successor = record.isr.iter().copied().find(|member| view.may_take_over(*member))?;
    Some(record.next(|next| next.leader = Some(successor)))
}

/// Makes the preferred replica the leader (KIP-460); the error code where that cannot be. One that yields would not lead for
/// long.
pub(crate) fn prefer(record: &PartitionState, view: &View<'_>) -> Result<PartitionState, ErrorCode> {
    let Some(preferred) = record.replicas.first().copied() else {
        return Err(ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE);
    };
    if record.leader.is_some_and(|leader| leader.broker_id == preferred) {
        return Err(ErrorCode::ELECTION_NOT_NEEDED);
    }
    let member = record.isr.iter().copied().find(|member| member.broker_id == preferred);
    let member = member.filter(|member| view.may_take_over(*member));
    let member = member.ok_or(ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE)?;
    Ok(record.next(|next| next.leader = Some(member)))
}

/// Whose logs may be compared to find a leader that may lack records.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Electorate {
    /// All replicas that are in session.
    pub(crate) members: Vec<Member>,
    /// Rule 17: every member of ISR and ELR is back and has lost what it had, so nothing better will ever come. All of
    /// them must have answered; without this, whoever does.
    pub(crate) all_lost: bool,
}

/// Whose logs decide who leads, if nothing else can: `allowed` says that records may be lost for it (rule 4), else only
/// rule 17 does.
pub(crate) fn electorate(record: &PartitionState, view: &View<'_>, allowed: bool) -> Option<Electorate> {
    if record.leader.is_some() || mend(record, view).is_some_and(|mended| mended.leader.is_some()) {
        return None;
    }
    let back = |member: &Member| {
        view.standing(record, *member) == Standing::Lost && view.in_session(member.broker_id).is_some()
    };
    let all_lost = record.isr.iter().chain(&record.elr).all(back);
    let members: Vec<Member> = record.replicas.iter().filter_map(|id| view.in_session(*id)).collect();
    ((allowed || all_lost) && !members.is_empty()).then_some(Electorate { members, all_lost })
}

/// Makes `winner` the leader of what its log has (rules 4, 17).
pub(crate) fn elect_by_log(record: &PartitionState, winner: Member) -> PartitionState {
    record.next(|next| {
        next.leader = Some(winner);
        (next.isr, next.elr) = (vec![winner], Vec::new());
        next.unclean_epoch = Some(record.leader_epoch + 1);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::cluster_of;
    use proptest::prelude::*;

    fn member(broker_id: i32, incarnation: u64) -> Member {
        Member { broker_id, incarnation }
    }

    /// Brokers 1..=n with incarnation = id, and a partition on all of them.
    fn start(n: i32, min_isr: i32) -> (ClusterState, PartitionState) {
        let cluster = cluster_of(n);
        let record = first_record(0, (1..=n).collect(), min_isr, &View::of(&cluster));
        (cluster, record)
    }

    fn restart(cluster: &mut ClusterState, id: i32, incarnation: u64, clean: bool) {
        let broker = cluster.broker_mut(id).unwrap();
        broker.last = clean.then_some(broker.incarnation);
        if !clean {
            broker.since = incarnation;
        }
        broker.incarnation = incarnation;
        broker.fenced = false;
    }

    fn fence(cluster: &mut ClusterState, id: i32) {
        cluster.broker_mut(id).unwrap().fenced = true;
    }

    #[test]
    fn a_sole_replica_back_clean_leads_again_in_a_new_epoch() {
        let (mut cluster, record) = start(1, 1);
        restart(&mut cluster, 1, 9, true);
        let mended = mend(&record, &View::of(&cluster)).unwrap();
        assert_eq!((mended.leader, mended.leader_epoch, mended.partition_epoch), (Some(member(1, 9)), 1, 1));
        assert_eq!((mended.isr.clone(), mended.unclean_epoch), (vec![member(1, 9)], None));
        assert_eq!(mend(&mended, &View::of(&cluster)), None);
    }

    #[test]
    fn a_sole_replica_back_unclean_leads_again_and_the_epoch_says_so() {
        let (mut cluster, record) = start(1, 1);
        restart(&mut cluster, 1, 9, false);
        let mended = mend(&record, &View::of(&cluster)).unwrap();
        assert_eq!((mended.leader, mended.unclean_epoch), (Some(member(1, 9)), Some(1)));
        assert_eq!(mend(&mended, &View::of(&cluster)), None);
    }

    #[test]
    fn a_sole_replica_back_unclean_and_restarted_clean_before_anyone_looked_is_still_unclean() {
        let (mut cluster, record) = start(1, 1);
        restart(&mut cluster, 1, 9, false);
        restart(&mut cluster, 1, 10, true);
        assert_eq!(mend(&record, &View::of(&cluster)).unwrap().unclean_epoch, Some(1));
    }

    #[test]
    fn leadership_moves_in_order_of_replicas_when_the_leader_is_fenced() {
        let (mut cluster, record) = start(3, 2);
        fence(&mut cluster, 1);
        let mended = mend(&record, &View::of(&cluster)).unwrap();
        assert_eq!((mended.leader, mended.leader_epoch), (Some(member(2, 2)), 1));
        assert_eq!((mended.isr, mended.elr), (vec![member(2, 2), member(3, 3)], vec![]));
    }

    #[test]
    fn a_restarted_follower_leaves_the_isr_while_its_leader_is_in_session() {
        let (mut cluster, record) = start(3, 2);
        restart(&mut cluster, 3, 9, true);
        let mended = mend(&record, &View::of(&cluster)).unwrap();
        assert_eq!((mended.leader, mended.leader_epoch), (record.leader, 0));
        assert_eq!(mended.isr, [member(1, 1), member(2, 2)]);
    }

    #[test]
    fn who_leaves_below_min_isr_is_eligible_and_leads_when_the_rest_is_gone() {
        let (mut cluster, record) = start(2, 2);
        fence(&mut cluster, 1);
        let alone = mend(&record, &View::of(&cluster)).unwrap();
        assert_eq!((alone.isr.clone(), alone.elr.clone()), (vec![member(2, 2)], vec![member(1, 1)]));
        fence(&mut cluster, 2);
        let none = mend(&alone, &View::of(&cluster)).unwrap();
        assert_eq!((none.leader, none.isr.clone()), (None, vec![member(2, 2)]));
        restart(&mut cluster, 1, 9, true);
        let back = mend(&none, &View::of(&cluster)).unwrap();
        assert_eq!((back.leader, back.leader_epoch), (Some(member(1, 9)), 3));
        assert_eq!((back.isr, back.elr), (vec![member(1, 9)], vec![member(2, 2)]));
    }

    #[test]
    fn an_isr_whose_last_member_lost_everything_is_kept_without_a_leader() {
        let (mut cluster, record) = start(2, 1);
        fence(&mut cluster, 2);
        let alone = mend(&record, &View::of(&cluster)).unwrap();
        assert_eq!(alone.elr, []);
        restart(&mut cluster, 1, 9, false);
        let none = mend(&alone, &View::of(&cluster)).unwrap();
        assert_eq!((none.leader, none.isr.clone(), none.leader_epoch), (None, vec![member(1, 1)], 1));
        restart(&mut cluster, 2, 10, true);
        assert_eq!(
            mend(&none, &View::of(&cluster)),
            None,
            "broker 2 left before and may lack what was committed since"
        );
    }

    #[test]
    fn all_replicas_of_a_new_partition_fenced_means_no_leader_until_one_is_back() {
        let mut cluster = cluster_of(2);
        fence(&mut cluster, 1);
        fence(&mut cluster, 2);
        let record = first_record(0, vec![1, 2], 1, &View::of(&cluster));
        assert_eq!((record.leader, record.isr.len()), (None, 2));
        restart(&mut cluster, 2, 5, true);
        assert_eq!(mend(&record, &View::of(&cluster)).unwrap().leader, Some(member(2, 5)));
    }

    /// The registrations, and brokers that yield.
    fn yielding<'a>(cluster: &'a ClusterState, brokers: &'a BTreeSet<i32>) -> View<'a> {
        View { yielding: Some(brokers), ..View::of(cluster) }
    }

    #[test]
    fn a_broker_that_yields_is_relieved_by_the_next_in_sync_and_the_isr_stays() {
        let (cluster, record) = start(4, 2);
        let two = BTreeSet::from([1, 2]);
        let view = yielding(&cluster, &two);
        assert_eq!(mend(&record, &view), None, "nothing is wrong with the record");
        let relieved = relieve(&record, &view).unwrap();
        assert_eq!(
            (relieved.leader, relieved.leader_epoch, &relieved.isr),
            (Some(member(3, 3)), 1, &record.isr)
        );
        assert_eq!((relieve(&relieved, &view), mend(&relieved, &view)), (None, None));
        let not_available = Err(ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE);
        assert_eq!(prefer(&relieved, &view), not_available, "it would be relieved at once");
        assert_eq!(prefer(&relieved, &View::of(&cluster)).unwrap().leader, record.leader);
    }

    #[test]
    fn who_yields_goes_on_leading_what_nobody_else_in_sync_can() {
        let (mut cluster, record) = start(3, 1);
        let all = BTreeSet::from([1, 2, 3]);
        assert_eq!(relieve(&record, &yielding(&cluster, &all)), None);
        let one = BTreeSet::from([1]);
        fence(&mut cluster, 2);
        restart(&mut cluster, 3, 9, true);
        assert_eq!(relieve(&record, &yielding(&cluster, &one)), None, "the others wait to be taken out");
        let mended = mend(&record, &yielding(&cluster, &one)).unwrap();
        assert_eq!((mended.leader, mended.isr.len()), (Some(member(1, 1)), 1));
        assert_eq!(relieve(&mended, &yielding(&cluster, &one)), None);
    }

    #[test]
    fn who_yields_is_elected_and_made_a_first_leader_after_the_others() {
        let (mut cluster, record) = start(4, 1);
        let two = BTreeSet::from([1, 2]);
        let first = first_record(0, vec![1, 2, 3], 1, &yielding(&cluster, &two));
        assert_eq!((first.leader, &first.replicas[..]), (Some(member(3, 3)), &[1, 2, 3][..]));
        fence(&mut cluster, 1);
        let mended = mend(&record, &yielding(&cluster, &two)).unwrap();
        assert_eq!((mended.leader, &mended.isr[0]), (Some(member(3, 3)), &member(2, 2)));
        [3, 4].into_iter().for_each(|id| fence(&mut cluster, id));
        let mended = mend(&mended, &yielding(&cluster, &two)).unwrap();
        assert_eq!(mended.leader, Some(member(2, 2)));
    }

    #[test]
    fn who_yields_is_taken_from_the_elr_after_the_others() {
        let (mut cluster, record) = start(3, 3);
        fence(&mut cluster, 1);
        let mut none = mend(&record, &View::of(&cluster)).unwrap();
        for id in [2, 3] {
            fence(&mut cluster, id);
            none = mend(&none, &View::of(&cluster)).unwrap();
        }
        assert_eq!((none.leader, &none.elr[..]), (None, &[member(1, 1), member(2, 2)][..]));
        restart(&mut cluster, 1, 8, true);
        restart(&mut cluster, 2, 9, true);
        let one = BTreeSet::from([1]);
        assert_eq!(mend(&none, &yielding(&cluster, &one)).unwrap().leader, Some(member(2, 9)));
        assert_eq!(mend(&none, &View::of(&cluster)).unwrap().leader, Some(member(1, 8)));
    }

    proptest! {
        /// `mend` itself asserts the rules at each step; beyond that, mending twice changes nothing, an unfenced leader
        /// is never deposed without need, and only members of ISR and ELR ever lead.
        #[test]
        fn any_history_of_restarts_and_fencing_keeps_the_rules(
            n in 1_i32..5, min_isr in 1_i32..4,
            history in prop::collection::vec((1_i32..5, 0_u8..4), 1..40),
        ) {
            let (mut cluster, mut record) = start(n, min_isr);
            let mut incarnation = 100;
            for (broker, what) in history {
                let id = (broker - 1) % n + 1;
                incarnation += 1;
                match what {
                    0 => restart(&mut cluster, id, incarnation, true),
                    1 => restart(&mut cluster, id, incarnation, false),
                    2 => fence(&mut cluster, id),
                    _ => cluster.broker_mut(id).unwrap().fenced = false,
                }
                if let Some(mended) = mend(&record, &View::of(&cluster)) {
                    if let Some(leader) = mended.leader {
                        let known = record.isr.iter().chain(&record.elr).any(|m| m.broker_id == leader.broker_id);
                        prop_assert!(known, "{record:?} {mended:?}");
                        let broker = cluster.broker(leader.broker_id).unwrap();
                        prop_assert_eq!(broker.member(), leader);
                        prop_assert!(!broker.fenced);
                    }
                    let stays = |l: Member| cluster.broker(l.broker_id).is_some_and(|b| b.member() == l && !b.fenced);
                    if record.leader.is_some_and(stays) {
                        prop_assert_eq!(record.leader, mended.leader);
                    }
                    record = mended;
                }
                prop_assert_eq!(mend(&record, &View::of(&cluster)), None, "mending twice changes nothing");
            }
        }
    }
}
