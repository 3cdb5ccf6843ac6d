//! The latest offset of each key, in bounded memory (`org.apache.kafka.storage.internals.log.SkimpyOffsetMap`).
//!
//! A key is known by 128 bits of its hash alone. Two keys with the same hash would be taken for one, and the older record
//! lost: with a seed that nobody can know, some 10^-23 for a map of ten million keys.

use twox_hash::XxHash3_128;

/// What an entry takes: the hash and an offset. Bytes, as at Apache Kafka.
pub const ENTRY_BYTES: usize = size_of::<Slot>();

#[derive(Clone, Copy)]
struct Slot {
    hash: [u64; 2],
    /// The offset and one: zero is an empty slot, so that memory comes zeroed, and pages that are not used never.
    offset: u64,
}

const EMPTY: Slot = Slot { hash: [0; 2], offset: 0 };

/// The latest offset of each key.
pub struct OffsetMap {
    slots: Vec<Slot>,
    /// How many entries it takes.
    capacity: usize,
    len: usize,
    seed: u64,
    latest: i64,
}

impl OffsetMap {
    /// A map for up to `entries` keys, in at most so many bytes, of which so large a share is filled. `seed` is not to be
    /// guessed by those who choose the keys.
    pub fn new(entries: u64, bytes: usize, load_factor: f64, seed: u64) -> Self {
        let wanted = (entries as f64 / load_factor).ceil() as usize;
        let count = wanted.saturating_add(1).min(bytes / ENTRY_BYTES).max(2);
        let capacity = ((count as f64 * load_factor) as usize).max(1);
        Self { slots: vec![EMPTY; count], capacity, len: 0, seed, latest: -1 }
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many keys it takes.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Up to here, inclusive, records were taken in; -1 for none.
    pub fn latest(&self) -> i64 {
        self.latest
    }

    /// All records up to this offset have been looked at.
    pub fn note_latest(&mut self, offset: i64) {
        self.latest = self.latest.max(offset);
    }

    /// Takes in a record's key. False when the map is full; it is left as it was then.
    pub fn put(&mut self, key: &[u8], offset: i64) -> bool {
        if self.len >= self.capacity {
            return false;
        }
        let hash = self.hash(key);
        let slot = self.find(hash);
        self.len += usize::from(self.slots[slot].offset == 0);
        self.slots[slot] = Slot { hash, offset: offset as u64 + 1 };
        self.latest = offset;
        true
    }

    /// The latest offset of a key, if any was taken in.
    pub fn get(&self, key: &[u8]) -> Option<i64> {
        let slot = self.slots[self.find(self.hash(key))];
        slot.offset.checked_sub(1).map(|offset| offset as i64)
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        let hash = XxHash3_128::oneshot_with_seed(self.seed, key);
        [hash as u64, (hash >> 64) as u64]
    }

    /// The slot of this hash, or the empty one where it belongs. There always is an empty one.
    fn find(&self, hash: [u64; 2]) -> usize {
        let count = self.slots.len();
        let mut index = ((u128::from(hash[1]) * count as u128) >> 64) as usize;
        loop {
            let slot = &self.slots[index];
            if slot.offset == 0 || slot.hash == hash {
                return index;
            }
            index += 1;
            if index == count {
                index = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_the_latest_offset_of_each_key_until_it_is_full() {
        let mut map = OffsetMap::new(1000, 2400, 0.9, 7);
        assert_eq!((map.capacity(), map.latest()), (90, -1));
        let key = |index: i64| format!("key-{}", index % 90).into_bytes();
        for offset in 0..90 {
            assert!(map.put(&key(offset), offset));
        }
        assert!(!map.put(b"another", 90), "it is full");
        assert_eq!((map.len(), map.latest()), (90, 89));
        assert_eq!(map.get(b"another"), None);
        for offset in 0..90 {
            assert_eq!(map.get(&key(offset)), Some(offset));
        }
    }

    #[test]
    fn a_key_that_comes_again_takes_no_room() {
        let mut map = OffsetMap::new(10, 1 << 20, 0.9, 7);
        for offset in 0..1000 {
            assert!(map.put(&[(offset % 3) as u8], offset));
        }
        assert_eq!((map.len(), map.get(&[0]), map.get(&[2])), (3, Some(999), Some(998)));
        map.note_latest(5);
        assert_eq!(map.latest(), 999);
    }

    #[test]
    fn it_takes_no_more_memory_than_the_records_need() {
        assert!(OffsetMap::new(9, 1 << 30, 0.9, 7).slots.len() <= 11);
        assert!(OffsetMap::new(0, 0, 0.9, 7).put(b"k", 0));
    }
}
