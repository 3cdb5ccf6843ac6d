//! Records that can be told from each other.

/// How many bytes of a value say which record it is.
pub const NAMED_BYTES: usize = 16;

/// Which record it is: of which producer, for which partition, and which of that producer's records for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The producer.
    pub producer: u16,
    /// The partition that it was sent to.
    pub partition: u16,
    /// Counts the producer's records for the partition from 0 on.
    pub number: u64,
}

impl Identity {
    /// A value of `bytes` bytes, at least [`NAMED_BYTES`], that names the record.
    pub fn value(self, bytes: usize) -> Vec<u8> {
        let mut value = Vec::with_capacity(bytes.max(NAMED_BYTES));
        value.extend_from_slice(b"TFRC");
        value.extend_from_slice(&self.producer.to_be_bytes());
        value.extend_from_slice(&self.partition.to_be_bytes());
        value.extend_from_slice(&self.number.to_be_bytes());
        value.resize(bytes.max(NAMED_BYTES), b'.');
        value
    }

    /// The record that a value names; `None` if it is none of ours.
    pub fn of(value: &[u8]) -> Option<Self> {
        let (named, filler) = value.split_first_chunk::<NAMED_BYTES>()?;
        let rest = named.strip_prefix(b"TFRC")?;
        let (producer, rest) = rest.split_first_chunk()?;
        let (partition, rest) = rest.split_first_chunk()?;
        filler.iter().all(|byte| *byte == b'.').then_some(Self {
            producer: u16::from_be_bytes(*producer),
            partition: u16::from_be_bytes(*partition),
            number: u64::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Identity;

    #[test]
    fn a_value_names_its_record_and_a_damaged_one_none() {
        let identity = Identity { producer: 7, partition: 300, number: 1 << 40 };
        for bytes in [0, 16, 100] {
            assert_eq!(Identity::of(&identity.value(bytes)), Some(identity));
        }
        let mut damaged = identity.value(100);
        damaged[99] ^= 1;
        assert_eq!(Identity::of(&damaged), None);
        assert_eq!(Identity::of(b"TFRC"), None);
    }
}
