//! Where log lines go and how they look: one line per event on standard error, time first, in UTC.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::cli::LogFilter;

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// Something in this process has set up logging before.
    #[error("logging is set up already")]
    Again(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up logging for the whole process. Colours are used only on a terminal, and not if `NO_COLOR` is set.
///
/// # Errors
/// [`LoggingError::Again`].
pub fn init(filter: &LogFilter) -> Result<(), LoggingError> {
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .compact()
        .with_target(false)
        .with_ansi(colours)
        .with_writer(stderr)
        .with_env_filter(EnvFilter::new(filter.as_str()))
        .finish()
        .try_init()?;
    Ok(())
}
