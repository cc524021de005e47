//! Kernels: tasks that cost one known thing and nothing else.
//!
//! - [`spin`]: the CPU, in iterations and not in time, so that a slower clock shows as slower.
//! - [`io_wait`]: waiting without the CPU, like a slow disk or network.
//! - [`payload`]: bytes in and bytes out, the cost of moving an argument and a result.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

/// How long to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spin {
    /// Steps of the computation; see [`calibrate`].
    pub iterations: u64,
    /// Where it starts: the answer depends on it.
    pub seed: u64,
}

/// A chain of multiplications, each of which needs the one before, so that it cannot be shortened or spread out.
#[must_use]
pub fn spin(task: Spin) -> u64 {
    let mut value = task.seed | 1;
    for _ in 0..task.iterations {
        // Knuth's MMIX generator; opaque to the optimiser, which could otherwise compute many steps at once.
        value = black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    }
    value
}

/// Iterations of [`spin`] in a microsecond on this machine, right now: the fastest of several runs of about a millisecond.
#[must_use]
pub fn calibrate() -> f64 {
    let mut iterations = 1000;
    let mut best = 0.0_f64;
    let mut runs = 0;
    while runs < 20 {
        let start = Instant::now();
        black_box(spin(Spin { iterations, seed: 1 }));
        let elapsed = start.elapsed();
        if elapsed < Duration::from_millis(1) {
            iterations *= 2;
            continue;
        }
        best = best.max(iterations as f64 / (elapsed.as_nanos() as f64 / 1000.0));
        runs += 1;
    }
    best
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoWait {
    /// Microseconds.
    pub micros: u64,
    /// Comes back as the answer.
    pub index: u64,
}

/// Waits without using the CPU.
#[must_use]
pub fn io_wait(task: IoWait) -> u64 {
    std::thread::sleep(Duration::from_micros(task.micros));
    task.index
}

/// Bytes that serde moves as one block and not one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block(pub Vec<u8>);

impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Block;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Block, E> {
                Ok(Block(bytes.to_vec()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Block, E> {
                Ok(Block(bytes))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Block, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = sequence.next_element()? {
                    bytes.push(byte);
                }
                Ok(Block(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// Bytes in, and how many come out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The bytes in.
    pub input: Block,
    /// How many bytes to return.
    pub output_bytes: u32,
}

impl Payload {
    /// An argument with `input_bytes` bytes that depend on `index`.
    #[must_use]
    pub fn new(input_bytes: usize, output_bytes: u32, index: u64) -> Self {
        let mut input = vec![0; input_bytes];
        crate::random::Random::new(index).fill(&mut input);
        Self { input: Block(input), output_bytes }
    }
}

/// What comes out of [`payload`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadAnswer {
    /// Depends on every byte that came in.
    pub checksum: u64,
    /// The bytes out.
    pub output: Block,
}

/// Reads every byte that came in, and returns as many as were asked for.
#[must_use]
pub fn payload(task: Payload) -> PayloadAnswer {
    let words = task.input.0.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    let checksum = words.fold(0, |sum: u64, word| sum.rotate_left(1) ^ word);
    PayloadAnswer { checksum, output: Block(vec![checksum as u8; task.output_bytes as usize]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spin_depends_on_every_iteration_and_on_the_seed() {
        let at = |iterations, seed| spin(Spin { iterations, seed });
        assert_eq!(at(0, 5), 5);
        assert_ne!(at(1, 5), at(2, 5));
        assert_ne!(at(1000, 5), at(1000, 7));
        assert_eq!(at(1000, 5), at(1000, 5));
    }

    #[test]
    fn calibration_finds_some_speed() {
        assert!(calibrate() > 1.0);
    }

    #[test]
    fn payload_sees_every_byte_and_returns_what_was_asked_for() {
        let mut task = Payload::new(1001, 17, 3);
        let answer = payload(task.clone());
        assert_eq!(answer.output.0.len(), 17);
        task.input.0[1000] ^= 1;
        assert_ne!(payload(task).checksum, answer.checksum);
    }

    #[test]
    fn a_block_survives_a_text_format_as_well() {
        let block = Block(vec![1, 2, 255]);
        let text = serde_json::to_string(&block).unwrap();
        assert_eq!(serde_json::from_str::<Block>(&text).unwrap(), block);
    }
}
