//! Administrative requests: taken apart into intents, and answered when the last of these is through.

use std::collections::BTreeMap;

use taffrail_protocol::{ErrorCode, Uuid};

use crate::controller::Controller;
use crate::message::{Event, Output, SessionId};
use crate::registration::ClusterIntent;
use crate::topics::{self, TopicDecision, TopicIntent};
use crate::validate::{self, refuse};
use taffrail_control::session::{
    ApiError, ControllerRequest, ControllerResponse, FromController, MorePartitions, NewTopic,
    PartitionOutcome, TopicOutcome, TopicRef,
};

/// One part of a request of several: which request, and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) request: u64,
    pub(crate) slot: usize,
}

/// How one part of a request ended well.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Success {
    Topic(TopicOutcome),
    Done,
}

pub(crate) type PartResult = Result<Success, ApiError>;

/// How a request is answered.
#[derive(Debug)]
pub(crate) enum Form {
    /// With what became of each topic.
    Topics,
    /// With what became of each configuration.
    Configs,
    /// With what became of each partition, by topic and number.
    Partitions(Vec<(String, i32)>),
    /// With what became of its only part.
    Whole,
}

impl Form {
    fn response(self, results: Vec<PartResult>) -> ControllerResponse {
        let done = |result: PartResult| result.map(|_| ());
        match self {
            Self::Topics => {
                let topic = |result: PartResult| match result {
                    Ok(Success::Topic(outcome)) => Some(Ok(outcome)),
                    Ok(Success::Done) => None,
                    Err(error) => Some(Err(error)),
                };
                ControllerResponse::Topics(results.into_iter().filter_map(topic).collect())
            }
            Self::Configs => ControllerResponse::Configs(results.into_iter().map(done).collect()),
            Self::Partitions(names) => {
                let outcome = |((topic, partition), result): ((String, i32), PartResult)| PartitionOutcome {
                    topic,
                    partition,
                    result: done(result),
                };
                let named = names.into_iter().zip(results);
                ControllerResponse::Partitions(named.map(outcome).collect())
            }
            Self::Whole => match results.into_iter().next() {
                Some(Err(error)) => ControllerResponse::Failed(error),
                _ => ControllerResponse::Done,
            },
        }
    }
}

/// Somebody who waits for a topic to get to where a decision will bring it.
#[derive(Debug, Clone)]
pub(crate) struct Waiter {
    ticket: Ticket,
    name: String,
    goal: Goal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Partitions(i32),
    Gone,
}

/// A request whose parts are being seen to.
#[derive(Debug)]
struct Pending {
    session: SessionId,
    request_id: u64,
    form: Form,
    results: Vec<Option<PartResult>>,
    missing: usize,
}

/// Requests that are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    next: u64,
    pending: BTreeMap<u64, Pending>,
    /// Parts in `pending` without a result.
    waiting_parts: usize,
    /// Requests in `pending` with all results.
    complete: Vec<u64>,
}

impl Requests {
    fn open(&mut self, session: SessionId, request_id: u64, form: Form, parts: usize) -> u64 {
        self.next += 1;
        let pending = Pending { session, request_id, form, results: vec![None; parts], missing: parts };
        self.pending.insert(self.next, pending);
        self.waiting_parts += parts;
        if parts == 0 {
            self.complete.push(self.next);
        }
        self.next
    }

    pub(crate) fn settle(&mut self, ticket: Ticket, result: PartResult) {
        let Some(pending) = self.pending.get_mut(&ticket.request) else { return };
        let Some(slot @ None) = pending.results.get_mut(ticket.slot) else { return };
        *slot = Some(result);
        pending.missing -= 1;
        self.waiting_parts -= 1;
        if pending.missing == 0 {
            self.complete.push(ticket.request);
        }
    }
}

impl Controller {
    pub(crate) fn refuse_request(&mut self, session: SessionId, request_id: u64) {
        let message = "the session is not registered with this controller; register again".to_owned();
        let response = ControllerResponse::Failed(ApiError { code: ErrorCode::NOT_CONTROLLER, message });
        self.outputs
            .push(Output::Send { session, message: FromController::Response { request_id, response } });
    }

    fn fail_request(&mut self, session: SessionId, request_id: u64, code: ErrorCode, message: String) {
        let response = ControllerResponse::Failed(ApiError { code, message });
        self.send(session, FromController::Response { request_id, response });
    }

