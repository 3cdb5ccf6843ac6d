//! More than one controller, and a store that is not what it was (rules 1, 3, 25, 32).

use taffrail_control::session::{
    ControllerRequest, ControllerResponse, FromController, HeldPartition, IsrRefusal, LogClaim, NewTopic,
    ToController,
};
use taffrail_controller::Policy;
use taffrail_controller::message::{Event, Input};
use taffrail_controller::model::{Object, ObjectKey};
use taffrail_controller::store::{Store, StoreAction, StoreRequest, StoreRequestId, Version};
use taffrail_protocol::Uuid;

use crate::cluster::Cluster;

/// Another controller swaps the object for what `change` makes of it.
fn overwrite(cluster: &mut Cluster, key: ObjectKey, change: impl FnOnce(&mut Object)) {
    let mut stored = cluster.store.get(key).unwrap();
    change(&mut stored.object);
    let action = StoreAction::Put { key, expected: stored.version, object: stored.object };
    cluster.store.execute(vec![StoreRequest { id: StoreRequestId(0), action }]);
}

/// Another controller has 2 lead from epoch 1 on.
fn elect_elsewhere(cluster: &mut Cluster, topic: Uuid) {
    let leader = cluster.member(2);
    overwrite(cluster, ObjectKey::Partitions(0), |object| {
        let Object::Partitions(slice) = object else { panic!("{object:?}") };
        let record = slice.partition_mut(topic, 0).unwrap();
        record.leader = Some(leader);
        record.leader_epoch += 1;
        record.partition_epoch += 1;
    });
}

fn version(cluster: &Cluster) -> Version {
    cluster.store.get(ObjectKey::Partitions(0)).unwrap().version
}

/// The store tells that the slice has, or had, a version.
fn tell_changed(cluster: &mut Cluster, version: Version) {
    cluster.input(Input::Changed { key: ObjectKey::Partitions(0), version });
}

fn redirects(cluster: &Cluster, id: i32) -> Vec<Option<String>> {
    let inbox = cluster.brokers[&id].inbox.iter();
    let redirects = inbox.filter_map(|message| match message {
        FromController::Redirect { active } => Some(active.clone()),
        _ => None,
    });
    redirects.collect()
}

#[test]
fn rule_32_a_controller_whose_swap_fails_sends_its_brokers_away_and_decides_anew() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    // Another controller takes 3 out of the ISR.
    let isr = cluster.members(&[1, 2]);
    overwrite(&mut cluster, ObjectKey::Partitions(0), |object| {
        let Object::Partitions(slice) = object else { panic!("{object:?}") };
        let record = slice.partition_mut(topic, 0).unwrap();
        (record.isr, record.partition_epoch) = (isr, 1);
    });
    let stale = cluster.proposal(topic, 0, &cluster.members(&[1, 2, 3]));
    let stale = taffrail_control::session::IsrProposal { partition_epoch: 0, ..stale };
    assert_eq!(cluster.propose(1, vec![stale]), [] as [IsrRefusal; 0], "nobody is left to be told");
    assert_eq!(redirects(&cluster, 1), [None]);
    assert!(cluster.brokers.values().all(|broker| broker.session.is_none()));
    assert_eq!(cluster.state(topic, 0), (Some(1), 0, vec![1, 2], vec![]), "the proposal was stale");
    // Nobody is fenced for being sent away.
    cluster.pass(2_000, 500, &[]);
    for id in 1..=3 {
        cluster.connect(id, LogClaim::Clean);
    }
    cluster.pass(4_000, 500, &[1, 2, 3]);
    assert_eq!(cluster.state(topic, 0), (Some(1), 0, vec![1, 2], vec![]));
}

#[test]
fn rule_32_a_deposed_controller_redirects_and_knows_nothing_until_it_starts_again() {
    let mut cluster = Cluster::start(2, Policy::default());
    let topic = cluster.create("t", &[&[1, 2]], &[]);
    let active = Some("http://other:9190".to_owned());
    // A write is on its way.
    let incarnation = cluster.brokers[&1].incarnation;
    cluster.say(1, ToController::ControlledShutdown { incarnation });
    cluster.input(Input::Deposed { active: active.clone() });
    assert_eq!(redirects(&cluster, 1), std::slice::from_ref(&active));
    cluster.settle();
    assert_eq!(cluster.asked, []);
    cluster.connect(2, LogClaim::Clean);
    assert_eq!(redirects(&cluster, 2), [active]);
    cluster.input(Input::Start);
    cluster.settle();
    cluster.connect(2, LogClaim::Clean);
    assert_eq!(cluster.told(2, topic, 0).unwrap().leader_epoch, cluster.record(topic, 0).leader_epoch);
}

