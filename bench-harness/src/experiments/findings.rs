//! What the figures say, in words. The first finding is the headline.

use reports::model::{Cell, Crossing, Estimate, Finding, Run, Skipped, Tone, Verdict};

use crate::{executors::Kind, machine::BUSY, stats::NoCrossing};

/// How far beyond what is possible a speed-up may lie by mere noise.
const NOISE: f64 = 1.05;

/// All that can be said about a run; what is wrong comes first. `bad` are samples of the break-even that are in no curve.
pub(super) fn of(run: &Run, bad_samples: &[Skipped]) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(bad(run, |verdict| match verdict {
        Verdict::Wrong { .. } => Some("gave other answers than the serial run: wrong, however fast".to_owned()),
        _ => None,
    }));
    findings.extend(bad(run, |verdict| match verdict {
        Verdict::Failed { error } => Some(format!("failed: {error}")),
        _ => None,
    }));
    findings.extend(bad_samples.first().map(|first| {
        let text = format!("{}: {} ({} such samples are left out)", first.what, first.reason, bad_samples.len());
        finding(text, "efficiency", Tone::Wrong)
    }));
    findings.extend(break_even(run));
    findings.extend(workloads(run).into_iter().filter_map(|name| best(run, &name)));
    findings.extend(processes_win(run));
    findings.extend(run.host.warnings.iter().map(|warning| finding(warning.clone(), "machine", Tone::Caution)));
    // Always there: what serial cannot have.
    if run.skipped.len() > 1 {
        let text = format!("{} paths of the input were left out, each with its reason.", run.skipped.len() - 1);
        findings.push(finding(text, "cells", Tone::Caution));
    }
    if run.interrupted {
        findings.push(finding(
            "The run was stopped early: cells have fewer samples than planned.".into(),
            "cells",
            Tone::Caution,
        ));
    }
    if findings.is_empty() {
        findings.push(finding("Nothing was measured.".to_owned(), "cells", Tone::Caution));
    }
    findings
}

/// One finding for all bad cells of a kind, with the first of them: the report lists all, with all they have to say.
fn bad(run: &Run, what: impl Fn(&Verdict) -> Option<String>) -> Option<Finding> {
    const LONGEST: usize = 160;
    let mut cells = run.cells.iter().filter_map(|cell| Some(format!("{} {}", cell.id, what(&cell.verdict)?)));
    let first = cells.next()?;
    let mut text: String = first.chars().take(LONGEST).collect();
    if text.len() < first.len() {
        text.push_str(" ...");
    }
    match cells.count() {
        0 => {}
        1 => text.push_str(" (and one more cell)"),
        more => text.push_str(&format!(" (and {more} more cells)")),
    }
    Some(finding(text, "cells", Tone::Wrong))
}

fn finding(text: String, evidence: &str, tone: Tone) -> Finding {
    Finding { text, evidence: evidence.to_owned(), note: String::new(), tone }
}

/// When process overhead beats thread overhead: the headline, and what it rests on.
fn break_even(run: &Run) -> Vec<Finding> {
    if run.efficiency.is_empty() {
        return Vec::new();
    }
    let found = |id: &str| run.crossings.iter().find(|crossing| crossing.id == id);
    // One that was not found has, instead of a figure, what can be said about it.
    let task = |id: &str| match found(id) {
        Some(Crossing { task_ns: Some(task), .. }) => interval(task),
        Some(Crossing { note, .. }) => note.clone(),
        None => "not measured".to_owned(),
    };
    let even = task("thread-vs-process");
    let texts = [
        match found("thread-vs-process").and_then(|crossing| crossing.task_ns) {
            Some(_) => format!("Processes are within 5 % of threads once CPU-bound tasks last {even}."),
            None => format!("How long CPU-bound tasks must last for processes to be within 5 % of threads: {even}."),
        },
        format!(
            "How long CPU-bound tasks must last for a pool to be half efficient: of processes, {}; of threads, {}.",
            task("process-50"),
            task("thread-50")
        ),
    ];
    let mut findings = texts.map(|text| finding(text, "efficiency", Tone::Neutral));
    let unknown = NoCrossing::Unknown.to_string();
    let bounded = ["at least", "at most"].iter().any(|bound| even.starts_with(bound));
    // Once is enough, at the first that needs it. A headline that knows only one end says little more than one that knows none.
    let uncertain =
        if bounded { findings.first_mut() } else { findings.iter_mut().find(|it| it.text.contains(&unknown)) };
    if let Some(uncertain) = uncertain {
        uncertain.note = cause(run);
    }
    findings.into()
}

