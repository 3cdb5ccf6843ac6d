use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::*;

const CODECS: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn compressed(codec: Compression, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    codec.compress(input, &mut out).unwrap();
    out
}

/// Repetitive bytes that are not all the same, so that blocks refer back to earlier ones.
fn text(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i % 251) as u8 ^ (i / 4096) as u8).collect()
}

#[test]
fn codes_and_names_are_those_of_kafka() {
    let named: Vec<_> = Compression::ALL.iter().map(|codec| (codec.code(), codec.to_string())).collect();
    let expected = [(0, "none"), (1, "gzip"), (2, "snappy"), (3, "lz4"), (4, "zstd")];
    assert_eq!(named, expected.map(|(code, name)| (code, name.to_owned())));
}

#[test]
fn output_of_exactly_the_limit_is_allowed_and_one_byte_more_is_not() {
    for codec in Compression::ALL {
        for size in [0, 1, 100, 32 * 1024, 200_001] {
            let input = text(size);
            let packed = compressed(codec, &input);
            assert_eq!(codec.decompress(&packed, size).unwrap(), input, "{codec} {size}");
            if size > 0 {
                let error = codec.decompress(&packed, size - 1).unwrap_err();
                assert_eq!(error, BatchError::DecompressedTooLarge { compression: codec, limit: size - 1 });
            }
        }
    }
}

#[test]
fn a_bomb_is_refused_at_the_limit() {
    let bomb = vec![0; 64 << 20];
    for codec in CODECS {
        let packed = compressed(codec, &bomb);
        let error = codec.decompress(&packed, 1 << 20).unwrap_err();
        assert_eq!(error, BatchError::DecompressedTooLarge { compression: codec, limit: 1 << 20 });
    }
}

#[test]
fn a_bomb_uses_no_more_memory_than_its_limit_allows() {
    let limit = 100_000;
    for packed in CODECS.map(|codec| (codec, compressed(codec, &vec![0; 16 << 20]))) {
        let (codec, packed) = packed;
        // What is inside the limit comes out in a buffer that is not much larger.
        let inside = codec.decompress(&compressed(codec, &vec![0; limit]), limit).unwrap();
        assert!(inside.capacity() <= 4 * limit, "{codec}: {}", inside.capacity());
        assert!(codec.decompress(&packed, limit).is_err());
    }
}

#[test]
fn input_that_is_cut_off_is_damage() {
    for codec in CODECS {
        let packed = compressed(codec, &text(100_000));
        for cut in [0, 1, 5, packed.len() / 2, packed.len() - 1] {
            let result = codec.decompress(&packed[..cut], 1 << 20);
            // Nothing at all is the empty stream to gzip and zstd.
            let empty = cut == 0 && result.as_deref() == Ok(&[]);
            assert!(empty || matches!(result, Err(BatchError::Decompression { .. })), "{codec} cut at {cut}");
        }
    }
}

#[test]
fn gzip_members_and_zstd_frames_may_follow_one_another() {
    for codec in [Compression::Gzip, Compression::Zstd] {
        let packed = [compressed(codec, b"first "), compressed(codec, b"second")].concat();
        assert_eq!(codec.decompress(&packed, 100).unwrap(), b"first second");
    }
}

#[test]
fn snappy_is_read_raw_framed_and_concatenated() {
    let input = text(100_000);
    let raw = snap::raw::Encoder::new().compress_vec(&input).unwrap();
    assert_eq!(Compression::Snappy.decompress(&raw, input.len()).unwrap(), input);
    let framed = compressed(Compression::Snappy, &input);
    let twice = [framed.clone(), framed].concat();
    assert_eq!(Compression::Snappy.decompress(&twice, 2 * input.len()).unwrap(), input.repeat(2));
}

#[test]
fn snappy_claims_are_not_believed() {
    // A raw block whose length says 2^32-1, and one that says 1 MiB with three bytes to fill it.
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x61];
    let error = Compression::Snappy.decompress(&huge, 1 << 20).unwrap_err();
    assert!(matches!(error, BatchError::DecompressedTooLarge { .. }));
    let small = [0x80, 0x80, 0x40, 0x00, 0x61];
    let error = Compression::Snappy.decompress(&small, 1 << 20).unwrap_err();
    assert!(error.to_string().ends_with("a block claims more output than it can hold"), "{error}");
    // A frame whose block claims 4 GiB.
    let framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff\0";
    let error = Compression::Snappy.decompress(framed, 1 << 20).unwrap_err();
    assert!(matches!(error, BatchError::Decompression { .. }));
}

#[test]
fn every_kind_of_lz4_frame_is_read() {
    let input = text(500_000);
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for checks in [false, true] {
                let info = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(checks)
                    .content_checksum(checks)
                    .content_size(checks.then_some(input.len() as u64));
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&input).unwrap();
                let packed = encoder.finish().unwrap();
                assert_eq!(Compression::Lz4.decompress(&packed, input.len()).unwrap(), input);
            }
        }
    }
}
