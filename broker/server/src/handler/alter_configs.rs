//! AlterConfigs (key 33): the whole configuration of resources replaced. [`super::incremental_alter_configs`] is what
//! clients use today.

use taffrail_control::session::ConfigOp;
use taffrail_protocol::ApiKey;
use taffrail_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use crate::call::Call;
use crate::config_changes::{Wanted, carry_out};
use crate::net::parked::Answer;
use crate::request::throttle_time_ms;

/// Handles a request to replace configuration.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: AlterConfigsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let wanted = request.resources.iter().map(|resource| {
        let op = |value: Option<&str>| {
            value
                .map(|value| ConfigOp::Set(value.to_owned()))
                .ok_or_else(|| "a value must be given".to_owned())
        };
        let ops =
            resource.configs.iter().map(|config| (config.name.to_string(), op(config.value.as_deref())));
        Wanted::new(&call.context, resource.resource_type, &resource.resource_name, true, ops.collect())
    });
    let (wanted, validate_only) = (wanted.collect(), request.validate_only);
    let context = call.context.clone();
    call.answer_later(move |broker| async move {
        let responses = carry_out(&broker, ApiKey::AlterConfigs, wanted, validate_only).await;
        AlterConfigsResponse { throttle_time_ms: throttle_time_ms(&context), responses }
    })
}
