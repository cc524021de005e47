//! The sentences at the top of the page: what the run says of executors, from its figures.

use crate::advice::{self, Decision};
use crate::cost::{BreakEven, CostModel, Fit, Lane, Term};
use crate::format::{bytes, duration, times};
use crate::model::{Estimate, Evidence, Finding, NoCrossing, Pathology, PathologyVerdict, Run, Tone};

/// Sentences below the headline.
const MOST: usize = 5;

/// Causes of which one sentence tells.
const NAMED: usize = 2;

/// The size of an argument of which one sentence tells.
const BYTES: u64 = 64 << 10;

/// At most five sentences, what is wrong first.
pub(crate) fn of(run: &Run, decisions: &[Decision]) -> Vec<Finding> {
    let mut said: Vec<Finding> =
        run.findings.iter().skip(1).filter(|finding| finding.tone == Tone::Wrong).take(2).cloned().collect();
    if run.unfit().is_empty() {
        let model = run.cost.as_ref();
        let sentences = [
            workloads(decisions),
            processes(run, decisions),
            cause(run),
            model.and_then(break_even),
            model.and_then(payload),
        ];
        said.extend(sentences.into_iter().flatten());
    }
    said.truncate(MOST);
    said
}

fn finding(text: String, evidence: Evidence) -> Finding {
    Finding { text, evidence, note: String::new(), tone: Tone::Neutral }
}

/// Names in a sentence: `a, b and c`.
fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// What to take for the workloads, those with the same answer together.
fn workloads(decisions: &[Decision]) -> Option<Finding> {
    let mut answers: Vec<(String, Vec<&str>)> = Vec::new();
    for decision in decisions {
        let answer = if decision.cannot_tell.is_some() { String::new() } else { decision.name() };
        match answers.iter_mut().find(|(other, _)| *other == answer) {
            Some((_, workloads)) => workloads.push(&decision.workload),
            None => answers.push((answer, vec![&decision.workload])),
        }
    }
    // What cannot be told comes last.
    answers.sort_by_key(|(answer, _)| answer.is_empty());
    let parts: Vec<String> = answers
        .iter()
        .map(|(answer, workloads)| match answer.as_str() {
            "" => format!("for {} these samples cannot tell", list(workloads)),
            answer => format!("{answer} for {}", list(workloads)),
        })
        .collect();
    (!parts.is_empty())
        .then(|| finding(format!("Take {}.", parts.join("; ")).replace("Take for", "For"), Evidence::section("decide")))
}

/// Where processes beat threads, and why.
fn processes(run: &Run, decisions: &[Decision]) -> Option<Finding> {
    let wins = |it: &&Pathology| matches!(it.verdict, PathologyVerdict::ProcessesWin { .. }) && !it.is_control();
    let mut shared: Vec<(&Pathology, Estimate)> =
        run.pathologies.iter().filter(wins).filter_map(|it| Some((it, it.with?))).collect();
    shared.sort_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
    let faster = decisions.iter().filter(|it| it.processes.is_some_and(|ratio| ratio.high < 1.0));
    let faster: Vec<&str> = faster.map(|it| it.workload.as_str()).collect();
    let known = decisions.iter().filter(|it| it.processes.is_some()).count();
    let of_workloads = match (faster.len(), known) {
        (_, 0) => String::new(),
        (0, _) => format!("Of the {known} workloads of this run processes beat threads in none."),
        _ => format!("Of the workloads of this run, processes beat threads in {}.", list(&faster)),
    };
    if shared.is_empty() {
        let is_known = !of_workloads.is_empty();
        return is_known.then(|| finding(of_workloads, Evidence::section("decide")));
    }
    let named: Vec<String> = shared
        .iter()
        .take(NAMED)
        .map(|(it, ratio)| format!("{} ({} the time of threads)", it.title, times(ratio.median)))
        .collect();
    let more = match shared.len() - named.len() {
        0 => String::new(),
        more => format!(", and in {more} more"),
    };
    let is_gone = |(it, _): &(&Pathology, Estimate)| it.verdict == PathologyVerdict::ProcessesWin { gone: true };
    let gone = if shared.iter().all(is_gone) { " With that cause turned off, the advantage is gone." } else { "" };
    let text = format!(
        "Processes beat threads where threads share what processes do not: {}{more}.{gone} {of_workloads}",
        named.join("; ")
    );
    Some(finding(text.trim_end().to_owned(), Evidence::chart("pathologies", "ratios")))
}

/// The cause that a switch has confirmed, or else the first that is known.
fn cause(run: &Run) -> Option<Finding> {
    let known = || run.causes.iter().filter(|cause| !cause.kinds.is_empty());
    let is_confirmed = |cause: &&crate::model::Cause| {
        cause.switched.as_ref().is_some_and(|it| it.ratio.high < f64::midpoint(1.0, cause.ratio.median))
    };
    let cause = known().find(is_confirmed).or_else(|| known().next())?;
    let workload = cause.cell.split('/').next().unwrap_or_default();
    let text = format!("{workload}: {}", advice::told(run, cause)?.sentence().replacen("On", "on", 1));
    Some(finding(text, Evidence::chart("scaling", workload)))
}

