//! The one thing the coordinator reads in a consumer's metadata: the topics it subscribes to.

use taffrail_protocol::{Message, Reader};

/// The protocol type of consumers (`ConsumerProtocol.PROTOCOL_TYPE`).
pub(super) const PROTOCOL_TYPE: &str = "consumer";

/// The beginning that all versions of `ConsumerProtocolSubscription` share.
#[derive(Debug, Message)]
#[kafka(versions = "0")]
struct Subscription<'a> {
    topics: Vec<std::borrow::Cow<'a, str>>,
}

/// The topics of a consumer's subscription, or `None` where it is not one.
pub(super) fn topics(metadata: &[u8]) -> Option<Vec<Box<str>>> {
    let (version, rest) = metadata.split_first_chunk::<2>()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let subscription = Subscription::read(&mut Reader::new(rest), 0).ok()?;
    Some(subscription.topics.into_iter().map(Box::from).collect())
}

#[cfg(test)]
mod tests {
    use super::topics;

    #[test]
    fn topics_are_read_from_any_version_and_rubbish_gives_none() {
        let bytes = [0, 3, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff, 7, 7];
        assert_eq!(topics(&bytes), Some(vec![Box::from("t")]));
        assert_eq!(topics(&[]), None);
        assert_eq!(topics(&[0xff, 0xff, 0, 0, 0, 0]), None);
        assert_eq!(topics(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), None);
    }
}
