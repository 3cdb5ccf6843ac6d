//! Who leads a partition and who counts as in sync, decided from its record and the registered brokers.
//!
//! [`mend`] brings a record to what it ought to be. It is a function of the record and of the registrations alone, so a
//! record is mended by whichever controller reads it, whatever made it look the way it does (rule 3), and mending twice
//! changes nothing.

use crate::model::{ClusterState, Member, Other, PartitionState};

/// How a member of an ISR or ELR stands today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Its incarnation is the registered one and it is not fenced.
    Live,
    /// Its broker is back in a new life, with all that it had (rule 17): the member it would be now.
    Carried(Member),
    /// Fenced, or not known here: it may come back with all that it had.
    Away,
    /// Its broker is back without what it had.
    Lost,
}

fn standing(member: Member, cluster: &ClusterState) -> Standing {
    let Some(broker) = cluster.broker(member.broker_id) else { return Standing::Away };
    // A higher incarnation than the registered one comes from a controller that knows of a later registration.
    let counted = broker.incarnation <= member.incarnation;
    match (counted, broker.carries(member.incarnation), broker.fenced) {
        (false, false, _) => Standing::Lost,
        (_, _, true) => Standing::Away,
        (true, _, false) if broker.incarnation == member.incarnation => Standing::Live,
        (true, _, false) => Standing::Away,
        (false, true, false) => Standing::Carried(broker.member()),
    }
}

