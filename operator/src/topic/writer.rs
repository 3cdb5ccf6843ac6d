//! Writing the statuses of Topics: on change, and of all together so many a second at most.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;
use taffrail_crds::{GROUP, Topic, TopicStatus, VERSION};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::calls::{CallError, call};
use crate::cluster::apply::FIELD_MANAGER;

/// Between two writes: a little below 20 a second.
const PACE: Duration = Duration::from_millis(52);

/// After a write that failed.
const REST: Duration = Duration::from_secs(1);

/// An object: its namespace and its name.
type Name = (String, String);

/// See the module.
#[derive(Debug, Default)]
pub struct Writer {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What is to be written. Only the newest of an object is kept, so there is never more than one for each.
    waiting: BTreeMap<Name, Write>,
    /// What was written, with the version that it got, until the watch tells of that.
    written: BTreeMap<String, (TopicStatus, u64)>,
    /// Whose turn it was last: the others come first.
    turn: Name,
}

#[derive(Debug, Clone)]
struct Write {
    uid: String,
    /// A [`TopicStatus`] as JSON, which takes half of the room: thousands may wait for minutes.
    status: Box<str>,
}

impl Write {
    fn new(uid: String, status: &TopicStatus) -> Self {
        Self { uid, status: serde_json::to_string(status).unwrap_or_default().into() }
    }

    fn status(&self) -> TopicStatus {
        serde_json::from_str(&self.status).unwrap_or_default()
    }
}

fn version(object: &Topic) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Whether the conditions say something else, times left out.
fn says_more(one: Option<&TopicStatus>, other: &TopicStatus) -> bool {
    let words = |status: &TopicStatus| -> Vec<(String, String, String)> {
        let each = status.conditions.iter();
        each.map(|it| (it.status.clone(), it.reason.clone(), it.message.clone())).collect()
    };
    one.map(words) != Some(words(other))
}

impl Writer {
    /// Has `object` say what `status` makes of what it says now, or is about to say. Whether its conditions say something
    /// new by that.
    pub fn want(
        &self,
        object: &Topic,
        status: impl FnOnce(Option<&TopicStatus>) -> Option<TopicStatus>,
    ) -> bool {
        let name = (object.namespace().unwrap_or_default(), object.name_any());
        let uid = object.uid().unwrap_or_default();
        let mut state = self.state.lock();
        if state.written.get(&uid).is_some_and(|(_, written)| version(object) >= *written) {
            state.written.remove(&uid);
        }
        let stands = match state.written.get(&uid) {
            Some((written, _)) => Some(written),
            None => object.status.as_ref(),
        };
        let waiting = state.waiting.get(&name).filter(|write| write.uid == uid).map(Write::status);
        let before = waiting.as_ref().or(stands);
        let Some(status) = status(before) else { return false };
        let is_news = says_more(before, &status);
        if stands == Some(&status) {
            state.waiting.remove(&name);
        } else if waiting.as_ref() != Some(&status) {
            state.waiting.insert(name, Write::new(uid, &status));
            self.wake.notify_one();
        }
        is_news
    }

    /// The object is gone.
    pub fn forget(&self, object: &Topic) {
        let mut state = self.state.lock();
        state.written.remove(&object.uid().unwrap_or_default());
        state.waiting.remove(&(object.namespace().unwrap_or_default(), object.name_any()));
    }

    fn next(&self) -> Option<(Name, Write)> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let after = (std::ops::Bound::Excluded(&state.turn), std::ops::Bound::Unbounded);
        let found = state.waiting.range(after).next().or_else(|| state.waiting.iter().next());
        let name = found?.0.clone();
        let write = state.waiting.remove(&name)?;
        state.turn.clone_from(&name);
        Some((name, write))
    }

    /// Writes, until it is dropped.
    pub async fn run(&self, client: Client) {
        loop {
            let (name, write) = loop {
                match self.next() {
                    Some(next) => break next,
                    None => self.wake.notified().await,
                }
            };
            let next = Instant::now() + PACE;
            match put(&client, &name, &write).await {
                Ok(object) => {
                    let written = (write.status(), version(&object));
                    self.state.lock().written.insert(write.uid, written);
                }
                // It is gone, or another has its name: nobody is left to be told.
                Err(error) if matches!(error.code(), Some(404 | 409)) => {}
                Err(error) => {
                    tracing::warn!("{error}; it is tried again");
                    self.state.lock().waiting.entry(name).or_insert(write);
                    tokio::time::sleep(REST).await;
                }
            }
            tokio::time::sleep_until(next).await;
        }
    }
}

async fn put(client: &Client, (namespace, name): &Name, write: &Write) -> Result<Topic, CallError> {
    let api: Api<Topic> = Api::namespaced(client.clone(), namespace);
    let whole = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "Topic",
        "metadata": {"name": name, "uid": write.uid},
        "status": write.status(),
    });
    let (parameters, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(whole));
    let what = format!("write the status of Topic {namespace}/{name}");
    call(what, api.patch_status(name, &parameters, &patch)).await
}

#[cfg(test)]
mod tests {
    use super::super::testing::topic;
    use super::*;

    fn saying(id: &str) -> TopicStatus {
        TopicStatus { topic_id: Some(id.to_owned()), ..TopicStatus::default() }
    }

    fn waiting(writer: &Writer) -> Vec<String> {
        std::iter::from_fn(|| writer.next())
            .map(|(name, write)| name.1 + &write.status().topic_id.unwrap())
            .collect()
    }

    #[test]
    fn only_the_newest_is_written_and_only_what_is_new() {
        let writer = Writer::default();
        let mut object = topic("t", "u", 1, 1);
        object.metadata.resource_version = Some("5".to_owned());
        assert!(writer.want(&object, |_| Some(saying("1"))));
        writer.want(&object, |before| {
            assert_eq!(before, Some(&saying("1")));
            Some(saying("2"))
        });
        assert_eq!(waiting(&writer), ["t2"]);
        // The watch has not told of it yet.
        writer.state.lock().written.insert("u".to_owned(), (saying("2"), 7));
        writer.want(&object, |_| Some(saying("2")));
        assert_eq!(waiting(&writer), Vec::<String>::new());
        // By now it has, and somebody changed it.
        object.metadata.resource_version = Some("8".to_owned());
        object.status = Some(saying("3"));
        writer.want(&object, |_| Some(saying("2")));
        assert_eq!(waiting(&writer), ["t2"]);
        writer.want(&object, |_| Some(saying("4")));
        writer.want(&object, |_| Some(saying("3")));
        assert_eq!(waiting(&writer), Vec::<String>::new(), "what stands again need not be written");
    }

    #[test]
    fn one_that_changes_all_the_time_lets_the_others_have_their_turn() {
        let writer = Writer::default();
        let (a, b) = (topic("a", "1", 1, 1), topic("b", "2", 1, 1));
        writer.want(&a, |_| Some(saying("1")));
        writer.want(&b, |_| Some(saying("1")));
        assert_eq!(writer.next().unwrap().0.1, "a");
        writer.want(&a, |_| Some(saying("2")));
        assert_eq!(writer.next().unwrap().0.1, "b");
    }
}
