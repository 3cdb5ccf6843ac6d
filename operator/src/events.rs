//! What people should know of an object, as Events of it.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

/// How long the API may take to keep an Event. They are a courtesy: one that is lost is only logged.
const DEADLINE: Duration = Duration::from_secs(5);

/// Tells Events; one for all of the operator, as it counts those that repeat.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// An Event to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Something is wrong.
    pub warning: bool,
    /// One word: what happened.
    pub reason: String,
    /// One word: what the operator was doing.
    pub action: &'static str,
    /// A sentence.
    pub note: String,
}

impl Events {
    /// Events of the operator whose pod is `instance`.
    pub fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter { controller: "taffrail-operator".to_owned(), instance: Some(instance) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Tells `news` of an object. Says in the log what could not be told.
    pub async fn tell(&self, of: &ObjectReference, news: News) {
        let name = of.name.clone().unwrap_or_default();
        let event = Event {
            type_: if news.warning { EventType::Warning } else { EventType::Normal },
            reason: news.reason,
            // The API takes 1 KiB.
            note: Some(news.note.chars().take(900).collect()),
            action: news.action.to_owned(),
            secondary: None,
        };
        match tokio::time::timeout(DEADLINE, self.recorder.publish(&event, of)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("cannot record the event {} of {name}: {error}", event.reason),
            Err(_) => tracing::debug!("the event {} of {name} was not recorded in time", event.reason),
        }
    }
}