/// The record of a partition that is being made: every unfenced replica is in sync with an empty log. If all are fenced
/// they all count as in sync, and the first to come back leads.
pub fn first_record(
    partition: i32,
    replicas: Vec<i32>,
    min_insync_replicas: i32,
    cluster: &ClusterState,
) -> PartitionState {
    let members = |fenced: Option<bool>| -> Vec<Member> {
        let brokers = replicas.iter().filter_map(|id| cluster.broker(*id));
        brokers.filter(|b| fenced.is_none_or(|fenced| b.fenced == fenced)).map(|b| b.member()).collect()
    };
    let unfenced = members(Some(false));
    let leader = unfenced.first().copied();
    let isr = if unfenced.is_empty() { members(None) } else { unfenced };
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

/// What ISR, ELR and leadership ought to be.
struct Outcome {
    isr: Vec<Member>,
    /// Those that left the ISR or were in the ELR, as they would be written in the ELR.
    outside: Vec<Member>,
    leads: bool,
    unclean: bool,
}

/// The record as it ought to be with `cluster`'s brokers; `None` if it is as it ought to be.
pub fn mend(record: &PartitionState, cluster: &ClusterState) -> Option<PartitionState> {
    let outcome = decide(record, cluster);
    let mut isr = outcome.isr;
    let place = |member: &Member| record.replicas.iter().position(|id| *id == member.broker_id);
    isr.sort_by_key(place);
    let leader = match record.leader {
        Some(leader) if outcome.leads && isr.contains(&leader) => Some(leader),
        _ if outcome.leads => isr.first().copied(),
        _ => None,
    };
    // Rule 22, sizes as written: with min_isr members in the ISR, something may be committed that the others lack.
    let mut elr = outcome.outside;
    elr.retain(|member| isr.iter().all(|m| m.broker_id != member.broker_id));
    elr.sort_by_key(place);
    elr.dedup_by_key(|member| member.broker_id);
    if isr.len() >= record.min_isr.max(0) as usize {
        elr.clear();
    }
    if leader == record.leader && isr == record.isr && elr == record.elr {
        return None;
    }
    let leader_epoch = record.leader_epoch + i32::from(leader != record.leader);
    let unclean_epoch = if outcome.unclean { Some(leader_epoch) } else { record.unclean_epoch };
    let partition_epoch = record.partition_epoch + 1;
    let mended =
        PartitionState { leader, leader_epoch, partition_epoch, isr, elr, unclean_epoch, ..record.clone() };
    assert_eq!(mended.follows(record), Ok(()), "a decision breaks a rule: {record:?} became {mended:?}");
    Some(mended)
}

fn decide(record: &PartitionState, cluster: &ClusterState) -> Outcome {
    let stand = |members: &[Member]| -> Vec<(Member, Standing)> {
        members.iter().map(|member| (*member, standing(*member, cluster))).collect()
    };
    let isr = stand(&record.isr);
    let elr = stand(&record.elr);
    // All that are not lost, under the incarnation they would be written with.
    let kept = |members: &[(Member, Standing)]| -> Vec<Member> {
        let keep = |(member, standing): &(Member, Standing)| match standing {
            Standing::Carried(now) => Some(*now),
            Standing::Live | Standing::Away => Some(*member),
            Standing::Lost => None,
        };
        members.iter().filter_map(keep).collect()
    };
    let outside: Vec<Member> = kept(&isr).into_iter().chain(kept(&elr)).collect();
    let live: Vec<Member> = isr.iter().filter(|(_, s)| *s == Standing::Live).map(|(m, _)| *m).collect();
    if !live.is_empty() {
        // Who restarted leaves the ISR all the same where another counted member is in session (rule 17).
        return Outcome { isr: live, outside, leads: true, unclean: false };
    }
    let carried: Vec<Member> = isr.iter().filter_map(|(_, s)| now_in_session(*s)).collect();
    if !carried.is_empty() {
        return Outcome { isr: carried, outside, leads: true, unclean: false };
    }
    let in_session = |(member, standing): &(Member, Standing)| match standing {
        Standing::Live => Some(*member),
        standing => now_in_session(*standing),
    };
    let eligible: Vec<Member> = elr.iter().filter_map(in_session).collect();
    let by_preference = |id: &i32| eligible.iter().find(|member| member.broker_id == *id);
    if let Some(leader) = record.replicas.iter().find_map(by_preference) {
        return Outcome { isr: vec![*leader], outside, leads: true, unclean: false };
    }
    if let Some(sole) = sole_replica_back(record, cluster, &isr) {
        return Outcome { isr: vec![sole], outside: Vec::new(), leads: true, unclean: true };
    }
    // Rule 5: nobody can lead; whoever may come back with everything keeps its place, and the ISR is never empty.
    let waiting = kept(&isr);
    let isr = if waiting.is_empty() { record.isr.clone() } else { waiting };
    Outcome { isr, outside: kept(&elr), leads: false, unclean: false }
}

fn now_in_session(standing: Standing) -> Option<Member> {
    match standing {
        Standing::Carried(now) => Some(now),
        _ => None,
    }
}

/// Rule 17's last resort where no log has to be compared with another: the only replica is back, UNCLEAN, and what it
/// has is all there is.
fn sole_replica_back(
    record: &PartitionState,
    cluster: &ClusterState,
    isr: &[(Member, Standing)],
) -> Option<Member> {
    let [only] = record.replicas[..] else { return None };
    let all_lost = isr.iter().all(|(_, standing)| *standing == Standing::Lost);
    let broker = cluster.broker(only).filter(|broker| all_lost && !broker.fenced)?;
    Some(broker.member())
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
        let record = first_record(0, (1..=n).collect(), min_isr, &cluster);
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
        let mended = mend(&record, &cluster).unwrap();
        assert_eq!((mended.leader, mended.leader_epoch, mended.partition_epoch), (Some(member(1, 9)), 1, 1));
        assert_eq!((mended.isr.clone(), mended.unclean_epoch), (vec![member(1, 9)], None));
        assert_eq!(mend(&mended, &cluster), None);
    }

    #[test]
    fn a_sole_replica_back_unclean_leads_again_and_the_epoch_says_so() {
        let (mut cluster, record) = start(1, 1);
        restart(&mut cluster, 1, 9, false);
        let mended = mend(&record, &cluster).unwrap();
        assert_eq!((mended.leader, mended.unclean_epoch), (Some(member(1, 9)), Some(1)));
        assert_eq!(mend(&mended, &cluster), None);
    }

    #[test]
    fn a_sole_replica_back_unclean_and_restarted_clean_before_anyone_looked_is_still_unclean() {
        let (mut cluster, record) = start(1, 1);
        restart(&mut cluster, 1, 9, false);
        restart(&mut cluster, 1, 10, true);
        assert_eq!(mend(&record, &cluster).unwrap().unclean_epoch, Some(1));
    }

    #[test]
    fn leadership_moves_in_order_of_replicas_when_the_leader_is_fenced() {
        let (mut cluster, record) = start(3, 2);
        fence(&mut cluster, 1);
        let mended = mend(&record, &cluster).unwrap();
        assert_eq!((mended.leader, mended.leader_epoch), (Some(member(2, 2)), 1));
        assert_eq!((mended.isr, mended.elr), (vec![member(2, 2), member(3, 3)], vec![]));
    }

    #[test]
    fn a_restarted_follower_leaves_the_isr_while_its_leader_is_in_session() {
        let (mut cluster, record) = start(3, 2);
        restart(&mut cluster, 3, 9, true);
        let mended = mend(&record, &cluster).unwrap();
        assert_eq!((mended.leader, mended.leader_epoch), (record.leader, 0));
        assert_eq!(mended.isr, [member(1, 1), member(2, 2)]);
    }

    #[test]
    fn who_leaves_below_min_isr_is_eligible_and_leads_when_the_rest_is_gone() {
        let (mut cluster, record) = start(2, 2);
        fence(&mut cluster, 1);
        let alone = mend(&record, &cluster).unwrap();
        assert_eq!((alone.isr.clone(), alone.elr.clone()), (vec![member(2, 2)], vec![member(1, 1)]));
        fence(&mut cluster, 2);
        let none = mend(&alone, &cluster).unwrap();
        assert_eq!((none.leader, none.isr.clone()), (None, vec![member(2, 2)]));
        restart(&mut cluster, 1, 9, true);
        let back = mend(&none, &cluster).unwrap();
        assert_eq!((back.leader, back.leader_epoch), (Some(member(1, 9)), 3));
        assert_eq!((back.isr, back.elr), (vec![member(1, 9)], vec![member(2, 2)]));
    }

    #[test]
    fn an_isr_whose_last_member_lost_everything_is_kept_without_a_leader() {
        let (mut cluster, record) = start(2, 1);
        fence(&mut cluster, 2);
        let alone = mend(&record, &cluster).unwrap();
        assert_eq!(alone.elr, []);
        restart(&mut cluster, 1, 9, false);
        let none = mend(&alone, &cluster).unwrap();
        assert_eq!((none.leader, none.isr.clone(), none.leader_epoch), (None, vec![member(1, 1)], 1));
        restart(&mut cluster, 2, 10, true);
        assert_eq!(mend(&none, &cluster), None, "broker 2 left before and may lack what was committed since");
    }

    #[test]
    fn all_replicas_of_a_new_partition_fenced_means_no_leader_until_one_is_back() {
        let mut cluster = cluster_of(2);
        fence(&mut cluster, 1);
        fence(&mut cluster, 2);
        let record = first_record(0, vec![1, 2], 1, &cluster);
        assert_eq!((record.leader, record.isr.len()), (None, 2));
        restart(&mut cluster, 2, 5, true);
        assert_eq!(mend(&record, &cluster).unwrap().leader, Some(member(2, 5)));
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
                if let Some(mended) = mend(&record, &cluster) {
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
                prop_assert_eq!(mend(&record, &cluster), None, "mending twice changes nothing");
            }
        }
    }
}
