//! The latest offset of each key, in bounded memory (`org.apache.kafka.storage.internals.log.SkimpyOffsetMap`).
//!
//! A key is known by 128 bits of its hash alone. Two keys with the same hash would be taken for one, and the older record
//! lost: with a seed that nobody can know, some 10^-23 for a map of ten million keys.

use twox_hash::XxHash3_128;

/// What an entry takes: the hash and an offset. Bytes, as at Apache Kafka.
pub const ENTRY_BYTES: usize = size_of::<Slot>();

#[derive(Clone, Copy)]
struct Slot {
    hash: KeyHash,
    /// The offset and one: zero is an empty slot, so that memory comes zeroed, and pages that are not used never.
    offset: u64,
}

const EMPTY: Slot = Slot { hash: KeyHash([0; 2]), offset: 0 };

/// What a key is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u64; 2]);

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

    /// What it knows a key by.
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        let hash = XxHash3_128::oneshot_with_seed(self.seed, key);
        KeyHash([hash as u64, (hash >> 64) as u64])
    }

    /// Has the memory of these keys' slots brought near, all at a time, before they are looked at one by one: the map is
    /// larger than any cache, and to wait for each would take most of the time.
    pub fn bring_near(&self, hashes: impl Iterator<Item = KeyHash>) {
        std::hint::black_box(hashes.fold(0, |sum, hash| sum ^ self.slots[self.home(hash)].offset));
    }

    /// Takes in a record's key. False when the map is full; it is left as it was then.
    pub fn put(&mut self, key: KeyHash, offset: i64) -> bool {
        if self.len >= self.capacity {
            return false;
        }
        let slot = self.find(key);
        self.len += usize::from(self.slots[slot].offset == 0);
        self.slots[slot] = Slot { hash: key, offset: offset as u64 + 1 };
        self.latest = offset;
        true
    }

    /// The latest offset of a key, if any was taken in.
    pub fn get(&self, key: KeyHash) -> Option<i64> {
        self.slots[self.find(key)].offset.checked_sub(1).map(|offset| offset as i64)
    }

    /// Where a key is looked for first.
    fn home(&self, KeyHash(hash): KeyHash) -> usize {
        ((u128::from(hash[1]) * self.slots.len() as u128) >> 64) as usize
    }

    /// The slot of this hash, or the empty one where it belongs. There always is an empty one.
    fn find(&self, hash: KeyHash) -> usize {
        let count = self.slots.len();
        let mut index = self.home(hash);
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
            assert!(map.put(map.hash(&key(offset)), offset));
        }
        assert!(!map.put(map.hash(b"another"), 90), "it is full");
        assert_eq!((map.len(), map.latest()), (90, 89));
        assert_eq!(map.get(map.hash(b"another")), None);
        for offset in 0..90 {
            assert_eq!(map.get(map.hash(&key(offset))), Some(offset));
        }
    }

    #[test]
    fn a_key_that_comes_again_takes_no_room() {
        let mut map = OffsetMap::new(10, 1 << 20, 0.9, 7);
        for offset in 0..1000 {
            assert!(map.put(map.hash(&[(offset % 3) as u8]), offset));
        }
        assert_eq!((map.len(), map.get(map.hash(&[0])), map.get(map.hash(&[2]))), (3, Some(999), Some(998)));
        map.note_latest(5);
        assert_eq!(map.latest(), 999);
    }

    #[test]
    fn it_takes_no_more_memory_than_the_records_need() {
        assert!(OffsetMap::new(9, 1 << 30, 0.9, 7).slots.len() <= 11);
        let mut least = OffsetMap::new(0, 0, 0.9, 7);
        assert!(least.put(least.hash(b"k"), 0));
    }
}
