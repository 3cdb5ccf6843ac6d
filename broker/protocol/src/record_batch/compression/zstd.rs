//! Zstandard: one or several frames (RFC 8878).

use std::io::{self, Write};

use ::zstd::stream::{read::Decoder, write::Encoder};

use super::{DecompressError, read_bounded};

/// Largest window (as a power of two) that a frame may ask for: what Kafka's highest level (22) writes. The window's
/// memory is touched only as output fills it, so the output's limit bounds it as well.
const WINDOW_LOG_MAX: u32 = 27;

pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut decoder = Decoder::with_buffer(input)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    read_bounded(decoder, limit)
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = Encoder::new(out, ::zstd::DEFAULT_COMPRESSION_LEVEL)?;
    encoder.set_pledged_src_size(Some(input.len() as u64))?;
    encoder.write_all(input)?;
    encoder.finish().map(|_| ())
}
