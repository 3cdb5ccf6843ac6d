//! Reading the partition back.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use taffrail_protocol::ErrorCode;
use taffrail_protocol::record_batch::{BatchBuilder, Compression};

use super::harness::{Harness, Log, commit, counting_ids, id, join, join_static};
use crate::group::*;

/// A partition of `__consumer_offsets` that Apache Kafka 4.3 wrote: a static member joined `golden`, read three
/// records of `t` and committed twice.
const KAFKA: &[u8] = include_bytes!("../testdata/kafka-4.3-consumer-offsets.log");

#[test]
fn what_kafka_wrote_is_read() {
    let mut h = Harness::loading(GroupConfig::default());
    h.feed(Input::Load { batches: KAFKA.to_vec() });
    h.feed(Input::Loaded { log_end_offset: 6 });
    h.feed(Input::Committed { high_watermark: 6 });
    assert_eq!(h.offsets("golden"), [(id("t"), 0, 0), (id("t"), 1, 3)]);
    let group = h.describe("golden");
    assert_eq!((group.state, &*group.protocol_data), (GroupState::Stable, "range"));
    let member = &group.members[0];
    assert_eq!(&*member.member_id, "inst-1-e8ab626c-2b4b-4efb-8ace-7f887d20574b");
    assert_eq!(member.group_instance_id, Some(id("inst-1")));
    assert_eq!((&*member.client_id, &*member.client_host), ("console-consumer", "/127.0.0.1"));
    assert_eq!(h.shard.stats().skipped_records, 0);
    assert_eq!(partition_for("golden", 50), 43, "where Kafka put it");
}

