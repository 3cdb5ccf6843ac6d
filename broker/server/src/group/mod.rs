//! Classic consumer groups: the coordinator as a step machine, and the records it keeps.
