//! Kafka's 128-bit ids.

use std::fmt;
use std::str::FromStr;

/// A topic, directory or process id. Zero stands for "none". Text form: URL-safe base64 without padding, as Kafka
/// prints it (`org.apache.kafka.common.Uuid`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

/// The digits of URL-safe base64.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// How many digits 16 bytes take.
const TEXT_LENGTH: usize = 22;

impl Uuid {
    /// The id that stands for "none".
    pub const ZERO: Self = Self([0; 16]);

    /// The id of these bytes, the most significant first.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, the most significant first.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Whether it stands for "none".
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl From<[u8; 16]> for Uuid {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl From<Uuid> for [u8; 16] {
    fn from(id: Uuid) -> Self {
        id.0
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = u128::from_be_bytes(self.0);
        let mut text = [0; TEXT_LENGTH];
        for (index, digit) in text.iter_mut().enumerate() {
            // 22 digits are 132 bits: the last digit holds only the two lowest bits, shifted up by four.
            let bits = if index + 1 == TEXT_LENGTH { value << 4 } else { value >> (122 - 6 * index) };
            *digit = DIGITS[(bits & 0x3f) as usize];
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uuid({self})")
    }
}

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot parse {text:?} as an id: {reason}")]
pub struct ParseUuidError {
    text: String,
    reason: &'static str,
}

impl FromStr for Uuid {
    type Err = ParseUuidError;

    /// Reads the text form, with or without padding.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| ParseUuidError { text: text.chars().take(64).collect(), reason };
        let digits = text.strip_suffix("==").unwrap_or(text);
        if digits.len() != TEXT_LENGTH {
            return Err(error("it needs 22 digits of URL-safe base64"));
        }
        let mut value = 0_u128;
        for (index, byte) in digits.bytes().enumerate() {
            let digit = DIGITS.iter().position(|digit| *digit == byte);
            let digit =
                digit.ok_or_else(|| error("it has a character that is no digit of URL-safe base64"))?;
            if index + 1 < TEXT_LENGTH {
                value = value << 6 | digit as u128;
            } else if digit & 0xf == 0 {
                value = value << 2 | (digit >> 4) as u128;
            } else {
                return Err(error("its last digit holds more than 128 bits"));
            }
        }
        Ok(Self(value.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_that_of_kafka() {
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        // Kafka's reserved ids: ONE_UUID is (0, 1).
        let mut one = [0; 16];
        one[15] = 1;
        assert_eq!(Uuid(one).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(Uuid([0xff; 16]).to_string(), "_____________________w");
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        for text in
            ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAA+", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAAAAA"]
        {
            assert!(text.parse::<Uuid>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_reads_back(bytes: [u8; 16]) {
            let id = Uuid(bytes);
            let text = id.to_string();
            prop_assert_eq!(text.parse::<Uuid>(), Ok(id));
            prop_assert_eq!(format!("{text}==").parse::<Uuid>(), Ok(id));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Uuid>();
        }
    }
}
