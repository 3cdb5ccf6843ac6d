//! The five codecs of record batches. Decompression never yields more than the caller allows.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::io::Read;

use super::BatchError;

/// A codec (`org.apache.kafka.common.record.CompressionType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// The records stand as they are.
    None,
    /// Gzip members (RFC 1952).
    Gzip,
    /// Snappy blocks in the framing of snappy-java, or one raw block.
    Snappy,
    /// An LZ4 frame.
    Lz4,
    /// Zstandard frames (KIP-110).
    Zstd,
}

/// Why a codec could not decompress its input.
enum DecompressError {
    TooLarge,
    Corrupt(String),
}

impl From<std::io::Error> for DecompressError {
    fn from(error: std::io::Error) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl Compression {
    /// Every codec, in the order of their codes.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with this code.
    ///
    /// # Errors
    /// [`BatchError::UnknownCompression`].
    pub fn from_code(code: u8) -> Result<Self, BatchError> {
        Self::ALL.get(usize::from(code)).copied().ok_or(BatchError::UnknownCompression { code })
    }

    /// The code in a batch's attributes.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The name in Kafka's configuration (`compression.type`).
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Decompresses `input` to at most `limit` bytes.
    ///
    /// # Errors
    /// [`BatchError::Decompression`] for damaged input, [`BatchError::DecompressedTooLarge`] for more output.
    pub fn decompress(self, input: &[u8], limit: usize) -> Result<Vec<u8>, BatchError> {
        let output = match self {
            Self::None if input.len() > limit => Err(DecompressError::TooLarge),
            Self::None => Ok(input.to_vec()),
            Self::Gzip => gzip::decompress(input, limit),
            Self::Snappy => snappy::decompress(input, limit),
            Self::Lz4 => lz4::decompress(input, limit),
            Self::Zstd => zstd::decompress(input, limit),
        };
        output.map_err(|error| match error {
            DecompressError::TooLarge => BatchError::DecompressedTooLarge { compression: self, limit },
            DecompressError::Corrupt(reason) => BatchError::Decompression { compression: self, reason },
        })
    }

    /// Compresses `input` with Kafka's default level and appends it to `out`.
    ///
    /// # Errors
    /// [`BatchError::Compression`] with what the codec says.
    pub fn compress(self, input: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
        let result = match self {
            Self::None => {
                out.extend_from_slice(input);
                Ok(())
            }
            Self::Gzip => gzip::compress(input, out),
            Self::Snappy => snappy::compress(input, out),
            Self::Lz4 => lz4::compress(input, out),
            Self::Zstd => zstd::compress(input, out),
        };
        result.map_err(|reason| BatchError::Compression { compression: self, reason: reason.to_string() })
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads all of a codec's output unless it is more than `limit` bytes. The buffer grows with the bytes that come.
fn read_bounded(reader: impl Read, limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut output = Vec::new();
    reader.take((limit as u64).saturating_add(1)).read_to_end(&mut output)?;
    if output.len() > limit {
        return Err(DecompressError::TooLarge);
    }
    Ok(output)
}

#[cfg(test)]
mod tests;
