//! Administrative requests: taken apart into intents, and answered when the last of these is through.

use std::collections::BTreeMap;

use taffrail_protocol::{ErrorCode, Uuid};

use crate::controller::Controller;
use crate::message::{Event, Output, SessionId};
use crate::registration::ClusterIntent;
use crate::topics::{self, Ticket, TopicDecision, TopicIntent};
use crate::validate::{self, refuse};
use taffrail_control::session::{
    ApiError, ControllerRequest, ControllerResponse, FromController, MorePartitions, NewTopic, TopicOutcome,
    TopicRef,
};

type TopicResult = Result<TopicOutcome, ApiError>;

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

/// A request whose topics are being seen to.
#[derive(Debug)]
struct Pending {
    session: SessionId,
    request_id: u64,
    results: Vec<Option<TopicResult>>,
    missing: usize,
}

/// Requests that are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    next: u64,
    pending: BTreeMap<u64, Pending>,
    /// Topics in `pending` without a result.
    waiting_topics: usize,
    /// Requests in `pending` with all results.
    complete: Vec<u64>,
}

impl Requests {
    fn open(&mut self, session: SessionId, request_id: u64, topics: usize) -> u64 {
        self.next += 1;
        let pending = Pending { session, request_id, results: vec![None; topics], missing: topics };
        self.pending.insert(self.next, pending);
        self.waiting_topics += topics;
        if topics == 0 {
            self.complete.push(self.next);
        }
        self.next
    }

    fn settle(&mut self, ticket: Ticket, result: TopicResult) {
        let Some(pending) = self.pending.get_mut(&ticket.request) else { return };
        let Some(slot @ None) = pending.results.get_mut(ticket.slot) else { return };
        *slot = Some(result);
        pending.missing -= 1;
        self.waiting_topics -= 1;
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

    pub(crate) fn take_request(&mut self, session: SessionId, request_id: u64, request: ControllerRequest) {
        let topics = match &request {
            ControllerRequest::CreateTopics { topics, .. } => topics.len(),
            ControllerRequest::DeleteTopics { topics } => topics.len(),
            ControllerRequest::CreatePartitions { topics, .. } => topics.len(),
            ControllerRequest::AllocateProducerIds => {
                self.enqueue_cluster(ClusterIntent::AllocateProducerIds { session, request_id });
                return;
            }
            ControllerRequest::AlterConfigs { .. }
            | ControllerRequest::ElectLeaders { .. }
            | ControllerRequest::AlterReassignments { .. }
            | ControllerRequest::UnregisterBroker { .. } => {
                let message = "this controller does not know the request".to_owned();
                let response =
                    ControllerResponse::Failed(ApiError { code: ErrorCode::UNSUPPORTED_VERSION, message });
                self.send(session, FromController::Response { request_id, response });
                return;
            }
        };
        let most = self.policy.max_waiting_topics;
        if self.requests.waiting_topics.saturating_add(topics) > most {
            let message =
                format!("the controller sees to at most {most} topics at a time; try again with fewer");
            let response =
                ControllerResponse::Failed(ApiError { code: ErrorCode::THROTTLING_QUOTA_EXCEEDED, message });
            self.send(session, FromController::Response { request_id, response });
            return;
        }
        let number = self.requests.open(session, request_id, topics);
        let ticket = |slot| Ticket { request: number, slot };
        match request {
            ControllerRequest::CreateTopics { topics, validate_only } => {
                let twice = named_twice(topics.iter().map(|topic| topic.name.as_str()));
                for (slot, topic) in topics.into_iter().enumerate() {
                    self.take_create(ticket(slot), topic, validate_only, twice[slot]);
                }
            }
            ControllerRequest::DeleteTopics { topics } => {
                for (slot, topic) in topics.into_iter().enumerate() {
                    self.take_delete(ticket(slot), topic);
                }
            }
            ControllerRequest::CreatePartitions { topics, validate_only } => {
                let twice = named_twice(topics.iter().map(|topic| topic.name.as_str()));
                for (slot, topic) in topics.into_iter().enumerate() {
                    self.take_grow(ticket(slot), topic, validate_only, twice[slot]);
                }
            }
            ControllerRequest::AllocateProducerIds
            | ControllerRequest::AlterConfigs { .. }
            | ControllerRequest::ElectLeaders { .. }
            | ControllerRequest::AlterReassignments { .. }
            | ControllerRequest::UnregisterBroker { .. } => {}
        }
    }

    fn take_create(&mut self, ticket: Ticket, mut topic: NewTopic, validate_only: bool, twice: bool) {
        let checked = if twice { twice_in_request(&topic.name) } else { Ok(()) };
        match checked.and_then(|()| validate::new_topic(&mut topic, &self.policy)) {
            Err(error) => self.requests.settle(ticket, Err(error)),
            Ok(()) => {
                let name = topic.name.clone();
                let topic = Box::new(topic);
                let intent = TopicIntent::Create { ticket, topic, validate_only, topic_id: None };
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
            TopicIntent::Delete { ticket, name, .. } => (ticket, name),
            TopicIntent::Forget { .. } => return,
        };
        let (topic_id, goal) = match decision {
            TopicDecision::Answer(result) => return self.requests.settle(ticket, result),
            TopicDecision::AwaitPartitions { topic_id, count } => (topic_id, Goal::Partitions(count)),
            TopicDecision::AwaitGone { topic_id } => (topic_id, Goal::Gone),
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

    fn goal_reached(&self, topic_id: Uuid, waiter: &Waiter) -> Option<TopicResult> {
        match (self.entry(topic_id), waiter.goal) {
            (None, Goal::Gone) => Some(Ok(TopicOutcome {
                name: Some(waiter.name.clone()),
                topic_id,
                partition_count: 0,
                replication_factor: 0,
                config: BTreeMap::new(),
            })),
            (Some(_), Goal::Gone) => None,
            (Some((name, entry)), Goal::Partitions(count)) if entry.deleting_since_ms.is_none() => {
                let outcome = || topics::outcome_of(name, entry, topics::replication_factor_of(entry));
                (self.published.count(topic_id) >= count).then(|| Ok(outcome()))
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
            let (request_id, response) = (pending.request_id, ControllerResponse::Topics(results));
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