#[test]
fn rule_32_what_another_controller_wrote_is_read_and_told_when_the_store_tells_of_it() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    elect_elsewhere(&mut cluster, topic);
    let version = version(&cluster);
    tell_changed(&mut cluster, version);
    assert!(cluster.brokers.values().all(|broker| broker.session.is_none()), "the other may be active");
    cluster.settle();
    let told = |event: &&Event| matches!(event, Event::WrittenByAnother { .. });
    assert_eq!(cluster.events.iter().filter(told).count(), 1);
    for id in 1..=3 {
        cluster.connect(id, LogClaim::Clean);
        assert_eq!(cluster.told(id, topic, 0).unwrap().leader_epoch, 1);
    }
    // It comes again.
    tell_changed(&mut cluster, version);
    assert_eq!(cluster.asked, []);
    assert!(cluster.brokers.values().all(|broker| broker.session.is_some()));
}

#[test]
fn rule_32_what_somebody_deleted_is_read_when_the_store_tells_of_it() {
    let mut cluster = Cluster::start(3, Policy::default());
    cluster.create("t", &[&[1, 2, 3]], &[]);
    let deleted = Version(version(&cluster).0 + 1);
    cluster.store.remove(ObjectKey::Partitions(0));
    tell_changed(&mut cluster, deleted);
    let asked: Vec<&StoreAction> = cluster.asked.iter().map(|request| &request.action).collect();
    assert_eq!(asked, [&StoreAction::Load(ObjectKey::Partitions(0))]);
    assert!(cluster.brokers.values().all(|broker| broker.session.is_none()), "another may be active");
    cluster.settle();
    // It comes again.
    tell_changed(&mut cluster, deleted);
    cluster.settle();
    assert_eq!(cluster.asked, []);
}

#[test]
fn a_controller_takes_no_write_of_its_own_for_anothers() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    let before = version(&cluster);
    let isr = cluster.proposal(topic, 0, &cluster.members(&[1, 2]));
    let incarnation = cluster.brokers[&1].incarnation;
    cluster.say(1, ToController::ProposeIsr { incarnation, proposals: vec![isr] });
    // The store tells of the write before it answers, and tells of the one before late.
    let swap = std::mem::take(&mut cluster.asked);
    let answers = cluster.store.execute(swap);
    let after = version(&cluster);
    assert_ne!(before, after);
    for version in [after, before] {
        tell_changed(&mut cluster, version);
    }
    answers.into_iter().for_each(|answer| cluster.input(Input::Store(answer)));
    for version in [before, after] {
        tell_changed(&mut cluster, version);
    }
    assert_eq!(cluster.asked, [], "there is nothing to read");
    assert!(cluster.brokers.values().all(|broker| broker.session.is_some()));
    assert_eq!(cluster.told(3, topic, 0).unwrap().isr.len(), 2);
}

#[test]
fn what_another_writes_over_a_write_in_flight_is_read_when_that_is_answered() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    let isr = cluster.proposal(topic, 0, &cluster.members(&[1, 2]));
    let incarnation = cluster.brokers[&1].incarnation;
    cluster.say(1, ToController::ProposeIsr { incarnation, proposals: vec![isr] });
    let swap = std::mem::take(&mut cluster.asked);
    let answers = cluster.store.execute(swap);
    elect_elsewhere(&mut cluster, topic);
    let version = version(&cluster);
    tell_changed(&mut cluster, version);
    assert_eq!(cluster.asked, [], "it may be this controller's own");
    answers.into_iter().for_each(|answer| cluster.input(Input::Store(answer)));
    assert!(cluster.brokers.values().all(|broker| broker.session.is_none()));
    cluster.settle();
    cluster.connect(1, LogClaim::Clean);
    assert_eq!(cluster.told(1, topic, 0).unwrap().leader_epoch, 1);
}

