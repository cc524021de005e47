//! `payload`: moves bytes to the task and back. It measures memory and, between processes, the transport that copies it.

use clap::{ArgMatches, Args, Command};
use serde::{Deserialize, Serialize};

use super::Block;
use crate::{
    Outcome, PrepareError, Prepared,
    workload::{A_GIB, JobSize, Place, Workload, parsed},
};

/// The argument: bytes, and the number of bytes to return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The bytes of the argument.
    pub input: Block,
    /// Number of bytes to return.
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

/// The result of [`payload`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadAnswer {
    /// A checksum of every byte of the argument.
    pub checksum: u64,
    /// The bytes of the result.
    pub output: Block,
}

impl Outcome for PayloadAnswer {}

/// Reads every byte of the argument, and returns as many as were asked for.
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

/// The workload: a number of such tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct PayloadTasks {
    /// Number of tasks.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub tasks: u32,
    /// Bytes of each argument.
    #[arg(long, default_value_t = 256 * 1024, value_parser = clap::value_parser!(u32).range(0..=A_GIB))]
    pub input_bytes: u32,
    /// Bytes of each result.
    #[arg(long, default_value_t = 64 * 1024, value_parser = clap::value_parser!(u32).range(0..=A_GIB))]
    pub output_bytes: u32,
}

impl Workload for PayloadTasks {
    const NAME: &'static str = "payload";
    const ABOUT: &'static str = "Move bytes to the task and back";

    type Input = Payload;
    type Output = PayloadAnswer;

    fn of_job(_: &JobSize) -> Self {
        Self { tasks: 64, input_bytes: 256 * 1024, output_bytes: 64 * 1024 }
    }

    fn prepare(&self, _: &Place<'_>) -> Result<Prepared<Payload>, PrepareError> {
        let Self { tasks, input_bytes, output_bytes } = self;
        let items = (0..*tasks).map(|index| Payload::new(*input_bytes as usize, *output_bytes, index.into()));
        let description = format!("{tasks} tasks with {input_bytes} bytes in and {output_bytes} bytes out");
        Ok(Prepared::described(items.collect(), description))
    }

    fn run(input: Payload) -> PayloadAnswer {
        payload(input)
    }

    fn run_options(command: Command) -> Command {
        Self::augment_args(command)
    }

    fn from_run(matches: &ArgMatches) -> Result<Self, PrepareError> {
        parsed(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_sees_every_byte_and_returns_what_was_asked_for() {
        let mut task = Payload::new(1001, 17, 3);
        let answer = payload(task.clone());
        assert_eq!(answer.output.0.len(), 17);
        task.input.0[1000] ^= 1;
        assert_ne!(payload(task).checksum, answer.checksum);
    }
}
