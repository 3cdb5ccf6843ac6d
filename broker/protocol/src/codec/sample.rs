//! Random values for the tests: any value that a version can express.

use std::borrow::Cow;

use super::{Form, RecordSet};
use crate::{ErrorCode, Uuid};

/// A source of random choices (xorshift), the same for the same seed.
#[derive(Debug)]
pub struct Sampler {
    state: u64,
    arrays: usize,
}

impl Sampler {
    /// Choices that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        let mut sampler = Self { state: seed ^ 0x9e37_79b9_7f4a_7c15 | 1, arrays: 0 };
        for _ in 0..8 {
            sampler.bits();
        }
        sampler
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// How many arrays were made that every message of the version has.
    pub fn arrays(&self) -> usize {
        self.arrays
    }

    /// Makes a value whose arrays do not count: a tagged field's, which is left out while it is empty.
    pub fn uncounted<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> T {
        let arrays = self.arrays;
        let value = make(self);
        self.arrays = arrays;
        value
    }

    /// Any number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() >> 11) as usize % end
    }

    /// True half of the time.
    pub fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    /// A length that is mostly small, sometimes so large that a compact length takes two bytes.
    fn length(&mut self) -> usize {
        match self.below(12) {
            0 => 0,
            1 => 120 + self.below(300),
            _ => self.below(9),
        }
    }
}

/// A type of which random values can be made.
pub trait Sample {
    /// A value that `form` can express.
    fn sample(s: &mut Sampler, form: Form) -> Self;
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Sample for $type {
            fn sample(s: &mut Sampler, _: Form) -> Self {
                // The ends of the range and small numbers are defaults, or stand for "none", more often than others.
                match s.below(8) {
                    0 => <$type>::MIN,
                    1 => <$type>::MAX,
                    2 | 3 => (s.below(4) as $type).wrapping_sub(1),
                    _ => s.bits() as $type,
                }
            }
        }
    )*};
}

numbers!(i8, i16, i32, i64, u16);

impl Sample for f64 {
    fn sample(s: &mut Sampler, _: Form) -> Self {
        s.bits() as f64 / 3.0
    }
}

impl Sample for bool {
    fn sample(s: &mut Sampler, _: Form) -> Self {
        s.flip()
    }
}

impl Sample for ErrorCode {
    fn sample(s: &mut Sampler, form: Form) -> Self {
        Self(i16::sample(s, form))
    }
}

impl Sample for Uuid {
    fn sample(s: &mut Sampler, _: Form) -> Self {
        if s.below(4) == 0 {
            Self::ZERO
        } else {
            Self((u128::from(s.bits()) << 64 | u128::from(s.bits())).to_be_bytes())
        }
    }
}

impl Sample for Cow<'_, str> {
    fn sample(s: &mut Sampler, _: Form) -> Self {
        const LETTERS: &[char] = &['a', 'B', '0', '-', '.', ' ', '\0', 'é', '漢', '🦀'];
        let length = s.length();
        Cow::Owned((0..length).map(|_| LETTERS[s.below(LETTERS.len())]).collect())
    }
}

impl Sample for Cow<'_, [u8]> {
    fn sample(s: &mut Sampler, _: Form) -> Self {
        let length = s.length();
        Cow::Owned((0..length).map(|_| s.bits() as u8).collect())
    }
}

impl Sample for RecordSet<'_> {
    fn sample(s: &mut Sampler, form: Form) -> Self {
        Option::<Cow<'_, [u8]>>::sample(s, form).map_or(Self::Null, Self::Bytes)
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(s: &mut Sampler, form: Form) -> Self {
        s.arrays += 1;
        (0..s.below(4)).map(|_| T::sample(s, form)).collect()
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(s: &mut Sampler, form: Form) -> Self {
        if s.below(4) == 0 { None } else { Some(T::sample(s, form)) }
    }
}
