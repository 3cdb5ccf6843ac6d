//! What happened, as a number that two runs of one seed must share and as lines for people.

use std::fmt;

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    print: bool,
}

impl Trace {
    /// An empty trace; with `print` each line goes to standard output as it happens.
    pub fn new(print: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, print }
    }

    /// Notes that something happened: `words` tell it to the hash, `line` to people.
    pub fn note(&mut self, now_ms: u64, words: &[u64], line: impl FnOnce() -> String) {
        self.events += 1;
        for word in [now_ms, self.events].iter().chain(words) {
            for byte in word.to_le_bytes() {
                self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        if self.print {
            println!("{:>7} {}", now_ms, line());
        }
    }

    /// Stands for everything that was noted.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How much was noted.
    pub fn events(&self) -> u64 {
        self.events
    }
}

/// A short hash of something that can be printed.
pub fn digest(value: &impl fmt::Debug) -> u64 {
    struct Sink(u64);
    impl fmt::Write for Sink {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for byte in text.bytes() {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
            Ok(())
        }
    }
    let mut sink = Sink(0xcbf2_9ce4_8422_2325);
    // Writing into the sink cannot fail.
    let _ = fmt::Write::write_fmt(&mut sink, format_args!("{value:?}"));
    sink.0
}
