//! How many workers a workload is worth, and why no more: sentences about the cells of one workload, measured by the grid.
//!
//! The cause for which a width grows no more is read off the counters: CPU time first.

use reports::model::{Cell, Evidence, Finding, Run, Skipped, Tone, Verdict};

use super::{
    experiment::{Experiment, Job},
    speed_up::{Widths, cores_used, cpu_ns, speed_up, ties, typical},
    words::{finding, workers},
};
use crate::{error::LabError, executors::Kind, runner::progress::Progress};

/// The share of the cores from which all of them count as busy: a shared machine seldom gives them whole.
const BUSY: f64 = 0.85;

/// The share of the time in which something was ready to run and had no core, from which a lack of cores counts as the cause.
const PRESSED: f64 = 0.5;

/// The CPU time of a task, against its CPU time alone, from which tasks hinder each other.
const HINDERED: f64 = 1.25;

/// The best width of each executor that was measured with more than one.
pub(super) struct Width;

impl Experiment for Width {
    fn id(&self) -> &'static str {
        "width"
    }

    fn steps(&self, _: &Job<'_>) -> usize {
        0
    }

    fn run(&self, _: &Job<'_>, _: &mut Progress, _: &mut Run) -> Result<Vec<Skipped>, LabError> {
        Ok(Vec::new())
    }

    fn findings(&self, run: &Run) -> Vec<Finding> {
        let serials = run.cells.iter().filter(|cell| cell.executor == Kind::Serial.name());
        serials.flat_map(|serial| of_workload(run, serial)).collect()
    }
}

fn of_workload(run: &Run, serial: &Cell) -> Vec<Finding> {
    if let Some(finding) = never_the_same(serial) {
        return vec![finding];
    }
    if serial.verdict != Verdict::Correct {
        return Vec::new();
    }
    let executors = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Serial);
    executors
        .filter_map(|kind| {
            let measured = |cell: &&Cell| cell.verdict == Verdict::Correct && cell.makespan_ns.is_some();
            let own = |cell: &&Cell| cell.workload == serial.workload && cell.executor == kind.name();
            let mut cells: Vec<&Cell> = run.cells.iter().filter(own).filter(measured).collect();
            cells.sort_by_key(|cell| cell.workers);
            (cells.len() > 1).then(|| sentence(run, serial, &cells)).flatten()
        })
        .collect()
}

/// A serial cell whose answers differ from block to block: no other cell can be compared with it.
fn never_the_same(serial: &Cell) -> Option<Finding> {
    let Verdict::Wrong { .. } = serial.verdict else { return None };
    let text = format!(
        "{}: its answers differ from run to run also without concurrency, so that none can be checked: leave out what has times or \
         random names in it (of a command: --ignore-stdout).",
        serial.workload
    );
    Some(finding(text, Evidence::section("cells"), Tone::Wrong))
}

fn sentence(run: &Run, serial: &Cell, cells: &[&Cell]) -> Option<Finding> {
    let Widths { place, fastest, is_known } = Widths::of(serial, cells)?;
    let (best, gain) = (cells[place], speed_up(serial, cells[place])?);
    if !is_known {
        return Some(cannot_tell(serial, best, fastest));
    }
    let others = cells[place..].iter().filter(|cell| ties(cell, fastest)).count();
    let among = if others > 1 { format!(", the fewest of {others} that tie") } else { String::new() };
    let percent = reports::format::percent(gain.confidence);
    let gained = format!("{:.2}x serial ({percent} CI {:.2}x to {:.2}x)", gain.median, gain.low, gain.high);
    let why = why_no_more(run, serial, best, place + 1 < cells.len());
    let text = format!(
        "{} on {}: {} are best{among}, {gained}; {why}.",
        serial.workload,
        best.executor,
        workers(best.workers)
    );
    let text = text.replace("1 worker are best", "1 worker is best");
    Some(finding(text, Evidence::chart("scaling", &serial.workload), Tone::Neutral))
}

/// The samples scatter too much.
fn cannot_tell(serial: &Cell, fewest: &Cell, fastest: &Cell) -> Finding {
    let others = if fewest.workers == fastest.workers {
        String::new()
    } else {
        format!(", and {} may be as fast", workers(fewest.workers))
    };
    let text = format!(
        "{} on {}: these samples cannot tell how many workers are best: fastest with {}{others}.",
        serial.workload,
        fastest.executor,
        workers(fastest.workers),
    );
    let evidence = Evidence::chart("scaling", &serial.workload);
    let note = "Take more of them (--reps), on a machine that does nothing else.".to_owned();
    Finding { note, ..finding(text, evidence, Tone::Caution) }
}

