use reports::model::FigureKind;

use super::{
    scenarios::{Seen, Value},
    *,
};

#[test]
fn all_32_claims_have_a_text_an_experiment_a_rule_and_what_judges_them() {
    assert_eq!(ENTRIES.iter().map(|entry| entry.number).collect::<Vec<_>>(), (1..=32).collect::<Vec<_>>());
    let scenarios = ENTRIES.iter().filter(|entry| matches!(entry.how, How::Scenario)).map(|entry| entry.number);
    assert!(scenarios.eq(scenarios::numbers()));
    for entry in &ENTRIES {
        assert!(!entry.text.ends_with('.') && entry.experiment.ends_with('.') && entry.rule.ends_with('.'));
        assert!(["upported", "efuted", "condition"].iter().any(|word| entry.rule.contains(word)), "{}", entry.rule);
    }
}

#[test]
fn a_cell_that_several_claims_need_is_measured_once() {
    let all = Claims::default();
    let keys = all.keys();
    let needed: usize = ENTRIES
        .iter()
        .map(|entry| match entry.how {
            How::Cells(keys, _) => keys.len(),
            _ => 0,
        })
        .sum();
    assert!(keys.len() * 3 < needed * 2 && keys.windows(2).all(|pair| pair[0] < pair[1]), "{} of {needed}", keys.len());
    let one = Claims { only: vec![4] };
    assert!(one.keys().is_empty() && one.scenarios() == 1 && !one.needs_costs());
    assert!(Claims { only: vec![15] }.needs_costs());
}

fn seen(verdict: ClaimVerdict, value: f64) -> Seen {
    let values = vec![Value { what: "lag".to_owned(), kind: FigureKind::Duration, value }];
    Seen { verdict, seen: format!("seen after {value}"), values }
}

#[test]
fn runs_of_a_scenario_agree_or_nothing_is_told() {
    let agree = measure::merge((0..6).map(|lag| seen(ClaimVerdict::Supported, lag.into())).collect()).unwrap();
    assert_eq!((agree.verdict, agree.seen.as_str()), (ClaimVerdict::Supported, "seen after 0, in 6 runs"));
    assert_eq!((agree.figures[0].estimate.median, agree.figures[0].estimate.n), (2.5, 6));
    let odd = vec![seen(ClaimVerdict::Supported, 1.0), seen(ClaimVerdict::Refuted, 2.0)];
    let odd = measure::merge(odd).unwrap().verdict;
    assert!(matches!(&odd, ClaimVerdict::Unknown { why } if why.contains("after 1, and seen after 2")), "{odd:?}");
    assert_eq!(measure::merge(Vec::new()), None);
}

#[test]
fn a_judgement_without_figures_says_why_unless_the_run_was_stopped() {
    let why = "no such server".to_owned();
    assert_eq!(told(Err(why.clone()), true), None);
    assert_eq!(told(Err(why.clone()), false).unwrap().verdict, ClaimVerdict::Unknown { why });
}

#[test]
fn findings_count_the_verdicts_and_name_what_is_asked_most() {
    let claim = |number, verdict| Claim { number, text: format!("claim {number}"), verdict, ..Claim::default() };
    let unknown = ClaimVerdict::Unknown { why: String::new() };
    let claims = [claim(2, unknown), claim(4, ClaimVerdict::Supported), claim(15, ClaimVerdict::Refuted)];
    let texts: Vec<String> = findings(&claims).into_iter().map(|finding| finding.text).collect();
    assert_eq!(texts.len(), 2);
    assert!(texts[0].starts_with("3 claims: 1 supported, 0 under a condition, 1 refuted, 1 that"), "{texts:?}");
    assert_eq!(texts[1], "“claim 15”: refuted.");
    assert!(findings(&[]).is_empty());
}
