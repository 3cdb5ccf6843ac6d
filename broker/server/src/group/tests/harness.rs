//! A shard with a log beneath it that the test moves by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use taffrail_protocol::ErrorCode;
use taffrail_protocol::record_batch::BatchView;

use crate::group::records::GroupRecord;
use crate::group::*;

/// Names a request by the order of asking.
pub type Token = u32;

/// When the log takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// Writes are appended and committed at once.
    Immediate,
    /// Writes wait for [`Harness::commit_all`] or [`Harness::fail_next`].
    ByHand,
}

pub struct Harness {
    pub shard: GroupShard<Token>,
    pub now_ms: i64,
    pub log_mode: Log,
    /// Appended batches with the offset of their first record, in order.
    pub log: Vec<(i64, Vec<u8>)>,
    pub log_end_offset: i64,
    /// Writes that the shard asked for and the log has not done.
    pub waiting: Vec<(u64, Vec<u8>)>,
    pub answers: BTreeMap<Token, GroupResponse>,
    answered: BTreeSet<Token>,
    next_token: Token,
}

pub fn id(text: &str) -> Arc<str> {
    Arc::from(text)
}

pub fn counting_ids() -> IdSource {
    let mut next = 0_u128;
    Box::new(move || {
        next += 1;
        next.to_be_bytes()
    })
}

