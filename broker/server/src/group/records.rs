//! The records of `__consumer_offsets`, as Kafka's `group-coordinator` defines them.
//!
//! A key begins with its type, which Kafka also calls its version: 0 and 1 are offset commits (1 is written), 2 is
//! group metadata; others belong to newer kinds of groups. A value begins with its version; none at all is a
//! tombstone. What is written is what Kafka 4.1 writes: value version 3 of both, or 1 for an offset that carries its
//! own expiry. All versions are read.

use std::borrow::Cow;

use taffrail_protocol::{DecodeError, EncodeError, Message, Reader, Uuid, Writer};
use thiserror::Error;

/// What an offset commit record is about.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-1")]
pub struct OffsetCommitKey<'a> {
    /// The group.
    pub group: Cow<'a, str>,
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The partition.
    pub partition: i32,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-4", flexible = "4+")]
pub struct OffsetCommitValue<'a> {
    /// The offset of the next record to consume.
    pub offset: i64,
    /// The leader epoch of the last consumed record, or -1.
    #[kafka(versions = "3+", default = "-1", ignorable)]
    pub leader_epoch: i32,
    /// What the client wants to find beside the offset.
    pub metadata: Cow<'a, str>,
    /// When it was committed, in ms since the epoch.
    pub commit_timestamp: i64,
    /// When it expires, in ms since the epoch, or -1 for the broker's retention.
    #[kafka(versions = "1", default = "-1", ignorable)]
    pub expire_timestamp: i64,
    /// The topic's id, which Kafka 4.2 and above note.
    #[kafka(versions = "4+", tag = 0, ignorable)]
    pub topic_id: Uuid,
}

/// What a group metadata record is about.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "2")]
pub struct GroupMetadataKey<'a> {
    /// The group.
    pub group: Cow<'a, str>,
}

/// A classic group's last generation.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-4", flexible = "4+")]
pub struct GroupMetadataValue<'a> {
    /// The protocol type, or empty.
    pub protocol_type: Cow<'a, str>,
    /// The generation.
    pub generation: i32,
    /// The chosen protocol.
    #[kafka(nullable = "0+", default = "null")]
    pub protocol: Option<Cow<'a, str>>,
    /// The leader's member id.
    #[kafka(nullable = "0+", default = "null")]
    pub leader: Option<Cow<'a, str>>,
    /// When the group came into its state, in ms since the epoch, or -1.
    #[kafka(versions = "2+", default = "-1", ignorable)]
    pub current_state_timestamp: i64,
    /// The members.
    pub members: Vec<MemberMetadata<'a>>,
}

/// A member of a classic group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct MemberMetadata<'a> {
    /// The member.
    pub member_id: Cow<'a, str>,
    /// The static member's own name.
    #[kafka(versions = "3+", nullable = "3+", default = "null", ignorable)]
    pub group_instance_id: Option<Cow<'a, str>>,
    /// The client id it joined with.
    pub client_id: Cow<'a, str>,
    /// The address it joined from.
    pub client_host: Cow<'a, str>,
    /// How long it may take to rejoin, in ms, or -1 for the session timeout.
    #[kafka(versions = "1+", default = "-1", ignorable)]
    pub rebalance_timeout: i32,
    /// How long it may be silent, in ms.
    pub session_timeout: i32,
    /// Its metadata in the chosen protocol.
    pub subscription: Cow<'a, [u8]>,
    /// Its assignment.
    pub assignment: Cow<'a, [u8]>,
}

/// One record of the partition. Without a value it deletes what its key names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupRecord<'a> {
    /// A committed offset.
    Offset(OffsetCommitKey<'a>, Option<OffsetCommitValue<'a>>),
    /// A classic group.
    Group(GroupMetadataKey<'a>, Option<GroupMetadataValue<'a>>),
}

/// Why a record cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReadRecordError {
    /// A record without a key, in a compacted topic.
    #[error("the record has no key")]
    NoKey,
    /// Its bytes are not what its version says.
    #[error("the record's {part} of version {version} cannot be decoded: {source}")]
    Malformed {
        /// Key or value.
        part: &'static str,
        /// Its version.
        version: i16,
        /// What is wrong.
        source: DecodeError,
    },
    /// It is shorter than a version number.
    #[error("the record's {0} is shorter than its version number")]
    NoVersion(&'static str),
}

const OFFSET_COMMIT_KEY_VERSION: i16 = 1;
const GROUP_METADATA_KEY_VERSION: i16 = 2;
const GROUP_METADATA_VALUE_VERSION: i16 = 3;

