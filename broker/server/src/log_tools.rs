//! `taffrail log`: what [`taffrail_log::examine`] tells, spread over threads and printed for people or for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use serde::Serialize;
use taffrail_log::examine::rebuild::{self, RebuildError};
use taffrail_log::examine::segments::{self, Cleaned, DeletedBy, SegmentRow};
use taffrail_log::examine::verify::{self, Verified};
use taffrail_log::examine::{ExamineError, Observation, Place, discover};
use taffrail_log::retention::Retention;
use thiserror::Error;

use crate::config::log_options::{LogCommand, LogsOptions, RebuildOptions, SegmentsOptions, VerifyOptions};

/// The exit status for what is damaged or cannot be read.
const DAMAGED: u8 = 1;
/// The exit status for directories that are none.
const USAGE: u8 = 2;

/// Why a command ended early.
#[derive(Debug, Error)]
pub enum ToolError {
    /// What was named is no directory of logs.
    #[error(transparent)]
    Examine(#[from] ExamineError),
    /// Indexes cannot be made anew.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl ToolError {
    /// The exit status that it ends with.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Examine(ExamineError::NoLogs { .. }) => USAGE,
            _ => DAMAGED,
        }
    }
}

/// Does what was asked, prints it to `out`, and returns whether everything is in order.
///
/// # Errors
/// When what was named holds no logs, or the output cannot be written.
pub fn run(command: &LogCommand, now_ms: i64, out: &mut dyn Write) -> Result<bool, ToolError> {
    match command {
        LogCommand::Verify(options) => verify(options, out),
        LogCommand::Segments(options) => list_segments(options, now_ms, out),
        LogCommand::RebuildIndexes(options) => rebuild_indexes(options, out),
    }
}

/// What there is to work on.
struct Work {
    places: Vec<Place>,
    observations: Vec<Observation>,
    damaged: u64,
}

fn find(options: &LogsOptions) -> Result<Work, ToolError> {
    let mut work = Work { places: Vec::new(), observations: Vec::new(), damaged: 0 };
    for dir in &options.dirs {
        let examined = discover(dir)?;
        work.places.extend(examined.places);
        work.observations.extend(examined.observations);
        work.damaged += examined.damaged;
    }
    Ok(work)
}

fn verify(options: &VerifyOptions, out: &mut dyn Write) -> Result<bool, ToolError> {
    let work = find(&options.logs)?;
    let mut output = Output { out, json: options.logs.json };
    let mut total = Total { logs: work.places.len() as u64, damaged: work.damaged, ..Total::default() };
    for observation in &work.observations {
        output.line(observation, || observation.to_string())?;
    }
    let verify_options = verify::VerifyOptions { deep: options.deep, ..verify::VerifyOptions::default() };
    in_order(
        &work.places,
        options.logs.threads,
        |place| verify::verify(place, &verify_options),
        |place, verified| {
            for observation in &verified.observations {
                output.line(observation, || observation.to_string())?;
            }
            total.add(&verified);
            output.log(place, &verified)
        },
    )?;
    output.line(&total, || total.sentence())?;
    Ok(total.damaged == 0)
}

fn list_segments(options: &SegmentsOptions, now_ms: i64, out: &mut dyn Write) -> Result<bool, ToolError> {
    let work = find(&options.logs)?;
    let retention = Retention { ms: options.retention_ms, bytes: options.retention_bytes };
    let (mut readable, mut output) = (true, Output { out, json: options.logs.json });
    in_order(
        &work.places,
        options.logs.threads,
        |place| segments::list(place, retention, now_ms),
        |place, rows| {
            let rows = match rows {
                Ok(rows) => rows,
                Err(source) => {
                    readable = false;
                    let error = format!("cannot read {}: {source}", place.dir.display());
                    return output.line(&Failed { error: &error }, || error.clone());
                }
            };
            readable &= rows.iter().all(|row| row.unreadable.is_none());
            if output.json {
                let partition = partition_name(place);
                return rows.iter().try_for_each(|row| {
                    let line = SegmentLine { dir: &place.dir, partition: partition.clone(), row };
                    output.line(&line, String::new)
                });
            }
            Ok(output.out.write_all(table(place, &rows, now_ms).as_bytes())?)
        },
    )?;
    Ok(readable)
}

