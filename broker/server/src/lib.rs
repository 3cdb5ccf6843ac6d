//! The Taffrail broker: what stands between sockets, logs, groups and the controller.
//!
//! Pure, driven by whoever has a clock and a network: [`group`], [`fetch_session`], and the partitions of
//! [`taffrail_replication`]. Everything else is the shell around them: [`net`] carries bytes, [`dispatch`] and [`handler`] turn requests into steps and answers,
//! [`updates`] follows the controller, [`lifecycle`] starts and stops a broker, and [`dev`] a whole cluster.

pub mod admin;
pub mod advertised;
pub mod auto_create;
pub mod boot;
pub mod broker;
pub mod call;
pub mod cleaner;
pub mod clock;
pub mod cluster;
pub mod cluster_view;
pub mod config;
pub mod config_changes;
pub mod controller_address;
pub mod controller_link;
pub mod controller_session;
pub mod data_dirs;
pub mod dev;
pub mod disk_watch;
pub mod dispatch;
pub mod dynamic_config;
pub mod fetch_session;
pub mod follower_session;
pub mod group;
pub mod group_call;
pub mod groups;
pub mod handler;
pub mod lifecycle;
pub mod log_dir_moves;
pub mod log_dirs;
pub mod log_tools;
pub mod logging;
pub mod maintenance;
pub mod metrics;
pub mod net;
pub mod node;
pub mod peer;
pub mod producer_ids;
pub mod random;
pub mod recovery;
pub mod replicas;
pub mod replication;
pub mod request;
pub mod retention;
pub mod run_broker;
pub mod run_controller;
pub mod session_events;
pub mod topic_changes;
pub mod updates;
pub mod waiter;
