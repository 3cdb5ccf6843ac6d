//! Moves (rules 2, 24), configuration (rule 23) and brokers that are forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use taffrail_control::session::{
    BrokerConfigRecord, ClusterUpdate, ConfigChange, ConfigOp, ConfigResource, ControllerRequest,
    ControllerResponse, FromController, LogClaim, Reassignment,
};
use taffrail_controller::Policy;
use taffrail_controller::message::Event;
use taffrail_controller::message::Input;
use taffrail_controller::store::{Store, StoreAction, StoreAnswer, StoreOutcome};
use taffrail_protocol::ErrorCode;

use crate::cluster::Cluster;

const MIN_2: [(&str, &str); 1] = [("min.insync.replicas", "2")];

fn reassign(cluster: &mut Cluster, partition: i32, targets: Option<&[i32]>) -> Result<(), ErrorCode> {
    let replicas = targets.map(<[i32]>::to_vec);
    let partitions = vec![Reassignment { topic: "t".into(), partition, replicas }];
    let request = ControllerRequest::AlterReassignments { partitions, allow_replication_factor_change: true };
    match cluster.request(request) {
        Some(ControllerResponse::Partitions(outcomes)) => {
            assert_eq!((&*outcomes[0].topic, outcomes[0].partition), ("t", partition));
            outcomes[0].result.clone().map_err(|error| error.code)
        }
        other => panic!("{other:?}"),
    }
}

fn change(resource: ConfigResource, key: &str, op: ConfigOp) -> ControllerRequest {
    let changes = vec![ConfigChange { resource, replace: false, ops: vec![(key.into(), op)] }];
    ControllerRequest::AlterConfigs { changes, validate_only: false }
}

fn configure(cluster: &mut Cluster, resource: ConfigResource, key: &str, value: Option<&str>) {
    let op = value.map_or(ConfigOp::Delete, |value| ConfigOp::Set(value.into()));
    let answer = cluster.request(change(resource, key, op));
    assert_eq!(answer, Some(ControllerResponse::Configs(vec![Ok(())])));
}

fn unregister(cluster: &mut Cluster, broker_id: i32) -> Result<(), String> {
    match cluster.request(ControllerRequest::UnregisterBroker { broker_id }) {
        Some(ControllerResponse::Done) => Ok(()),
        Some(ControllerResponse::Failed(error)) => Err(error.message),
        other => panic!("{other:?}"),
    }
}

/// The updates that the broker was sent in this session, the snapshot first.
fn updates(cluster: &Cluster, id: i32) -> Vec<Arc<ClusterUpdate>> {
    let told = cluster.brokers[&id].inbox.iter().filter_map(|message| match message {
        FromController::Update(update) => Some(Arc::clone(update)),
        _ => None,
    });
    told.collect()
}

#[test]
fn rule_24_a_partition_moves_once_its_new_replicas_are_in_sync_and_not_before() {
    let mut cluster = Cluster::start(5, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &MIN_2);
    assert_eq!(reassign(&mut cluster, 0, Some(&[4, 5, 3])), Ok(()));
    let told = cluster.told(4, topic, 0).unwrap();
    assert_eq!((told.replicas, told.adding, told.removing), (vec![4, 5, 3, 1, 2], vec![4, 5], vec![1, 2]));
    let missed = |cluster: &Cluster| cluster.controller.summary().under_replicated_partitions;
    assert_eq!(missed(&cluster), 0, "what is only being added is not missed");
    let isr = cluster.members(&[4, 3, 1, 2]);
    assert_eq!(cluster.propose(1, vec![cluster.proposal(topic, 0, &isr)]), []);
    assert!(cluster.record(topic, 0).is_moving(), "5 is not in sync");
    // The last of them dies as soon as it is in sync, and comes back with what it had.
    cluster.kill(5, &[1, 2, 3, 4]);
    cluster.start_broker(5, LogClaim::Clean);
    assert!(cluster.record(topic, 0).is_moving());
    let isr = cluster.members(&[4, 5, 3, 1, 2]);
    assert_eq!(cluster.propose(1, vec![cluster.proposal(topic, 0, &isr)]), []);
    let record = cluster.record(topic, 0);
    assert_eq!((record.replicas.clone(), record.is_moving()), (vec![4, 5, 3], false));
    assert_eq!(cluster.state(topic, 0), (Some(4), 1, vec![4, 5, 3], vec![]));
    let told =
        |cluster: &Cluster, wanted: &str| cluster.events.iter().any(|e| e.to_string().contains(wanted));
    assert!(told(&cluster, "1 partitions of topic t are being moved"));
    assert!(told(&cluster, "1 partitions of topic t are where they were to be moved to"));
    assert_eq!(reassign(&mut cluster, 0, None), Err(ErrorCode::NO_REASSIGNMENT_IN_PROGRESS));
}

