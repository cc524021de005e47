//! Findings: sentences about the figures. The first finding is the headline.

use reports::model::{Evidence, Finding, Run, Skipped, Tone, Verdict};

use super::{experiment::Experiment, words::finding};

/// The experiment whose findings come first.
const HEADLINE: &str = "efficiency";

/// All findings of a run; failures come first. `bad_samples` are the samples of each experiment that no figure
/// includes. Without any experiment nothing is said of figures.
pub(super) fn of(run: &Run, experiments: &[&dyn Experiment], bad_samples: &[(&str, Vec<Skipped>)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(bad(run, |verdict| match verdict {
        Verdict::Wrong { .. } => Some("gave other answers than the serial run: wrong, however fast".to_owned()),
        _ => None,
    }));
    findings.extend(bad(run, |verdict| match verdict {
        Verdict::Failed { error } => Some(format!("failed: {error}")),
        _ => None,
    }));
    for (experiment, bad) in bad_samples {
        findings.extend(bad.first().map(|first| {
            let text = format!("{}: {} ({} such samples are left out)", first.what, first.reason, bad.len());
            finding(text, Evidence::section(experiment), Tone::Wrong)
        }));
    }
    let says_nothing = experiments.is_empty();
    let unfit = unfit(run, says_nothing);
    findings.extend(unfit.clone().filter(|_| says_nothing));
    let leads = |experiment: &&&dyn Experiment| experiment.id() == HEADLINE;
    let others = experiments.iter().filter(|experiment| !leads(experiment));
    findings.extend(experiments.iter().filter(leads).chain(others).flat_map(|experiment| experiment.findings(run)));
    findings.extend(unfit.filter(|_| !says_nothing));
    findings.extend(
        run.host
            .warnings
            .iter()
            .map(|warning| finding(warning.to_string(), Evidence::section("machine"), Tone::Caution)),
    );
    // The first entry is always there: serial has no worker counts.
    if run.skipped.len() > 1 {
        let text = format!("{} paths of the input were left out, each with its reason.", run.skipped.len() - 1);
        findings.push(finding(text, Evidence::section("cells"), Tone::Caution));
    }
    if run.interrupted {
        findings.push(finding(
            "The run was stopped early: cells have fewer samples than planned.".into(),
            Evidence::section("cells"),
            Tone::Caution,
        ));
    }
    if findings.is_empty() {
        findings.push(finding("Nothing was measured.".to_owned(), Evidence::section("cells"), Tone::Caution));
    }
    findings
}

/// That the machine was not fit, why, and the cure.
fn unfit(run: &Run, says_nothing: bool) -> Option<Finding> {
    let reasons: Vec<String> = run.unfit().iter().map(ToString::to_string).collect();
    let (text, more) = if says_nothing {
        (
            "Which executor is best, and from which task duration on, cannot be said: the machine was not fit to measure it.",
            "; --accept-unfit says what was measured all the same",
        )
    } else {
        ("The machine was not fit to measure executors: its figures may be far off.", "")
    };
    let note = format!(
        "On this machine {}. Stop what else is running, or use a machine of your own, and repeat the run{more}.",
        reasons.join("; ")
    );
    let finding = finding(text.to_owned(), Evidence::section("machine"), Tone::Caution);
    (!reasons.is_empty()).then_some(Finding { note, ..finding })
}

/// One finding for all bad cells of a kind, with the text of the first; the report lists each of them in full.
fn bad(run: &Run, what: impl Fn(&Verdict) -> Option<String>) -> Option<Finding> {
    const LONGEST: usize = 320;
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
    Some(finding(text, Evidence::section("cells"), Tone::Wrong))
}

#[cfg(test)]
mod tests {
    use reports::model::{Cell, Crossing, EfficiencyCurve, Estimate, Fitness, NoCrossing, Unfit, Warning};

    use super::{super::ALL, *};

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
            host: crate::machine::inspect(),
            cells,
            efficiency: vec![EfficiencyCurve { executor: "thread".to_owned(), workers: 2, points: Vec::new() }],
            ..Run::default()
        }
    }

    fn crossing(id: &str, found: Result<f64, NoCrossing>) -> Crossing {
        let estimate = |median| Estimate { median, low: 0.5 * median, high: 2.0 * median, confidence: 0.95, n: 7 };
        Crossing {
            id: id.to_owned(),
            label: String::new(),
            task_ns: found.ok().map(estimate),
            efficiency: None,
            metg_ns: found.ok().filter(|_| id.ends_with("50")).map(estimate),
            note: found.err().map(|why| why.to_string()).unwrap_or_default(),
            missing: found.err(),
        }
    }

    #[test]
    fn the_headline_is_short_whatever_was_found() {
        let run = |crossings| Run { crossings, ..run(vec![cell("spin", "serial", Verdict::Correct)]) };
        let headlines =
            |crossings| of(&run(crossings), ALL, &[]).into_iter().take(2).map(|it| it.text).collect::<Vec<_>>();
        let all = vec![
            crossing("process-50", Ok(50_000.0)),
            crossing("thread-50", Ok(3000.0)),
            crossing("thread-vs-process", Ok(2e6)),
        ];
        assert_eq!(
            headlines(all),
            [
                "Processes are within 5% of threads once CPU-bound tasks last 2.00 ms (95% CI 1.00 ms to 4.00 ms).",
                "METG(50%), the wall time times cores of a CPU-bound task with which a pool is half efficient, in batches of \
                 4000 tasks: of processes, 50.0 µs (95% CI 25.0 µs to 100 µs); of threads, 3.00 µs (95% CI 1.50 µs to 6.00 µs)."
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
                "How long CPU-bound tasks must last for processes to be within 5% of threads: too uncertain to say.",
                "METG(50%), the wall time times cores of a CPU-bound task with which a pool is half efficient, in batches of \
                 4000 tasks: of processes, 50.0 µs (95% CI 25.0 µs to 100 µs); of threads, less than 500 ns, the shortest that was measured."
            ]
        );
    }

    #[test]
    fn a_headline_that_cannot_tell_has_the_cause_and_the_cure() {
        let note = |warnings: &[Warning], quick, found| {
            let mut run = run(vec![cell("spin", "serial", Verdict::Correct)]);
            run.crossings = vec![crossing("thread-vs-process", found)];
            run.host.warnings = warnings.to_vec();
            run.quick = quick;
            of(&run, ALL, &[])[0].note.clone()
        };
        let unknown = Err(NoCrossing::Unknown);
        let busy = [Warning::VirtualMachine, Warning::Busy { load: 5.12, cores: 2 }];
        assert_eq!(
            note(&busy, true, unknown),
            "The machine was busy (load 5.12 on 2 cores): repeat the run on an idle machine, and without --quick."
        );
        assert_eq!(
            note(&busy, false, unknown),
            "The machine was busy (load 5.12 on 2 cores): repeat the run on an idle machine."
        );
        assert_eq!(note(&[], true, unknown), "A quick run has few samples: repeat it without --quick.");
        for half in [NoCrossing::AtLeast(12e3), NoCrossing::AtMost(12e3)] {
            assert!(note(&busy, true, Err(half)).starts_with("The machine was busy"), "{half}");
        }
        for certain in [Ok(2e6), Err(NoCrossing::Above(2e6)), Err(NoCrossing::Below(500.0))] {
            assert_eq!(note(&busy, true, certain), "");
        }
    }

    #[test]
    fn of_a_machine_that_is_not_fit_nothing_is_said_unless_that_is_accepted() {
        let mut run = run(vec![cell("spin", "serial", Verdict::Correct)]);
        run.crossings = vec![crossing("thread-vs-process", Ok(2e6))];
        run.fitness = Some(Fitness { unfit: vec![Unfit::Others(0.98)], ..Fitness::default() });
        let silent = of(&run, &[], &[]);
        assert!(silent[0].text.contains("cannot be said"), "{silent:?}");
        assert!(silent[0].note.contains("other programs used 1.0 cores") && silent[0].note.contains("--accept-unfit"));
        assert!(silent.iter().all(|finding| !finding.text.contains("2.00 ms")), "{silent:?}");
        let accepted = of(&run, ALL, &[]);
        assert!(accepted[0].text.contains("2.00 ms"), "{accepted:?}");
        assert!(accepted.iter().any(|finding| finding.text.contains("was not fit")), "{accepted:?}");
    }

    #[test]
    fn what_is_wrong_comes_first_and_in_one_sentence() {
        let wrong = || Verdict::Wrong { expected: "a".to_owned(), found: "b".to_owned() };
        let failed = Verdict::Failed { error: "a long story".to_owned() };
        let mut cells = vec![cell("spin", "serial", Verdict::Correct), cell("spin", "rayon", failed)];
        let texts =
            |cells: &[Cell]| of(&run(cells.to_vec()), ALL, &[]).into_iter().map(|it| it.text).collect::<Vec<_>>();
        assert_eq!(texts(&cells)[0], "spin/rayon failed: a long story");
        cells.extend(["a", "b", "c"].map(|name| cell("spin", name, wrong())));
        assert_eq!(
            texts(&cells)[0],
            "spin/a gave other answers than the serial run: wrong, however fast (and 2 more cells)"
        );
    }
}
