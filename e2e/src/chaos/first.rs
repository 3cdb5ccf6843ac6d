//! The first record of a cluster that may still be on its way.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use serde::Serialize;

/// Where to write.
#[derive(clap::Args)]
pub struct Options {
    /// The brokers, as HOST:PORT,…
    #[arg(long)]
    bootstrap: String,
    /// The topic. It has a partition 0, sooner or later.
    #[arg(long)]
    topic: String,
    /// Seconds after which nothing is waited for any more.
    #[arg(long, default_value_t = 60)]
    limit_seconds: u64,
}

#[derive(Serialize)]
struct Answer {
    /// From the start to the acknowledgement.
    acknowledged_ms: u128,
    /// From the start until it was read back.
    read_ms: u128,
}

/// Hands the offset of what was delivered on.
struct Told(std::sync::mpsc::SyncSender<i64>);

impl ClientContext for Told {}

impl ProducerContext for Told {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Ok(message) = result {
            let _ = self.0.try_send(message.offset());
        }
    }
}

/// Writes and reads the record.
pub fn run(options: &Options) -> Result<()> {
    let begun = Instant::now();
    let limit = Duration::from_secs(options.limit_seconds);
    let limit_ms = limit.as_millis().to_string();
    let eager = [
        ("acks", "all"),
        ("linger.ms", "0"),
        ("message.timeout.ms", limit_ms.as_str()),
        ("reconnect.backoff.ms", "10"),
        ("reconnect.backoff.max.ms", "100"),
        ("retry.backoff.ms", "10"),
        ("retry.backoff.max.ms", "100"),
        ("topic.metadata.refresh.fast.interval.ms", "10"),
        // A topic that is not there yet is no error before the limit.
        ("topic.metadata.propagation.max.ms", limit_ms.as_str()),
    ];
    let (sender, offsets) = std::sync::mpsc::sync_channel(1);
    let producer: ThreadedProducer<Told> = crate::client(&options.bootstrap, &eager)
        .create_with_context(Told(sender))
        .context("making a producer")?;
    let record = BaseRecord::<(), [u8]>::to(&options.topic).partition(0).payload(b"first");
    producer.send(record).map_err(|(error, _)| error).context("sending the record")?;
    let offset = offsets.recv_timeout(limit);
    let offset = offset.with_context(|| format!("nothing was acknowledged within {limit:?}"))?;
    let acknowledged_ms = begun.elapsed().as_millis();
    drop(producer.flush(Duration::from_secs(1)));
    read(options, offset, begun + limit)?;
    crate::answer(&Answer { acknowledged_ms, read_ms: begun.elapsed().as_millis() })
}

fn read(options: &Options, offset: i64, deadline: Instant) -> Result<()> {
    let consumer: BaseConsumer =
        crate::client(&options.bootstrap, &[("group.id", "first"), ("enable.auto.commit", "false")])
            .create()
            .context("making a consumer")?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(&options.topic, 0, Offset::Offset(offset))?;
    consumer.assign(&assignment)?;
    while Instant::now() < deadline {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            if message.payload() == Some(b"first") {
                return Ok(());
            }
            bail!("offset {offset} holds another record");
        }
    }
    bail!("the record at offset {offset} could not be read in time")
}
