use std::collections::BTreeSet;

use reports::model::Estimate;

use super::*;

fn pathology(id: &str, switch: &str, with: f64, verdict: PathologyVerdict) -> Pathology {
    let estimate = |median: f64| Estimate { median, low: 0.9 * median, high: 1.1 * median, confidence: 0.96875, n: 6 };
    Pathology {
        id: id.to_owned(),
        title: format!("title of {id}"),
        switch: switch.to_owned(),
        workers: 2,
        with: Some(estimate(with)),
        without: (!switch.is_empty()).then(|| estimate(1.0)),
        verdict,
        ..Pathology::default()
    }
}

#[test]
fn findings_name_what_processes_win_what_cannot_be_shown_and_the_controls() {
    let all = [
        pathology("lock", "no lock", 0.5, PathologyVerdict::ProcessesWin { gone: true }),
        pathology("open", "kept", 0.5, PathologyVerdict::ProcessesWin { gone: false }),
        pathology("arc", "its own", 1.0, PathologyVerdict::Tie),
        pathology("far", "none", 1.0, PathologyVerdict::NeedsCores { cores: 8 }),
        pathology("spin", "", 1.0, PathologyVerdict::Tie),
        pathology("tiny", "", 3.0, PathologyVerdict::ThreadsWin),
    ];
    let texts: Vec<String> = findings(&all, 2).into_iter().map(|finding| finding.text).collect();
    assert_eq!(
        texts,
        [
            "Processes beat threads where title of lock: 0.50x (96.9% CI 0.45x to 0.55x) the time of threads, with 2 workers. \
             With the cause turned off (no lock) it is 1.00x (96.9% CI 0.90x to 1.10x): the advantage is gone.",
            "Processes beat threads where title of open: 0.50x (96.9% CI 0.45x to 0.55x) the time of threads, with 2 workers. \
             With the cause turned off (kept) it is 1.00x (96.9% CI 0.90x to 1.10x): there is another cause as well.",
            "No difference can be shown here (2 cores may be too few, or the machine was not quiet): arc, far.",
            "Of 2 controls, in which nothing is shared, threads tie or win in 2 (processes need up to 3.00x their time: title of \
             tiny)."
        ]
    );
}

#[test]
fn wrong_answers_failures_and_controls_that_lose_are_not_passed_over() {
    let failed = PathologyVerdict::Failed { error: "it hung".to_owned() };
    let all = [
        pathology("a", "x", 0.5, PathologyVerdict::Wrong),
        pathology("b", "x", 0.5, failed),
        pathology("spin", "", 0.5, PathologyVerdict::ProcessesWin { gone: false }),
    ];
    let found = findings(&all, 2);
    assert_eq!(
        found.iter().map(|it| it.tone).collect::<Vec<_>>(),
        [Tone::Wrong, Tone::Caution, Tone::Caution, Tone::Neutral]
    );
    assert!(found[1].text.contains("it hung") && found[2].text.contains("nothing is shared"), "{found:?}");
    assert!(findings(&[], 2).is_empty());
}

#[test]
fn a_quick_run_has_a_few_and_the_command_all() {
    let in_bench = IN_BENCH.cases(true).len();
    assert!(in_bench >= 5 && in_bench * 2 < CASES.len(), "{in_bench}");
    assert_eq!(IN_BENCH.cases(false).len(), CASES.len());
    assert_eq!(Pathologies { only: Vec::new(), whole: true }.cases(true).len(), CASES.len());
    let some = Pathologies { only: vec![PathologyName::Arenas], whole: true };
    assert_eq!(some.cases(true).iter().map(|case| case.id()).collect::<Vec<_>>(), ["arenas"]);
    let ids: BTreeSet<String> = CASES.iter().map(Case::id).collect();
    assert!(ids.len() == CASES.len() && ids.contains("sqlite-writer"), "{ids:?}");
}