impl Harness {
    pub fn new() -> Self {
        Self::with(GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() })
    }

    pub fn with(config: GroupConfig) -> Self {
        let mut harness = Self::loading(config);
        harness.feed(Input::Loaded { log_end_offset: 0 });
        assert!(harness.shard.is_active());
        harness
    }

    pub fn loading(config: GroupConfig) -> Self {
        Self {
            shard: GroupShard::new(config, counting_ids()),
            now_ms: 1_000_000,
            log_mode: Log::Immediate,
            log: Vec::new(),
            log_end_offset: 0,
            waiting: Vec::new(),
            answers: BTreeMap::new(),
            answered: BTreeSet::new(),
            next_token: 0,
        }
    }

    /// A fresh shard over what this one wrote.
    pub fn reload(&self, config: GroupConfig) -> Self {
        let mut fresh = Self::loading(config);
        fresh.now_ms = self.now_ms;
        for (base_offset, batch) in &self.log {
            let mut batch = batch.clone();
            batch[..8].copy_from_slice(&base_offset.to_be_bytes());
            fresh.log.push((*base_offset, batch.clone()));
            let outputs = fresh.shard.step(self.now_ms, Input::Load { batches: batch });
            assert!(outputs.is_empty(), "{outputs:?}");
        }
        fresh.log_end_offset = self.log_end_offset;
        fresh.feed(Input::Loaded { log_end_offset: self.log_end_offset });
        fresh.feed(Input::Committed { high_watermark: self.log_end_offset });
        assert!(fresh.shard.is_active());
        fresh
    }

    pub fn feed(&mut self, input: Input<Token>) {
        for output in self.shard.step(self.now_ms, input) {
            match output {
                Output::Reply { token, response } => {
                    assert!(self.answered.insert(token), "request {token} was answered twice");
                    self.answers.insert(token, response);
                }
                Output::Append { write_id, batch } => self.waiting.push((write_id, batch)),
                Output::LoadFailed { reason } => panic!("{reason}"),
            }
        }
        if self.log_mode == Log::Immediate {
            self.commit_all();
        }
    }

    /// Appends and commits all that waits, and what follows from it.
    pub fn commit_all(&mut self) {
        while !self.waiting.is_empty() {
            self.append_next();
            self.commit();
        }
    }

    pub fn append_next(&mut self) {
        let (write_id, batch) = self.waiting.remove(0);
        let count = i64::from(BatchView::new(&batch).unwrap().header().record_count);
        self.log.push((self.log_end_offset, batch));
        self.log_end_offset += count;
        self.feed_quietly(Input::Written { write_id, result: Ok(self.log_end_offset - 1) });
    }

    pub fn commit(&mut self) {
        self.feed_quietly(Input::Committed { high_watermark: self.log_end_offset });
    }

    pub fn fail_next(&mut self, error: ErrorCode) {
        let (write_id, _) = self.waiting.remove(0);
        self.feed_quietly(Input::Written { write_id, result: Err(error) });
    }

    fn feed_quietly(&mut self, input: Input<Token>) {
        let mode = std::mem::replace(&mut self.log_mode, Log::ByHand);
        self.feed(input);
        self.log_mode = mode;
    }

    pub fn ask(&mut self, request: GroupRequest) -> Token {
        let token = self.next_token;
        self.next_token += 1;
        let context = ClientContext { client_id: id("client"), client_host: id("/127.0.0.1") };
        self.feed(Input::Request { token, context, request });
        token
    }

    /// Lets time pass, calling the shard at each of its deadlines.
    pub fn advance(&mut self, ms: i64) {
        let end_ms = self.now_ms + ms;
        while let Some(at_ms) = self.shard.next_deadline().filter(|at_ms| *at_ms <= end_ms) {
            self.now_ms = self.now_ms.max(at_ms);
            self.feed(Input::Tick);
        }
        self.now_ms = end_ms;
        self.feed(Input::Tick);
    }

    pub fn take(&mut self, token: Token) -> GroupResponse {
        self.answers.remove(&token).unwrap_or_else(|| panic!("request {token} has no answer"))
    }

    pub fn asked_count(&self) -> usize {
        self.next_token as usize
    }

    pub fn was_answered(&self, token: Token) -> bool {
        self.answered.contains(&token)
    }

    pub fn is_parked(&self, token: Token) -> bool {
        !self.answers.contains_key(&token)
    }

    pub fn join(&mut self, request: JoinGroupRequest) -> Token {
        self.ask(GroupRequest::JoinGroup(request))
    }

    pub fn joined(&mut self, token: Token) -> JoinGroupResponse {
        match self.take(token) {
            GroupResponse::JoinGroup(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub fn synced(&mut self, token: Token) -> SyncGroupResponse {
        match self.take(token) {
            GroupResponse::SyncGroup(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub fn sync(&mut self, generation_id: i32, member_id: &str, assignments: &[(&str, &[u8])]) -> Token {
        self.ask(GroupRequest::SyncGroup(sync(generation_id, member_id, assignments)))
    }

    pub fn heartbeat(&mut self, generation_id: i32, member_id: &str) -> ErrorCode {
        self.heartbeat_as(generation_id, member_id, None)
    }

    pub fn heartbeat_as(&mut self, generation_id: i32, member_id: &str, instance: Option<&str>) -> ErrorCode {
        let token = self.ask(GroupRequest::Heartbeat(HeartbeatRequest {
            group_id: id("g"),
            generation_id,
            member_id: id(member_id),
            group_instance_id: instance.map(id),
        }));
        match self.take(token) {
            GroupResponse::Heartbeat(response) => response.error,
            other => panic!("{other:?}"),
        }
    }

    pub fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Token {
        let members = members.iter().map(|(member_id, instance)| MemberIdentity {
            member_id: id(member_id),
            group_instance_id: instance.map(id),
        });
        let request = LeaveGroupRequest { group_id: id("g"), members: members.collect() };
        self.ask(GroupRequest::LeaveGroup(request))
    }

    pub fn left(&mut self, token: Token) -> LeaveGroupResponse {
        match self.take(token) {
            GroupResponse::LeaveGroup(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub fn commit_offset(&mut self, generation_id: i32, member_id: &str, offset: i64) -> Token {
        self.ask(GroupRequest::OffsetCommit(commit("g", generation_id, member_id, &[("t", 0, offset)])))
    }

    /// The first partition's error.
    pub fn committed(&mut self, token: Token) -> ErrorCode {
        match self.take(token) {
            GroupResponse::OffsetCommit(response) => response.topics[0].partitions[0].1,
            other => panic!("{other:?}"),
        }
    }

    /// All offsets of a group.
    pub fn offsets(&mut self, group_id: &str) -> Vec<(Arc<str>, i32, i64)> {
        let group = FetchGroup { group_id: id(group_id), topics: None };
        let request = OffsetFetchRequest { groups: vec![group], require_stable: false };
        let token = self.ask(GroupRequest::OffsetFetch(request));
        let GroupResponse::OffsetFetch(response) = self.take(token) else { panic!() };
        assert_eq!(response.groups[0].error, ErrorCode::NONE);
        let topics = response.groups[0].topics.iter();
        topics
            .flat_map(|topic| topic.partitions.iter().map(|p| (topic.topic.clone(), p.partition, p.offset)))
            .collect()
    }

    pub fn describe(&mut self, group_id: &str) -> DescribedGroup {
        let request = DescribeGroupsRequest { group_ids: vec![id(group_id)], reports_missing_group: true };
        let token = self.ask(GroupRequest::DescribeGroups(request));
        let GroupResponse::DescribeGroups(mut response) = self.take(token) else { panic!() };
        response.groups.remove(0)
    }

    pub fn list(&mut self) -> Vec<Arc<str>> {
        let token = self.ask(GroupRequest::ListGroups(ListGroupsRequest::default()));
        let GroupResponse::ListGroups(response) = self.take(token) else { panic!() };
        response.groups.into_iter().map(|group| group.group_id).collect()
    }

    pub fn delete(&mut self, group_ids: &[&str]) -> Token {
        let group_ids = group_ids.iter().map(|group_id| id(group_id)).collect();
        self.ask(GroupRequest::DeleteGroups(DeleteGroupsRequest { group_ids }))
    }

    pub fn deleted(&mut self, token: Token) -> Vec<ErrorCode> {
        let GroupResponse::DeleteGroups(response) = self.take(token) else { panic!() };
        response.groups.into_iter().map(|group| group.error).collect()
    }

    /// Joins a dynamic member that asks for no id first, and returns its token.
    pub fn join_new(&mut self) -> Token {
        self.join(join("", "range", b"sub"))
    }

    /// A stable group of one member.
    pub fn stable_group(&mut self) -> Arc<str> {
        let token = self.join_new();
        let member = self.joined(token);
        let token = self.sync(1, &member.member_id, &[(&member.member_id, b"all")]);
        assert_eq!(self.synced(token).error, ErrorCode::NONE);
        member.member_id
    }

    /// A stable group of a leader and a follower, in generation 2.
    pub fn stable_pair(&mut self) -> (Arc<str>, Arc<str>) {
        let first = self.stable_group();
        let second = self.join_new();
        let again = self.join(join(&first, "range", b"sub"));
        let (leader, follower) = (self.joined(again), self.joined(second));
        assert_eq!((leader.generation_id, &leader.leader), (2, &first));
        let waiting = self.sync(2, &follower.member_id, &[]);
        assert!(self.is_parked(waiting));
        let given: [(&str, &[u8]); 2] = [(&first, b"left"), (&follower.member_id, b"right")];
        let led = self.sync(2, &first, &given);
        assert_eq!(*self.synced(led).assignment, *b"left");
        assert_eq!(*self.synced(waiting).assignment, *b"right");
        (first, follower.member_id)
    }

    /// The keys and values that were written, as they decode.
    pub fn written(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (_, batch) in &self.log {
            let records = BatchView::new(batch).unwrap().records(1 << 20).unwrap();
            for record in records.iter() {
                let record = record.unwrap();
                all.push(match GroupRecord::decode(record.key, record.value).unwrap().unwrap() {
                    GroupRecord::Offset(key, Some(value)) => {
                        format!("{} {}-{} at {}", key.group, key.topic, key.partition, value.offset)
                    }
                    GroupRecord::Offset(key, None) => {
                        format!("{} {}-{} gone", key.group, key.topic, key.partition)
                    }
                    GroupRecord::Group(key, Some(value)) => {
                        format!("{} generation {} of {}", key.group, value.generation, value.members.len())
                    }
                    GroupRecord::Group(key, None) => format!("{} gone", key.group),
                });
            }
        }
        all
    }
}

/// A JoinGroup of a dynamic member, as JoinGroup 3 has it.
pub fn join(member_id: &str, protocol: &str, metadata: &[u8]) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: id("g"),
        member_id: id(member_id),
        group_instance_id: None,
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: id("consumer"),
        protocols: vec![Protocol { name: id(protocol), metadata: Arc::from(metadata) }],
        require_known_member_id: false,
        supports_skipping_assignment: false,
    }
}

pub fn join_static(instance: &str, member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(id(instance)), ..join(member_id, "range", b"sub") }
}

pub fn sync(generation_id: i32, member_id: &str, assignments: &[(&str, &[u8])]) -> SyncGroupRequest {
    let assignments = assignments
        .iter()
        .map(|(member_id, bytes)| Assignment { member_id: id(member_id), assignment: Arc::from(*bytes) });
    SyncGroupRequest {
        group_id: id("g"),
        generation_id,
        member_id: id(member_id),
        group_instance_id: None,
        protocol_type: None,
        protocol_name: None,
        assignments: assignments.collect(),
    }
}

pub fn commit(
    group_id: &str,
    generation_id: i32,
    member_id: &str,
    offsets: &[(&str, i32, i64)],
) -> OffsetCommitRequest {
    let topics = offsets.iter().map(|(topic, partition, offset)| CommitTopic {
        topic: id(topic),
        partitions: vec![CommitPartition {
            partition: *partition,
            offset: *offset,
            leader_epoch: 0,
            metadata: Some(id("note")),
        }],
    });
    OffsetCommitRequest {
        group_id: id(group_id),
        generation_id,
        member_id: id(member_id),
        group_instance_id: None,
        retention_time_ms: None,
        reports_missing_group: true,
        topics: topics.collect(),
    }
}