#[test]
fn a_swap_that_lands_while_the_next_controller_reads_the_store_is_read_too() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    cluster.input(Input::Deposed { active: None });
    cluster.input(Input::Start);
    // The slices are listed; what the former controller sent late arrives now.
    let list = std::mem::take(&mut cluster.asked);
    let answers = cluster.store.execute(list);
    elect_elsewhere(&mut cluster, topic);
    let version = version(&cluster);
    tell_changed(&mut cluster, version);
    answers.into_iter().for_each(|answer| cluster.input(Input::Store(answer)));
    cluster.settle();
    cluster.connect(1, LogClaim::Clean);
    assert_eq!(cluster.told(1, topic, 0).unwrap().leader_epoch, 1);
}

#[test]
fn rule_3_a_record_that_names_a_fenced_or_former_leader_is_mended_by_whoever_reads_it() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3], &[1, 2, 3]], &[]);
    cluster.kill(1, &[2, 3]);
    cluster.start_broker(3, LogClaim::Clean);
    // A controller that has not heard of either writes the records as they were before.
    let former = cluster.members(&[1, 2]);
    overwrite(&mut cluster, ObjectKey::Partitions(0), |object| {
        let Object::Partitions(slice) = object else { panic!("{object:?}") };
        let record = slice.partition_mut(topic, 0).unwrap();
        (record.leader, record.isr) = (Some(former[0]), former.clone());
        record.leader_epoch += 1;
        record.partition_epoch += 1;
    });
    cluster.restart_controller(Policy::default());
    cluster.connect(2, LogClaim::Clean);
    cluster.connect(3, LogClaim::Clean);
    assert_eq!(cluster.state(topic, 0).1, 2, "1 may know of a later record");
    cluster.pass(3_000, 500, &[2, 3]);
    assert_eq!(cluster.state(topic, 0), (Some(2), 3, vec![2], vec![]));
}

/// What epochs are lifted by.
const LEAP: i32 = 1 << 20;

fn held(topic_id: Uuid, creation: u64, leader_epoch: i32) -> HeldPartition {
    let (partition_epoch, replicas) = (leader_epoch, Vec::new());
    HeldPartition { topic_id, partition: 0, creation, leader_epoch, partition_epoch, replicas }
}

fn tell_held(cluster: &mut Cluster, id: i32, held: HeldPartition) {
    let incarnation = cluster.brokers[&id].incarnation;
    cluster.say(id, ToController::Held { incarnation, partitions: vec![held] });
    cluster.settle();
}

#[test]
fn rule_25_a_restored_store_is_lifted_above_what_brokers_hold_and_the_longest_log_leads() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    let backup = cluster.store.clone();
    // 1 is left behind by 2 and 3.
    cluster.kill(1, &[2, 3]);
    cluster.connect(1, LogClaim::Clean);
    assert_eq!(cluster.state(topic, 0), (Some(2), 1, vec![2, 3], vec![]));
    cluster.store = backup;
    cluster.restart_controller(Policy::default());
    cluster.connect_with(1, LogClaim::Clean, vec![held(topic, 1, 0)]);
    cluster.connect_with(2, LogClaim::Clean, vec![held(topic, 1, 1)]);
    assert_eq!(cluster.state(topic, 0), (Some(1), 0, vec![1, 2, 3], vec![]), "as the backup has it");
    cluster.connect_with(3, LogClaim::Clean, vec![held(topic, 1, 1)]);
    let lifted = cluster.record(topic, 0);
    assert_eq!((lifted.leader, lifted.leader_epoch, lifted.isr.len()), (None, 1 + LEAP, 3));
    assert!(lifted.partition_epoch > 1_000_000, "above whatever brokers hold");
    let told = |event: &&Event| matches!(event, Event::StoreBehind { .. });
    assert_eq!(cluster.events.iter().filter(told).count(), 1);
    for (id, end) in [(1, (0, 50)), (2, (1, 60))] {
        cluster.answer_log_ends(id, Some(end));
        assert_eq!(cluster.record(topic, 0).leader, None, "not all have answered");
    }
    // Nor is it enough after a while: the third may have the most.
    cluster.pass(3_000, 500, &[1, 2, 3]);
    assert_eq!(cluster.record(topic, 0).leader, None);
    cluster.answer_log_ends(3, Some((1, 61)));
    assert_eq!(cluster.state(topic, 0), (Some(3), 2 + LEAP, vec![3], vec![]));
    assert_eq!(cluster.record(topic, 0).unclean_epoch, Some(2 + LEAP));
    // What is told again later is no news.
    tell_held(&mut cluster, 2, held(topic, 1, 1));
    assert_eq!(cluster.state(topic, 0).1, 2 + LEAP);
}