/// What most likely makes a run uncertain, and the cure.
fn cause(run: &Run) -> String {
    let busy = run.host.warnings.iter().find_map(|warning| warning.strip_prefix(BUSY));
    match busy {
        _ if run.interrupted => "The run was stopped early: let it come to its end.".to_owned(),
        Some(load) if run.quick => format!("The machine was busy ({load}): repeat it idle, and without --quick."),
        Some(load) => format!("The machine was busy ({load}): repeat it idle."),
        None if run.quick => "A quick run has few samples: repeat it without --quick.".to_owned(),
        None => "The samples differ too much: see what the machine's warnings say, and repeat it idle.".to_owned(),
    }
}

/// Where worker processes are faster than as many threads: where the intervals do not overlap, and are worth something.
fn processes_win(run: &Run) -> Vec<Finding> {
    let correct = |kind: Kind| {
        run.cells.iter().filter(move |cell| cell.executor == kind.name() && cell.verdict == Verdict::Correct)
    };
    let pairs = correct(Kind::Process).filter_map(|process| {
        let thread =
            correct(Kind::Thread).find(|cell| cell.workload == process.workload && cell.workers == process.workers)?;
        let (p, t) = (process.makespan_ns?, thread.makespan_ns?);
        (p.high < t.low && p.confidence.min(t.confidence) > 0.9).then(|| {
            let text = format!(
                "{}: with {} processes beat threads, {} against {} ({:.2}x).",
                process.workload,
                workers(process.workers),
                interval(&p),
                interval(&t),
                t.median / p.median
            );
            finding(text, &scaling_of(&process.workload), Tone::Neutral)
        })
    });
    pairs.collect()
}

fn workloads(run: &Run) -> Vec<String> {
    let mut names: Vec<String> = run.cells.iter().map(|cell| cell.workload.clone()).collect();
    names.dedup();
    names
}

/// The fastest executor and number of workers of one workload, against serial.
fn best(run: &Run, workload: &str) -> Option<Finding> {
    let median = |cell: &Cell| cell.makespan_ns.map(|estimate| estimate.median);
    let correct = || run.cells.iter().filter(|cell| cell.workload == workload && cell.verdict == Verdict::Correct);
    let serial = correct().find(|cell| cell.executor == Kind::Serial.name()).and_then(median)?;
    let fastest = |kind: Option<Kind>| {
        correct()
            .filter(|cell| kind.is_none_or(|kind| cell.executor == kind.name()))
            .filter_map(|cell| Some((cell, median(cell)?)))
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
    };
    let (cell, time) = fastest(None)?;
    let took = cell.makespan_ns.as_ref().map_or_else(String::new, interval);
    let mut tone = Tone::Neutral;
    let mut text = if cell.executor == Kind::Serial.name() {
        format!("{workload}: no executor is faster than serial, {took}")
    } else {
        let (workers, ratio) = (workers(cell.workers), serial / time);
        let possible = cell.workers.min(run.host.cores);
        let waits = run.inputs.iter().any(|input| input.workload == workload && input.waits);
        let mut against = format!("{ratio:.2}x serial");
        if !waits && ratio > NOISE * f64::from(possible) {
            tone = Tone::Caution;
            against.push_str(&format!(", where {possible}x is the most there can be: the serial cell was disturbed"));
        }
        format!("{workload}: fastest on {} with {workers} ({took}, {against})", cell.executor)
    };
    if let (Some((_, thread)), Some((_, process))) = (fastest(Some(Kind::Thread)), fastest(Some(Kind::Process))) {
        text.push_str(&format!(
            "; the best process pool took {:.2}x the time of the best thread pool",
            process / thread
        ));
    }
    text.push('.');
    Some(finding(text, &scaling_of(workload), tone))
}

