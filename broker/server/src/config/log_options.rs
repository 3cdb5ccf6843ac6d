//! The command line of `taffrail log`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Kafka's default of `retention.ms`: seven days.
const RETENTION_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// What the subcommands that only read say about a running broker.
macro_rules! only_read {
    () => {
        "Nothing is ever written, and no lock is taken: it works beside a running broker as well as on a directory that \
nobody uses. Data directories of Apache Kafka are read too."
    };
}

/// What `DIR` may be.
macro_rules! directories {
    () => {
        "DIR is a data directory, the directory of one partition in it (greetings-0), or the directory of taffrail dev."
    };
}

/// What is asked of `taffrail log`.
#[derive(Debug, Clone, Subcommand)]
pub enum LogCommand {
    /// Check that logs are sound
    #[command(
        long_about = concat!(
            "\
Check that logs are sound: the header and the checksum of every batch; that offsets rise and segments follow one another; \
that each entry of an index is true of its batch; transaction indexes, producer snapshots and leader epochs against the \
batches; checkpoints against the ends of the logs. With --deep also every record.

Damage is told with file, position and offsets, one line each. What is no damage and worth knowing is a note: files that \
were left over, a torn end that the next start cuts off, messages from before Apache Kafka 0.11 (which are not read). \
Where a broker is running, the ends of its logs are in motion, and what that explains is no damage.

",
            directories!(),
            " ",
            only_read!()
        ),
        after_long_help = "\
Examples:
  Everything of a broker, with a thread for each core:
      taffrail log verify /var/lib/taffrail

  One partition, every record of it, for a program:
      taffrail log verify --deep --json /var/lib/taffrail/greetings-0 | jq 'select(.type == \"damage\")'

What to do about damage: a replica that is in sync elsewhere is the cure. Stop the broker, move the partition's directory \
away, and start it again: it fetches the partition from its leader. Where indexes alone are damaged, \
taffrail log rebuild-indexes mends them.

Exit status: 0 if all is sound, 1 if something is damaged or cannot be read, 2 for options that are not valid."
    )]
    Verify(VerifyOptions),
    /// List the segments of logs, and what retention would delete of them
    #[command(
        long_about = concat!(
            "\
List the segments of logs, a row each: base offset, the offset behind the last record, bytes, batches, records, first and \
largest timestamp, how old the youngest record is, codecs, whether compaction went over it (clean) or not (dirty), and why \
retention would delete it now (age or size) under the values given, which default to Kafka's own.

",
            directories!(),
            " ",
            only_read!()
        ),
        after_long_help = "\
Examples:
  What a day of retention would leave:
      taffrail log segments --retention-ms 86400000 /var/lib/taffrail/greetings-0

  The largest segments of a broker:
      taffrail log segments --json /var/lib/taffrail | jq -s 'sort_by(-.bytes)[:10]'

Exit status: 0 if all could be listed, 1 if something could not be read, 2 for options that are not valid."
    )]
    Segments(SegmentsOptions),
    /// Make the indexes of logs anew from their batches
    #[command(
        long_about = concat!(
            "\
Make .index, .timeindex and .txnindex anew from the batches, and say what has changed. Each file is put in place whole, so \
that whenever this is cut short every index is either the old or the new one. Batches themselves are never changed; where \
one is damaged, no index leads to it any more.

A broker that uses the directory has to be stopped first. A start after a crash does the same for what was not synced, \
and does not look at the rest.

",
            directories!()
        ),
        after_long_help = "\
Examples:
  taffrail log rebuild-indexes /var/lib/taffrail/greetings-0

Exit status: 0 if all indexes are in order now, 1 if something could not be read or written or is damaged, 2 for options that \
are not valid."
    )]
    RebuildIndexes(RebuildOptions),
}

/// What all of them take.
#[derive(Debug, Clone, Args)]
pub struct LogsOptions {
    /// Data directories, or directories of partitions
    #[arg(value_name = "DIR", required = true)]
    pub dirs: Vec<PathBuf>,

    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,

    /// How many partitions are read at once [default: as many as there are cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
}

/// The options of `taffrail log verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyOptions {
    /// What to read.
    #[command(flatten)]
    pub logs: LogsOptions,

    /// Walk every record too, and decompress batches for it
    #[arg(long)]
    pub deep: bool,
}

/// The options of `taffrail log segments`.
#[derive(Debug, Clone, Args)]
pub struct SegmentsOptions {
    /// What to read.
    #[command(flatten)]
    pub logs: LogsOptions,

    /// For how long records are kept; -1 for ever
    #[arg(long, value_name = "MS", default_value_t = RETENTION_MS, allow_negative_numbers = true,
          value_parser = clap::value_parser!(i64).range(-1..))]
    pub retention_ms: i64,

    /// How much of a partition is kept; -1 for all
    #[arg(long, value_name = "BYTES", default_value_t = -1, allow_negative_numbers = true,
          value_parser = clap::value_parser!(i64).range(-1..))]
    pub retention_bytes: i64,
}

/// The options of `taffrail log rebuild-indexes`.
#[derive(Debug, Clone, Args)]
pub struct RebuildOptions {
    /// What to mend.
    #[command(flatten)]
    pub logs: LogsOptions,

    /// How many bytes of batches lie at least between two entries: index.interval.bytes of the topic
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    pub index_interval_bytes: u32,
}