/// A backup of a partition of 1, 2 and 3 in sync, led by 1, and a controller that has just read it; 1 and 2 restarted.
fn restored() -> (Cluster, Uuid) {
    let mut cluster = Cluster::start(4, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    let backup = cluster.store.clone();
    cluster.kill(1, &[2, 3, 4]);
    cluster.store = backup;
    cluster.restart_controller(Policy::default());
    (cluster, topic)
}

#[test]
fn rule_25_nothing_is_decided_before_all_brokers_said_what_they_hold() {
    let (mut cluster, topic) = restored();
    // By the backup 2 would lead now that 1 has restarted, in the epoch in which 3 does since.
    cluster.start_broker(1, LogClaim::Clean);
    cluster.connect(2, LogClaim::Clean);
    cluster.connect(4, LogClaim::Clean);
    assert!(cluster.controller.awaits_brokers());
    assert_eq!(cluster.state(topic, 0), (Some(1), 0, vec![1, 2, 3], vec![]));
    cluster.connect_with(3, LogClaim::Clean, vec![held(topic, 1, 1)]);
    assert!(!cluster.controller.awaits_brokers());
    let lifted = cluster.record(topic, 0);
    assert_eq!(
        (lifted.leader, lifted.leader_epoch),
        (None, 1 + LEAP),
        "nor is 2 taken for the leader before"
    );
}

#[test]
fn rule_25_a_broker_that_does_not_come_is_waited_for_as_long_as_a_session_lasts() {
    let (mut cluster, topic) = restored();
    cluster.start_broker(1, LogClaim::Clean);
    cluster.connect(2, LogClaim::Clean);
    cluster.connect(4, LogClaim::Clean);
    cluster.pass(2_500, 500, &[1, 2, 4]);
    assert_eq!(cluster.state(topic, 0).0, Some(1));
    cluster.pass(500, 500, &[1, 2, 4]);
    assert_eq!(cluster.state(topic, 0), (Some(2), 1, vec![2], vec![]));
}

#[test]
fn rule_25_in_sync_replicas_that_changed_since_the_backup_without_a_new_leader_put_it_behind_too() {
    let (mut cluster, topic) = restored();
    for id in [1, 2, 4] {
        cluster.connect(id, LogClaim::Clean);
    }
    let held = HeldPartition { partition_epoch: 3, ..held(topic, 1, 0) };
    cluster.connect_with(3, LogClaim::Clean, vec![held]);
    let lifted = cluster.record(topic, 0);
    assert_eq!((lifted.leader, lifted.leader_epoch, lifted.partition_epoch), (None, LEAP, 3 + LEAP));
}

#[test]
fn rule_25_the_replicas_are_those_that_were_told_last_whoever_tells_first() {
    let told = |topic, partition_epoch, replicas: &[i32]| HeldPartition {
        partition_epoch,
        replicas: replicas.to_vec(),
        ..held(topic, 1, 2)
    };
    for turned in [false, true] {
        let (mut cluster, topic) = restored();
        let newest = (3, told(topic, 9, &[2, 3, 4]));
        let mut tell = [(4, told(topic, 7, &[1, 2, 3, 4])), newest];
        if turned {
            tell.reverse();
        }
        cluster.connect(1, LogClaim::Clean);
        cluster.connect(2, LogClaim::Clean);
        for (id, held) in tell {
            cluster.connect_with(id, LogClaim::Clean, vec![held]);
        }
        let lifted = cluster.record(topic, 0);
        assert_eq!((lifted.leader, lifted.replicas.as_slice()), (None, &[2, 3, 4][..]), "turned: {turned}");
        assert!(lifted.isr.iter().all(|member| member.incarnation == 0));
    }
}

#[test]
fn rule_25_who_leads_hears_that_it_does_not_before_it_is_asked_how_far_its_log_reaches() {
    let (mut cluster, topic) = restored();
    for id in [1, 2, 4] {
        cluster.connect(id, LogClaim::Clean);
    }
    cluster.connect_with(3, LogClaim::Clean, vec![held(topic, 1, 1)]);
    for id in 1..=3 {
        let inbox = &cluster.brokers[&id].inbox;
        let at = |wanted: fn(&FromController) -> bool| inbox.iter().position(wanted);
        let asked = at(|message| matches!(message, FromController::QueryLogEnds { .. }));
        let lifted = at(|message| {
            matches!(message, FromController::Update(update)
                if update.partitions.iter().any(|record| record.leader.is_none()))
        });
        assert!(lifted.is_some() && lifted < asked, "broker {id}: {inbox:?}");
    }
}

#[test]
fn rule_25_a_record_that_the_backup_lacks_is_made_and_lifted_in_one_write() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    // The backup was taken between the writes that make a topic.
    overwrite(&mut cluster, ObjectKey::Partitions(0), |object| {
        let Object::Partitions(slice) = object else { panic!("{object:?}") };
        slice.topics.clear();
    });
    cluster.restart_controller(Policy::default());
    for id in 1..=3 {
        cluster.connect_with(id, LogClaim::Clean, vec![held(topic, 1, 3)]);
    }
    let lifted = cluster.record(topic, 0);
    assert_eq!((lifted.leader, lifted.leader_epoch), (None, 3 + LEAP));
    assert!((1..=3).all(|id| cluster.told(id, topic, 0).is_none_or(|told| told.leader_epoch > LEAP)));
}

