//! How well partitions are replicated, from the partition table when somebody scrapes.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use taffrail_control::session::FollowerLag;

use super::Metrics;
use super::text::{Kind, TextWriter};

/// The replicas at one moment, as one broker knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicationSample {
    /// The partitions that this broker leads and that have further replicas.
    pub led: Vec<LedSample>,
    /// Partitions of the cluster that nobody leads who is alive.
    pub offline_partitions: u64,
    /// Replicas of this broker that cannot be written: their logs are missing or failed.
    pub offline_replicas: u64,
}

/// A partition that this broker leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedSample {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// Replicas in sync, the leader among them.
    pub in_sync: usize,
    /// Not all replicas are in sync.
    pub under_replicated: bool,
    /// Too few are in sync for anything to be committed.
    pub under_min_isr: bool,
    /// One less would be too few.
    pub at_min_isr: bool,
    /// How far each follower is behind.
    pub followers: Vec<FollowerLag>,
}

/// A count over the led partitions: its name, its help, and what is counted.
type LedCount = (&'static str, &'static str, fn(&LedSample) -> bool);

/// A family of the followers' lags: its name, its help, and the number it shows of one.
type LagFamily = (&'static str, &'static str, fn(&FollowerLag) -> f64);

impl Metrics {
    pub(super) fn render_replication(&self, text: &mut TextWriter, sample: &ReplicationSample) {
        const COUNTS: [LedCount; 3] = [
            (
                "taffrail_under_replicated_partitions",
                "Partitions led here of which not all replicas are in sync.",
                |led| led.under_replicated,
            ),
            (
                "taffrail_under_min_isr_partitions",
                "Partitions led here with fewer in-sync replicas than min.insync.replicas: acks=all is refused.",
                |led| led.under_min_isr,
            ),
            (
                "taffrail_at_min_isr_partitions",
                "Partitions led here with just as many in-sync replicas as min.insync.replicas.",
                |led| led.at_min_isr,
            ),
        ];
        for (name, help, counts) in COUNTS {
            text.single(name, Kind::Gauge, help, sample.led.iter().filter(|led| counts(led)).count());
        }
        text.single(
            "taffrail_offline_partitions",
            Kind::Gauge,
            "Partitions of the cluster, as this broker knows it, that nobody leads.",
            sample.offline_partitions,
        );
        text.single(
            "taffrail_offline_replicas",
            Kind::Gauge,
            "Replicas here whose log is missing or takes no writes.",
            sample.offline_replicas,
        );
        for (name, help, value) in [
            (
                "taffrail_isr_shrinks_total",
                "Times that replicas fell out of sync with a leader here.",
                &self.isr_shrinks,
            ),
            (
                "taffrail_isr_expands_total",
                "Times that replicas came into sync with a leader here.",
                &self.isr_expands,
            ),
            (
                "taffrail_failed_isr_updates_total",
                "In-sync replicas proposed by leaders here that the controller did not take.",
                &self.isr_updates_failed,
            ),
            (
                "taffrail_corrupt_batches_total",
                "Batches found to be corrupt: sent by a leader, or in a log here.",
                &self.corrupt_batches,
            ),
            (
                "taffrail_corrupt_batches_mended_total",
                "Corrupt batches in a log here that were fetched anew from the leader.",
                &self.corrupt_batches_mended,
            ),
        ] {
            text.single(name, Kind::Counter, help, value.load(Relaxed));
        }
        render_led(text, &sample.led);
    }
}

fn render_led(text: &mut TextWriter, led: &[LedSample]) {
    let name = "taffrail_in_sync_replicas";
    text.family(name, Kind::Gauge, "Replicas in sync, the leader among them, by topic partition led here.");
    for led in led {
        let partition = led.partition.to_string();
        text.sample(name, &[("topic", &led.topic), ("partition", &partition)], led.in_sync);
    }
    let lags: [LagFamily; 2] = [
        (
            "taffrail_follower_lag_records",
            "Records that a follower lacks, by topic partition led here and the follower's broker id.",
            |lag| lag.records as f64,
        ),
        (
            "taffrail_follower_lag_seconds",
            "For how long a follower has not been caught up, by topic partition led here and the follower's broker id.",
            |lag| lag.ms as f64 / 1e3,
        ),
    ];
    for (name, help, value) in lags {
        text.family(name, Kind::Gauge, help);
        for led in led {
            let partition = led.partition.to_string();
            for lag in &led.followers {
                let follower = lag.broker_id.to_string();
                let labels = [
                    ("topic", &*led.topic),
                    ("partition", partition.as_str()),
                    ("follower", follower.as_str()),
                ];
                text.sample(name, &labels, value(lag));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::Metrics;
    use crate::metrics::tests::{Example, read};

    #[test]
    fn partitions_are_counted_by_how_well_they_are_replicated() {
        let metrics = Metrics::new();
        metrics.isr_changed(3, 2);
        metrics.isr_changed(2, 3);
        metrics.isr_changed(2, 3);
        metrics.isr_changed(3, 3);
        metrics.isr_update_failed();
        let samples = read(&metrics.render(&Example, true));
        let value = |series: &str| samples.get(series).copied();
        assert_eq!(value("taffrail_under_replicated_partitions"), Some(1.0));
        assert_eq!(value("taffrail_under_min_isr_partitions"), Some(0.0));
        assert_eq!(value("taffrail_at_min_isr_partitions"), Some(1.0));
        assert_eq!(value("taffrail_offline_partitions"), Some(4.0));
        assert_eq!(value("taffrail_offline_replicas"), Some(2.0));
        assert_eq!(value("taffrail_isr_shrinks_total"), Some(1.0));
        assert_eq!(value("taffrail_isr_expands_total"), Some(2.0));
        assert_eq!(value("taffrail_failed_isr_updates_total"), Some(1.0));
        assert_eq!(value("taffrail_in_sync_replicas{topic=\"orders\",partition=\"0\"}"), Some(2.0));
        let lag = |what: &str| {
            value(&format!("taffrail_follower_lag_{what}{{topic=\"orders\",partition=\"0\",follower=\"3\"}}"))
        };
        assert_eq!((lag("records"), lag("seconds")), (Some(17.0), Some(2.5)));
    }
}