/// The chart of one workload, by the anchor that the page gives it; it falls back to its section where it has no such chart.
fn scaling_of(workload: &str) -> String {
    format!("scaling-{}", workload.replace('_', "-"))
}

fn workers(count: u32) -> String {
    if count == 1 { "1 worker".to_owned() } else { format!("{count} workers") }
}

/// Worded as in the report's tables.
fn interval(estimate: &Estimate) -> String {
    use reports::format::{duration, percent};
    if estimate.confidence == 0.0 {
        return format!("{} (too few samples for an interval)", duration(estimate.median));
    }
    let range = format!("{} to {}", duration(estimate.low), duration(estimate.high));
    format!("{} ({} CI {range})", duration(estimate.median), percent(estimate.confidence))
}

#[cfg(test)]
mod tests {
    use reports::model::EfficiencyCurve;

    use super::*;

    fn cell(workload: &str, executor: &str, verdict: Verdict) -> Cell {
        Cell {
            id: format!("{workload}/{executor}"),
            workload: workload.to_owned(),
            params: Default::default(),
            executor: executor.to_owned(),
            workers: 1,
            tasks: 1,
            samples: Vec::new(),
            verdict,
            makespan_ns: None,
            tasks_per_second: None,
        }
    }

    fn run(cells: Vec<Cell>) -> Run {
        Run {
            schema_version: reports::model::SCHEMA_VERSION,
            id: String::new(),
            started_at: String::new(),
            elapsed_ns: 1,
            tool_version: String::new(),
            revision: None,
            command: String::new(),
            seed: 1,
            quick: false,
            interrupted: false,
            host: crate::machine::look(),
            inputs: Vec::new(),
            cells,
            overhead: Vec::new(),
            efficiency: vec![EfficiencyCurve { executor: "thread".to_owned(), workers: 2, points: Vec::new() }],
            crossings: Vec::new(),
            findings: Vec::new(),
            skipped: Vec::new(),
        }
    }

    fn crossing(id: &str, found: Result<f64, NoCrossing>) -> Crossing {
        let estimate = |median| Estimate { median, low: 0.5 * median, high: 2.0 * median, confidence: 0.95, n: 7 };
        Crossing {
            id: id.to_owned(),
            label: String::new(),
            task_ns: found.ok().map(estimate),
            efficiency: None,
            note: found.err().map(|why| why.to_string()).unwrap_or_default(),
        }
    }

    #[test]
    fn the_headline_is_short_whatever_was_found() {
        let run = |crossings| Run { crossings, ..run(vec![cell("spin", "serial", Verdict::Correct)]) };
        let headlines = |crossings| of(&run(crossings), &[]).into_iter().take(2).map(|it| it.text).collect::<Vec<_>>();
        let all = vec![
            crossing("process-50", Ok(50_000.0)),
            crossing("thread-50", Ok(3000.0)),
            crossing("thread-vs-process", Ok(2e6)),
        ];
        assert_eq!(
            headlines(all),
            [
                "Processes are within 5 % of threads once CPU-bound tasks last 2.00 ms (95 % CI 1.00 ms to 4.00 ms).",
                "How long CPU-bound tasks must last for a pool to be half efficient: of processes, 50.0 µs (95 % CI 25.0 µs \
                 to 100 µs); of threads, 3.00 µs (95 % CI 1.50 µs to 6.00 µs)."
            ]
        );
        let some = vec![
            crossing("process-50", Ok(50_000.0)),
            crossing("thread-50", Err(NoCrossing::Below(500.0))),
            crossing("thread-vs-process", Err(NoCrossing::Unknown)),
        ];
        assert_eq!(
            headlines(some),
            [
                "How long CPU-bound tasks must last for processes to be within 5 % of threads: too uncertain to say.",
                "How long CPU-bound tasks must last for a pool to be half efficient: of processes, 50.0 µs (95 % CI 25.0 µs \
                 to 100 µs); of threads, less than 500 ns, the shortest that was measured."
            ]
        );
    }

