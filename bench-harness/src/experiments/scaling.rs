//! How speed grows with workers: speed-up, efficiency, Karp and Flatt's serial share, the Universal Scalability Law, and the best
//! number of workers beside the one that the share of waiting lets expect.

use reports::model::{Cell, Estimate, Evidence, Finding, NoLaw, Run, Scaling, ScalingPoint, Skipped, Tone, Verdict};

use super::{
    experiment::{Experiment, Job},
    speed_up::{Widths, cores_used_by, speed_up},
    words::{finding, workers},
};
use crate::{
    error::LabError,
    executors::Kind,
    runner::progress::Progress,
    stats::{self, FEWEST_WIDTHS, law, serial_share},
};

/// The law is not told of points whose typical residual is larger.
const MISFIT: f64 = 0.1;

/// Computed from the cells of the grid, which comes before.
pub(super) struct Laws;

impl Experiment for Laws {
    fn id(&self) -> &'static str {
        "laws"
    }

    fn steps(&self, _: &Job<'_>) -> usize {
        0
    }

    fn run(&self, job: &Job<'_>, _: &mut Progress, run: &mut Run) -> Result<Vec<Skipped>, LabError> {
        run.scaling = of(run, job.cores, job.settings.seed);
        Ok(Vec::new())
    }

    fn findings(&self, run: &Run) -> Vec<Finding> {
        run.scaling.iter().flat_map(|scaling| [of_law(scaling), of_waiting(run, scaling)]).flatten().collect()
    }
}

fn of(run: &Run, cores: u32, seed: u64) -> Vec<Scaling> {
    let mut all = Vec::new();
    for serial in run.cells.iter().filter(|cell| cell.executor == Kind::Serial.name() && is_measured(cell)) {
        let waits = run.inputs.iter().any(|input| input.workload == serial.workload && input.waits);
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Serial) {
            let own = |cell: &&Cell| {
                cell.workload == serial.workload && cell.params == serial.params && cell.executor == kind.name()
            };
            let mut cells: Vec<&Cell> = run.cells.iter().filter(own).filter(|cell| is_measured(cell)).collect();
            cells.sort_by_key(|cell| cell.workers);
            let points: Vec<ScalingPoint> = cells.iter().filter_map(|cell| point(serial, cell)).collect();
            if points.is_empty() {
                continue;
            }
            let best = Widths::of(serial, &cells).filter(|widths| widths.is_known);
            all.push(Scaling {
                workload: serial.workload.clone(),
                params: serial.params.clone(),
                executor: kind.name().to_owned(),
                points,
                best_workers: best.map(|widths| cells[widths.place].workers),
                expected_workers: if waits { expected_workers(serial, cores) } else { None },
                law: fit(&cells, cores, seed),
            });
        }
    }
    all
}

fn is_measured(cell: &Cell) -> bool {
    cell.verdict == Verdict::Correct && cell.makespan_ns.is_some()
}

fn point(serial: &Cell, cell: &Cell) -> Option<ScalingPoint> {
    let speed_up = speed_up(serial, cell)?;
    Some(ScalingPoint { workers: cell.workers, speed_up, serial_share: serial_share(cell.workers, &speed_up) })
}

/// Cores x (1 + wait / compute), which is cores divided by the share of a core that one task keeps busy.
fn expected_workers(serial: &Cell, cores: u32) -> Option<Estimate> {
    let of = |sample| f64::from(cores) / cores_used_by(sample);
    stats::estimate(&serial.samples.iter().map(of).collect::<Vec<f64>>())
}

