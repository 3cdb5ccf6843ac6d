//! Which sizes of partitions are worth telling the controller.

use std::collections::BTreeMap;

use taffrail_control::session::PartitionSize;

use crate::cluster::PartitionKey;

/// A size is news when it differs from what was told by more than this share of that: a tenth.
const NEWS_SHARE: u64 = 10;

/// A partition that is led here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Led {
    pub(super) key: PartitionKey,
    pub(super) leader_epoch: i32,
    pub(super) size_bytes: u64,
}

/// What the controller was told in this session of the partitions that are led here.
#[derive(Debug, Default)]
pub(super) struct ToldSizes(BTreeMap<PartitionKey, (i32, u64)>);

impl ToldSizes {
    /// What is new of `led`, which is all that is led here. It is taken for told from now on.
    ///
    /// Of a partition that is led in another epoch everything is new: another broker may have told of it meanwhile.
    pub(super) fn news(&mut self, led: impl IntoIterator<Item = Led>) -> Vec<PartitionSize> {
        let before = std::mem::take(&mut self.0);
        let mut news = Vec::new();
        for Led { key, leader_epoch, size_bytes } in led {
            let told = before.get(&key).filter(|(epoch, size)| {
                *epoch == leader_epoch && size.abs_diff(size_bytes) <= size / NEWS_SHARE
            });
            if told.is_none() {
                news.push(PartitionSize { topic_id: key.0, partition: key.1, size_bytes });
            }
            self.0.insert(key, told.copied().unwrap_or((leader_epoch, size_bytes)));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use taffrail_protocol::Uuid;

    use super::*;

    fn led(partition: i32, leader_epoch: i32, size_bytes: u64) -> Led {
        Led { key: (Uuid([1; 16]), partition), leader_epoch, size_bytes }
    }

    #[test]
    fn what_is_new_is_told_once() {
        let mut told = ToldSizes::default();
        let mut news = |led: &[Led]| -> Vec<(i32, u64)> {
            let news = told.news(led.iter().copied());
            news.into_iter().map(|size| (size.partition, size.size_bytes)).collect()
        };
        assert_eq!(news(&[led(0, 1, 100), led(1, 1, 0)]), [(0, 100), (1, 0)], "all of them at first");
        assert_eq!(news(&[led(0, 1, 110), led(1, 1, 0)]), [], "a tenth more is no news");
        assert_eq!(news(&[led(0, 1, 111), led(1, 1, 1)]), [(0, 111), (1, 1)], "nor is it added up");
        assert_eq!(news(&[led(0, 1, 90), led(1, 1, 1)]), [(0, 90)], "a log that became smaller");
        assert_eq!(news(&[led(0, 3, 90), led(2, 1, 5)]), [(0, 90), (2, 5)], "another may have led between");
        assert_eq!(news(&[led(0, 3, 90), led(1, 1, 1)]), [(1, 1)], "what was not led is forgotten");
    }
}
