//! Derive macros for Kafka messages.