impl<'a> GroupRecord<'a> {
    /// Reads a record. `None` is a record of a type or version that is not known here, which is left where it is.
    ///
    /// # Errors
    /// [`ReadRecordError`] where a known version's bytes make no sense.
    pub fn decode(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Result<Option<Self>, ReadRecordError> {
        let (version, key) = split_version(key.ok_or(ReadRecordError::NoKey)?, "key")?;
        let record = match version {
            0 | OFFSET_COMMIT_KEY_VERSION => {
                let key = read::<OffsetCommitKey<'_>>(key, version, "key")?;
                let Some(value) = read_value(value)? else { return Ok(None) };
                Self::Offset(key, value)
            }
            GROUP_METADATA_KEY_VERSION => {
                let key = read::<GroupMetadataKey<'_>>(key, version, "key")?;
                let Some(value) = read_value(value)? else { return Ok(None) };
                Self::Group(key, value)
            }
            _ => return Ok(None),
        };
        Ok(Some(record))
    }

    /// The record's key and value.
    ///
    /// # Errors
    /// [`EncodeError`] where a string is longer than the format can say.
    pub fn encode(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), EncodeError> {
        match self {
            Self::Offset(key, value) => {
                let value = value.as_ref().map(|value| write(value, value.version())).transpose()?;
                Ok((write(key, OFFSET_COMMIT_KEY_VERSION)?, value))
            }
            Self::Group(key, value) => {
                let value =
                    value.as_ref().map(|value| write(value, GROUP_METADATA_VALUE_VERSION)).transpose()?;
                Ok((write(key, GROUP_METADATA_KEY_VERSION)?, value))
            }
        }
    }

    /// The tombstone of a committed offset.
    #[must_use]
    pub fn offset_tombstone(group: &'a str, topic: &'a str, partition: i32) -> Self {
        let key = OffsetCommitKey { group: Cow::Borrowed(group), topic: Cow::Borrowed(topic), partition };
        Self::Offset(key, None)
    }

    /// The tombstone of a group.
    #[must_use]
    pub fn group_tombstone(group: &'a str) -> Self {
        Self::Group(GroupMetadataKey { group: Cow::Borrowed(group) }, None)
    }
}

impl OffsetCommitValue<'_> {
    /// The version to write, which is the only one with an expiry where there is one.
    fn version(&self) -> i16 {
        if self.expire_timestamp == -1 { 3 } else { 1 }
    }
}

fn split_version<'a>(bytes: &'a [u8], part: &'static str) -> Result<(i16, &'a [u8]), ReadRecordError> {
    let (version, rest) = bytes.split_first_chunk::<2>().ok_or(ReadRecordError::NoVersion(part))?;
    Ok((i16::from_be_bytes(*version), rest))
}

fn read<'a, M>(bytes: &'a [u8], version: i16, part: &'static str) -> Result<M, ReadRecordError>
where
    M: Message + taffrail_protocol::Decode<'a>,
{
    // Bytes after the message are left alone, as in Kafka.
    M::read(&mut Reader::new(bytes), version).map_err(|source| ReadRecordError::Malformed {
        part,
        version,
        source,
    })
}

/// `None` for a version that is not known, `Some(None)` for a tombstone.
fn read_value<'a, M>(value: Option<&'a [u8]>) -> Result<Option<Option<M>>, ReadRecordError>
where
    M: Message + taffrail_protocol::Decode<'a>,
{
    let Some(value) = value else { return Ok(Some(None)) };
    let (version, value) = split_version(value, "value")?;
    if !M::VERSIONS.contains(version) {
        return Ok(None);
    }
    Ok(Some(Some(read(value, version, "value")?)))
}

