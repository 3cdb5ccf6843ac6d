//! Writes the YAML of all custom resource definitions.

fn main() {}
