//! ApiVersions (key 18): what this broker serves (KIP-35, KIP-511).

use taffrail_protocol::messages::api_versions::ApiVersion;
use taffrail_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use taffrail_protocol::{ApiKey, ErrorCode};

use crate::call::Call;
use crate::dispatch::SERVED;
use crate::net::parked::Answer;
use crate::request::throttle_time_ms;

/// Versions from this one on name the client's software.
const SOFTWARE_NAMED_FROM: i16 = 3;

/// Handles a request for the versions. Who is not authenticated yet may ask it too, so there is nothing to authorize.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: ApiVersionsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let names = [&request.client_software_name, &request.client_software_version];
    if call.version() >= SOFTWARE_NAMED_FROM && !names.into_iter().all(|name| is_software_name(name)) {
        call.note_error(ErrorCode::INVALID_REQUEST);
        return call.answer(&ApiVersionsResponse {
            error_code: ErrorCode::INVALID_REQUEST,
            throttle_time_ms: throttle_time_ms(&call.context),
            ..ApiVersionsResponse::default()
        });
    }
    call.answer(&ApiVersionsResponse {
        api_keys: SERVED.iter().copied().filter_map(range).collect(),
        throttle_time_ms: throttle_time_ms(&call.context),
        ..ApiVersionsResponse::default()
    })
}

/// Answers a version of ApiVersions that is not known, in the one form that every client can read: version 0, with the
/// versions of ApiVersions that are known (KIP-511).
pub fn unsupported_version(mut call: Call) -> Answer {
    call.context.api_version = 0;
    call.note_error(ErrorCode::UNSUPPORTED_VERSION);
    call.answer(&ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        api_keys: range(ApiKey::ApiVersions).into_iter().collect(),
        ..ApiVersionsResponse::default()
    })
}

/// What is advertised of an API; `None` if its messages are not known.
fn range(api: ApiKey) -> Option<ApiVersion> {
    api.spoken().map(|spoken| ApiVersion {
        api_key: api.code(),
        min_version: spoken.advertised.min,
        max_version: spoken.advertised.max,
    })
}

/// What Kafka takes for the name or version of a client's software: letters and digits, with hyphens and dots in
/// between (`ApiVersionsRequest.SOFTWARE_NAME_VERSION_PATTERN`).
fn is_software_name(name: &str) -> bool {
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    is_end(name.bytes().next())
        && is_end(name.bytes().next_back())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::is_software_name;

    #[test]
    fn software_names_begin_and_end_with_a_letter_or_digit() {
        for name in ["a", "7", "apache-kafka-java", "4.1.0", "librdkafka", "v2.3.0-RC1", "a--b..c"] {
            assert!(is_software_name(name), "{name}");
        }
        for name in ["", "-a", "a-", ".", "a b", "1.0.", "ä", "a_b", "a\n"] {
            assert!(!is_software_name(name), "{name:?}");
        }
    }
}
