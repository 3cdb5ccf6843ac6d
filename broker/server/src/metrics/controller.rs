//! What a controller shows when somebody scrapes.

use std::time::SystemTime;

use taffrail_controller_service::{ControllerHandle, Summary};
use tokio::runtime::Handle;

use super::text::{Kind, TextWriter};
use super::{Scrape, process};

/// A controller's metrics: the cluster in numbers, and the process.
pub struct ControllerScrape {
    controller: ControllerHandle,
    runtime: Handle,
    started: SystemTime,
}

impl ControllerScrape {
    /// Of a controller that was started now. Called within an async runtime.
    pub fn new(controller: ControllerHandle) -> Self {
        Self { controller, runtime: Handle::current(), started: SystemTime::now() }
    }
}

impl Scrape for ControllerScrape {
    fn render(&self, ready: bool) -> String {
        // Until the store is read, there is nothing to tell of the cluster, and asking would wait for it.
        let asked = ready.then(|| self.runtime.block_on(self.controller.summary()));
        let mut text = TextWriter::default();
        text.family("taffrail_build_info", Kind::Gauge, "Always 1; the label tells the version.");
        text.sample("taffrail_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        text.single(
            "taffrail_ready",
            Kind::Gauge,
            "1 if the controller decides, 0 while it starts or stops.",
            u8::from(ready),
        );
        if let Some(summary) = asked.flatten() {
            render_summary(&mut text, &summary);
        }
        process::render(&mut text, self.started);
        text.finish()
    }
}

fn render_summary(text: &mut TextWriter, summary: &Summary) {
    let gauges = [
        ("brokers", "Brokers that are registered.", summary.brokers),
        (
            "fenced_brokers",
            "Registered brokers that lead nothing: gone, stopping or silent.",
            summary.fenced_brokers,
        ),
        ("sessions", "Brokers in session with this controller.", summary.sessions),
        ("topics", "Topics in the cluster.", summary.topics),
        ("partitions", "Partitions of all topics.", summary.partitions),
        ("offline_partitions", "Partitions without a leader.", summary.offline_partitions),
        (
            "under_replicated_partitions",
            "Partitions whose in-sync replicas are fewer than their replicas.",
            summary.under_replicated_partitions,
        ),
        (
            "under_min_isr_partitions",
            "Partitions whose in-sync replicas are fewer than acks=all needs.",
            summary.under_min_isr_partitions,
        ),
    ];
    for (name, help, value) in gauges {
        text.single(&format!("taffrail_controller_{name}"), Kind::Gauge, help, value as u64);
    }
}
