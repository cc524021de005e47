//! How much of a core is taken away: by the host of a virtual machine, by interrupts, by other programs.
//!
//! A thread that does nothing but read the clock sees a gap wherever it was interrupted; `osnoise` of the Linux tracer and
//! `sysjitter` use the same method. The kernel does not count the few microseconds that the host of a virtual machine takes
//! at a time, but the tail of short tasks consists of them: where two cores are interrupted 15,000 times a second each, 3% of
//! all tasks that take both cores for a microsecond are hit.

use std::time::{Duration, Instant};

use reports::model::Warning;

use crate::stats::nanos;

/// How long a core is watched: long enough for hundreds of interruptions where they matter.
const WATCH: Duration = Duration::from_millis(50);
/// A gap is at least this long, and this many times as long as the clock usually takes.
const SHORTEST_NS: u64 = 500;
const USUAL: u64 = 10;
/// Where this share of tasks is interrupted, the 99th percentile is that of interrupted tasks.
const TAIL: f64 = 0.01;
/// The task that the share is reported for: a short one on two cores.
const TASK_SECONDS: f64 = 1e-6;
const TASK_CORES: f64 = 2.0;

/// Interruptions of one core that is otherwise idle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Noise {
    per_second: f64,
    /// Median length, in nanoseconds.
    length_ns: u64,
}

impl Noise {
    /// Watches the core that this thread runs on.
    pub(crate) fn watch() -> Self {
        let start = Instant::now();
        let clock = || nanos(start.elapsed());
        let mut steps: Vec<u64> =
            (0..1001).map(|_| clock()).collect::<Vec<_>>().windows(2).map(|w| w[1] - w[0]).collect();
        let shortest = SHORTEST_NS.max(USUAL * median(&mut steps));
        let begin = clock();
        let end = begin + nanos(WATCH);
        let mut gaps = Vec::with_capacity(4096);
        let mut last = begin;
        while last < end {
            let now = clock();
            if now - last >= shortest {
                gaps.push(now - last);
            }
            last = now;
        }
        Self::from_gaps(&mut gaps, last - begin)
    }

    fn from_gaps(gaps: &mut [u64], watched_ns: u64) -> Self {
        Self { per_second: gaps.len() as f64 * 1e9 / watched_ns as f64, length_ns: median(gaps) }
    }

    /// The share of all short tasks that is interrupted.
    fn share(self) -> f64 {
        (self.per_second * TASK_SECONDS * TASK_CORES).min(1.0)
    }

    pub(crate) fn warning(self) -> Option<Warning> {
        let Self { per_second, length_ns } = self;
        (self.share() >= TAIL).then(|| Warning::Interrupted { per_second, length_ns, share: self.share() })
    }

    pub(crate) fn fact(self) -> String {
        format!("{:.0} per second, {:.1} µs each (median)", self.per_second, self.length_ns as f64 / 1e3)
    }
}

fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_is_often_interrupted_is_warned_of_with_its_share() {
        let noise = Noise::from_gaps(&mut [2400; 900], 50_000_000);
        assert_eq!(noise, Noise { per_second: 18_000.0, length_ns: 2400 });
        let warning = noise.warning().unwrap().to_string();
        assert!(
            warning.contains("18000 times a second, for 2.4 µs") && warning.contains("4% of all tasks of 1 µs"),
            "{warning}"
        );
    }

    #[test]
    fn a_quiet_core_is_not() {
        let noise = Noise::from_gaps(&mut [1000; 15], 50_000_000);
        assert_eq!((noise.warning(), noise.fact()), (None, "300 per second, 1.0 µs each (median)".to_owned()));
        assert_eq!(Noise::from_gaps(&mut [], 50_000_000).fact(), "0 per second, 0.0 µs each (median)");
    }

    #[test]
    fn it_watches_for_as_long_as_it_says() {
        let start = Instant::now();
        let noise = Noise::watch();
        assert!(start.elapsed() >= WATCH && noise.per_second.is_finite());
    }
}
