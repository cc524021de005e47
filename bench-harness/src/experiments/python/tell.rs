//! The findings: for each workload one sentence about each Python, and what could not be measured.

use reports::{
    format,
    model::{
        Estimate, Evidence, Finding, PythonBeside, PythonCell, PythonComparison, PythonVerdict, SERIAL, Skipped, Tone,
        Verdict,
    },
};

use super::super::words::{finding, workers};

/// The longest error in a sentence; the report has it in full.
const LONGEST: usize = 200;

pub(super) fn findings(beside: &PythonBeside, quick: bool) -> Vec<Finding> {
    let mut all = failures(&beside.cells);
    // Those of one workload and one Python follow each other.
    let groups = beside.comparisons.chunk_by(|a, b| a.workload == b.workload && python_of(a) == python_of(b));
    all.extend(groups.filter_map(|group| sentence(group, beside.workers, quick)));
    all.extend(missing(beside));
    all
}

fn here(text: String, tone: Tone) -> Finding {
    finding(text, Evidence::section("python"), tone)
}

/// `CPython 3.14.0` of `CPython 3.14.0: ThreadPoolExecutor`.
fn python_of(comparison: &PythonComparison) -> &str {
    parts(&comparison.executor).0
}

fn parts(executor: &str) -> (&str, &str) {
    executor.rsplit_once(": ").unwrap_or((executor, ""))
}

/// The comparisons of one workload with one Python.
fn sentence(group: &[PythonComparison], count: u32, quick: bool) -> Option<Finding> {
    let figures = || group.iter().filter_map(|it| Some((it, it.ratio.as_ref()?)));
    let (first, _) = figures().next()?;
    // As many for each, unless an executor has failed meanwhile.
    let few = figures().filter(|(it, _)| it.verdict == PythonVerdict::TooFew).map(|(_, ratio)| ratio.n).min();
    let mut clauses: Vec<String> = figures().filter_map(|(it, ratio)| clause(it, ratio)).collect();
    if clauses.is_empty() {
        clauses.push("too few samples to tell".to_owned());
    }
    let (workload, python) = (&first.workload, python_of(first));
    let text = format!("{workload} with {}, {python} beside us: {}.", workers(count), clauses.join("; "));
    let is_open = figures().any(|(it, _)| it.verdict == PythonVerdict::CannotTell);
    let cure = if quick { "on an idle machine, and without --quick" } else { "on an idle machine" };
    let note = match few {
        Some(few) => format!("There was time for {few} samples of each, and 6 are needed: repeat the run {cure}."),
        None if is_open => format!("For what cannot be told, repeat the run {cure}."),
        None => String::new(),
    };
    Some(Finding { note, ..here(text, Tone::Neutral) })
}

fn clause(comparison: &PythonComparison, ratio: &Estimate) -> Option<String> {
    let (subject, ours) = match parts(&comparison.executor).1 {
        "ThreadPoolExecutor" => ("its thread pool", "ours"),
        "ProcessPoolExecutor" => ("its process pool", "ours"),
        "InterpreterPoolExecutor" => ("its interpreter pool", "our thread pool"),
        "loky" => ("loky", "our process pool"),
        _ if comparison.against == SERIAL => ("a loop", "our serial executor"),
        _ => return None,
    };
    let times = times(ratio);
    Some(match comparison.verdict {
        PythonVerdict::Slower | PythonVerdict::Faster => format!("{subject} takes {times} the time of {ours}"),
        PythonVerdict::Even => format!("{subject} takes as long as {ours}, within 5% ({times})"),
        PythonVerdict::CannotTell => format!("it cannot tell whether {subject} or {ours} takes longer ({times})"),
        PythonVerdict::TooFew | PythonVerdict::NotMeasured => return None,
    })
}

/// `1.31x (96.9% CI 1.22x to 1.45x)`
fn times(ratio: &Estimate) -> String {
    let of = |value: f64| format!("{}x", format::number(value));
    format!("{} ({} CI {} to {})", of(ratio.median), format::percent(ratio.confidence), of(ratio.low), of(ratio.high))
}

/// Wrong answers and failures, one sentence for each executor. Those of Python are no failure of the lab.
fn failures(cells: &[PythonCell]) -> Vec<Finding> {
    let mut executors: Vec<&str> = cells.iter().map(|cell| cell.executor.as_str()).collect();
    executors.sort_unstable();
    executors.dedup();
    let mut all = Vec::new();
    for executor in executors {
        let own = || cells.iter().filter(|cell| cell.executor == executor);
        let wrong: Vec<&str> =
            own().filter(|it| matches!(it.verdict, Verdict::Wrong { .. })).map(|it| it.workload.as_str()).collect();
        if !wrong.is_empty() {
            let text = format!("{executor} gave other answers than the serial run, on {}.", wrong.join(", "));
            all.push(here(text, Tone::Wrong));
        }
        let failed: Vec<(&str, &str)> = own()
            .filter_map(|cell| match &cell.verdict {
                Verdict::Failed { error } => Some((cell.workload.as_str(), error.as_str())),
                _ => None,
            })
            .collect();
        if let Some((_, error)) = failed.first() {
            let names: Vec<&str> = failed.iter().map(|(workload, _)| *workload).collect();
            let error: String = error.chars().take(LONGEST).collect();
            let tone = if own().any(PythonCell::is_of_lab) { Tone::Wrong } else { Tone::Caution };
            all.push(here(format!("{executor} failed on {}: {error}", names.join(", ")), tone));
        }
    }
    all
}

/// What was not there, with the cures.
fn missing(beside: &PythonBeside) -> Option<Finding> {
    let told = |it: &Skipped| format!("{}: {}", it.what, it.reason);
    let all: Vec<String> = beside.missing.iter().map(told).collect();
    let text = format!("Not measured beside us: {}.", all.join("; "));
    (!all.is_empty()).then(|| here(text, Tone::Neutral))
}