/// Beyond the cores it is another matter: more workers than cores share them.
fn fit(cells: &[&Cell], cores: u32, seed: u64) -> Result<reports::model::ScalingLaw, NoLaw> {
    let within: Vec<&&Cell> = cells.iter().filter(|cell| cell.workers <= cores).collect();
    let few = NoLaw::TooFew { widths: within.len() as u32, cores };
    if within.len() < FEWEST_WIDTHS {
        return Err(few);
    }
    let mut numbers: Vec<u32> = within.iter().flat_map(|cell| cell.samples.iter().map(|sample| sample.block)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let block = |number: u32| -> Vec<(f64, f64)> {
        let of = |cell: &Cell| {
            let sample = cell.samples.iter().find(|sample| sample.block == number)?;
            Some((f64::from(cell.workers), sample.tasks_per_second))
        };
        within.iter().filter_map(|cell| of(cell)).collect()
    };
    let blocks: Vec<Vec<(f64, f64)>> = numbers.into_iter().map(block).collect();
    match law(&blocks, seed) {
        Some((law, residual)) if residual <= MISFIT => Ok(law),
        Some((_, residual)) => Err(NoLaw::Misfit(residual)),
        None => Err(few),
    }
}

fn of_law(scaling: &Scaling) -> Option<Finding> {
    let law = scaling.law.as_ref().ok()?;
    // An interval of one block is none.
    if law.contention.confidence == 0.0 {
        return None;
    }
    let share = |estimate: &Estimate| reports::format::estimate(estimate, reports::format::percent);
    let peak = match &law.peak_workers {
        Some(peak) => format!("so that more than {} workers lose speed", reports::format::estimate(peak, whole)),
        None => "and what pairs of workers cost one another cannot be told from nothing".to_owned(),
    };
    let text = format!(
        "{} on {}: by the Universal Scalability Law the share of a task that has to be alone is {}, {peak}.",
        scaling.workload,
        scaling.executor,
        share(&law.contention),
    );
    Some(finding(text, Evidence::chart("scaling", &scaling.workload), Tone::Neutral))
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

/// The best number of workers for tasks that wait, against the rule.
fn of_waiting(run: &Run, scaling: &Scaling) -> Option<Finding> {
    let expected = scaling.expected_workers.filter(|expected| expected.confidence > 0.0)?;
    // One number of workers is the best of none.
    let best = scaling.best_workers.filter(|_| scaling.points.len() > 1)?;
    let most = scaling.points.last()?.workers;
    let among = if best == most { ", the most that were measured" } else { "" };
    let text = format!(
        "{} on {}: cores x (1 + wait / compute) is {} workers; measured best: {}{among}.",
        scaling.workload,
        scaling.executor,
        reports::format::estimate(&expected, whole),
        workers(best),
    );
    let evidence = Evidence::chart("scaling", &scaling.workload);
    let finding = finding(text, evidence, Tone::Neutral);
    // The rule counts the CPU time of one task alone, and knows nothing of what is waited for.
    let is_off = best != most && !(0.5..=2.0).contains(&(f64::from(best) / expected.median));
    let note = format!(
        "The rule knows of {} cores and of no other limit: what the tasks wait for may serve only so many at a time.",
        run.host.cores
    );
    Some(if is_off { Finding { note, ..finding } } else { finding })
}

#[cfg(test)]
mod tests {
    use reports::model::{Input, Sample};

    use super::*;

    /// Six blocks of a cell whose tasks take `cpu` of the serial time in CPU time.
    fn cell(executor: Kind, workers: u32, seconds: f64, cpu: f64) -> Cell {
        let sample = |block: u32| {
            // Other in each block, and the same for all cells of one.
            let time = seconds * (1.0 + 0.01 * f64::from(block % 3));
            Sample {
                block,
                makespan_ns: (time * 1e9) as u64,
                tasks_per_second: 100.0 / time,
                user_cpu_ns: (cpu * 1e9) as u64,
                ..Sample::default()
            }
        };
        let samples: Vec<Sample> = (0..6).map(sample).collect();
        Cell {
            workload: "fetch".to_owned(),
            executor: executor.name().to_owned(),
            workers,
            tasks: 100,
            makespan_ns: stats::estimate(&samples.iter().map(|it| it.makespan_ns as f64).collect::<Vec<_>>()),
            samples,
            verdict: Verdict::Correct,
            ..Cell::default()
        }
    }

    fn run(cores: u32, widths: &[u32], waits: bool, time: impl Fn(u32) -> f64) -> Run {
        let serial = cell(Kind::Serial, 1, 10.0, 1.0);
        let cells = widths.iter().map(|workers| cell(Kind::Thread, *workers, time(*workers), 1.0));
        let input =
            Input { workload: "fetch".to_owned(), description: String::new(), waits, fingerprint: String::new() };
        let mut run = Run { cells: [serial].into_iter().chain(cells).collect(), inputs: vec![input], ..Run::default() };
        run.host.cores = cores;
        run.scaling = of(&run, cores, 1);
        run
    }

    #[test]
    fn amdahl_gives_its_serial_share_and_a_law_without_a_peak() {
        let run = run(16, &[1, 2, 4, 6, 8, 16], false, |n| 10.0 * (0.1 + 0.9 / f64::from(n)));
        let scaling = &run.scaling[0];
        assert_eq!((run.scaling.len(), scaling.points[0].serial_share), (1, None));
        for point in &scaling.points[1..] {
            assert!((point.serial_share.unwrap().median - 0.1).abs() < 1e-6, "{point:?}");
        }
        let law = scaling.law.unwrap();
        assert!((law.contention.median - 0.1).abs() < 1e-6 && law.peak_workers.is_none(), "{law:?}");
        let texts: Vec<String> = Laws.findings(&run).into_iter().map(|finding| finding.text).collect();
        assert_eq!(texts.len(), 1);
        assert!(texts[0].contains("has to be alone is 10% (10% to 10%"), "{texts:?}");
    }

    #[test]
    fn widths_beyond_the_cores_are_no_part_of_the_law() {
        let run = run(2, &[1, 2, 4, 8, 16, 32], false, |n| 10.0 / f64::from(n.min(2)));
        assert_eq!(run.scaling[0].law, Err(NoLaw::TooFew { widths: 2, cores: 2 }));
        assert_eq!(run.scaling[0].best_workers, Some(2));
        assert_eq!(Laws.findings(&run), []);
    }

    #[test]
    fn points_of_another_shape_have_no_law() {
        let zigzag = |n: u32| if n.is_multiple_of(4) { 10.0 } else { 2.0 };
        let run = run(16, &[1, 2, 3, 4, 6, 8], false, zigzag);
        assert!(matches!(run.scaling[0].law, Err(NoLaw::Misfit(share)) if share > 0.1), "{:?}", run.scaling[0].law);
    }

    #[test]
    fn the_rule_for_tasks_that_wait_stands_beside_what_was_measured() {
        // A tenth of the time is computed: two cores serve twenty.
        let told = |limit: u32| {
            let run = run(2, &[1, 8, 16, 64], true, |n| 10.0 / f64::from(n.min(limit)));
            Laws.findings(&run).remove(0)
        };
        let good = told(16);
        assert!(good.text.contains("is 20 ") && good.text.ends_with("measured best: 16 workers."), "{}", good.text);
        assert_eq!(good.note, "");
        assert!(told(64).text.contains("64 workers, the most that were measured"));
        assert!(told(8).note.contains("only so many at a time"), "{:?}", told(8));
        assert_eq!(Laws.findings(&run(2, &[8], true, |_| 2.0)), [], "one width is the best of none");
    }
}
