//! Errors of gRPC as sentences: their own texts name the cause last or not at all.

/// What a status says, with its cause where that says more.
pub fn say(status: &tonic::Status) -> String {
    match std::error::Error::source(status) {
        Some(cause) => chain(cause),
        None => format!("{}: {}", status.code(), status.message()),
    }
}

/// The error and its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        cause = error.source();
    }
    told
}
