//! What the controller decides on partitions, scenario by scenario, by the numbers of the rules.

#![allow(clippy::unwrap_used, missing_docs, reason = "helpers of tests are tests")]

mod administration;
mod cluster;
mod controllers;
mod directory;
mod disks;
mod elections;
mod fencing;
mod proposals;
mod sessions;
mod sizes;
mod watchers;
mod yielding;