fn rebuild_indexes(options: &RebuildOptions, out: &mut dyn Write) -> Result<bool, ToolError> {
    let work = find(&options.logs)?;
    let dirs: std::collections::BTreeSet<&Path> =
        work.places.iter().filter_map(|place| place.data_dir.as_deref()).collect();
    // All of them before anything is changed, and until everything is done.
    let locks = dirs.into_iter().map(|dir| rebuild::lock(Some(dir)));
    let _locks = locks.collect::<Result<Vec<_>, _>>()?;
    let (mut sound, mut output) = (true, Output { out, json: options.logs.json });
    let (mut files, mut changed) = (0_u64, 0_u64);
    in_order(
        &work.places,
        options.logs.threads,
        |place| rebuild::rebuild(place, options.index_interval_bytes),
        |_, result| {
            let (rebuilt, observations) = match result {
                Ok(result) => result,
                Err(error) => {
                    sound = false;
                    let error = error.to_string();
                    return output.line(&Failed { error: &error }, || error.clone());
                }
            };
            for file in &rebuilt {
                files += 1;
                changed += u64::from(file.changed_from.is_some());
                if options.logs.json || file.changed_from.is_some() {
                    output.line(file, || file.to_string())?;
                }
            }
            for observation in &observations {
                sound &= observation.severity == taffrail_log::examine::Severity::Note;
                output.line(observation, || observation.to_string())?;
            }
            Ok(())
        },
    )?;
    let summary = RebuildSummary { files, changed };
    output.line(&summary, || format!("{files} indexes were looked at, and {changed} of them made anew"))?;
    Ok(sound)
}

/// Works on all places with some threads, and gives the results in the order of the places.
fn in_order<T: Send>(
    places: &[Place],
    threads: Option<u16>,
    work: impl Fn(&Place) -> T + Sync,
    mut emit: impl FnMut(&Place, T) -> Result<(), ToolError>,
) -> Result<(), ToolError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.map_or(cores, usize::from).clamp(1, places.len().max(1));
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        // A few results each, so that nobody runs far ahead of what is printed.
        let (sender, results) = mpsc::sync_channel::<(usize, T)>(threads * 4);
        for _ in 0..threads {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(place) = places.get(index) else { break };
                    if sender.send((index, work(place))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let (mut early, mut due) = (BTreeMap::new(), 0);
        for (index, result) in results {
            early.insert(index, result);
            while let Some(result) = early.remove(&due) {
                emit(&places[due], result)?;
                due += 1;
            }
        }
        Ok(())
    })
}

struct Output<'a> {
    out: &'a mut dyn Write,
    json: bool,
}

impl Output<'_> {
    /// One line: the value as JSON, or the text for people.
    fn line(&mut self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), ToolError> {
        if self.json {
            serde_json::to_writer(&mut *self.out, value).map_err(io::Error::from)?;
            self.out.write_all(b"\n")?;
        } else {
            writeln!(self.out, "{}", text())?;
        }
        Ok(())
    }

    /// What there is to say of a log besides its damages: for people only if it has some.
    fn log(&mut self, place: &Place, verified: &Verified) -> Result<(), ToolError> {
        if !self.json && verified.damaged == 0 {
            return Ok(());
        }
        let line = LogLine {
            dir: &place.dir,
            partition: partition_name(place),
            base_offset: verified.base_offset,
            log_end_offset: verified.log_end_offset,
            segments: verified.segments,
            batches: verified.batches,
            records: verified.records,
            bytes: verified.bytes,
            damaged: verified.damaged,
        };
        self.line(&line, || {
            let LogLine { dir, base_offset, log_end_offset, segments, damaged, .. } = &line;
            let dir = dir.display();
            let (places, segments) = (many(*damaged, "damaged place"), many(*segments, "segment"));
            format!("{dir}: {places}; offsets {base_offset} to {log_end_offset} in {segments}")
        })
    }
}

fn partition_name(place: &Place) -> Option<String> {
    place.partition.as_ref().map(ToString::to_string)
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "log")]
struct LogLine<'a> {
    dir: &'a PathBuf,
    partition: Option<String>,
    base_offset: i64,
    log_end_offset: i64,
    segments: u64,
    batches: u64,
    records: u64,
    bytes: u64,
    damaged: u64,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "segment")]
struct SegmentLine<'a> {
    dir: &'a PathBuf,
    partition: Option<String>,
    #[serde(flatten)]
    row: &'a SegmentRow,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "failed")]
struct Failed<'a> {
    error: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "summary")]
struct RebuildSummary {
    files: u64,
    changed: u64,
}

/// What was verified in all.
#[derive(Debug, Default, Serialize)]
#[serde(tag = "type", rename = "summary")]
struct Total {
    logs: u64,
    damaged_logs: u64,
    segments: u64,
    batches: u64,
    records: u64,
    bytes: u64,
    damaged: u64,
}

