//! In-sync replicas as leaders propose them (rules 8, 10, 22).

use taffrail_control::session::{FromController, IsrRefusal, LogClaim, LogState};
use taffrail_controller::Policy;
use taffrail_controller::message::Input;
use taffrail_controller::model::Member;
use taffrail_controller::store::{StoreAnswer, StoreOutcome};

use crate::cluster::Cluster;

const MIN_2: [(&str, &str); 1] = [("min.insync.replicas", "2")];

#[test]
fn a_leader_shrinks_and_grows_its_isr_and_each_step_raises_the_partition_epoch() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &MIN_2);
    let (two, three) = (cluster.members(&[1, 2]), cluster.members(&[1, 2, 3]));
    for (isr, epoch) in [(&two, 1), (&three, 2), (&three, 3)] {
        assert_eq!(cluster.propose(1, vec![cluster.proposal(topic, 0, isr)]), []);
        let record = cluster.record(topic, 0);
        assert_eq!((&record.isr, record.partition_epoch, record.leader_epoch), (isr, epoch, 0));
        assert_eq!(cluster.told(1, topic, 0).unwrap().partition_epoch, epoch, "the leader is told");
    }
}

#[test]
fn rule_10_only_the_leader_proposes_and_only_on_the_newest_record() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    let isr = cluster.members(&[1, 2]);
    let first = cluster.proposal(topic, 0, &isr);
    assert_eq!(cluster.propose(2, vec![first.clone()]), [IsrRefusal::NotLeader]);
    assert_eq!(cluster.propose(1, vec![first.clone()]), []);
    assert_eq!(cluster.propose(1, vec![first]), [IsrRefusal::StaleEpoch], "the copy comes too late");
    let mut other_epoch = cluster.proposal(topic, 0, &isr);
    other_epoch.leader_epoch += 1;
    assert_eq!(cluster.propose(1, vec![other_epoch]), [IsrRefusal::StaleEpoch]);
    let mut unknown = cluster.proposal(topic, 0, &isr);
    unknown.partition = 7;
    assert_eq!(cluster.propose(1, vec![unknown]), [IsrRefusal::UnknownPartition]);
    assert_eq!(cluster.record(topic, 0).partition_epoch, 1, "what was refused changed nothing");
}

#[test]
fn an_isr_keeps_its_leader_and_takes_in_none_but_registered_unfenced_replicas_with_a_sound_log() {
    let mut cluster = Cluster::start(4, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    cluster.propose(1, vec![cluster.proposal(topic, 0, &cluster.members(&[1]))]);
    let refused = |cluster: &mut Cluster, isr: &[Member]| {
        let proposal = cluster.proposal(topic, 0, isr);
        let refusals = cluster.propose(1, vec![proposal]);
        assert_eq!(refusals, [IsrRefusal::Ineligible], "{isr:?}");
    };
    let (one, two, stranger) = (cluster.member(1), cluster.member(2), cluster.member(4));
    refused(&mut cluster, &[]);
    refused(&mut cluster, &[two]);
    refused(&mut cluster, &[one, two, two]);
    refused(&mut cluster, &[one, stranger]);
    let former = Member { incarnation: two.incarnation - 1, ..two };
    refused(&mut cluster, &[one, former]);
    cluster.report(2, topic, 0, LogState::Failed { reason: "no space".into() });
    refused(&mut cluster, &[one, two]);
    cluster.report(2, topic, 0, LogState::Online);
    cluster.kill(3, &[1, 2]);
    let fenced = cluster.member(3);
    refused(&mut cluster, &[one, fenced]);
    assert_eq!(cluster.propose(1, vec![cluster.proposal(topic, 0, &[one, two])]), []);
}

#[test]
fn a_follower_that_restarted_since_is_not_the_one_that_was_proposed() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    cluster.propose(1, vec![cluster.proposal(topic, 0, &cluster.members(&[1, 3]))]);
    let proposal = cluster.proposal(topic, 0, &cluster.members(&[1, 2, 3]));
    cluster.start_broker(2, LogClaim::Clean);
    assert_eq!(cluster.propose(1, vec![proposal]), [IsrRefusal::Ineligible]);
}

#[test]
fn rule_22_who_leaves_below_min_isr_stays_eligible_until_the_isr_has_grown_again() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &MIN_2);
    cluster.propose(1, vec![cluster.proposal(topic, 0, &cluster.members(&[1, 2]))]);
    assert_eq!(cluster.state(topic, 0), (Some(1), 0, vec![1, 2], vec![]), "3 may lack what 1 and 2 commit");
    cluster.propose(1, vec![cluster.proposal(topic, 0, &cluster.members(&[1]))]);
    assert_eq!(cluster.state(topic, 0), (Some(1), 0, vec![1], vec![2]));
    cluster.propose(1, vec![cluster.proposal(topic, 0, &cluster.members(&[1, 3]))]);
    assert_eq!(cluster.state(topic, 0), (Some(1), 0, vec![1, 3], vec![]));
}

#[test]
fn proposals_that_come_together_share_one_write() {
    let mut cluster = Cluster::start(3, Policy::default());
    let replicas: Vec<&[i32]> = vec![&[1, 2, 3]; 400];
    let topic = cluster.create("t", &replicas, &[]);
    let isr = cluster.members(&[1, 2]);
    let proposals = (0..400).map(|partition| cluster.proposal(topic, partition, &isr)).collect();
    let writes = cluster.writes;
    assert_eq!(cluster.propose(1, proposals), []);
    assert_eq!(cluster.writes - writes, 1);
    assert!((0..400).all(|partition| cluster.record(topic, partition).isr == isr));
}