fn producer_ids(response: Option<ControllerResponse>) -> Option<i64> {
    match response {
        Some(ControllerResponse::ProducerIds { first, .. }) => Some(first),
        None => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rule_25_a_restored_store_hands_out_no_producer_id_that_was_handed_out_since_the_backup() {
    let (mut cluster, topic) = restored();
    for id in [1, 2, 4] {
        cluster.connect(id, LogClaim::Clean);
    }
    let early = cluster.request(ControllerRequest::AllocateProducerIds);
    assert_eq!(producer_ids(early), None, "3 may know of more");
    cluster.connect_with(3, LogClaim::Clean, vec![held(topic, 1, 1)]);
    let first = producer_ids(cluster.response(1)).unwrap();
    assert!(first > 1_000_000_000_000, "{first} may have been handed out");
    // It leaps once.
    tell_held(&mut cluster, 2, held(topic, 1, 5 + LEAP));
    let next = cluster.request(ControllerRequest::AllocateProducerIds);
    assert_eq!(producer_ids(next), Some(first + 1_000));
}

#[test]
fn rule_25_producer_ids_leap_before_that_is_lifted_which_shows_that_they_must() {
    let mut cluster = Cluster::start(2, Policy::default());
    let topic = cluster.create("t", &[&[1, 2]], &[]);
    let incarnation = cluster.brokers[&2].incarnation;
    cluster.say(2, ToController::Held { incarnation, partitions: vec![held(topic, 1, 7)] });
    assert!(cluster.controller.awaits_brokers());
    let mut leapt_first = false;
    while let Some(request) = cluster.asked.pop() {
        for answer in cluster.store.execute(vec![request]) {
            cluster.input(Input::Store(answer));
        }
        let leapt = cluster.stored().next_producer_id > 0;
        let lifted = cluster.record(topic, 0).leader_epoch > LEAP;
        assert!(leapt || !lifted, "a controller that takes over now would not know");
        leapt_first |= leapt && !lifted;
    }
    assert!(leapt_first && !cluster.controller.awaits_brokers());
    assert_eq!(cluster.record(topic, 0).leader, None);
}

#[test]
fn rule_25_the_lifted_record_outlives_the_controller_that_lifted_it() {
    let mut cluster = Cluster::start(2, Policy::default());
    let topic = cluster.create("t", &[&[1, 2]], &[]);
    tell_held(&mut cluster, 2, held(topic, 1, 7));
    cluster.restart_controller(Policy::default());
    cluster.connect(1, LogClaim::Clean);
    cluster.connect(2, LogClaim::Clean);
    assert_eq!(cluster.record(topic, 0).leader, None, "nobody is taken for in sync");
    cluster.answer_log_ends(1, Some((7, 50)));
    cluster.answer_log_ends(2, Some((7, 51)));
    assert_eq!(cluster.state(topic, 0), (Some(2), 8 + LEAP, vec![2], vec![]));
}

#[test]
fn rule_17_a_member_that_was_back_without_what_it_had_and_is_gone_again_is_waited_for() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2]], &[]);
    tell_held(&mut cluster, 2, held(topic, 1, 7));
    cluster.kill(1, &[2, 3]);
    cluster.answer_log_ends(2, Some((0, 5)));
    cluster.pass(5_000, 500, &[2, 3]);
    assert_eq!(cluster.record(topic, 0).leader, None, "its log may be longer");
    cluster.connect(1, LogClaim::Unclean);
    cluster.answer_log_ends(1, Some((0, 6)));
    cluster.answer_log_ends(2, Some((0, 5)));
    assert_eq!(cluster.state(topic, 0).0, Some(1));
}

