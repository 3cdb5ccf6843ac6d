//! Which sizes of topics are worth saying in their objects. Each is a write, and nothing but a number for people.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use taffrail_protocol::Uuid;
use tokio::time::Instant;

/// A size is news when it differs from what the object says by more than this share of that, a quarter, ...
const NEWS_SHARE: u64 = 4;
/// ... and by so many bytes ...
const NEWS_BYTES: u64 = 1024 * 1024;
/// ... and when the object has said that for so long.
const REST: Duration = Duration::from_secs(600);
/// Topics whose sizes are said anew after one look: statuses that tell of something wrong do not wait behind more.
const MOST_NEWS: usize = 100;

/// A topic that has an object, and whose size is known.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its name.
    pub name: Arc<str>,
    /// Its id.
    pub topic_id: Uuid,
    /// Of one copy of it.
    pub size_bytes: i64,
    /// What its object says.
    pub says: Option<i64>,
}

/// The sizes that objects are to say, and since when.
#[derive(Debug, Default)]
pub struct Sizes(BTreeMap<Uuid, (i64, Instant)>);

impl Sizes {
    /// What the topic's object is to say; `None`: what it says already.
    pub fn of(&self, topic_id: Uuid) -> Option<i64> {
        self.0.get(&topic_id).map(|(size, _)| *size)
    }

    /// Looks at all topics whose sizes are known. Those whose objects are to say something new.
    pub fn look(&mut self, known: impl IntoIterator<Item = Known>, now: Instant) -> Vec<Arc<str>> {
        let before = std::mem::take(&mut self.0);
        let mut news = Vec::new();
        for topic in known {
            // Who has just taken over does not know since when.
            let said = before.get(&topic.topic_id).copied();
            let said = said.or_else(|| topic.says.map(|size| (size, now)));
            self.0.extend(said.map(|said| (topic.topic_id, said)));
            let is_due =
                said.is_none_or(|(size, since)| is_news(size, topic.size_bytes) && now - since >= REST);
            if is_due {
                news.push((said.map(|(_, since)| since), topic));
            }
        }
        // Those first that say nothing yet, then those that have said the same for longest.
        news.sort_by_key(|(since, _)| *since);
        news.truncate(MOST_NEWS);
        self.0.extend(news.iter().map(|(_, topic)| (topic.topic_id, (topic.size_bytes, now))));
        news.into_iter().map(|(_, topic)| topic.name).collect()
    }
}

fn is_news(said: i64, size: i64) -> bool {
    let difference = said.abs_diff(size);
    difference >= NEWS_BYTES && difference > said.unsigned_abs() / NEWS_SHARE
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: i64 = 1024 * 1024;
    const SECOND: Duration = Duration::from_secs(1);

    fn known(id: u8, size_bytes: i64, says: Option<i64>) -> Known {
        let topic_id = Uuid([id; 16]);
        Known { name: id.to_string().into(), topic_id, size_bytes, says }
    }

    /// Whether topic 1, which has this size, is to say something new.
    fn is_said(sizes: &mut Sizes, size_bytes: i64, now: Instant) -> bool {
        let says = sizes.of(Uuid([1; 16]));
        let news = sizes.look([known(1, size_bytes, says)], now);
        assert!(news.is_empty() || sizes.of(Uuid([1; 16])) == Some(size_bytes));
        !news.is_empty()
    }

    #[test]
    fn a_size_is_said_anew_when_it_has_changed_by_much_and_the_last_was_said_long_ago() {
        let (mut sizes, start) = (Sizes::default(), Instant::now());
        assert!(is_said(&mut sizes, 0, start), "it was not known");
        let later = start + REST;
        assert!(!is_said(&mut sizes, 0, later));
        assert!(!is_said(&mut sizes, MIB - 1, later), "it is little");
        assert!(!is_said(&mut sizes, MIB, later - SECOND), "it is soon");
        assert!(is_said(&mut sizes, 100 * MIB, later));
        assert_eq!(sizes.of(Uuid([1; 16])), Some(100 * MIB));
        let later = later + REST;
        assert!(!is_said(&mut sizes, 125 * MIB, later) && !is_said(&mut sizes, 75 * MIB, later), "a quarter");
        assert!(is_said(&mut sizes, 75 * MIB - 1, later));
        assert!(!is_said(&mut sizes, 0, later + REST - SECOND));
        assert!(is_said(&mut sizes, i64::MAX, later + REST));
        assert!(is_said(&mut sizes, 0, later + 2 * REST));
    }

    #[test]
    fn who_takes_over_goes_on_with_what_objects_say() {
        let (mut sizes, start) = (Sizes::default(), Instant::now());
        assert_eq!(sizes.look([known(1, 11 * MIB, Some(10 * MIB))], start), []);
        assert_eq!(sizes.of(Uuid([1; 16])), Some(10 * MIB), "so that nothing is written");
        assert_eq!(sizes.look([known(1, 50 * MIB, Some(10 * MIB))], start + SECOND), []);
        assert_eq!(sizes.look([known(1, 50 * MIB, Some(10 * MIB))], start + REST), ["1".into()]);
        // A controller that has just started does not know it.
        assert_eq!(sizes.look([], start + REST), []);
        assert_eq!(sizes.of(Uuid([1; 16])), None);
    }

    #[test]
    fn of_many_those_are_said_first_that_wait_for_longest() {
        let (mut sizes, start) = (Sizes::default(), Instant::now());
        let all = |size: i64| (0..150).map(move |id| known(id, size, None));
        assert_eq!(sizes.look(all(0), start).len(), MOST_NEWS);
        assert_eq!(sizes.look(all(0), start + SECOND).len(), 50);
        let new = known(200, 0, None);
        let next = sizes.look(all(MIB).chain([new]), start + REST + SECOND);
        assert_eq!((next.len(), &*next[0]), (MOST_NEWS, "200"));
        assert!(!next.contains(&"149".into()), "it was among the last");
    }
}
