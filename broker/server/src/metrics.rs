//! Counters and histograms of the broker, and their text form for Prometheus.