#[test]
fn rule_25_a_controller_that_is_merely_behind_reads_again_and_lifts_nothing() {
    let mut cluster = Cluster::start(2, Policy::default());
    let topic = cluster.create("t", &[&[1, 2]], &[]);
    let leader = cluster.member(2);
    overwrite(&mut cluster, ObjectKey::Partitions(0), |object| {
        let Object::Partitions(slice) = object else { panic!("{object:?}") };
        let record = slice.partition_mut(topic, 0).unwrap();
        (record.leader, record.leader_epoch, record.partition_epoch) = (Some(leader), 1, 1);
    });
    tell_held(&mut cluster, 2, held(topic, 1, 1));
    assert_eq!(cluster.state(topic, 0), (Some(2), 1, vec![1, 2], vec![]));
    assert_eq!(cluster.told(2, topic, 0).unwrap().leader_epoch, 1);
    assert_eq!(cluster.stored().next_producer_id, 0);
}

#[test]
fn rule_25_a_sole_replica_goes_on_at_once_and_creations_go_on_above_what_is_held() {
    let mut cluster = Cluster::start(1, Policy::default());
    let topic = cluster.create("t", &[&[1]], &[]);
    tell_held(&mut cluster, 1, held(topic, 70_000, 7));
    assert_eq!(cluster.state(topic, 0), (Some(1), 8 + LEAP, vec![1], vec![]));
    tell_held(&mut cluster, 1, held(topic, u64::MAX, i32::MAX));
    assert_eq!(cluster.state(topic, 0).1, 8 + LEAP, "nobody ever counted so far");
    let topics = vec![NewTopic { name: "u".into(), ..NewTopic::default() }];
    let made = cluster.request(ControllerRequest::CreateTopics { topics, validate_only: false });
    assert!(matches!(made, Some(ControllerResponse::Topics(_))));
    let Some(Object::Topics(slice)) = cluster
        .store
        .get(ObjectKey::Topics(taffrail_control::slices::topic_slice("u")))
        .map(|stored| stored.object)
    else {
        panic!("the topic is stored");
    };
    assert!(slice.topics["u"].creation > 70_000);
}

#[test]
fn what_is_said_under_another_incarnation_changes_nothing_and_is_told_once() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    let session = cluster.brokers[&1].session.unwrap();
    let before = cluster.record(topic, 0);
    let incarnation = cluster.brokers[&1].incarnation + 40;
    let proposal = cluster.proposal(topic, 0, &cluster.members(&[1]));
    cluster.events.clear();
    for message in [
        ToController::ProposeIsr { incarnation, proposals: vec![proposal] },
        ToController::ControlledShutdown { incarnation },
        ToController::Heartbeat { incarnation, applied_version: 0 },
    ] {
        cluster.input(Input::Said { session, message });
        cluster.settle();
    }
    assert_eq!(cluster.record(topic, 0), before);
    let told: Vec<_> = cluster.events.iter().map(ToString::to_string).collect();
    let registered = cluster.brokers[&1].incarnation;
    let expected = format!(
        "broker 1 speaks as incarnation {incarnation} in the session of its incarnation {registered}; what it says so \
         is ignored"
    );
    assert_eq!(told, [expected]);
}
