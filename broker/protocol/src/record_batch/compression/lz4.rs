//! LZ4: one frame (`lz4_Frame_format.md`), its blocks independent or linked, its checksums and content size optional.

use std::io::{self, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{DecompressError, read_bounded};

const FLAGS_OFFSET: usize = 4;
const SHORTEST_HEADER_SIZE: usize = 7;
const BLOCK_CHECKSUM_FLAG: u8 = 0x10;
const CONTENT_SIZE_FLAG: u8 = 0x08;
const CONTENT_CHECKSUM_FLAG: u8 = 0x04;
const DICTIONARY_FLAG: u8 = 0x01;
const CHECKSUM_SIZE: usize = 4;
const UNCOMPRESSED_BLOCK_FLAG: u32 = 1 << 31;

pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    check_blocks(input).map_err(|reason| DecompressError::Corrupt(reason.to_owned()))?;
    read_bounded(FrameDecoder::new(input), limit)
}

/// Checks that the frame's blocks and its end mark are there and nothing follows. The decoder takes a missing end for
/// the end, and clears a buffer of the size that a block claims before it looks for the block.
fn check_blocks(input: &[u8]) -> Result<(), &'static str> {
    let header = input.get(..SHORTEST_HEADER_SIZE).ok_or("the frame's header is cut off")?;
    let flags = header[FLAGS_OFFSET];
    let size_if = |flag: u8, size: usize| if flags & flag != 0 { size } else { 0 };
    let header_size = SHORTEST_HEADER_SIZE + size_if(CONTENT_SIZE_FLAG, 8) + size_if(DICTIONARY_FLAG, 4);
    let mut rest = input.get(header_size..).ok_or("the frame's header is cut off")?;
    loop {
        let (length, after_length) = rest.split_first_chunk().ok_or("the frame's end mark is missing")?;
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            return match after_length.len() == size_if(CONTENT_CHECKSUM_FLAG, CHECKSUM_SIZE) {
                true => Ok(()),
                false => Err("the frame does not end where the batch does"),
            };
        }
        let length = (length & !UNCOMPRESSED_BLOCK_FLAG) as usize;
        rest = after_length
            .get(length..)
            .and_then(|rest| rest.get(size_if(BLOCK_CHECKSUM_FLAG, CHECKSUM_SIZE)..))
            .ok_or("a block is cut off")?;
    }
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    // Kafka's own frames have independent blocks, and some clients read no others.
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(input)?;
    encoder.finish().map(|_| ()).map_err(io::Error::from)
}
