//! People who make, delete, move and look after topics.

use taffrail_control::session::{
    ControllerRequest, ElectionKind, NewTopic, Reassignment, ToController, TopicRef,
};

use crate::scenario::Promise;
use crate::world::{Event, World};

/// How often they do something.
const PERIOD_MS: u64 = 700;

impl World {
    /// Topics that are missing are made; now and then one is deleted, moved, or led by another.
    pub fn admin_wakes(&mut self) {
        self.at(PERIOD_MS, Event::AdminWakes);
        let ids: Vec<i32> = self.brokers.keys().copied().collect();
        let Some(id) = self.rng.pick(&ids) else { return };
        let Some(serving) = self.brokers.get(&id).and_then(|broker| broker.serving()) else { return };
        let known: Vec<String> = serving.topics.values().map(|topic| topic.name.to_string()).collect();
        let wanted = self.scenario.topics.clone();
        let missing: Vec<&str> =
            wanted.iter().copied().filter(|name| !known.iter().any(|known| known == name)).collect();
        if !missing.is_empty() {
            let topics = missing.into_iter().map(|name| self.new_topic(name)).collect();
            self.ask(id, ControllerRequest::CreateTopics { topics, validate_only: false });
            return;
        }
        if self.calm_since_ms.is_some() {
            return;
        }
        let topic = self.rng.pick(&wanted).unwrap_or_default();
        match self.rng.below(100) {
            0..2 if self.scenario.promise != Promise::Restored => {
                let topics = vec![TopicRef::Name(topic.to_owned())];
                self.ask(id, ControllerRequest::DeleteTopics { topics });
                let topics = vec![self.new_topic(topic)];
                self.ask(id, ControllerRequest::CreateTopics { topics, validate_only: false });
            }
            2..12 => {
                let moved = self.draw_reassignment(topic);
                self.ask(
                    id,
                    ControllerRequest::AlterReassignments {
                        partitions: vec![moved],
                        allow_replication_factor_change: false,
                    },
                );
            }
            12..16 => {
                let (kind, partitions) = (ElectionKind::Preferred, None);
                self.ask(id, ControllerRequest::ElectLeaders { kind, partitions });
            }
            _ => {}
        }
    }

    fn new_topic(&self, name: &str) -> NewTopic {
        NewTopic {
            name: name.to_owned(),
            partitions: Some(self.scenario.partitions),
            replication_factor: Some(self.scenario.replication_factor),
            ..NewTopic::default()
        }
    }

    fn draw_reassignment(&mut self, topic: &str) -> Reassignment {
        let partition = self.rng.below(self.scenario.partitions as u64) as i32;
        let mut ids: Vec<i32> = self.brokers.keys().copied().collect();
        let mut replicas = Vec::new();
        while replicas.len() < self.scenario.replication_factor as usize && !ids.is_empty() {
            let at = self.rng.below(ids.len() as u64) as usize;
            replicas.push(ids.remove(at));
        }
        let replicas = (!self.rng.percent(25)).then_some(replicas);
        Reassignment { topic: topic.to_owned(), partition, replicas }
    }

    fn ask(&mut self, id: i32, request: ControllerRequest) {
        let request_id = self.number();
        self.note(&[70, id as u64, request_id], || format!("through broker {id}: {request:?}"));
        self.tell(id, ToController::Request { request_id, request });
    }
}
