//! A [`Uuid`] in Kafka's text form, for objects that people read.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};
use taffrail_protocol::Uuid;

fn parse<E: Error>(text: &str) -> Result<Uuid, E> {
    text.parse().map_err(|error| E::custom(format!("\"{text}\" is not an id: {error}")))
}

/// For `#[serde(with = …)]`.
pub(crate) fn serialize<S: Serializer>(uuid: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(uuid)
}

/// For `#[serde(with = …)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
    parse(&String::deserialize(deserializer)?)
}

/// The same for a list.
pub(crate) mod list {
    use super::{Deserialize, Deserializer, Serializer, Uuid, parse};

    /// For `#[serde(with = …)]`.
    pub(crate) fn serialize<S: Serializer>(uuids: &[Uuid], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(uuids.iter().map(Uuid::to_string))
    }

    /// For `#[serde(with = …)]`.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Uuid>, D::Error> {
        Vec::<String>::deserialize(deserializer)?.iter().map(|text| parse(text)).collect()
    }
}