#[test]
fn a_proposal_whose_write_was_lost_is_decided_anew_on_what_is_stored() {
    for arrived in [true, false] {
        let mut cluster = Cluster::start(3, Policy::default());
        let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
        let isr = cluster.members(&[1, 2]);
        let proposals = vec![cluster.proposal(topic, 0, &isr)];
        let incarnation = cluster.brokers[&1].incarnation;
        cluster.brokers.get_mut(&1).unwrap().inbox.clear();
        cluster.say(1, taffrail_control::session::ToController::ProposeIsr { incarnation, proposals });
        let request = cluster.asked.remove(0);
        let id = request.id;
        if arrived {
            taffrail_controller::store::Store::execute(&mut cluster.store, vec![request]);
        }
        cluster.input(Input::Store(StoreAnswer { id, outcome: StoreOutcome::Unknown }));
        cluster.settle();
        let record = cluster.record(topic, 0);
        assert_eq!((&record.isr, record.partition_epoch), (&isr, 1), "it was taken once");
        let expected = if arrived { vec![IsrRefusal::StaleEpoch] } else { vec![] };
        assert_eq!(cluster.refusals(1), expected);
        let inbox = &cluster.brokers[&1].inbox;
        let told = inbox.iter().position(|message| matches!(message, FromController::Update(_)));
        let refused = inbox.iter().position(|message| matches!(message, FromController::IsrRefused { .. }));
        assert!(told < refused || refused.is_none(), "the record goes before the refusal: {inbox:?}");
    }
}

/// Three brokers, and proposals wait 150 ms.
fn coalescing() -> Cluster {
    Cluster::start(3, Policy { isr_coalesce_ms: 150, ..Policy::default() })
}

#[test]
fn proposals_of_a_slice_wait_for_one_another_where_a_write_is_dear() {
    let mut cluster = coalescing();
    let topic = cluster.create("t", &[&[1, 2, 3], &[2, 3, 1]], &[]);
    let (begun_ms, writes) = (cluster.now_ms, cluster.writes);
    let proposal = cluster.proposal(topic, 0, &cluster.members(&[1, 2]));
    cluster.propose(1, vec![proposal]);
    assert_eq!(cluster.wake_ms, Some(begun_ms + 150), "the first of them counts");
    cluster.pass(100, 50, &[1, 2, 3]);
    let proposal = cluster.proposal(topic, 1, &cluster.members(&[2, 3]));
    cluster.propose(2, vec![proposal]);
    assert_eq!((cluster.writes - writes, cluster.wake_ms), (0, Some(begun_ms + 150)));
    cluster.pass(50, 50, &[1, 2, 3]);
    assert_eq!(cluster.writes - writes, 1);
    assert_eq!((cluster.state(topic, 0).2, cluster.state(topic, 1).2), (vec![1, 2], vec![2, 3]));
    assert!(cluster.told(1, topic, 0).is_some_and(|record| record.partition_epoch == 1));
    // The next is the first again.
    cluster.wake_ms = None;
    let (begun_ms, writes) = (cluster.now_ms, cluster.writes);
    let proposal = cluster.proposal(topic, 0, &cluster.members(&[1]));
    cluster.propose(1, vec![proposal]);
    assert_eq!((cluster.writes - writes, cluster.wake_ms), (0, Some(begun_ms + 150)));
}

#[test]
fn what_else_is_decided_on_a_slice_waits_for_no_proposal_and_takes_them_along() {
    let mut cluster = coalescing();
    let topic = cluster.create("t", &[&[1, 2, 3], &[3, 1, 2]], &[]);
    let proposal = cluster.proposal(topic, 0, &cluster.members(&[1, 2]));
    cluster.propose(1, vec![proposal]);
    assert_eq!(cluster.state(topic, 0).2, [1, 2, 3]);
    cluster.kill(3, &[1, 2]);
    assert_eq!((cluster.state(topic, 0).2, cluster.state(topic, 1).0), (vec![1, 2], Some(1)));
    let record = cluster.record(topic, 0);
    assert_eq!(record.partition_epoch, 1, "the proposal was decided before the broker was missed");
}

#[test]
fn proposals_that_wait_while_their_slice_is_written_are_not_put_off_again() {
    let mut cluster = coalescing();
    let topic = cluster.create("t", &[&[1, 2, 3], &[3, 1, 2]], &[]);
    let incarnation = cluster.brokers[&1].incarnation;
    let proposals = vec![cluster.proposal(topic, 0, &cluster.members(&[1, 2]))];
    cluster.say(1, taffrail_control::session::ToController::ProposeIsr { incarnation, proposals });
    cluster.now_ms += 150;
    cluster.input(Input::Tick);
    assert_eq!(cluster.asked.len(), 1, "the write is on its way");
    let incarnation = cluster.brokers[&3].incarnation;
    let proposals = vec![cluster.proposal(topic, 1, &cluster.members(&[3, 1]))];
    cluster.say(3, taffrail_control::session::ToController::ProposeIsr { incarnation, proposals });
    let before = std::mem::take(&mut cluster.asked);
    cluster.now_ms += 150;
    cluster.input(Input::Tick);
    assert_eq!(cluster.asked, [], "one write of a slice at a time");
    cluster.asked = before;
    cluster.settle();
    assert_eq!((cluster.state(topic, 0).2, cluster.state(topic, 1).2), (vec![1, 2], vec![3, 1]));
}
