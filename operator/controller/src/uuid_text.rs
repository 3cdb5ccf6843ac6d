//! Kafka's text form of a [`Uuid`] (URL-safe base64 without padding, 22 characters), for objects that people read.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};
use taffrail_protocol::Uuid;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// `uuid` as Kafka prints it.
pub fn format(uuid: Uuid) -> String {
    let bits = u128::from_be_bytes(uuid.0);
    // 21 characters carry six bits each, the last one the remaining two, padded with zeros on the right.
    let mut text: String =
        (0..21).map(|i| char::from(ALPHABET[(bits >> (122 - 6 * i)) as usize & 63])).collect();
    text.push(char::from(ALPHABET[(bits << 4) as usize & 63]));
    text
}

/// The id that `text` stands for; `None` if it is not one.
pub fn parse(text: &str) -> Option<Uuid> {
    let bytes = text.as_bytes();
    if bytes.len() != 22 {
        return None;
    }
    let mut bits = 0_u128;
    for (i, byte) in bytes.iter().enumerate() {
        let value = ALPHABET.iter().position(|c| c == byte)? as u128;
        if i < 21 {
            bits = bits << 6 | value;
        } else if value & 15 == 0 {
            bits = bits << 2 | value >> 4;
        } else {
            return None;
        }
    }
    Some(Uuid(bits.to_be_bytes()))
}

/// For `#[serde(with = …)]`.
pub(crate) fn serialize<S: Serializer>(uuid: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*uuid))
}

/// For `#[serde(with = …)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| D::Error::custom(format!("\"{text}\" is not an id of 22 base64 characters")))
}

/// The same for a list.
pub(crate) mod list {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use taffrail_protocol::Uuid;

    /// For `#[serde(with = …)]`.
    pub(crate) fn serialize<S: Serializer>(uuids: &[Uuid], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(uuids.iter().map(|uuid| super::format(*uuid)))
    }

    /// For `#[serde(with = …)]`.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Uuid>, D::Error> {
        Vec::<String>::deserialize(deserializer)?
            .iter()
            .map(|text| {
                super::parse(text).ok_or_else(|| D::Error::custom(format!("\"{text}\" is not an id")))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_texts() {
        assert_eq!(format(Uuid::ZERO), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(format(Uuid([255; 16])), "_____________________w");
        let counted: Vec<u8> = (0..16).collect();
        assert_eq!(format(Uuid(counted.try_into().unwrap())), "AAECAwQFBgcICQoLDA0ODw");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "AAECAwQFBgcICQoLDA0OD", "AAECAwQFBgcICQoLDA0ODx", "AAECAwQFBgcICQoLDA0O+w"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes: [u8; 16]) {
            prop_assert_eq!(parse(&format(Uuid(bytes))), Some(Uuid(bytes)));
        }
    }
}
