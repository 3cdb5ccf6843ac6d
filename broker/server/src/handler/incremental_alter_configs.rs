//! IncrementalAlterConfigs (key 44): single keys set, reset, and lists added to (KIP-339).

use taffrail_control::session::ConfigOp;
use taffrail_protocol::ApiKey;
use taffrail_protocol::messages::incremental_alter_configs::AlterableConfig;
use taffrail_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use crate::call::Call;
use crate::config_changes::{Wanted, carry_out};
use crate::net::parked::Answer;
use crate::request::throttle_time_ms;

/// Handles a request to change configuration.
pub fn handle(call: Call, body: &[u8]) -> Answer {
    let request: IncrementalAlterConfigsRequest<'_> = match call.decode(body) {
        Ok(request) => request,
        Err(error) => return call.unreadable(&error),
    };
    let wanted = request.resources.iter().map(|resource| {
        let ops = resource.configs.iter().map(|config| (config.name.to_string(), op(config))).collect();
        Wanted::new(&call.context, resource.resource_type, &resource.resource_name, false, ops)
    });
    let (wanted, validate_only) = (wanted.collect(), request.validate_only);
    let context = call.context.clone();
    call.answer_later(move |broker| async move {
        let responses = carry_out(&broker, ApiKey::IncrementalAlterConfigs, wanted, validate_only).await;
        IncrementalAlterConfigsResponse { throttle_time_ms: throttle_time_ms(&context), responses }
    })
}

/// What is to be done with one key (`AlterConfigOp.OpType`).
fn op(config: &AlterableConfig<'_>) -> Result<ConfigOp, String> {
    let value = config.value.as_deref().map(str::to_owned);
    let with_value =
        |op: fn(String) -> ConfigOp| value.map(op).ok_or_else(|| "a value must be given".to_owned());
    match config.config_operation {
        0 => with_value(ConfigOp::Set),
        1 => Ok(ConfigOp::Delete),
        2 => with_value(ConfigOp::Append),
        3 => with_value(ConfigOp::Subtract),
        other => {
            Err(format!("there is no operation {other}, only set (0), delete (1), append (2), subtract (3)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_those_of_kafka_and_all_but_delete_have_a_value() {
        let config = |config_operation, value: Option<&'static str>| {
            op(&AlterableConfig { name: "key".into(), config_operation, value: value.map(Into::into) })
        };
        assert_eq!(config(0, Some("v")), Ok(ConfigOp::Set("v".into())));
        assert_eq!(config(1, None), Ok(ConfigOp::Delete));
        assert_eq!(config(2, Some("v")), Ok(ConfigOp::Append("v".into())));
        assert_eq!(config(3, Some("v")), Ok(ConfigOp::Subtract("v".into())));
        assert!(config(0, None).is_err() && config(4, Some("v")).is_err() && config(-1, None).is_err());
    }
}
