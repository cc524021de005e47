//! Judged claims as a table: on a terminal, and on the page.

use crate::columns::{Columns, one_line};
use crate::format;
use crate::model::{Claim, ClaimFigure, ClaimVerdict, FigureKind};
use crate::table::{Field, Table};

/// How a figure of this kind is worded.
fn words(kind: FigureKind) -> fn(f64) -> String {
    match kind {
        FigureKind::Ratio => |value| format!("{}x", format::number(value)),
        FigureKind::Duration => format::duration,
        FigureKind::Bytes => |value| format::bytes(value.max(0.0) as u64),
        FigureKind::Count => format::number,
        FigureKind::Share => format::percent,
    }
}

fn figure(figure: &ClaimFigure) -> String {
    format!("{}: {}", figure.what, format::estimate(&figure.estimate, words(figure.kind)))
}

/// The verdict as icon, word, what belongs to the word, and a class of the style sheet.
fn verdict(verdict: &ClaimVerdict) -> (&'static str, &'static str, &str, &'static str) {
    match verdict {
        ClaimVerdict::Supported => ("✓", "supported", "", "good"),
        ClaimVerdict::Refuted => ("✗", "refuted", "", "care"),
        ClaimVerdict::Conditional { when } => ("◐", "holds only when", when, "care"),
        ClaimVerdict::Unknown { why } => ("?", "cannot be told", why, "muted"),
        ClaimVerdict::Untestable { why } => ("○", "cannot be tested here", why, "muted"),
        ClaimVerdict::NotJudged => ("○", "not judged", "", "muted"),
    }
}

/// Lines for a terminal: a row for each claim, and below it what its verdict rests on.
#[must_use]
pub fn to_text(claims: &[Claim]) -> String {
    let row = |claim: &Claim| {
        let (icon, word, ..) = verdict(&claim.verdict);
        vec![claim.number.to_string(), format!("{icon} {word}"), claim.text.clone()]
    };
    let rows: Vec<Vec<String>> = claims.iter().map(row).collect();
    let columns = Columns::of(rows.iter().map(Vec::as_slice), 0..1);
    let mut text = String::new();
    for (claim, row) in claims.iter().zip(&rows) {
        text.push_str(&columns.line(row));
        let (_, word, rest, _) = verdict(&claim.verdict);
        let rest =
            (!rest.is_empty()).then(|| format!("{word}{} {rest}", if word.ends_with("when") { "" } else { ":" }));
        let seen = (!claim.seen.is_empty()).then(|| claim.seen.clone());
        for line in rest.into_iter().chain(seen).chain(claim.figures.iter().map(figure)) {
            text.push_str(&format!("      {}\n", one_line(&line)));
        }
    }
    if !claims.is_empty() {
        text.push_str(&format!("{}\n", summary(claims)));
    }
    text
}

/// How many of them were judged, and how.
#[must_use]
pub fn summary(claims: &[Claim]) -> String {
    let count = |of: fn(&ClaimVerdict) -> bool| claims.iter().filter(|claim| of(&claim.verdict)).count();
    format!(
        "{} claims: {} supported, {} under a condition, {} refuted, {} that cannot be told or tested here.",
        claims.len(),
        count(|it| matches!(it, ClaimVerdict::Supported)),
        count(|it| matches!(it, ClaimVerdict::Conditional { .. })),
        count(|it| matches!(it, ClaimVerdict::Refuted)),
        claims.iter().filter(|claim| !claim.is_decided()).count()
    )
}

/// The table of the page; `None` where no claim was judged.
pub(crate) fn table(claims: &[Claim]) -> Option<Table> {
    let mut table = Table::new(
        "Claims about executors, and what this machine says of them",
        &["Claim", "Verdict", "Figure", "How it is decided", "Command"],
    );
    for claim in claims {
        let (icon, word, rest, class) = verdict(&claim.verdict);
        let mut shown: Vec<String> = claim.figures.iter().map(figure).collect();
        if shown.is_empty() && !claim.seen.is_empty() {
            shown.push(claim.seen.clone());
        }
        let mut lines = shown.into_iter();
        let main = lines.next().unwrap_or_else(|| format::NONE.to_owned());
        let more: Vec<String> = lines.collect();
        table.push(vec![
            Field::text(format!("{}. {}", claim.number, claim.text)),
            Field { main: word.to_owned(), detail: rest.to_owned(), icon, class, ..Field::default() },
            Field { main, detail: more.join("; "), class: "prose", ..Field::default() },
            Field {
                main: claim.experiment.clone(),
                fold: [&claim.rule, &claim.seen].map(String::as_str).join(" ").trim().to_owned(),
                class: "prose",
                ..Field::default()
            },
            Field::code(&claim.command),
        ]);
    }
    (!claims.is_empty()).then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn the_terminal_has_each_claim_its_verdict_and_what_it_rests_on() {
        let text = to_text(&fixture::run().claims);
        for part in ["✗ refuted", "holds only when the tasks wait", "cannot be tested here: it takes 4 cores", "(1.90"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("6 claims: 1 supported, 1 under a condition, 1 refuted, 3 that cannot"), "{text}");
        assert_eq!(to_text(&[]), "");
    }

    #[test]
    fn a_control_character_in_a_claim_stays_on_its_line() {
        let claim = Claim { seen: "a\nb".to_owned(), ..Claim::default() };
        assert!(to_text(&[claim]).contains("a b\n"));
    }

    #[test]
    fn the_page_has_the_rule_in_a_fold() {
        let table = table(&fixture::run().claims).unwrap().to_string();
        assert!(table.contains("<details><summary>") && table.contains("◐"), "{table}");
        assert!(super::table(&[]).is_none());
    }
}
