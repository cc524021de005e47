//! What the figures say, in words. The first finding is the headline.

use reports::model::{Cell, Crossing, Estimate, Finding, Run, Tone, Verdict};

/// All that can be said about a run; what is wrong comes first.
pub(super) fn of(run: &Run) -> Vec<Finding> {
    let mut findings = Vec::new();
    for cell in &run.cells {
        match &cell.verdict {
            Verdict::Wrong { .. } => findings.push(finding(
                format!("{} gave other answers than the serial run: it is wrong, however fast it was.", cell.id),
                "cells",
                Tone::Wrong,
            )),
            Verdict::Failed { error } => {
                findings.push(finding(format!("{} failed: {error}", cell.id), "cells", Tone::Wrong));
            }
            _ => {}
        }
    }
    findings.extend(headline(run));
    findings.extend(workloads(run).into_iter().filter_map(|name| best(run, &name)));
    findings.extend(processes_win(run));
    findings.extend(run.host.warnings.iter().map(|warning| finding(warning.clone(), "machine", Tone::Caution)));
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

fn finding(text: String, evidence: &str, tone: Tone) -> Finding {
    Finding { text, evidence: evidence.to_owned(), tone }
}

/// When process overhead beats thread overhead.
fn headline(run: &Run) -> Option<Finding> {
    if run.efficiency.is_empty() {
        return None;
    }
    Some(finding(break_even(&run.crossings), "efficiency", Tone::Neutral))
}

/// The crossings in words; one that was not found has its reason instead of a figure.
fn break_even(crossings: &[Crossing]) -> String {
    let found = |id: &str| {
        let crossing = crossings.iter().find(|crossing| crossing.id == id);
        crossing.map_or(Err("not measured"), |crossing| crossing.task_ns.as_ref().ok_or(&*crossing.note))
    };
    let half = |pool: &str| match found(&format!("{pool}-50")) {
        Ok(task) => format!("CPU-bound tasks must last {} for a {pool} pool to be half efficient.", interval(task)),
        Err(why) => format!("How long CPU-bound tasks must last for a {pool} pool to be half efficient is {why}."),
    };
    let mut text = match (found("process-50"), found("thread-50")) {
        (Ok(process), Ok(thread)) => format!(
            "CPU-bound tasks must last {} for a process pool to be half efficient, and {} for a thread pool.",
            interval(process),
            interval(thread)
        ),
        _ => format!("{} {}", half("process"), half("thread")),
    };
    text.push_str(&match found("thread-vs-process") {
        Ok(task) => format!(" From {} on, processes are within 5 % of threads.", interval(task)),
        Err(why) => format!(" Where processes come within 5 % of threads is {why}."),
    });
    text
}

/// Where worker processes are faster than as many threads: where the intervals do not overlap, and are worth something.
fn processes_win(run: &Run) -> Vec<Finding> {
    let correct = |name: &'static str| {
        run.cells.iter().filter(move |cell| cell.executor == name && cell.verdict == Verdict::Correct)
    };
    let pairs = correct("process").filter_map(|process| {
        let thread =
            correct("thread").find(|cell| cell.workload == process.workload && cell.workers == process.workers)?;
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
    let serial = correct().find(|cell| cell.executor == "serial").and_then(median)?;
    let fastest = |name: Option<&str>| {
        correct()
            .filter(|cell| name.is_none_or(|name| cell.executor == name))
            .filter_map(|cell| Some((cell, median(cell)?)))
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
    };
    let (cell, time) = fastest(None)?;
    let mut text = format!(
        "{workload}: fastest on {} with {} ({}, {:.2}x serial)",
        cell.executor,
        workers(cell.workers),
        cell.makespan_ns.as_ref().map_or_else(String::new, interval),
        serial / time
    );
    if let (Some((_, thread)), Some((_, process))) = (fastest(Some("thread")), fastest(Some("process"))) {
        text.push_str(&format!(
            "; the best process pool took {:.2}x the time of the best thread pool",
            process / thread
        ));
    }
    text.push('.');
    Some(finding(text, &scaling_of(workload), Tone::Neutral))
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
    let range = format!("{} to {}", duration(estimate.low), duration(estimate.high));
    format!("{} ({} CI {range})", duration(estimate.median), percent(estimate.confidence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crossing(id: &str, found: Result<f64, &str>) -> Crossing {
        let estimate = |median| Estimate { median, low: 0.5 * median, high: 2.0 * median, confidence: 0.95, n: 7 };
        Crossing {
            id: id.to_owned(),
            label: String::new(),
            task_ns: found.ok().map(estimate),
            efficiency: None,
            note: found.err().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn the_headline_reads_as_a_sentence_whatever_was_found() {
        let all = [
            crossing("process-50", Ok(50_000.0)),
            crossing("thread-50", Ok(3000.0)),
            crossing("thread-vs-process", Ok(2e6)),
        ];
        assert_eq!(
            break_even(&all),
            "CPU-bound tasks must last 50.0 µs (95 % CI 25.0 µs to 100 µs) for a process pool to be half efficient, and \
             3.00 µs (95 % CI 1.50 µs to 6.00 µs) for a thread pool. From 2.00 ms (95 % CI 1.00 ms to 4.00 ms) on, \
             processes are within 5 % of threads."
        );
        let some = [
            crossing("process-50", Ok(50_000.0)),
            crossing("thread-50", Err("below the measured range")),
            crossing("thread-vs-process", Err("above the measured range")),
        ];
        assert_eq!(
            break_even(&some),
            "CPU-bound tasks must last 50.0 µs (95 % CI 25.0 µs to 100 µs) for a process pool to be half efficient. How \
             long CPU-bound tasks must last for a thread pool to be half efficient is below the measured range. Where \
             processes come within 5 % of threads is above the measured range."
        );
    }
}
