//! The figures of a pathology and what they say: pure functions of the samples.

use reports::model::{Estimate, Pathology, PathologySample, PathologyVerdict};

use super::super::causes::is_above;
use crate::{executors::Kind, stats};

/// Differences below this are even.
const EVEN: f64 = 1.03;

/// Computes the ratios by block, and the verdict of a machine with this many cores.
pub(super) fn judge(pathology: &mut Pathology, needs: u32, cores: u32) {
    let samples = &pathology.samples;
    let [threads, processes] = [Kind::Thread, Kind::Process].map(Kind::name);
    let ratio = |of: (&str, bool), base: (&str, bool)| {
        stats::estimate(&stats::block_ratios(&rounds(samples, of), &rounds(samples, base)))
    };
    let figures = [
        ratio((processes, true), (threads, true)),
        ratio((processes, false), (threads, false)),
        ratio((threads, true), (threads, false)),
        ratio((processes, true), (processes, false)),
    ];
    if matches!(pathology.verdict, PathologyVerdict::NotMeasured) {
        pathology.verdict = verdict(pathology.is_control(), figures[0], figures[1], needs, cores);
    }
    [pathology.with, pathology.without, pathology.threads, pathology.processes] = figures;
}

fn rounds(samples: &[PathologySample], (executor, with): (&str, bool)) -> Vec<(u32, Vec<f64>)> {
    let own = samples.iter().filter(|sample| sample.executor == executor && sample.with == with);
    own.map(|sample| (sample.block, vec![sample.makespan_ns as f64])).collect()
}

/// Whether processes are faster for certain.
fn processes_win(ratio: &Estimate) -> bool {
    let inverse = Estimate { median: 1.0 / ratio.median, low: 1.0 / ratio.high, high: 1.0 / ratio.low, ..*ratio };
    is_above(&inverse, EVEN)
}

fn verdict(
    is_control: bool,
    with: Option<Estimate>,
    without: Option<Estimate>,
    needs: u32,
    cores: u32,
) -> PathologyVerdict {
    // One block has no interval, and two have one that says nothing.
    let Some(with) = with.filter(|ratio| ratio.n > 2) else { return PathologyVerdict::NotMeasured };
    if processes_win(&with) {
        let gone = without.is_some_and(|without| !processes_win(&without));
        return PathologyVerdict::ProcessesWin { gone };
    }
    if !is_control && cores < needs {
        return PathologyVerdict::NeedsCores { cores: needs };
    }
    if is_above(&with, EVEN) { PathologyVerdict::ThreadsWin } else { PathologyVerdict::Tie }
}

#[cfg(test)]
mod tests {
    use workloads::Random;

    use super::*;

    /// Samples whose true times are these, in milliseconds, with a drift of each block and noise of 2%.
    fn planted(switch: &str, [with, without]: [[f64; 2]; 2], blocks: u32) -> Pathology {
        let mut random = Random::new(7);
        let mut draw = move |share: f64| 1.0 + share * ((random.next_u64() % 1001) as f64 / 500.0 - 1.0);
        let mut samples = Vec::new();
        for block in 0..blocks {
            let drift = draw(0.3);
            for (executor, on, time) in [
                (Kind::Thread, true, with[0]),
                (Kind::Process, true, with[1]),
                (Kind::Thread, false, without[0]),
                (Kind::Process, false, without[1]),
            ] {
                if !switch.is_empty() || on {
                    samples.push(PathologySample {
                        block,
                        order: samples.len() as u32,
                        executor: executor.name().to_owned(),
                        with: on,
                        makespan_ns: (time * 1e6 * drift * draw(0.02)) as u64,
                        system_cpu_ns: 0,
                        voluntary_switches: 0,
                        minor_faults: 0,
                    });
                }
            }
        }
        Pathology { switch: switch.to_owned(), samples, ..Pathology::default() }
    }

    fn judged(switch: &str, times: [[f64; 2]; 2], blocks: u32) -> Pathology {
        let mut pathology = planted(switch, times, blocks);
        judge(&mut pathology, 2, 2);
        pathology
    }

    #[test]
    fn what_is_planted_is_found_and_gone_without_its_cause() {
        let lock = judged("no lock", [[20.0, 11.0], [10.0, 10.5]], 6);
        assert_eq!(lock.verdict, PathologyVerdict::ProcessesWin { gone: true });
        let near = |estimate: Option<Estimate>, truth: f64| {
            let estimate = estimate.unwrap();
            assert!(estimate.low <= truth * 1.04 && truth * 0.96 <= estimate.high, "{estimate:?} {truth}");
            assert!((estimate.median / truth - 1.0).abs() < 0.05, "the drift cancels out: {estimate:?}");
        };
        near(lock.with, 0.55);
        near(lock.without, 1.05);
        near(lock.threads, 2.0);
        near(lock.processes, 11.0 / 10.5);
        let other = judged("no lock", [[20.0, 11.0], [20.0, 12.0]], 6);
        assert_eq!(other.verdict, PathologyVerdict::ProcessesWin { gone: false });
        assert_eq!(judged("x", [[10.0, 20.0], [10.0, 20.0]], 6).verdict, PathologyVerdict::ThreadsWin);
        assert_eq!(judged("x", [[10.0, 10.0], [10.0, 10.0]], 6).verdict, PathologyVerdict::Tie);
    }

    #[test]
    fn a_control_has_no_figure_without_a_cause() {
        let control = judged("", [[10.0, 10.0], [0.0, 0.0]], 6);
        assert_eq!((control.verdict, control.without, control.threads), (PathologyVerdict::Tie, None, None));
    }

    #[test]
    fn few_blocks_few_cores_and_no_samples_are_no_win() {
        // Three blocks reach 75%: a difference of a quarter is not enough for them, and one of a half is.
        assert_eq!(judged("x", [[12.5, 10.0], [10.0, 10.0]], 3).verdict, PathologyVerdict::Tie);
        assert_eq!(judged("x", [[20.0, 10.0], [10.0, 10.0]], 3).verdict, PathologyVerdict::ProcessesWin { gone: true });
        let mut few = planted("x", [[10.0, 10.0], [10.0, 10.0]], 6);
        judge(&mut few, 4, 2);
        assert_eq!(few.verdict, PathologyVerdict::NeedsCores { cores: 4 });
        for blocks in [0, 1, 2] {
            let few = judged("x", [[20.0, 10.0], [10.0, 10.0]], blocks);
            assert_eq!(few.verdict, PathologyVerdict::NotMeasured, "{blocks}");
        }
        let mut failed = planted("x", [[20.0, 10.0], [10.0, 10.0]], 6);
        failed.verdict = PathologyVerdict::Wrong;
        judge(&mut failed, 2, 2);
        assert_eq!(failed.verdict, PathologyVerdict::Wrong, "however fast");
    }
}