    /// Makes room for the results of a request's parts; `None`, and the request is refused, if too many wait already.
    pub(crate) fn open_request(
        &mut self,
        session: SessionId,
        request_id: u64,
        form: Form,
        parts: usize,
    ) -> Option<impl Fn(usize) -> Ticket + use<>> {
        let most = self.policy.max_waiting_parts;
        if self.requests.waiting_parts.saturating_add(parts) > most {
            let message = format!(
                "the controller sees to at most {most} topics, partitions and configurations at a time; try again \
                 with fewer"
            );
            self.fail_request(session, request_id, ErrorCode::THROTTLING_QUOTA_EXCEEDED, message);
            return None;
        }
        let request = self.requests.open(session, request_id, form, parts);
        Some(move |slot| Ticket { request, slot })
    }

    pub(crate) fn take_request(&mut self, session: SessionId, request_id: u64, request: ControllerRequest) {
        match request {
            ControllerRequest::AllocateProducerIds => {
                self.enqueue_cluster(ClusterIntent::AllocateProducerIds { session, request_id });
            }
            ControllerRequest::CreateTopics { topics, validate_only } => {
                let Some(ticket) = self.open_request(session, request_id, Form::Topics, topics.len()) else {
                    return;
                };
                let twice = named_twice(topics.iter().map(|topic| topic.name.as_str()));
                for (slot, topic) in topics.into_iter().enumerate() {
                    self.take_create(ticket(slot), topic, validate_only, twice[slot]);
                }
            }
            ControllerRequest::DeleteTopics { topics } => {
                let Some(ticket) = self.open_request(session, request_id, Form::Topics, topics.len()) else {
                    return;
                };
                for (slot, topic) in topics.into_iter().enumerate() {
                    self.take_delete(ticket(slot), topic);
                }
            }
            ControllerRequest::CreatePartitions { topics, validate_only } => {
                let Some(ticket) = self.open_request(session, request_id, Form::Topics, topics.len()) else {
                    return;
                };
                let twice = named_twice(topics.iter().map(|topic| topic.name.as_str()));
                for (slot, topic) in topics.into_iter().enumerate() {
                    self.take_grow(ticket(slot), topic, validate_only, twice[slot]);
                }
            }
            ControllerRequest::AlterConfigs { changes, validate_only } => {
                self.take_config_changes(session, request_id, changes, validate_only);
            }
            ControllerRequest::AlterReassignments { partitions, allow_replication_factor_change } => {
                self.take_reassignments(session, request_id, partitions, allow_replication_factor_change);
            }
            ControllerRequest::UnregisterBroker { broker_id } => {
                if let Some(ticket) = self.open_request(session, request_id, Form::Whole, 1) {
                    self.enqueue_cluster(ClusterIntent::Unregister {
                        ticket: ticket(0),
                        broker_id,
                        proposed: false,
                    });
                }
            }
            ControllerRequest::ElectLeaders { kind, partitions } => {
                self.elect_leaders(session, request_id, kind, partitions);
            }
        }
    }

    fn take_create(&mut self, ticket: Ticket, mut topic: NewTopic, validate_only: bool, twice: bool) {
        let checked = if twice { twice_in_request(&topic.name) } else { Ok(()) };
        match checked.and_then(|()| validate::new_topic(&mut topic, &self.policy)) {
            Err(error) => self.requests.settle(ticket, Err(error)),
            Ok(()) => {
                let name = topic.name.clone();
                let topic = Box::new(topic);
                let intent = TopicIntent::Create { ticket, topic, validate_only, tried: Vec::new() };
                self.enqueue_topic(&name, intent);
            }
        }
    }

    fn take_grow(&mut self, ticket: Ticket, topic: MorePartitions, validate_only: bool, twice: bool) {
        let checked = if twice { twice_in_request(&topic.name) } else { Ok(()) };
        match checked {
            Err(error) => self.requests.settle(ticket, Err(error)),
            Ok(()) => {
                let name = topic.name.clone();
                self.enqueue_topic(&name, TopicIntent::Grow { ticket, topic, validate_only, topic_id: None });
            }
        }
    }