fn write<M: Message>(message: &M, version: i16) -> Result<Vec<u8>, EncodeError> {
    let mut writer = Writer::new();
    writer.put(&version.to_be_bytes());
    message.write(&mut writer, version)?;
    Ok(writer.buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    use taffrail_protocol::record_batch::Batches;

    const KAFKA: &[u8] = include_bytes!("testdata/kafka-4.3-consumer-offsets.log");

    /// The records that Kafka wrote: key and value.
    fn kafka_records() -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = Vec::new();
        for batch in Batches::new(KAFKA) {
            let records = batch.unwrap().records(1 << 20).unwrap();
            for record in records.iter().map(Result::unwrap) {
                all.push((record.key.unwrap().to_vec(), record.value.unwrap().to_vec()));
            }
        }
        all
    }

    fn decode<'a>((key, value): &'a (Vec<u8>, Vec<u8>)) -> GroupRecord<'a> {
        GroupRecord::decode(Some(key), Some(value)).unwrap().unwrap()
    }

    #[test]
    fn group_records_come_out_as_kafka_wrote_them() {
        let records = kafka_records();
        for record in &records[..2] {
            let (key, value) = decode(record).encode().unwrap();
            assert_eq!((key, value.unwrap()), *record);
        }
        let GroupRecord::Group(key, Some(value)) = decode(&records[1]) else { panic!() };
        assert_eq!((&*key.group, value.generation, value.protocol.as_deref()), ("golden", 1, Some("range")));
        let member = &value.members[0];
        assert_eq!(member.group_instance_id.as_deref(), Some("inst-1"));
        assert_eq!((member.rebalance_timeout, member.session_timeout), (300_000, 45_000));
        assert_eq!(Some(&member.member_id), value.leader.as_ref());
    }

    #[test]
    fn offsets_that_kafka_wrote_in_the_flexible_version_are_read() {
        let records = kafka_records();
        let GroupRecord::Offset(key, Some(value)) = decode(&records[2]) else { panic!() };
        assert_eq!((&*key.group, &*key.topic, key.partition), ("golden", "t", 1));
        assert_eq!((value.offset, value.leader_epoch, &*value.metadata), (3, 0, ""));
        assert_eq!((value.commit_timestamp, value.expire_timestamp), (1_795_250_862_372, -1));
        assert_ne!(value.topic_id, Uuid::default());
    }

    #[test]
    fn offsets_are_written_in_the_version_that_all_kafkas_read() {
        let value = OffsetCommitValue {
            offset: 3,
            leader_epoch: 2,
            metadata: "m".into(),
            commit_timestamp: 5,
            ..OffsetCommitValue::default()
        };
        let key = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 1 };
        let (key_bytes, bytes) = GroupRecord::Offset(key.clone(), Some(value.clone())).encode().unwrap();
        assert_eq!(key_bytes, b"\0\x01\0\x01g\0\x01t\0\0\0\x01");
        assert_eq!(bytes.unwrap(), b"\0\x03\0\0\0\0\0\0\0\x03\0\0\0\x02\0\x01m\0\0\0\0\0\0\0\x05");
        let expiring = OffsetCommitValue { expire_timestamp: 9, ..value };
        let (_, bytes) = GroupRecord::Offset(key, Some(expiring)).encode().unwrap();
        let expected = b"\0\x01\0\0\0\0\0\0\0\x03\0\x01m\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x09";
        assert_eq!(bytes.unwrap(), expected);
    }

    #[test]
    fn every_version_of_a_group_is_read() {
        let value = GroupMetadataValue {
            protocol_type: "consumer".into(),
            generation: 4,
            protocol: Some("range".into()),
            leader: Some("m".into()),
            current_state_timestamp: 7,
            members: vec![MemberMetadata {
                member_id: "m".into(),
                group_instance_id: Some("i".into()),
                client_id: "c".into(),
                client_host: "/h".into(),
                rebalance_timeout: 10,
                session_timeout: 20,
                subscription: Cow::Borrowed(b"s"),
                assignment: Cow::Borrowed(b"a"),
            }],
        };
        for version in 0..=4 {
            let bytes = write(&value, version).unwrap();
            let Some(GroupRecord::Group(_, Some(read))) =
                GroupRecord::decode(Some(b"\0\x02\0\x01g"), Some(&bytes)).unwrap()
            else {
                panic!()
            };
            let mut expected = value.clone();
            let member = &mut expected.members[0];
            if version < 3 {
                member.group_instance_id = None;
            }
            if version < 2 {
                expected.current_state_timestamp = -1;
            }
            if version < 1 {
                expected.members[0].rebalance_timeout = -1;
            }
            assert_eq!(read, expected, "version {version}");
        }
    }

    #[test]
    fn tombstones_have_no_value_and_unknown_records_are_none() {
        let (key, value) = GroupRecord::group_tombstone("g").encode().unwrap();
        assert_eq!((&key[..], value), (&b"\0\x02\0\x01g"[..], None));
        assert_eq!(GroupRecord::decode(Some(&key), None), Ok(Some(GroupRecord::group_tombstone("g"))));
        assert_eq!(GroupRecord::decode(Some(b"\0\x03\0\x01g"), None), Ok(None));
        assert_eq!(GroupRecord::decode(Some(&key), Some(b"\0\x05")), Ok(None));
        assert_eq!(GroupRecord::decode(None, None), Err(ReadRecordError::NoKey));
        assert_eq!(GroupRecord::decode(Some(b"\0"), None), Err(ReadRecordError::NoVersion("key")));
        assert!(matches!(
            GroupRecord::decode(Some(b"\0\x02\0\x05g"), None),
            Err(ReadRecordError::Malformed { part: "key", version: 2, .. })
        ));
    }

    #[test]
    fn strings_that_the_format_cannot_hold_are_refused() {
        let long = "x".repeat(40_000);
        assert!(GroupRecord::group_tombstone(&long).encode().is_err());
    }
}