/// Why more workers than those of `best` gain nothing. `is_wider_known` is whether more were measured.
fn why_no_more(run: &Run, serial: &Cell, best: &Cell, is_wider_known: bool) -> String {
    let (cores, used) = (f64::from(run.host.cores.max(1)), cores_used(best));
    let alone = cores_used(serial);
    let of_cores = format!("{used:.1} of {cores:.0} cores");
    if used >= BUSY * cores {
        let by_itself = if alone > 1.3 { format!(", of which one task alone uses {alone:.1}") } else { String::new() };
        return format!("more gain nothing, because the cores are busy: {of_cores} are in use{by_itself}");
    }
    if u64::from(best.workers) >= best.tasks {
        return format!("more gain nothing, because there are only {} tasks", best.tasks);
    }
    if !is_wider_known {
        return format!("that is the most that were measured, and {of_cores} are in use: measure more workers");
    }
    let (task, task_alone) = (typical(best, cpu_ns), typical(serial, cpu_ns));
    if best.workers > 1 && task > HINDERED * task_alone {
        let system = |cell: &Cell| typical(cell, |sample| sample.system_cpu_ns as f64 / cpu_ns(sample).max(1.0));
        return format!(
            "more gain nothing, because tasks hinder each other: each takes {:.1}x the CPU time that it takes alone ({} of it in the \
             kernel, {} alone)",
            task / task_alone.max(1.0),
            reports::format::percent(system(best)),
            reports::format::percent(system(serial)),
        );
    }
    let major = typical(best, |sample| sample.major_faults as f64) / best.tasks.max(1) as f64;
    let disk = if major >= 1.0 { format!(" ({major:.0} pages a task are read from the disk)") } else { String::new() };
    let pressure =
        typical(best, |sample| sample.cpu_pressure_ns.unwrap_or(0) as f64 / sample.makespan_ns.max(1) as f64);
    if pressure >= PRESSED {
        return format!(
            "more gain nothing, because other programs have the cores: only {of_cores} are in use by these tasks, and in {} of the \
             time something was ready to run and had no core",
            reports::format::percent(pressure.min(1.0))
        );
    }
    format!(
        "more gain nothing, because tasks wait: {of_cores} are in use{disk}; they wait for a disk, a network or a lock"
    )
}

#[cfg(test)]
mod tests {
    use reports::model::Sample;

    use super::*;
    use crate::stats;

    /// A cell whose blocks take these milliseconds, and whose tasks take this CPU time together.
    fn cell(executor: Kind, workers: u32, times: &[f64], cpu_ms: f64) -> Cell {
        let sample = |(block, time): (usize, &f64)| Sample {
            block: block as u32,
            makespan_ns: (time * 1e6) as u64,
            user_cpu_ns: (cpu_ms * 1e6) as u64,
            digest: "a".to_owned(),
            ..nothing()
        };
        let samples: Vec<Sample> = times.iter().enumerate().map(sample).collect();
        Cell {
            workload: "command".to_owned(),
            executor: executor.name().to_owned(),
            workers,
            tasks: 100,
            makespan_ns: stats::estimate(&samples.iter().map(|it| it.makespan_ns as f64).collect::<Vec<_>>()),
            samples,
            verdict: Verdict::Correct,
            ..Cell::default()
        }
    }

    fn nothing() -> Sample {
        serde_json::from_value(serde_json::json!({
            "block": 0, "order": 0, "makespan_ns": 0, "tasks_per_second": 0.0, "latency": null, "user_cpu_ns": 0,
            "system_cpu_ns": 0, "voluntary_switches": 0, "involuntary_switches": 0, "minor_faults": 0, "major_faults": 0,
            "peak_pss_bytes": null, "failed_tasks": 0, "digest": ""
        }))
        .unwrap()
    }

    const SERIAL: [f64; 6] = [1000.0, 1010.0, 990.0, 1005.0, 995.0, 1000.0];

    fn scaled(by: f64) -> Vec<f64> {
        // Not the order of the serial samples, so that ratios have some spread.
        SERIAL.iter().rev().map(|time| time / by).collect()
    }

    fn text(cells: Vec<Cell>, cores: u32) -> String {
        let mut run = Run { cells, ..Run::default() };
        run.host.cores = cores;
        let findings = Width.findings(&run);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings[0].text.clone()
    }