    fn take_delete(&mut self, ticket: Ticket, topic: TopicRef) {
        let (name, topic_id) = match topic {
            TopicRef::Name(name) => (name, None),
            TopicRef::Id(id) => match self.names.get(&id) {
                Some(name) => (name.clone(), Some(id)),
                None => return self.requests.settle(ticket, topics::unknown_topic_id()),
            },
        };
        self.enqueue_topic(&name.clone(), TopicIntent::Delete { ticket, name, topic_id, proposed: false });
    }

    /// A topic intent was decided, and its object is as the decision wants it.
    pub(crate) fn on_topic_decision(&mut self, intent: TopicIntent, decision: TopicDecision) {
        let (ticket, name) = match intent {
            TopicIntent::Create { ticket, topic, .. } => (ticket, topic.name),
            TopicIntent::Grow { ticket, topic, .. } => (ticket, topic.name),
            TopicIntent::Delete { ticket, name, .. } | TopicIntent::Configure { ticket, name, .. } => {
                (ticket, name)
            }
            TopicIntent::Forget { .. } | TopicIntent::Wish { .. } => return,
        };
        let (topic_id, goal) = match decision {
            TopicDecision::Answer(result) => return self.requests.settle(ticket, result),
            TopicDecision::AwaitPartitions { topic_id, count } => (topic_id, Goal::Partitions(count)),
            TopicDecision::AwaitGone { topic_id } => (topic_id, Goal::Gone),
            TopicDecision::Configured => return self.requests.settle(ticket, Ok(Success::Done)),
            TopicDecision::Forgotten => return,
        };
        self.waiters.entry(topic_id).or_default().push(Waiter { ticket, name, goal });
        self.dirty.insert(topic_id);
    }

    /// Settles with those who wait for the topic and need not wait longer.
    pub(crate) fn settle_waiters(&mut self, topic_id: Uuid) {
        let Some(waiters) = self.waiters.remove(&topic_id) else { return };
        let mut left = Vec::new();
        for waiter in waiters {
            match self.goal_reached(topic_id, &waiter) {
                Some(result) => self.requests.settle(waiter.ticket, result),
                None => left.push(waiter),
            }
        }
        if !left.is_empty() {
            self.waiters.insert(topic_id, left);
        }
    }

    fn goal_reached(&self, topic_id: Uuid, waiter: &Waiter) -> Option<PartResult> {
        match (self.entry(topic_id), waiter.goal) {
            (None, Goal::Gone) => Some(Ok(Success::Topic(TopicOutcome {
                name: Some(waiter.name.clone()),
                topic_id,
                partition_count: 0,
                replication_factor: 0,
                config: BTreeMap::new(),
            }))),
            (Some(_), Goal::Gone) => None,
            (Some((name, entry)), Goal::Partitions(count)) if entry.deleting_since_ms.is_none() => {
                let outcome = || topics::outcome_of(name, entry, topics::replication_factor_of(entry));
                (self.published.count(topic_id) >= count).then(|| Ok(Success::Topic(outcome())))
            }
            (_, Goal::Partitions(_)) => Some(refuse(
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                "the topic was deleted while the request was being carried out",
            )),
        }
    }

    /// Sends the responses of all requests that are through.
    pub(crate) fn answer_complete_requests(&mut self) {
        for number in std::mem::take(&mut self.requests.complete) {
            let Some(pending) = self.requests.pending.remove(&number) else { continue };
            let results = pending.results.into_iter().flatten().collect();
            let (request_id, response) = (pending.request_id, pending.form.response(results));
            self.send(pending.session, FromController::Response { request_id, response });
        }
    }

    /// Notes what people may want to know of a topic that became visible, grew or went.
    pub(crate) fn tell_of_topic(&mut self, topic_id: Uuid, name: &str, before: i32, partitions: i32) {
        let name = name.to_owned();
        if before == 0 && self.waiters.contains_key(&topic_id) {
            self.event(Event::TopicCreated { name, topic_id, partitions });
        } else if 0 < before && before < partitions {
            self.event(Event::TopicGrown { name, topic_id, partitions });
        }
    }
}

fn twice_in_request(name: &str) -> Result<(), ApiError> {
    refuse(ErrorCode::INVALID_REQUEST, format!("topic \"{name}\" is named more than once in the request"))
}

/// For each name, whether it occurs more than once.
fn named_twice<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<bool> {
    let mut count = BTreeMap::<&str, usize>::new();
    names.clone().for_each(|name| *count.entry(name).or_default() += 1);
    names.map(|name| count[name] > 1).collect()
}
