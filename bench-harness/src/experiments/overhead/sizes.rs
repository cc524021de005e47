//! The sizes of the measurements.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Sizes of all measurements. Every count is that of one round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sizes {
    /// Each block takes every measurement once, in a process of its own.
    pub(crate) blocks: u32,
    /// How often a process repeats its measurement; variants to compare are interleaved round by round.
    pub(crate) rounds: u32,
    /// Tasks to submit before the first is collected. Slower executors get fewer: see [`tasks`](Self::tasks).
    pub(crate) tasks: u32,
    /// About the longest that a round of tasks may take, in milliseconds.
    pub(crate) round_ms: u32,
    pub(crate) trips: u32,
    /// Arguments of 1 MiB.
    pub(crate) payloads: u32,
    /// Items of a map on processes.
    pub(crate) process_items: u64,
    /// Items of a map on threads.
    pub(crate) thread_items: u64,
    /// Tasks to queue when their memory is measured.
    pub(crate) queued: u32,
    /// Tasks to queue for the measurement of whether the queue's depth matters.
    pub(crate) depth: u32,
    /// How long an idle pool is observed, in milliseconds.
    pub(crate) idle_ms: u32,
    /// Calls of the recursive fork-join without cutoff: those of the Fibonacci number with this index.
    pub(crate) fib: u32,
    /// Whether rounds are interleaved with those of a baseline, for the ratio. A report shows the baselines in rows of their own.
    pub(crate) ratios: bool,
}

impl Sizes {
    /// Takes about ten minutes, with the sizes that the targets name.
    pub(crate) const FULL: Self = Self {
        blocks: 7,
        rounds: 3,
        tasks: 100_000,
        round_ms: 200,
        trips: 1000,
        payloads: 32,
        process_items: 10_000_000,
        thread_items: 20_000_000,
        queued: 500_000,
        depth: 10_000_000,
        idle_ms: 2000,
        fib: 25,
        ratios: true,
    };

    /// Small sizes, which check that the measurements work.
    pub(crate) const QUICK: Self = Self {
        blocks: 3,
        rounds: 2,
        tasks: 20_000,
        round_ms: 50,
        trips: 500,
        payloads: 16,
        process_items: 500_000,
        thread_items: 2_000_000,
        queued: 50_000,
        depth: 500_000,
        idle_ms: 500,
        fib: 20,
        ratios: true,
    };

    /// Sizes for `lab bench --quick`.
    pub(crate) const BENCH_QUICK: Self =
        Self { rounds: 1, round_ms: 30, trips: 300, payloads: 8, ratios: false, ..Self::QUICK };

    /// Sizes for `lab bench`.
    pub(crate) const BENCH: Self = Self { blocks: 7, rounds: 1, ratios: false, ..Self::QUICK };

    /// Number of tasks of a round for an executor that takes `per_second`: at most as many as fit into the round's time.
    pub(crate) fn tasks(&self, per_second: f64) -> u32 {
        let fit = per_second * f64::from(self.round_ms) / 1000.0;
        // The cast saturates.
        (fit as u32).clamp(20, self.tasks)
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_executors_get_fewer_tasks_and_none_gets_more_than_asked_for() {
        assert_eq!(Sizes::FULL.tasks(1e9), 100_000);
        assert_eq!(Sizes::FULL.tasks(10_000.0), 2000);
        assert_eq!(Sizes::FULL.tasks(0.0), 20);
        assert_eq!(Sizes::FULL.tasks(f64::INFINITY), 100_000);
    }
}