#[test]
fn a_move_that_is_cancelled_leaves_the_partition_where_it_was_also_if_the_answer_is_lost() {
    let mut cluster = Cluster::start(5, Policy::default());
    let topic = cluster.create("t", &[&[1, 2, 3]], &[]);
    assert_eq!(reassign(&mut cluster, 0, Some(&[4, 5])), Ok(()));
    let partitions = vec![Reassignment { topic: "t".into(), partition: 0, replicas: None }];
    let request = ControllerRequest::AlterReassignments { partitions, allow_replication_factor_change: true };
    cluster.say(1, taffrail_control::session::ToController::Request { request_id: 77, request });
    let put = cluster.asked.remove(0);
    assert!(matches!(put.action, StoreAction::Put { .. }));
    let id = put.id;
    cluster.store.execute(vec![put]);
    cluster.input(Input::Store(StoreAnswer { id, outcome: StoreOutcome::Unknown }));
    cluster.settle();
    let answered = cluster.brokers[&1].inbox.iter().find_map(|message| match message {
        FromController::Response { request_id: 77, response } => Some(response.clone()),
        _ => None,
    });
    let Some(ControllerResponse::Partitions(outcomes)) = answered else { panic!("{answered:?}") };
    assert_eq!(outcomes[0].result, Ok(()));
    let record = cluster.record(topic, 0);
    assert_eq!((record.targets(), record.is_moving(), record.leader_epoch), (vec![1, 2, 3], false, 1));
}

#[test]
fn another_controller_ends_a_move_that_its_predecessor_had_begun() {
    let mut cluster = Cluster::start(3, Policy::default());
    let topic = cluster.create("t", &[&[1, 2]], &[]);
    assert_eq!(reassign(&mut cluster, 0, Some(&[3, 2])), Ok(()));
    let isr = cluster.members(&[3, 1, 2]);
    let incarnation = cluster.brokers[&1].incarnation;
    let proposals = vec![cluster.proposal(topic, 0, &isr)];
    cluster.say(1, taffrail_control::session::ToController::ProposeIsr { incarnation, proposals });
    // The swap that takes the proposal is carried out, and the controller hears no more of it.
    let put = cluster.asked.remove(0);
    cluster.store.execute(vec![put]);
    assert!(cluster.record(topic, 0).is_moving());
    cluster.restart_controller(Policy::default());
    (1..=3).for_each(|id| cluster.connect(id, LogClaim::Clean));
    assert_eq!(cluster.record(topic, 0).replicas, [3, 2]);
}

