//! Where lines go, as text or as JSON.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

use super::{DumpReport, Failure};

pub(super) struct Output<'a> {
    out: &'a mut dyn Write,
    json: bool,
    report: DumpReport,
}

/// A place that is damaged.
#[derive(Serialize)]
#[serde(tag = "type", rename = "damage")]
struct Damage<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    reason: &'a str,
}

/// Something worth knowing that is no damage.
#[derive(Serialize)]
#[serde(tag = "type", rename = "note")]
struct Note<'a> {
    text: &'a str,
}

impl Display for Damage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.position {
            Some(position) => write!(f, "DAMAGED at position {position}: {}", self.reason),
            None => write!(f, "DAMAGED: {}", self.reason),
        }
    }
}

impl Display for Note<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "note: {}", self.text)
    }
}

impl<'a> Output<'a> {
    pub fn new(out: &'a mut dyn Write, json: bool) -> Self {
        Self { out, json, report: DumpReport::default() }
    }

    /// Prints a part of the file that is counted.
    pub fn entry(&mut self, entry: &(impl Serialize + Display)) -> Result<(), Failure> {
        self.report.entries += 1;
        self.line(entry)
    }

    /// Prints a line that is not counted.
    pub fn line(&mut self, line: &(impl Serialize + Display)) -> Result<(), Failure> {
        let written = if self.json {
            serde_json::to_writer(&mut *self.out, line).map_err(io::Error::from)
        } else {
            write!(self.out, "{line}")
        };
        written.and_then(|()| self.out.write_all(b"\n")).map_err(Failure::Write)
    }

    /// Prints and counts a damaged place.
    pub fn damage(&mut self, position: Option<u64>, reason: &str) -> Result<(), Failure> {
        self.report.damaged += 1;
        self.line(&Damage { position, reason })
    }

    /// Counts a damaged place that the entry just printed shows itself.
    pub fn entry_is_damaged(&mut self) {
        self.report.damaged += 1;
    }

    pub fn note(&mut self, text: &str) -> Result<(), Failure> {
        self.line(&Note { text })
    }

    pub fn report(&self) -> DumpReport {
        self.report
    }
}