#[test]
fn members_go_on_after_a_takeover() {
    let mut h = Harness::new();
    let (leader, follower) = h.stable_pair();
    let mut fresh = h.reload(GroupConfig::default());
    assert_eq!(fresh.heartbeat(2, &leader), ErrorCode::NONE);
    assert_eq!(fresh.heartbeat(2, &follower), ErrorCode::NONE);
    let token = fresh.sync(2, &follower, &[]);
    assert_eq!(*fresh.synced(token).assignment, *b"right");
    // Who does not find the new coordinator is out when its session ends.
    fresh.advance(9_000);
    fresh.heartbeat(2, &leader);
    fresh.advance(1_000);
    assert_eq!(fresh.heartbeat(2, &follower), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_group_that_is_too_large_now_rebalances_at_once() {
    let mut h = Harness::new();
    let (leader, follower) = h.stable_pair();
    let mut fresh = h.reload(GroupConfig { max_size: 1, ..GroupConfig::default() });
    assert_eq!(fresh.heartbeat(2, &leader), ErrorCode::REBALANCE_IN_PROGRESS);
    let first = fresh.join(join(&leader, "range", b"sub"));
    let second = fresh.join(join(&follower, "range", b"sub"));
    assert_eq!(fresh.joined(second).error, ErrorCode::GROUP_MAX_SIZE_REACHED);
    fresh.advance(30_000);
    assert_eq!(fresh.joined(first).members.len(), 1);
}

#[test]
fn records_of_unknown_kinds_are_left_alone_and_counted() {
    let mut builder = BatchBuilder::new(Compression::Lz4);
    builder.append(1, Some(&[0, 99, 1, 2, 3]), Some(&[0, 0]), &[]);
    builder.append(1, Some(&[0, 3, 0, 1, b'g']), None, &[]);
    builder.append(1, Some(&[0, 2, 0, 1, b'g']), Some(&[0, 77, 1]), &[]);
    let mut h = Harness::loading(GroupConfig::default());
    h.feed(Input::Load { batches: builder.build().unwrap() });
    h.feed(Input::Loaded { log_end_offset: 0 });
    assert!(h.shard.is_active());
    assert_eq!(h.shard.stats(), GroupStats { skipped_records: 3, ..GroupStats::default() });
}

#[test]
fn a_partition_that_makes_no_sense_is_not_served() {
    let mut damaged = KAFKA.to_vec();
    damaged[100] ^= 1;
    let mut no_key = BatchBuilder::new(Compression::None);
    no_key.append(1, None, Some(b"x"), &[]);
    let mut cut_key = BatchBuilder::new(Compression::None);
    cut_key.append(1, Some(&[0, 1, 0, 9]), Some(&[0, 3]), &[]);
    for batches in [damaged, no_key.build().unwrap(), cut_key.build().unwrap(), KAFKA[..90].to_vec()] {
        let mut shard = GroupShard::<u32>::new(GroupConfig::default(), counting_ids());
        let outputs = shard.step(1, Input::Load { batches });
        assert!(matches!(&outputs[..], [Output::LoadFailed { .. }]), "{outputs:?}");
        shard.step(1, Input::Loaded { log_end_offset: 0 });
        assert!(!shard.is_active());
    }
}

/// What a client does, or what befalls the log.
#[derive(Debug, Clone)]
enum Action {
    Join { group: u8, member: Option<u8>, instance: Option<u8>, metadata: u8, by_version_four: bool },
    Sync { group: u8, member: u8 },
    Heartbeat { group: u8, member: u8 },
    Leave { group: u8, member: u8 },
    Commit { group: u8, member: Option<u8>, topic: u8, offset: u8 },
    Delete { group: u8 },
    Advance { ms: i64 },
    Append,
    Commit0,
    Fail,
}

fn action() -> impl Strategy<Value = Action> {
    let group = 0_u8..3;
    let member = 0_u8..6;
    prop_oneof![
        4 => (group.clone(), prop::option::of(member.clone()), prop::option::of(0_u8..2), 0_u8..2, any::<bool>())
            .prop_map(|(group, member, instance, metadata, by_version_four)| Action::Join {
                group, member, instance, metadata, by_version_four
            }),
        4 => (group.clone(), member.clone()).prop_map(|(group, member)| Action::Sync { group, member }),
        1 => (group.clone(), member.clone()).prop_map(|(group, member)| Action::Heartbeat { group, member }),
        1 => (group.clone(), member.clone()).prop_map(|(group, member)| Action::Leave { group, member }),
        3 => (group.clone(), prop::option::of(member), 0_u8..2, any::<u8>())
            .prop_map(|(group, member, topic, offset)| Action::Commit { group, member, topic, offset }),
        1 => group.prop_map(|group| Action::Delete { group }),
        2 => prop_oneof![Just(100), Just(4_000), Just(11_000), Just(40_000), Just(700_000), Just(8 * 86_400_000)]
            .prop_map(|ms| Action::Advance { ms }),
        5 => Just(Action::Append),
        4 => Just(Action::Commit0),
        1 => Just(Action::Fail),
    ]
}

/// A random run: which members each group's clients know, by what they were told.
struct Run {
    h: Harness,
    asked: Vec<(u32, u8)>,
    members: BTreeMap<u8, Vec<(Arc<str>, i32)>>,
    fails: bool,
}

impl Run {
    fn member(&self, group: u8, member: u8) -> (Arc<str>, i32) {
        let known = self.members.get(&group).map(Vec::as_slice).unwrap_or_default();
        known.get(usize::from(member) % known.len().max(1)).cloned().unwrap_or((id("nobody"), 1))
    }

    fn act(&mut self, action: Action) {
        let name = |group: u8| id(&format!("group-{group}"));
        match action {
            Action::Join { group, member, instance, metadata, by_version_four } => {
                let known = member.map_or(id(""), |member| self.member(group, member).0);
                let mut request = match instance {
                    Some(instance) => join_static(&format!("instance-{instance}"), &known),
                    None => join(&known, "range", b"sub"),
                };
                request.group_id = name(group);
                request.protocols[0].metadata = Arc::from([metadata]);
                request.require_known_member_id = by_version_four;
                request.supports_skipping_assignment = by_version_four;
                let token = self.h.join(request);
                self.asked.push((token, group));
            }
            Action::Sync { group, member } => {
                let (member_id, generation_id) = self.member(group, member);
                let all = self.members.get(&group).cloned().unwrap_or_default();
                let given = all.iter().map(|(member_id, _)| Assignment {
                    member_id: member_id.clone(),
                    assignment: Arc::from(member_id.as_bytes()),
                });
                self.h.ask(GroupRequest::SyncGroup(SyncGroupRequest {
                    group_id: name(group),
                    assignments: given.collect(),
                    ..super::harness::sync(generation_id, &member_id, &[])
                }));
            }
            Action::Heartbeat { group, member } => {
                let (member_id, generation_id) = self.member(group, member);
                self.h.ask(GroupRequest::Heartbeat(HeartbeatRequest {
                    group_id: name(group),
                    generation_id,
                    member_id,
                    group_instance_id: None,
                }));
            }
            Action::Leave { group, member } => {
                let member_id = self.member(group, member).0;
                let members = vec![MemberIdentity { member_id, group_instance_id: None }];
                self.h.ask(GroupRequest::LeaveGroup(LeaveGroupRequest { group_id: name(group), members }));
            }
            Action::Commit { group, member, topic, offset } => {
                let (member_id, generation_id) =
                    member.map_or((id(""), -1), |member| self.member(group, member));
                let offsets = [(["t", "u"][usize::from(topic)], 0, i64::from(offset))];
                let request = commit(&name(group), generation_id, &member_id, &offsets);
                self.h.ask(GroupRequest::OffsetCommit(request));
            }
            Action::Delete { group } => {
                self.h.delete(&[&name(group)]);
            }
            Action::Advance { ms } => self.h.advance(ms),
            Action::Append if !self.h.waiting.is_empty() => self.h.append_next(),
            Action::Fail if self.fails && !self.h.waiting.is_empty() => {
                self.h.fail_next(ErrorCode::NOT_ENOUGH_REPLICAS);
            }
            Action::Append | Action::Fail => {}
            Action::Commit0 => self.h.commit(),
        }
        self.learn();
    }

    fn learn(&mut self) {
        for (token, group) in &self.asked {
            if let Some(GroupResponse::JoinGroup(response)) = self.h.answers.get(token) {
                if response.member_id.is_empty() {
                    continue;
                }
                let known = self.members.entry(*group).or_default();
                known.retain(|(member_id, _)| *member_id != response.member_id);
                known.insert(0, (response.member_id.clone(), response.generation_id.max(0)));
            }
        }
        let answers = &self.h.answers;
        self.asked.retain(|(token, _)| !answers.contains_key(token));
    }
}

/// What of a group must survive: its offsets, and at rest all of it; of a rebalance nothing is written.
#[derive(Debug)]
struct Durable {
    offsets: Vec<(Arc<str>, i32, i64)>,
    at_rest: Option<DescribedGroup>,
}

fn durable(h: &mut Harness) -> BTreeMap<Arc<str>, Durable> {
    let mut durable = BTreeMap::new();
    for group_id in h.list() {
        let offsets = h.offsets(&group_id);
        let group = h.describe(&group_id);
        let at_rest = matches!(group.state, GroupState::Stable | GroupState::Empty).then_some(group);
        durable.insert(group_id, Durable { offsets, at_rest });
    }
    durable
}

fn run(actions: Vec<Action>, fails: bool) -> Result<(), TestCaseError> {
    let config = || GroupConfig { initial_rebalance_delay_ms: 50, ..GroupConfig::default() };
    let mut h = Harness::with(config());
    h.log_mode = Log::ByHand;
    let mut run = Run { h, asked: Vec::new(), members: BTreeMap::new(), fails };
    for action in actions {
        run.act(action);
    }
    run.h.commit_all();
    run.h.commit();
    let lived = durable(&mut run.h);
    let mut fresh = run.h.reload(config());
    let replayed = durable(&mut fresh);
    let offsets = |state: &BTreeMap<Arc<str>, Durable>| {
        let groups = state.iter().filter(|(_, group)| !group.offsets.is_empty());
        groups.map(|(group_id, group)| (group_id.clone(), group.offsets.clone())).collect::<Vec<_>>()
    };
    prop_assert_eq!(offsets(&lived), offsets(&replayed));
    if !fails {
        prop_assert_eq!(lived.keys().collect::<Vec<_>>(), replayed.keys().collect::<Vec<_>>());
        for (group_id, group) in lived.iter().filter(|(_, group)| group.at_rest.is_some()) {
            prop_assert_eq!(&group.at_rest, &replayed[group_id].at_rest);
        }
    }
    // Everybody is answered once the partition is given up (the harness checks: not twice).
    run.h.feed(Input::Unload);
    for token in 0..u32::try_from(run.h.asked_count()).unwrap() {
        prop_assert!(run.h.was_answered(token), "request {} was never answered", token);
    }
    Ok(())
}

#[test]
fn a_group_whose_removals_have_failed_one_after_the_other_is_still_there() {
    let commit = || Action::Commit { group: 0, member: None, topic: 0, offset: 0 };
    let join =
        || Action::Join { group: 2, member: None, instance: None, metadata: 0, by_version_four: false };
    let actions = vec![
        commit(),
        Action::Advance { ms: 691_200_000 },
        join(),
        Action::Append,
        Action::Append,
        Action::Commit0,
        // Its offset expires.
        Action::Advance { ms: 700_000 },
        Action::Append,
        join(),
        // A new group of its name begins, and is deleted.
        commit(),
        Action::Advance { ms: 11_000 },
        Action::Delete { group: 0 },
        Action::Fail,
        Action::Fail,
        Action::Append,
        Action::Fail,
    ];
    run(actions, true).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_gives_the_same_state_again(actions in prop::collection::vec(action(), 1..80)) {
        run(actions, false)?;
    }

    #[test]
    fn failed_writes_leave_no_offset_behind(actions in prop::collection::vec(action(), 1..80)) {
        run(actions, true)?;
    }
}
