//! Whether the machine is fit to measure executors: before, while and after samples are taken.
//!
//! Three things are looked at. *Cores*: one spinning thread is pinned to each, first alone and then all at once; where two virtual
//! cores share one, or a quota holds the program back, they slow each other down. *Noise*: the same sample is taken twice in a row,
//! several times; how much such pairs differ says which effects cannot be told. *Others*: the CPU time of the machine that is not
//! this program's, while a sample is taken.

use std::{
    ops::AddAssign,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use reports::model::{Estimate, Fitness, Unfit};
use workloads::kernels::{self, Spin, SpinTasks};

use crate::{
    cell::CellSpec,
    executors::Kind,
    runner::{child, counters, usage},
    stats::{self, nanos},
    work::Work,
};

/// A spinning thread may take so many times as long while all cores spin. The clock of one core alone may be higher by a third.
const MOST_SLOWDOWN: f64 = 1.4;
/// Where no smaller effect can be told, figures are not worth printing.
const MOST_EFFECT: f64 = 0.2;
/// Others may use so much of a core. A sample during which they used more is taken again.
const MOST_OTHERS: f64 = 0.25;

/// Fewer samples have no interval.
const FEWEST: u32 = 3;

/// How long a thread spins for one look at a core.
const SPIN: Duration = Duration::from_millis(5);
const LOOKS: u32 = 7;
/// Pairs of the same sample.
const PAIRS: usize = 10;
/// How long the tasks of such a sample take, in microseconds, and their number for each core.
const TASK_US: f64 = 500.0;
const TASKS: u32 = 40;

/// The smallest effect by this many times the standard deviation of one pair, over the root of the number of pairs: a two-sided
/// test of the median at 5% that finds four of five such effects, for normal noise (1.2533 is the median's larger error).
const DETECTS: f64 = 1.2533 * (1.96 + 0.8416);

/// Looks at cores and noise before the samples, of which each figure of the run has `blocks`.
pub(crate) fn before(cores: u32, blocks: u32) -> Fitness {
    // Of fewer samples no figure has an interval, and nothing is said that noise could make wrong.
    let noise = if blocks < FEWEST { None } else { noise(cores) };
    Fitness {
        cores_before: cores_there(),
        smallest_effect: noise.map(|sigma| DETECTS * sigma / f64::from(blocks).sqrt()),
        ..Fitness::default()
    }
}

/// Looks at the cores once more, and judges by what other programs used during all samples.
pub(crate) fn after(fitness: &mut Fitness, others: Used, repeated: u32) {
    fitness.cores_after = cores_there();
    fitness.others = others.cores();
    fitness.repeated = repeated;
    fitness.unfit = judge(fitness);
}

fn judge(fitness: &Fitness) -> Vec<Unfit> {
    let Fitness { cores_before, cores_after, smallest_effect, others, .. } = fitness;
    // The lower end: one look may be disturbed.
    let slowest = [cores_before, cores_after].into_iter().flatten().map(|estimate| estimate.low).reduce(f64::max);
    let beyond = |value: Option<f64>, most: f64| value.filter(|value| *value > most);
    let cores = beyond(slowest, MOST_SLOWDOWN).map(Unfit::Cores);
    let noise = beyond(*smallest_effect, MOST_EFFECT).map(Unfit::Noise);
    let others = beyond(*others, MOST_OTHERS).map(Unfit::Others);
    cores.into_iter().chain(noise).chain(others).collect()
}

/// The time of a spinning thread on the slowest core while all cores have one, in multiples of that of one alone there. `None`
/// where threads cannot be pinned.
fn cores_there() -> Option<Estimate> {
    let cores = own_cores()?;
    let iterations = (kernels::calibrate() * SPIN.as_micros() as f64).max(1.0) as u64;
    let looks = (0..LOOKS).map(|_| {
        let alone = cores.iter().map(|core| spin_on(&[*core], iterations)[0]).collect::<Vec<_>>();
        let together = spin_on(&cores, iterations);
        together.iter().zip(&alone).map(|(together, alone)| together / alone).fold(1.0, f64::max)
    });
    stats::estimate(&looks.collect::<Vec<_>>())
}

/// Spins on all of these cores at the same time; the time of each in nanoseconds.
fn spin_on(cores: &[usize], iterations: u64) -> Vec<f64> {
    let start = Barrier::new(cores.len());
    thread::scope(|scope| {
        let spins = cores.iter().map(|core| {
            let start = &start;
            scope.spawn(move || {
                pin_to(*core);
                start.wait();
                let begin = Instant::now();
                std::hint::black_box(kernels::spin(Spin { iterations, seed: 1 }));
                nanos(begin.elapsed()) as f64
            })
        });
        let spins: Vec<_> = spins.collect();
        spins.into_iter().map(|spin| spin.join().unwrap_or(f64::NAN)).collect()
    })
}

/// The cores that this process may use.
#[cfg(target_os = "linux")]
fn own_cores() -> Option<Vec<usize>> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let set = sched_getaffinity(None).ok()?;
    Some((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

#[cfg(target_os = "linux")]
fn pin_to(core: usize) {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut set = CpuSet::new();
    set.set(core);
    // The core was in the set of this process a moment ago; where it is not any more, the thread spins elsewhere.
    let _ = sched_setaffinity(None, &set);
}

#[cfg(not(target_os = "linux"))]
fn own_cores() -> Option<Vec<usize>> {
    None
}

#[cfg(not(target_os = "linux"))]
fn pin_to(_: usize) {}

/// How much two samples of the same differ: the standard deviation of the logarithm of their ratio. `None` where they fail.
fn noise(cores: u32) -> Option<f64> {
    let iterations = (kernels::calibrate() * TASK_US).max(1.0) as u64;
    let cell = CellSpec {
        work: Work::new(&SpinTasks { tasks: TASKS * cores, iterations }).ok()?,
        executor: Kind::Thread,
        workers: cores,
        data: std::path::PathBuf::new(),
        input: None,
    };
    let time = || child::sample(&cell).ok().map(|sample| sample.makespan_ns as f64);
    let ratios: Option<Vec<f64>> = (0..PAIRS).map(|_| Some((time()? / time()?).ln())).collect();
    Some(spread(&ratios?))
}

/// A standard deviation that a few outliers do not change: 1.4826 times the median distance from 0, which is what the ratios of
/// equals lie around (Hampel, "The Influence Curve and Its Role in Robust Estimation", 1974).
fn spread(logarithms: &[f64]) -> f64 {
    let distances: Vec<f64> = logarithms.iter().map(|logarithm| logarithm.abs()).collect();
    1.4826 * stats::median(&distances)
}

/// Watches what other programs do while a sample is taken.
pub(crate) struct Watch {
    start: Instant,
    /// CPU time of the whole machine and of this program, in nanoseconds.
    before: Option<(u64, u64)>,
}

impl Watch {
    pub(crate) fn begin() -> Self {
        Self { start: Instant::now(), before: usage::used_by_all_and_own() }
    }

    /// What others have used since then. `None` where the system does not tell.
    pub(crate) fn others(&self) -> Option<Used> {
        let elapsed_ns = nanos(self.start.elapsed());
        let ((all, own), (all_before, own_before)) = (usage::used_by_all_and_own()?, self.before?);
        let difference = |now: u64, before: u64| now as i64 - before as i64;
        Some(Used { cpu_ns: difference(all, all_before) - difference(own, own_before), elapsed_ns })
    }
}

/// CPU time that other programs used meanwhile. Of a short time it may be negative, since the machine's own is in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Used {
    pub(crate) cpu_ns: i64,
    pub(crate) elapsed_ns: u64,
}

impl Used {
    /// In cores. `None` if the time was too short for the clock of the machine, of which each core may miss a tick or have one too
    /// much.
    pub(crate) fn cores(self) -> Option<f64> {
        let is_long = self.elapsed_ns >= 20 * counters::nanos_per_tick();
        is_long.then(|| self.cpu_ns.max(0) as f64 / self.elapsed_ns as f64)
    }

    /// Whether a sample is to be taken again, because others used the cores meanwhile.
    pub(crate) fn disturbs(self) -> bool {
        self.cores().is_some_and(|cores| cores > MOST_OTHERS)
    }
}

impl AddAssign for Used {
    fn add_assign(&mut self, more: Self) {
        self.cpu_ns += more.cpu_ns;
        self.elapsed_ns += more.elapsed_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was seen of a machine: how its cores slow each other down, the smallest effect, and what others use.
    fn seen(cores: f64, effect: f64, others: f64) -> Fitness {
        let cores = Estimate { median: cores, low: cores, high: cores, confidence: 0.98, n: 7 };
        let (smallest_effect, others) = (Some(effect), Some(others));
        Fitness { cores_before: Some(cores), smallest_effect, others, ..Fitness::default() }
    }

    #[test]
    fn what_is_beyond_its_bound_is_a_reason_and_what_was_not_looked_at_is_none() {
        assert_eq!(judge(&seen(1.3, 0.1, 0.2)), []);
        assert_eq!(judge(&Fitness::default()), []);
        assert_eq!(judge(&seen(1.9, 0.1, 0.2)), [Unfit::Cores(1.9)]);
        assert_eq!(judge(&seen(1.0, 0.3, 0.9)), [Unfit::Noise(0.3), Unfit::Others(0.9)]);
        // The worse of both looks counts, but not a single disturbed one.
        let late = Estimate { median: 1.9, low: 1.1, high: 2.0, confidence: 0.98, n: 7 };
        let fitness = |low| Fitness { cores_after: Some(Estimate { low, ..late }), ..seen(1.0, 0.1, 0.0) };
        assert_eq!(judge(&fitness(1.1)), []);
        assert_eq!(judge(&fitness(1.8)), [Unfit::Cores(1.8)]);
    }

    #[test]
    fn samples_that_are_too_short_for_the_clock_tell_together() {
        let tick = counters::nanos_per_tick();
        let short = Used { cpu_ns: (9 * tick) as i64, elapsed_ns: 15 * tick };
        let early = Used { cpu_ns: -(tick as i64), elapsed_ns: 15 * tick };
        assert_eq!((short.cores(), short.disturbs(), early.cores()), (None, false, None));
        let mut all = short;
        all += early;
        assert_eq!((all.cores(), all.disturbs()), (Some(8.0 / 30.0), true));
    }

    #[test]
    fn the_spread_of_normal_noise_is_its_standard_deviation() {
        // Sums of twelve uniform numbers are normal with a standard deviation of 1.
        let mut random = workloads::Random::new(5);
        let mut uniform = move || random.next_u64() as f64 / u64::MAX as f64;
        let draws: Vec<f64> = (0..4001).map(|_| 0.02 * ((0..12).map(|_| uniform()).sum::<f64>() - 6.0)).collect();
        assert!((spread(&draws) / 0.02 - 1.0).abs() < 0.05, "{}", spread(&draws));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_that_spins_meanwhile_is_seen_and_this_one_is_not() {
        let spin = |time: Duration| {
            let start = Instant::now();
            while start.elapsed() < time {
                std::hint::spin_loop();
            }
        };
        let watch = Watch::begin();
        // Its time counts once it has ended, and before.
        let mut other = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        spin(Duration::from_millis(300));
        let own = watch.others().unwrap().cores().unwrap();
        other.kill().unwrap();
        other.wait().unwrap();
        // Other tests run beside this one in the same process, and other programs on the same machine, so only the sign of the
        // difference can be asked for: the child is this program's.
        let (all, own_time) = usage::used_by_all_and_own().unwrap();
        assert!(own.is_finite() && own >= 0.0 && all >= own_time / 2, "{own} {all} {own_time}");
    }
}
