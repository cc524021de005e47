//! Samples during which the machine is watched, and which are taken again where other programs used its cores.

use super::child;
use crate::{
    cell::{CellSpec, Measured},
    fitness::{Used, Watch},
};

/// Of all samples, so many may be taken again.
const MOST_REPEATED: f64 = 0.2;

/// Takes the samples of a run.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    /// What other programs used during all samples, where the system tells.
    pub(crate) others: Used,
    /// Number of samples that were taken again.
    pub(crate) repeated: u32,
    may_repeat: u32,
}

impl Sampler {
    /// For so many samples.
    pub(crate) fn new(samples: u64) -> Self {
        Self { may_repeat: (samples as f64 * MOST_REPEATED) as u32, ..Self::default() }
    }

    /// Takes a sample; once more if the first attempt was disturbed, as long as there were not too many of these. The error is a
    /// message for people.
    pub(crate) fn sample(&mut self, cell: &CellSpec) -> Result<Measured, String> {
        self.take(|| {
            let watch = Watch::begin();
            let measured = child::sample(cell);
            (measured, watch.others())
        })
    }

    fn take(&mut self, mut once: impl FnMut() -> (Result<Measured, String>, Option<Used>)) -> Result<Measured, String> {
        let (mut measured, mut others) = once();
        if measured.is_ok() && others.is_some_and(Used::disturbs) && self.repeated < self.may_repeat {
            self.repeated += 1;
            (measured, others) = once();
            if let Ok(measured) = &mut measured {
                measured.is_repeated = true;
            }
        }
        self.others += others.unwrap_or_default();
        measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(makespan_ns: u64) -> Measured {
        Measured {
            tasks: 1,
            makespan_ns,
            latency: None,
            counters: Default::default(),
            failed_tasks: 0,
            first_error: None,
            digest: String::new(),
            is_repeated: false,
        }
    }

    #[test]
    fn a_disturbed_sample_is_taken_again_and_marked_but_only_so_many() {
        let mut sampler = Sampler::new(10);
        let mut attempts = 0;
        let second = |cores: f64| Used { cpu_ns: (cores * 1e9) as i64, elapsed_ns: 1_000_000_000 };
        let mut sample = |sampler: &mut Sampler, others: [f64; 2]| {
            let mut attempt = others.into_iter().map(second);
            sampler.take(|| {
                attempts += 1;
                (Ok(measured(attempts)), attempt.next())
            })
        };
        let calm = sample(&mut sampler, [0.0, 9.0]).unwrap();
        assert_eq!((calm.makespan_ns, calm.is_repeated), (1, false));
        let again = sample(&mut sampler, [1.0, 0.1]).unwrap();
        assert_eq!((again.makespan_ns, again.is_repeated), (3, true));
        assert!(sample(&mut sampler, [1.0, 1.0]).unwrap().is_repeated);
        // Two of ten, and no more.
        assert!(!sample(&mut sampler, [1.0, 0.0]).unwrap().is_repeated);
        // Each sample that is kept counts.
        assert_eq!((sampler.repeated, sampler.others), (2, Used { cpu_ns: 2_100_000_000, elapsed_ns: 4_000_000_000 }));
    }

    #[test]
    fn a_sample_that_fails_is_not_taken_again() {
        let mut sampler = Sampler::new(100);
        let failed = sampler.take(|| {
            (Err("no such program".to_owned()), Some(Used { cpu_ns: 1_000_000_000, elapsed_ns: 1_000_000_000 }))
        });
        assert_eq!((failed.unwrap_err().as_str(), sampler.repeated), ("no such program", 0));
    }
}
