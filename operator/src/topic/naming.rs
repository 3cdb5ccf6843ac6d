//! What the object of a topic that a Kafka client made is called.

use twox_hash::XxHash3_64;

/// The most that the name of an object may have.
const LONGEST: usize = 253;

/// How much of a topic's name stands before the hash.
const SLUG: usize = 200;

/// The topic's own name, where an object may have it.
pub fn plain(topic: &str) -> Option<String> {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_label = |label: &str| {
        label.starts_with(is_inner)
            && label.ends_with(is_inner)
            && label.chars().all(|c| is_inner(c) || c == '-')
    };
    (topic.len() <= LONGEST && topic.split('.').all(is_label)).then(|| topic.to_owned())
}

/// A name made of the topic's, for where an object cannot have that itself, or another object has it.
pub fn hashed(cluster: &str, topic: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let slug: String = topic.chars().map(legal).take(SLUG).collect();
    let hash = XxHash3_64::oneshot(format!("{cluster}/{topic}").as_bytes());
    match slug.trim_matches('-') {
        "" => format!("topic-{hash:016x}"),
        slug => format!("{slug}-{hash:016x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_called_as_its_topic_where_that_is_legal() {
        for legal in ["orders", "orders.v2", "o-1", "1"] {
            assert_eq!(plain(legal).as_deref(), Some(legal));
        }
        for illegal in ["Orders", "orders_v2", "-orders", "orders.", "a..b", ".a", "a.-b"] {
            assert_eq!(plain(illegal), None, "{illegal}");
        }
    }

    #[test]
    fn what_is_not_legal_becomes_so_and_stays_one_of_its_own() {
        let name = hashed("c", "Orders_v2");
        assert!(name.starts_with("orders-v2-") && plain(&name).is_some(), "{name}");
        for topic in ["Orders_v2", "orders_v2", "__", "_.", &"X".repeat(249)] {
            let name = hashed("c", topic);
            assert!(plain(&name).is_some(), "{name}");
            assert_eq!(name, hashed("c", topic));
            assert_ne!(name, hashed("d", topic));
        }
        assert_ne!(hashed("c", "Orders_v2"), hashed("c", "orders_v2"));
    }
}
