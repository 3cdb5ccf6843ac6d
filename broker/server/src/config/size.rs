//! Amounts of bytes as people write them.

use std::fmt;
use std::str::FromStr;

/// An amount of bytes: `1048576`, `512MiB`, `512Mi` (as Kubernetes writes it) or `500MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// The text is not an amount of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a number of bytes with an optional unit of KiB, MiB, GiB, TiB, KB, MB, GB or TB, such as 512MiB"
)]
pub struct ParseByteSizeError;

impl FromStr for ByteSize {
    type Err = ParseByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kib" | "ki" => 1 << 10,
            "mib" | "mi" => 1 << 20,
            "gib" | "gi" => 1 << 30,
            "tib" | "ti" => 1 << 40,
            "kb" | "k" => 1_000,
            "mb" | "m" => 1_000_000,
            "gb" | "g" => 1_000_000_000,
            "tb" | "t" => 1_000_000_000_000,
            _ => return Err(ParseByteSizeError),
        };
        let number: u64 = number.parse().map_err(|_| ParseByteSizeError)?;
        number.checked_mul(factor).map(ByteSize).ok_or(ParseByteSizeError)
    }
}

impl fmt::Display for ByteSize {
    /// In the largest binary unit that leaves no remainder; amounts above a MiB are rounded down to one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] =
            [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let shown = if self.0 >= 1 << 20 { self.0 & !((1 << 20) - 1) } else { self.0 };
        match UNITS.iter().find(|(unit, _)| shown >= *unit && shown % unit == 0) {
            Some((unit, name)) => write!(f, "{}{name}", shown / unit),
            None => write!(f, "{shown}B"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        let read = |text: &str| text.parse::<ByteSize>().map(|size| size.0).ok();
        assert_eq!(read("1048576"), Some(1 << 20));
        assert_eq!(read("512MiB"), Some(512 << 20));
        assert_eq!(read("512 mi"), Some(512 << 20));
        assert_eq!(read("2GB"), Some(2_000_000_000));
        for bad in ["", "MiB", "-1", "1.5GiB", "12PiB", "99999999999999TiB"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_whole_unit() {
        for (bytes, text) in
            [(100, "100B"), (2048, "2KiB"), (512 << 20, "512MiB"), ((512 << 20) + 1, "512MiB")]
        {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
