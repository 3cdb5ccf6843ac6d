//! What the operator counts.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
    exponential_buckets,
};

/// What the operator counts of itself. What it knows of its clusters is told by the brokers.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Whether this operator is the active one.
    pub active: IntGauge,
    /// How often it became the active one.
    pub elections: IntCounter,
    /// LogClusters whose controllers run here.
    pub controllers: IntGauge,
    reconciles: IntCounterVec,
    reconcile_seconds: HistogramVec,
    api_requests: IntCounterVec,
    api_request_seconds: HistogramVec,
    store_write_bytes: HistogramVec,
}

impl Metrics {
    /// Counts of an operator that has just started.
    ///
    /// # Errors
    /// If two of them have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Self {
            active: IntGauge::new("taffrail_operator_active", "1 where this operator is the active one.")?,
            elections: IntCounter::new(
                "taffrail_operator_elections_total",
                "How often this operator became the active one.",
            )?,
            controllers: IntGauge::new(
                "taffrail_operator_controllers",
                "LogClusters whose controllers run in this operator.",
            )?,
            reconciles: IntCounterVec::new(
                Opts::new("taffrail_operator_reconciles_total", "Reconciles, by kind and outcome."),
                &["kind", "outcome"],
            )?,
            reconcile_seconds: HistogramVec::new(
                HistogramOpts::new(
                    "taffrail_operator_reconcile_seconds",
                    "How long reconciles took, by kind.",
                ),
                &["kind"],
            )?,
            api_requests: IntCounterVec::new(
                Opts::new(
                    "taffrail_operator_api_requests_total",
                    "Requests to the Kubernetes API, by method and by the code of the answer; 0 where there was none.",
                ),
                &["method", "code"],
            )?,
            api_request_seconds: HistogramVec::new(
                HistogramOpts::new(
                    "taffrail_operator_api_request_seconds",
                    "How long the Kubernetes API took to answer, by method.",
                ),
                &["method"],
            )?,
            store_write_bytes: HistogramVec::new(
                HistogramOpts::new(
                    "taffrail_operator_store_write_bytes",
                    "How large the objects were that controllers wrote of what they remember, by kind.",
                )
                .buckets(exponential_buckets(1024.0, 4.0, 6)?),
                &["kind"],
            )?,
            registry,
        };
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.active.clone()))?;
        registry.register(Box::new(metrics.elections.clone()))?;
        registry.register(Box::new(metrics.controllers.clone()))?;
        registry.register(Box::new(metrics.reconciles.clone()))?;
        registry.register(Box::new(metrics.reconcile_seconds.clone()))?;
        registry.register(Box::new(metrics.api_requests.clone()))?;
        registry.register(Box::new(metrics.api_request_seconds.clone()))?;
        registry.register(Box::new(metrics.store_write_bytes.clone()))?;
        Ok(metrics)
    }

    /// All of them, as Prometheus reads them.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory does not fail, and a family without samples is left out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The Kubernetes API answered with this code, or not at all, which is code 0.
    pub fn api_called(&self, method: &str, code: u16, seconds: f64) {
        self.api_requests.with_label_values(&[method, &code.to_string()]).inc();
        self.api_request_seconds.with_label_values(&[method]).observe(seconds);
    }

    /// A controller wrote an object.
    pub fn store_wrote(&self, kind: &str, bytes: usize) {
        self.store_write_bytes.with_label_values(&[kind]).observe(bytes as f64);
    }

    /// A reconcile of an object of this kind ended, well or not.
    pub fn reconciled(&self, kind: &str, well: bool, seconds: f64) {
        self.reconciles.with_label_values(&[kind, if well { "ok" } else { "error" }]).inc();
        self.reconcile_seconds.with_label_values(&[kind]).observe(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told_as_prometheus_reads_it() {
        let metrics = Metrics::new().unwrap();
        metrics.active.set(1);
        metrics.reconciled("Topic", true, 0.01);
        metrics.reconciled("Topic", false, 0.01);
        metrics.api_called("PUT", 409, 0.001);
        metrics.store_wrote("TopicSlice", 5000);
        let text = metrics.text();
        for line in [
            "taffrail_operator_active 1",
            "taffrail_operator_elections_total 0",
            "taffrail_operator_reconciles_total{kind=\"Topic\",outcome=\"error\"} 1",
            "taffrail_operator_reconcile_seconds_count{kind=\"Topic\"} 2",
            "taffrail_operator_api_requests_total{code=\"409\",method=\"PUT\"} 1",
            "taffrail_operator_store_write_bytes_bucket{kind=\"TopicSlice\",le=\"16384\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
