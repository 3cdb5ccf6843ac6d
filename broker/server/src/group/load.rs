//! Reading the partition back at takeover.

use std::sync::Arc;

use taffrail_protocol::record_batch::Batches;

use super::classic::ClassicGroup;
use super::offsets::CommittedOffset;
use super::records::GroupRecord;
use super::shard::{Group, GroupShard};

impl<T> GroupShard<T> {
    pub(super) fn load(&mut self, batches: &[u8]) {
        if !self.is_loading() {
            return;
        }
        if let Err(reason) = self.replay(batches) {
            self.fail_load(reason);
        }
    }

    fn replay(&mut self, batches: &[u8]) -> Result<(), String> {
        for batch in Batches::new(batches) {
            let batch = batch.map_err(|error| format!("A batch cannot be read: {error}."))?;
            let header = batch.header();
            let at = |error: &dyn std::fmt::Display| {
                format!("The batch at offset {} cannot be read: {error}.", header.base_offset)
            };
            // Offsets in transactions count once their marker is seen; until transactions are served they do not.
            if header.is_control() || header.is_transactional() {
                self.skipped_records += u64::try_from(header.record_count).unwrap_or(0);
                continue;
            }
            batch.verify_crc().map_err(|error| at(&error))?;
            let limit = self.out.config.max_loaded_batch_bytes;
            let records = batch.records(limit).map_err(|error| at(&error))?;
            for record in records.iter() {
                let record = record.map_err(|error| at(&error))?;
                let decoded = GroupRecord::decode(record.key, record.value)
                    .map_err(|error| format!("The record at offset {}: {error}.", record.offset))?;
                match decoded {
                    Some(decoded) => self.replay_record(decoded),
                    None => self.skipped_records += 1,
                }
            }
        }
        Ok(())
    }

    fn replay_record(&mut self, record: GroupRecord<'_>) {
        match record {
            GroupRecord::Offset(key, Some(value)) => {
                let group_id = Arc::from(&*key.group);
                let topic = Arc::from(&*key.topic);
                self.offsets.put(&group_id, (topic, key.partition), CommittedOffset::loaded(&value));
                self.adopt_orphans(&group_id);
            }
            GroupRecord::Offset(key, None) => self.offsets.remove(&key.group, &key.topic, key.partition),
            GroupRecord::Group(key, Some(value)) => {
                let group_id: Arc<str> = Arc::from(&*key.group);
                let group = ClassicGroup::loaded(group_id.clone(), value, self.out.now_ms);
                self.groups.insert(group_id, Group::Classic(group));
            }
            GroupRecord::Group(key, None) => {
                self.groups.remove(&*key.group);
            }
        }
    }

    /// All is read and committed: the members' sessions begin.
    pub(super) fn start_groups(&mut self) {
        let orphans: Vec<_> = self.offsets.group_ids().cloned().collect();
        for group_id in orphans {
            self.adopt_orphans(&group_id);
        }
        let max_size = usize::try_from(self.out.config.max_size).unwrap_or(0);
        for Group::Classic(group) in self.groups.values_mut() {
            for member in group.members() {
                self.out.expect_member(&group.id, &member.member_id, member.session_timeout_ms);
            }
            // The size was lowered: members rejoin, and the last ones find no room.
            if group.members().len() > max_size {
                group.prepare_rebalance(&mut self.out);
            }
        }
        self.schedule_retention();
    }
}