#[test]
fn moves_of_what_is_not_there_are_refused() {
    let mut cluster = Cluster::start(2, Policy::default());
    cluster.create("t", &[&[1]], &[]);
    assert_eq!(reassign(&mut cluster, 1, Some(&[2])), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(reassign(&mut cluster, -1, Some(&[2])), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(reassign(&mut cluster, 0, Some(&[3])), Err(ErrorCode::INVALID_REPLICA_ASSIGNMENT));
}

#[test]
fn rule_23_a_setting_becomes_a_decision_on_each_partition_the_topics_own_before_the_default() {
    let mut cluster = Cluster::start(3, Policy::default());
    let own = cluster.create("own", &[&[1, 2, 3], &[2, 3, 1]], &[]);
    let other = cluster.create("other", &[&[1, 2, 3]], &[]);
    let min_isrs = |cluster: &Cluster| {
        [(own, 0), (own, 1), (other, 0)].map(|(topic, partition)| cluster.record(topic, partition).min_isr)
    };
    let key = "min.insync.replicas";
    let topic = || ConfigResource::Topic("own".into());
    configure(&mut cluster, topic(), key, Some("4"));
    assert_eq!(min_isrs(&cluster), [3, 3, 1], "no more than there are replicas");
    assert_eq!(cluster.told(2, own, 0).unwrap().min_isr, 3);
    assert_eq!(cluster.record(own, 0).partition_epoch, 1);
    configure(&mut cluster, ConfigResource::Broker(None), key, Some("2"));
    assert_eq!(min_isrs(&cluster), [3, 3, 2]);
    configure(&mut cluster, topic(), key, None);
    assert_eq!(min_isrs(&cluster), [2, 2, 2]);
    cluster.restart_controller(Policy::default());
    assert_eq!(min_isrs(&cluster), [2, 2, 2]);
    cluster.start_broker(1, LogClaim::Clean);
    cluster.connect(2, LogClaim::Clean);
    cluster.connect(3, LogClaim::Clean);
    configure(&mut cluster, ConfigResource::Broker(None), key, None);
    assert_eq!(min_isrs(&cluster), [1, 1, 1]);
}

#[test]
fn unclean_elections_are_allowed_by_a_setting_while_a_partition_waits_for_one() {
    for resource in [ConfigResource::Topic("t".into()), ConfigResource::Broker(None)] {
        let mut cluster = Cluster::start(3, Policy::default());
        let topic = cluster.create("t", &[&[1, 2]], &[]);
        cluster.kill(2, &[1, 3]);
        cluster.kill(1, &[3]);
        cluster.start_broker(2, LogClaim::Clean);
        assert_eq!(cluster.state(topic, 0).0, None, "2 left before and may lack records");
        configure(&mut cluster, resource.clone(), "unclean.leader.election.enable", Some("true"));
        cluster.pass(500, 100, &[2, 3]);
        cluster.answer_log_ends(2, Some((0, 5)));
        cluster.pass(15_000, 500, &[2, 3]);
        assert_eq!(cluster.state(topic, 0).0, Some(2), "{resource:?}");
    }
}

#[test]
fn what_is_set_for_brokers_is_told_to_all_of_them_and_to_newcomers() {
    let mut cluster = Cluster::start(2, Policy::default());
    let record = |broker_id, pairs: &[(&str, &str)]| BrokerConfigRecord {
        broker_id,
        config: pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect::<BTreeMap<_, _>>(),
    };
    configure(&mut cluster, ConfigResource::Broker(None), "max.connections", Some("5"));
    configure(&mut cluster, ConfigResource::Broker(Some(2)), "max.connections", Some("7"));
    let told: Vec<_> = updates(&cluster, 2).iter().flat_map(|update| update.broker_configs.clone()).collect();
    let both = [record(None, &[("max.connections", "5")]), record(Some(2), &[("max.connections", "7")])];
    assert_eq!(told, both);
    cluster.start_broker(3, LogClaim::Unclean);
    let snapshot = &updates(&cluster, 3)[0];
    assert!(snapshot.snapshot);
    assert_eq!(snapshot.broker_configs, both);
    configure(&mut cluster, ConfigResource::Broker(Some(2)), "max.connections", None);
    assert_eq!(updates(&cluster, 3).last().unwrap().broker_configs, [record(Some(2), &[])]);
}

#[test]
fn a_broker_is_forgotten_once_it_is_gone_and_has_nothing() {
    let mut cluster = Cluster::start(3, Policy::default());
    cluster.create("t", &[&[1, 3]], &[]);
    assert!(unregister(&mut cluster, 3).unwrap_err().contains("stop it first"));
    configure(&mut cluster, ConfigResource::Broker(Some(3)), "max.connections", Some("7"));
    cluster.kill(3, &[1, 2]);
    assert!(unregister(&mut cluster, 3).unwrap_err().contains("it has replicas, of topic t"));
    assert_eq!(reassign(&mut cluster, 0, Some(&[1])), Ok(()));
    assert_eq!(unregister(&mut cluster, 3), Ok(()));
    let update = updates(&cluster, 2).pop().unwrap();
    assert_eq!(update.removed_brokers, [3]);
    assert_eq!(update.broker_configs.len(), 1, "its configuration went with it");
    assert!(cluster.stored().broker(3).is_none() && cluster.stored().broker_configs.is_empty());
    assert!(cluster.events.contains(&Event::BrokerForgotten { broker_id: 3 }));
    assert!(unregister(&mut cluster, 3).unwrap_err().contains("not registered"));
    // It may come back, in another life.
    let before = cluster.brokers[&3].incarnation;
    cluster.start_broker(3, LogClaim::Clean);
    assert!(cluster.brokers[&3].incarnation > before);
    assert_eq!(cluster.stored().broker(3).unwrap().last, None, "its disks prove nothing");
}

#[test]
fn a_change_that_is_only_to_be_checked_changes_nothing() {
    let mut cluster = Cluster::start(1, Policy::default());
    let topic = cluster.create("t", &[&[1]], &[]);
    let writes = cluster.writes;
    let set = |resource, value: &str| ConfigChange {
        resource,
        replace: false,
        ops: vec![("segment.ms".into(), ConfigOp::Set(value.into()))],
    };
    let changes = vec![
        set(ConfigResource::Topic("t".into()), "5"),
        set(ConfigResource::Topic("other".into()), "5"),
        set(ConfigResource::Broker(Some(9)), "5"),
    ];
    let answer = cluster.request(ControllerRequest::AlterConfigs { changes, validate_only: true });
    let Some(ControllerResponse::Configs(outcomes)) = answer else { panic!("{answer:?}") };
    let codes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.map_err(|error| error.code)).collect();
    let unknown = [ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::BROKER_ID_NOT_REGISTERED];
    assert_eq!(codes, [Ok(()), Err(unknown[0]), Err(unknown[1])]);
    assert_eq!((cluster.writes, cluster.record(topic, 0).partition_epoch), (writes, 0));
}