impl Total {
    fn add(&mut self, verified: &Verified) {
        self.damaged_logs += u64::from(verified.damaged > 0);
        self.segments += verified.segments;
        self.batches += verified.batches;
        self.records += verified.records;
        self.bytes += verified.bytes;
        self.damaged += verified.damaged;
    }

    fn sentence(&self) -> String {
        let verdict = match self.damaged {
            0 => "no damage was found".to_owned(),
            damaged if self.damaged_logs == 0 => many(damaged, "damaged place"),
            damaged => format!("{} in {}", many(damaged, "damaged place"), many(self.damaged_logs, "log")),
        };
        format!(
            "{verdict}; looked at {}, {}, {}, {}, {}",
            many(self.logs, "log"),
            many(self.segments, "segment"),
            many(self.batches, "sound batch").replace("batchs", "batches"),
            many(self.records, "record"),
            many(self.bytes, "byte"),
        )
    }
}

fn many(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The segments of a log as a table for people.
fn table(place: &Place, rows: &[SegmentRow], now_ms: i64) -> String {
    let mut cells = vec![
        [
            "base offset",
            "end offset",
            "bytes",
            "batches",
            "records",
            "first timestamp",
            "largest timestamp",
            "age",
            "compression",
            "state",
            "retention",
        ]
        .map(str::to_owned),
    ];
    cells.extend(rows.iter().map(|row| {
        let codecs: Vec<&str> = row.compression.iter().copied().collect();
        let mut state = vec![row.cleaned.map_or("", Cleaned::name)];
        state.extend(row.active.then_some("active"));
        state.extend(row.unreadable.as_ref().map(|_| "damaged"));
        state.retain(|word| !word.is_empty());
        [
            row.base_offset.to_string(),
            row.end_offset.to_string(),
            row.bytes.to_string(),
            row.batches.to_string(),
            row.records.to_string(),
            taffrail_log::dump::When(row.first_timestamp).to_string(),
            taffrail_log::dump::When(row.max_timestamp).to_string(),
            if row.max_timestamp < 0 { String::new() } else { age(now_ms.saturating_sub(row.max_timestamp)) },
            codecs.join(","),
            state.join(","),
            row.retention_deletes.map_or("kept", DeletedBy::name).to_owned(),
        ]
    }));
    let mut text = format!("{}\n", place.dir.display());
    let widths: Vec<usize> = (0..cells[0].len())
        .map(|column| cells.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    for row in &cells {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Numbers to the right, the rest to the left. Writing into a string cannot fail.
            let _ =
                if index < 5 { write!(line, "  {cell:>width$}") } else { write!(line, "  {cell:<width$}") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for row in rows {
        if let Some(why) = &row.unreadable {
            let _ = writeln!(text, "  the segment {} was read no further: {why}", row.base_offset);
        }
    }
    text
}

/// A span of time in the two units that say most. Milliseconds.
fn age(ms: i64) -> String {
    let (sign, s) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs() / 1000);
    let (d, h, m) = (s / 86_400, s / 3600 % 24, s / 60 % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{sign}{s}s"),
        (0, 0, m) => format!("{sign}{m}m{}s", s % 60),
        (0, h, m) => format!("{sign}{h}h{m}m"),
        (d, h, _) => format!("{sign}{d}d{h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_have_two_units() {
        for (ms, text) in [
            (999, "0s"),
            (59_000, "59s"),
            (61_000, "1m1s"),
            (7_260_000, "2h1m"),
            (90_000_000, "1d1h"),
            (-61_000, "-1m1s"),
        ] {
            assert_eq!(age(ms), text);
        }
    }

    #[test]
    fn results_come_in_the_order_of_the_places_whatever_the_threads() {
        let place = |index: usize| Place {
            dir: PathBuf::from(index.to_string()),
            data_dir: None,
            partition: None,
            around: Default::default(),
        };
        let places: Vec<Place> = (0..200).map(place).collect();
        for threads in [None, Some(1), Some(7)] {
            let mut given = Vec::new();
            in_order(
                &places,
                threads,
                |place| place.dir.clone(),
                |place, dir| {
                    assert_eq!(place.dir, dir);
                    given.push(dir);
                    Ok(())
                },
            )
            .unwrap();
            assert_eq!(given.len(), 200);
            assert!(given.iter().zip(&places).all(|(given, place)| *given == place.dir));
        }
    }
}
