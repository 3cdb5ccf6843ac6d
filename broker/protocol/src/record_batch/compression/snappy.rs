//! Snappy as Kafka's clients write it: raw blocks in the framing of snappy-java (`SnappyOutputStream`), or, from older
//! and non-Java clients, one raw block alone.

use std::io;

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::DecompressError;

/// Starts the framing; no raw block starts with it, as its length would be too great.
const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// Version and lowest compatible version, int32 each, follow the magic.
const VERSIONS: &[u8; 8] = b"\0\0\0\x01\0\0\0\x01";
/// Input bytes of a block, as in snappy-java.
const BLOCK_SIZE: usize = 32 * 1024;
/// A raw block of `n` bytes never decompresses to more than `n` times this: 3 bytes copy at most 64.
const MAX_RATIO: usize = 22;

pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut output = Vec::new();
    let Some(mut rest) = input.strip_prefix(MAGIC) else {
        decompress_block(input, limit, &mut output)?;
        return Ok(output);
    };
    rest = rest.get(VERSIONS.len()..).ok_or_else(|| corrupt("the framing's header is cut off"))?;
    while !rest.is_empty() {
        // Streams that were concatenated start with a header again.
        if let Some(after_magic) = rest.strip_prefix(MAGIC) {
            rest = after_magic
                .get(VERSIONS.len()..)
                .ok_or_else(|| corrupt("the framing's header is cut off"))?;
            continue;
        }
        let (length, after_length) =
            rest.split_first_chunk().ok_or_else(|| corrupt("a block's length is cut off"))?;
        let (block, after_block) = usize::try_from(u32::from_be_bytes(*length))
            .ok()
            .and_then(|length| after_length.split_at_checked(length))
            .ok_or_else(|| corrupt("a block is cut off"))?;
        decompress_block(block, limit, &mut output)?;
        rest = after_block;
    }
    Ok(output)
}

/// Decompresses one raw block to the end of `output`. The block's claim of its size is checked before it is believed.
fn decompress_block(block: &[u8], limit: usize, output: &mut Vec<u8>) -> Result<(), DecompressError> {
    let length = decompress_len(block).map_err(|error| corrupt(&error.to_string()))?;
    let start = output.len();
    if length > limit.saturating_sub(start) {
        return Err(DecompressError::TooLarge);
    }
    if length > block.len().saturating_mul(MAX_RATIO) {
        return Err(corrupt("a block claims more output than it can hold"));
    }
    output.resize(start + length, 0);
    Decoder::new().decompress(block, &mut output[start..]).map_err(|error| corrupt(&error.to_string()))?;
    Ok(())
}

fn corrupt(reason: &str) -> DecompressError {
    DecompressError::Corrupt(reason.to_owned())
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(VERSIONS);
    let mut encoder = Encoder::new();
    for block in input.chunks(BLOCK_SIZE) {
        let length_at = out.len();
        let block_at = length_at + size_of::<u32>();
        out.resize(block_at + max_compress_len(block.len()), 0);
        let length = encoder.compress(block, &mut out[block_at..])?;
        out.truncate(block_at + length);
        // A block of 32 KiB never compresses to more than 32 bits can count.
        out[length_at..block_at].copy_from_slice(&(length as u32).to_be_bytes());
    }
    Ok(())
}
