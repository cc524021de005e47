//! Copying memory: no argument can reach another process faster, unless it is not copied at all.

use std::{hint::black_box, time::Instant};

/// Two blocks of memory, all pages of which are present.
pub(crate) struct Copy {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Copy {
    pub(crate) fn new(bytes: usize) -> Self {
        // Both blocks are written, so that no page fault is measured.
        let mut copy = Self { from: vec![7; bytes], to: vec![1; bytes] };
        copy.rate(1);
        copy
    }

    /// Bytes per second.
    pub(crate) fn rate(&mut self, times: u32) -> f64 {
        let start = Instant::now();
        for _ in 0..times {
            self.to.copy_from_slice(black_box(&self.from));
            black_box(&mut self.to);
        }
        f64::from(times) * self.from.len() as f64 / start.elapsed().as_secs_f64()
    }
}
