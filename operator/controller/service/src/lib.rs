//! The controller service.
