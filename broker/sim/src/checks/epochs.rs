//! Epochs only grow: in the store, and in what each replica acts on (rules 2, 31).

use std::collections::BTreeMap;

use taffrail_controller::model::Object;
use taffrail_protocol::Uuid;

use super::{Check, Tp, Violation, name};

/// The highest epochs that each disk acted under.
#[derive(Debug, Default)]
pub struct Epochs {
    /// By broker and disk (a power cut or a new disk makes another one of it).
    acted: BTreeMap<(i32, u64, Tp), (u64, i32)>,
    /// By broker and process: (creation, partition_epoch) of the record held.
    held: BTreeMap<(i32, u64, Tp), (u64, i32)>,
}

impl Epochs {
    /// An object was swapped for another.
    pub fn swapped(&self, before: Option<&Object>, after: &Object) -> Check {
        let (Some(Object::Partitions(before)), Object::Partitions(after)) = (before, after) else {
            return Ok(());
        };
        for topic in &after.topics {
            for record in &topic.partitions {
                let was = before.topic(topic.topic_id).and_then(|topic| topic.partition(record.partition));
                let Some(was) = was.filter(|was| *was != &**record) else { continue };
                record.is_sound().and_then(|()| record.follows(was)).map_err(|rule| {
                    let tp = name((topic.topic_id, record.partition));
                    Violation::new("epochs", format!("{tp}: {was:?} became {record:?}: {rule}"))
                })?;
            }
        }
        Ok(())
    }

    /// A process holds a record with this (creation, partition epoch).
    pub fn holds(&mut self, broker: i32, run: u64, tp: Tp, epochs: (u64, i32)) -> Check {
        grows(&mut self.held, (broker, run, tp), epochs, "holds a record with (creation, partition epoch)")
    }

    /// A broker heard that a topic was deleted, and forgets it.
    pub fn forget(&mut self, broker: i32, topic_id: Uuid) {
        self.acted.retain(|(id, _, tp), _| *id != broker || tp.0 != topic_id);
    }

    /// A broker leads, truncates or fetches under (creation, leader epoch).
    pub fn acts(&mut self, broker: i32, disk: u64, tp: Tp, epochs: (u64, i32)) -> Check {
        grows(&mut self.acted, (broker, disk, tp), epochs, "acts under (creation, leader epoch)")
    }
}

fn grows(
    known: &mut BTreeMap<(i32, u64, Tp), (u64, i32)>,
    key: (i32, u64, Tp),
    epochs: (u64, i32),
    what: &str,
) -> Check {
    let highest = known.entry(key).or_insert(epochs);
    if epochs < *highest {
        let (broker, _, tp) = key;
        let text = format!("broker {broker} {what} {epochs:?} of {}, after {highest:?}", name(tp));
        return Err(Violation::new("epochs", text));
    }
    *highest = epochs;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_that_fall_are_found_out_on_the_same_disk_only() {
        let tp = (Uuid([1; 16]), 0);
        let mut epochs = Epochs::default();
        epochs.acts(1, 1, tp, (5, 3)).unwrap();
        epochs.acts(1, 1, tp, (5, 3)).unwrap();
        assert!(epochs.acts(1, 1, tp, (5, 2)).is_err());
        epochs.acts(1, 2, tp, (5, 2)).unwrap();
        epochs.holds(1, 1, tp, (5, 2)).unwrap();
        assert!(epochs.holds(1, 1, tp, (4, 9)).is_err());
    }
}