/// From which duration of a task on a pool is worth it.
fn break_even(model: &CostModel) -> Option<Finding> {
    let of = |executor: &str, against: &str| {
        let is_of = |it: &&BreakEven| {
            it.executor == executor && it.against == against && !it.cold && it.bytes_in == 0 && it.factor == 1.0
        };
        model.break_even.iter().find(is_of)
    };
    let poor = |it: &BreakEven| {
        let is_of = |fit: &Fit| fit.workers == it.workers && [&it.executor, &it.against].contains(&&fit.executor);
        model.fits.iter().any(|fit| fit.is_poor() && is_of(fit))
    };
    let evidence = || Evidence::chart("cost", "residuals");
    let serial: Vec<&BreakEven> = ["thread", "process"].into_iter().filter_map(|name| of(name, "serial")).collect();
    let first = *serial.first()?;
    if serial.iter().all(|it| it.missing == Some(NoCrossing::PoorModel) || poor(it)) {
        let text =
            "How long a task must be for a pool to pay off cannot be told: the cost model predicts poorly in this run.";
        let note = "Repeat the run on an idle machine.".to_owned();
        return Some(Finding { note, tone: Tone::Caution, ..finding(text.to_owned(), evidence()) });
    }
    let told = serial.iter().filter(|it| !poor(it)).filter_map(|it| {
        let task = it.task_ns?;
        let interval = crate::format::interval(task.low, task.high, duration);
        Some(format!("{} from {} of work a task on ({interval})", it.executor, duration(task.median)))
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() {
        return None;
    }
    let even = of("process", "thread").filter(|it| matches!(it.missing, Some(NoCrossing::Never(..))) && !poor(it));
    let even = even.map_or("", |_| "; for tasks that only compute, processes never become faster than threads");
    let text = format!(
        "In batches of {} tasks a pool of {} beats a plain loop: {}{even}.",
        crate::format::count(first.tasks.into()),
        first.workers,
        told.join(", ")
    );
    Some(finding(text, evidence()))
}

/// What the bytes of an argument cost.
fn payload(model: &CostModel) -> Option<Finding> {
    let most = |executor: &str| {
        let own = model.fits.iter().filter(|fit| fit.executor == executor && fit.workers == fit.width);
        own.max_by_key(|fit| fit.workers).filter(|fit| !fit.is_poor())
    };
    let (process, thread) = (most("process")?, most("thread")?);
    let cost = |fit: &Fit, lane| {
        duration(fit.coefficient(Term::Lane(lane)) + fit.coefficient(Term::ByteIn(lane)) * BYTES as f64)
    };
    let lanes = Lane::ALL.map(|lane| format!("{} as {}", cost(process, lane), lane.name()));
    let text = format!(
        "An argument of {} costs a process pool {} a task; a thread pool {}.",
        bytes(BYTES),
        lanes.join(", "),
        cost(thread, Lane::Nested)
    );
    Some(finding(text, Evidence::chart("cost", "terms")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn texts(run: &Run) -> Vec<String> {
        of(run, &advice::decisions(run)).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn the_page_says_what_to_take_when_processes_win_and_why() {
        let mut run = fixture::run();
        run.findings.retain(|finding| finding.tone != Tone::Wrong);
        let texts = texts(&run);
        assert!(texts[0].starts_with("Take ") && texts[0].contains("for sha256"), "{texts:#?}");
        assert!(texts[1].starts_with(
            "Processes beat threads where threads share what processes do not: tasks of lock-whole (0.53x"
        ));
        assert!(texts[2].starts_with("sqlite: on process with 1 worker"), "{texts:#?}");
        assert!(
            texts[3].contains("process from 3.40 µs of work a task on") && texts[3].contains("never become faster")
        );
        assert!(texts[4].starts_with("An argument of 64.0 KiB costs a process pool"), "{texts:#?}");
        assert_eq!(texts.len(), MOST);
    }

    #[test]
    fn what_is_wrong_comes_first_and_an_unfit_machine_says_nothing_else() {
        let mut run = fixture::run();
        assert_eq!(texts(&run)[0], "sqlite on rayon with 8 workers gave a wrong answer.");
        run.fitness =
            Some(crate::model::Fitness { unfit: vec![crate::model::Unfit::Noise(0.3)], ..Default::default() });
        assert_eq!(texts(&run).len(), 1);
    }

    #[test]
    fn a_poor_model_has_no_break_even_here_either() {
        let mut run = fixture::run();
        run.findings.retain(|finding| finding.tone != Tone::Wrong);
        let points = run.cost.iter_mut().flat_map(|model| &mut model.fits).flat_map(|fit| &mut fit.points);
        points.filter(|point| point.held_out).for_each(|point| point.predicted_ns = 2.0 * point.measured_ns.median);
        let texts = texts(&run);
        assert!(texts[3].contains("cannot be told") && texts.len() == 4, "{texts:#?}");
    }
}
