//! Broker configuration: Kafka keys with Kafka defaults, and the options of the command line.