    #[test]
    fn the_fewest_workers_that_tie_are_best_and_busy_cores_are_the_cause() {
        let cells = vec![
            cell(Kind::Serial, 1, &SERIAL, 990.0),
            cell(Kind::Thread, 1, &scaled(1.0), 990.0),
            cell(Kind::Thread, 2, &scaled(1.9), 1000.0),
            cell(Kind::Thread, 4, &scaled(1.91), 1000.0),
            cell(Kind::Thread, 8, &scaled(1.5), 1000.0),
        ];
        let text = text(cells, 2);
        assert!(
            text.starts_with(
                "command on thread: 2 workers are best, the fewest of 2 that tie, 1.90x serial (96.9% CI 1.8"
            ),
            "{text}"
        );
        assert!(text.contains("because the cores are busy: 1.9 of 2 cores"), "{text}");
    }

    #[test]
    fn waiting_hindrance_few_tasks_and_too_few_widths_are_told_apart() {
        let at = |by: f64, cpu: f64, wider: bool| {
            let mut cells = vec![
                cell(Kind::Serial, 1, &SERIAL, 300.0),
                cell(Kind::Thread, 1, &scaled(1.0), 300.0),
                cell(Kind::Thread, 4, &scaled(by), cpu),
            ];
            cells.extend(wider.then(|| cell(Kind::Thread, 8, &scaled(by), cpu)));
            cells
        };
        let wait = text(at(2.0, 310.0, true), 8);
        assert!(wait.contains("because tasks wait: 0.6 of 8 cores are in use; they wait for a disk"), "{wait}");
        let mut pressed = at(2.0, 310.0, true);
        pressed[2].samples.iter_mut().for_each(|sample| sample.cpu_pressure_ns = Some(400_000_000));
        assert!(text(pressed, 8).contains("because other programs have the cores: only 0.6 of 8 cores"));
        let hindered = text(at(2.0, 900.0, true), 8);
        assert!(hindered.contains("each takes 3.0x the CPU time that it takes alone"), "{hindered}");
        let narrow = text(at(3.9, 310.0, false), 8);
        assert!(narrow.contains("the most that were measured"), "{narrow}");
        let mut few = at(2.0, 310.0, true);
        few.iter_mut().for_each(|cell| cell.tasks = 4);
        assert!(text(few, 8).contains("there are only 4 tasks"));
    }

    #[test]
    fn samples_that_scatter_cannot_tell_which_width_is_best() {
        let (wild, fast) = ([400.0, 1200.0, 1300.0, 1250.0, 1200.0, 1210.0], [500.0; 6]);
        let cells = vec![
            cell(Kind::Serial, 1, &SERIAL, 990.0),
            cell(Kind::Thread, 1, &wild, 990.0),
            cell(Kind::Thread, 2, &fast, 990.0),
        ];
        assert!(
            text(cells, 2).contains("cannot tell how many workers are best: fastest with 2 workers, and 1 worker may")
        );
    }

    #[test]
    fn one_sample_of_each_tells_nothing() {
        let cells = vec![
            cell(Kind::Serial, 1, &[1000.0], 990.0),
            cell(Kind::Thread, 1, &[500.0], 990.0),
            cell(Kind::Thread, 2, &[700.0], 990.0),
        ];
        let text = text(cells, 2);
        assert!(text.ends_with("cannot tell how many workers are best: fastest with 1 worker."), "{text}");
    }

    #[test]
    fn answers_that_differ_without_concurrency_are_a_fault_of_the_work() {
        let mut serial = cell(Kind::Serial, 1, &SERIAL, 300.0);
        serial.verdict = Verdict::Wrong { expected: "a".to_owned(), found: "b".to_owned() };
        let text = text(vec![serial, cell(Kind::Thread, 1, &SERIAL, 300.0)], 2);
        assert!(text.contains("--ignore-stdout"), "{text}");
    }

    #[test]
    fn planted_speed_ups_are_found_with_their_interval() {
        let mut random = workloads::Random::new(7);
        let mut noise = || 1.0 + 0.04 * ((random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 - 0.5);
        let mut covered = 0;
        for _ in 0..1000 {
            let serial: Vec<f64> = (0..6).map(|_| 1000.0 * noise()).collect();
            let faster: Vec<f64> = (0..6).map(|_| 1000.0 / 1.7 * noise()).collect();
            let gain = speed_up(&cell(Kind::Serial, 1, &serial, 1.0), &cell(Kind::Thread, 2, &faster, 1.0)).unwrap();
            covered += u32::from(gain.low <= 1.7 && 1.7 <= gain.high);
        }
        // 96.9% are expected of six blocks, with a standard error of half a percent.
        assert!((950..=985).contains(&covered), "{covered}");
    }
}
