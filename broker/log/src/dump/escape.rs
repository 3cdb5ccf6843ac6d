//! Bytes that clients chose, shown so that nothing is lost and no terminal is harmed.

use std::fmt::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};

/// Bytes or null. As text: quoted, control characters and what is not UTF-8 escaped. As JSON: a string if they are
/// UTF-8, else an object with their hexadecimal digits.
pub(super) struct Shown<'a>(pub Option<&'a [u8]>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(bytes) = self.0 else { return f.write_str("null") };
        f.write_char('"')?;
        for chunk in bytes.utf8_chunks() {
            escape(f, chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_char('"')
    }
}

/// Writes `text` with what is special escaped; plain runs go out whole, as most text is nothing else.
fn escape(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let is_plain = |letter: char| matches!(letter, ' '..='~') && letter != '"' && letter != '\\';
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let plain = rest.find(|letter| !is_plain(letter)).unwrap_or(rest.len());
        f.write_str(&rest[..plain])?;
        rest = &rest[plain..];
        if plain == 0 {
            write!(f, "{}", letter.escape_debug())?;
            rest = &rest[letter.len_utf8()..];
        }
    }
    Ok(())
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(bytes) = self.0 else { return serializer.serialize_none() };
        match std::str::from_utf8(bytes) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("hex", &format_args!("{}", Hex(bytes)))?;
                map.end()
            }
        }
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_told_from_every_other() {
        let cases: [(Option<&[u8]>, &str, &str); 7] = [
            (Some(b"it's"), r#""it's""#, r#""it's""#),
            (None, "null", "null"),
            (Some(b""), r#""""#, r#""""#),
            (Some("größe".as_bytes()), r#""größe""#, r#""größe""#),
            (Some(b"a\"\\\n\x1b[0m"), r#""a\"\\\n\u{1b}[0m""#, r#""a\"\\\n\u001b[0m""#),
            (Some(b"null"), r#""null""#, r#""null""#),
            (Some(b"a\xff\x00"), r#""a\xff\0""#, r#"{"hex":"61ff00"}"#),
        ];
        for (bytes, text, json) in cases {
            assert_eq!(Shown(bytes).to_string(), text);
            assert_eq!(serde_json::to_string(&Shown(bytes)).unwrap(), json);
        }
    }
}