    #[test]
    fn a_headline_that_cannot_tell_has_the_cause_and_the_cure() {
        let note = |warnings: &[&str], quick, found| {
            let mut run = run(vec![cell("spin", "serial", Verdict::Correct)]);
            run.crossings = vec![crossing("thread-vs-process", found)];
            run.host.warnings = warnings.iter().map(|warning| (*warning).to_owned()).collect();
            run.quick = quick;
            of(&run, &[])[0].note.clone()
        };
        let unknown = Err(NoCrossing::Unknown);
        let busy = ["this is a virtual machine", "the machine is busy: load 5.12 on 2 cores"];
        assert_eq!(
            note(&busy, true, unknown),
            "The machine was busy (load 5.12 on 2 cores): repeat it idle, and without --quick."
        );
        assert_eq!(note(&busy, false, unknown), "The machine was busy (load 5.12 on 2 cores): repeat it idle.");
        assert_eq!(note(&[], true, unknown), "A quick run has few samples: repeat it without --quick.");
        for half in [NoCrossing::AtLeast(12e3), NoCrossing::AtMost(12e3)] {
            assert!(note(&busy, true, Err(half)).starts_with("The machine was busy"), "{half}");
        }
        for certain in [Ok(2e6), Err(NoCrossing::Above(2e6)), Err(NoCrossing::Below(500.0))] {
            assert_eq!(note(&busy, true, certain), "");
        }
    }

    #[test]
    fn a_speed_up_that_cannot_be_is_not_believed_unless_tasks_wait() {
        let best = |workers, time: f64, waits| {
            let timed = |executor, workers, median: f64| Cell {
                workers,
                makespan_ns: Some(Estimate { median, low: median, high: median, confidence: 0.95, n: 6 }),
                ..cell("sha256", executor, Verdict::Correct)
            };
            let mut run = run(vec![timed("serial", 1, 3e6), timed("rayon", workers, time)]);
            run.host.cores = 2;
            let (workload, description, fingerprint) = ("sha256".to_owned(), String::new(), String::new());
            run.inputs = vec![reports::model::Input { workload, description, waits, fingerprint }];
            let best = super::best(&run, "sha256").unwrap();
            (best.text, best.tone)
        };
        let doubted = |(text, tone): (String, Tone)| {
            assert_eq!(text.contains("the serial cell was disturbed"), tone == Tone::Caution, "{text}");
            tone == Tone::Caution
        };
        let (text, _) = best(4, 1e6, false);
        assert!(text.contains("3.00x serial, where 2x is the most there can be"), "{text}");
        assert!(doubted(best(1, 2e6, false)), "one worker is not faster than serial");
        assert!(!doubted(best(2, 1.5e6, false)));
        assert!(!doubted(best(8, 1.46e6, false)), "noise");
        assert!(!doubted(best(8, 0.5e6, true)));
    }

    #[test]
    fn what_is_wrong_comes_first_and_in_one_sentence() {
        let wrong = || Verdict::Wrong { expected: "a".to_owned(), found: "b".to_owned() };
        let failed = Verdict::Failed { error: "a long story".to_owned() };
        let mut cells = vec![cell("spin", "serial", Verdict::Correct), cell("spin", "rayon", failed)];
        let texts = |cells: &[Cell]| of(&run(cells.to_vec()), &[]).into_iter().map(|it| it.text).collect::<Vec<_>>();
        assert_eq!(texts(&cells)[0], "spin/rayon failed: a long story");
        cells.extend(["a", "b", "c"].map(|name| cell("spin", name, wrong())));
        assert_eq!(
            texts(&cells)[0],
            "spin/a gave other answers than the serial run: wrong, however fast (and 2 more cells)"
        );
    }
}
