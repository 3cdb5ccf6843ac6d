//! Zigzag varints, as Protocol Buffers and Kafka's `ByteUtils` write them.

/// Most bytes that a 32-bit varint takes.
const MAX_VARINT_SIZE: usize = 5;
/// Most bytes that a 64-bit varint takes.
const MAX_VARLONG_SIZE: usize = 10;

/// Takes a zigzag varint of at most 32 bits off the front of `bytes`; `None` when it is cut off or too long.
#[inline]
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<i32> {
    // Lengths and deltas are nearly always below 64.
    if let [first, rest @ ..] = *bytes
        && *first < 0x80
    {
        *bytes = rest;
        return Some(i32::from(*first >> 1) ^ -i32::from(*first & 1));
    }
    let raw = u32::try_from(take_unsigned(bytes, MAX_VARINT_SIZE)?).ok()?;
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Takes a zigzag varint of at most 64 bits off the front of `bytes`; `None` when it is cut off or too long.
#[inline]
pub(super) fn take_varlong(bytes: &mut &[u8]) -> Option<i64> {
    let raw = take_unsigned(bytes, MAX_VARLONG_SIZE)?;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

#[inline]
fn take_unsigned(bytes: &mut &[u8], max_size: usize) -> Option<u64> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(max_size).enumerate() {
        let part = u64::from(byte & 0x7f);
        // The tenth byte of a 64-bit varint has room for one bit.
        if index == MAX_VARLONG_SIZE - 1 && part > 1 {
            return None;
        }
        value |= part << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

/// Appends `value` as a zigzag varint of at most 32 bits.
pub(super) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_unsigned(out, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

/// Appends `value` as a zigzag varint of at most 64 bits.
pub(super) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_of_the_range_have_the_known_bytes() {
        let varint = |value| {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            out
        };
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(-1), [1]);
        assert_eq!(varint(63), [0x7e]);
        assert_eq!(varint(-65), [0x81, 0x01]);
        assert_eq!(varint(i32::MAX), [0xfe, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(varint(i32::MIN), [0xff, 0xff, 0xff, 0xff, 0x0f]);
        let mut out = Vec::new();
        put_varlong(&mut out, i64::MIN);
        assert_eq!(out, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    }

    #[test]
    fn too_many_bytes_or_bits_are_refused() {
        assert_eq!(take_varint(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), None);
        assert_eq!(take_varint(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00][..]), None);
        let mut long = [0xff; 10];
        long[9] = 0x02;
        assert_eq!(take_varlong(&mut &long[..]), None);
        assert_eq!(take_varlong(&mut &[0x80; 11][..]), None);
        assert_eq!(take_varint(&mut &[][..]), None);
        assert_eq!(take_varint(&mut &[0x80][..]), None);
    }

    proptest! {
        #[test]
        fn numbers_are_read_back(int: i32, shift in 0..32u32, long: i64, long_shift in 0..64u32) {
            let (int, long) = (int >> shift, long >> long_shift);
            let mut out = Vec::new();
            put_varint(&mut out, int);
            put_varlong(&mut out, long);
            let mut rest = &out[..];
            prop_assert_eq!(take_varint(&mut rest), Some(int));
            prop_assert_eq!(take_varlong(&mut rest), Some(long));
            prop_assert!(rest.is_empty());
        }
    }
}
