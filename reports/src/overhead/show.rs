//! The document as text: a table of all figures for a terminal, and the targets in Markdown for a note.

use std::fmt::Write as _;

use super::{Bound, Claim, Figure, Judged, Overhead, TargetStatus, Unit};
use crate::{columns::Columns, format, markdown, model::Estimate};

impl Overhead {
    /// All figures by measurement, each with its targets, as plain text with aligned columns.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{} workers, {} blocks; {}\n", self.workers, self.blocks, self.command);
        for warning in &self.host.warnings {
            let _ = writeln!(text, "CAUTION: {warning}");
        }
        let mut measurements: Vec<&str> = Vec::new();
        for figure in &self.figures {
            if !measurements.contains(&figure.measurement.as_str()) {
                measurements.push(&figure.measurement);
            }
        }
        let titles = ["", "median [interval]", "against its baseline or peer", "reach", "stretch", ""];
        let mut rows = vec![Row::Fields(titles.map(str::to_owned))];
        for measurement in measurements {
            rows.push(Row::Title(measurement));
            for figure in self.figures.iter().filter(|figure| figure.measurement == measurement && !figure.detail) {
                // The first claim stands beside its figure, others below.
                let mut fields = figure_fields(figure);
                for claim in self.claims_of(figure) {
                    fields[2..5].clone_from_slice(&claim_fields(claim)[2..5]);
                    rows.push(Row::Fields(std::mem::take(&mut fields)));
                }
                if !fields[0].is_empty() {
                    rows.push(Row::Fields(fields));
                }
            }
            // A claim about a subject that was not measured, or about a detail, has a row of its own.
            for claim in self.claims.iter().filter(|claim| claim.measurement == measurement) {
                if !self.figures.iter().any(|figure| belongs(claim, figure) && !figure.detail) {
                    rows.push(Row::Fields(claim_fields(claim)));
                }
            }
        }
        let fields = rows.iter().filter_map(|row| if let Row::Fields(fields) = row { Some(&fields[..]) } else { None });
        let columns = Columns::of(fields, 0..0);
        text.extend(rows.iter().map(|row| match row {
            Row::Title(title) => format!("\n{title}\n"),
            Row::Fields(fields) => columns.line(fields),
        }));
        let count = |of: fn(&Claim) -> Option<Judged>| {
            let judged: Vec<_> = self.claims.iter().filter_map(of).collect();
            let held = judged
                .iter()
                .filter(|judged| matches!(judged.verdict, TargetStatus::Holds | TargetStatus::SeemsToHold));
            format!("{} of {}", held.count(), judged.len())
        };
        if !self.claims.is_empty() {
            let _ = writeln!(
                text,
                "\nreach: {} hold; stretch: {} hold (\"?\": the interval crosses the bound, or there are too few blocks)",
                count(|claim| Some(claim.reach)),
                count(|claim| claim.stretch)
            );
        }
        text
    }

    /// The claims as a Markdown table, with the command and the machine above it.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = format!(
            "`{}` on {} ({} cores, {}), {} workers, medians of {} blocks with the interval of their order statistics.\n\n",
            self.command,
            markdown::escape(&self.host.cpu_model),
            self.host.cores,
            markdown::escape(&self.host.os),
            self.workers,
            self.blocks
        );
        let header = ["Measurement", "Subject", "Quantity", "Measured", "Reach", "", "Stretch", ""];
        let rows: Vec<Vec<String>> = self
            .claims
            .iter()
            .map(|claim| {
                let against = if claim.against.is_empty() { String::new() } else { format!(" / {}", claim.against) };
                let measured =
                    if claim.estimate.is_some() { estimate(claim.estimate, claim.unit) } else { claim.note.clone() };
                let (stretch, verdict) = claim
                    .stretch
                    .map_or_else(Default::default, |judged| (bound(judged.bound, claim.unit), word(judged.verdict)));
                vec![
                    claim.measurement.clone(),
                    claim.subject.clone(),
                    format!("{}{against}", claim.quantity),
                    measured,
                    bound(claim.reach.bound, claim.unit),
                    word(claim.reach.verdict).to_owned(),
                    stretch,
                    verdict.to_owned(),
                ]
            })
            .collect();
        text.push_str(&markdown::table(&header, &rows));
        text
    }

    fn claims_of(&self, figure: &Figure) -> impl Iterator<Item = &Claim> {
        self.claims.iter().filter(move |claim| belongs(claim, figure))
    }
}

fn belongs(claim: &Claim, figure: &Figure) -> bool {
    claim.measurement == figure.measurement && claim.subject == figure.subject && claim.quantity == figure.quantity
}

enum Row<'a> {
    Title(&'a str),
    Fields([String; 6]),
}

/// Name, figure, ratio with its base, reach, stretch, note.
fn figure_fields(figure: &Figure) -> [String; 6] {
    [
        format!("  {}: {}", figure.subject, figure.quantity),
        estimate(figure.estimate, figure.unit),
        String::new(),
        String::new(),
        String::new(),
        figure.note.clone(),
    ]
}

fn claim_fields(claim: &Claim) -> [String; 6] {
    let mut ratio = estimate(claim.estimate, claim.unit);
    if !claim.against.is_empty() {
        ratio = format!("{ratio} / {}", claim.against);
    }
    let judged = |judged: Judged| format!("{} {}", bound(judged.bound, claim.unit), word(judged.verdict));
    [
        format!("  {}: {}", claim.subject, claim.quantity),
        String::new(),
        // A figure that stands for itself is not repeated.
        if claim.unit == Unit::Ratio { ratio } else { String::new() },
        judged(claim.reach),
        claim.stretch.map_or_else(String::new, judged),
        claim.note.clone(),
    ]
}

fn word(verdict: TargetStatus) -> &'static str {
    match verdict {
        TargetStatus::Holds => "yes",
        TargetStatus::SeemsToHold => "yes?",
        TargetStatus::SeemsToFail => "no?",
        TargetStatus::Fails => "no",
        TargetStatus::Unknown => format::NONE,
    }
}

fn bound(bound: Bound, unit: Unit) -> String {
    match bound {
        Bound::AtLeast(number) => format!("≥ {}", value(number, unit)),
        Bound::AtMost(number) => format!("≤ {}", value(number, unit)),
    }
}

fn estimate(estimate: Option<Estimate>, unit: Unit) -> String {
    estimate.map_or_else(
        || format::NONE.to_owned(),
        |it| format!("{} [{} to {}]", value(it.median, unit), value(it.low, unit), value(it.high, unit)),
    )
}

/// A value in the form that suits its unit.
fn value(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Nanoseconds => format::duration(value),
        Unit::PerSecond => format::rate(value),
        Unit::BytesPerSecond => format!("{}/s", format::bytes(value.max(0.0) as u64)),
        // Memory per task is a difference, which noise can push below zero, and a fraction where it is shared out.
        Unit::Bytes if value < 1024.0 => format!("{} B", format::number(value)),
        Unit::Bytes => format::bytes(value as u64),
        Unit::Count => format::number(value),
        Unit::Ratio => format!("{}x", format::number(value)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Host, OverheadGroup, Warning};

    fn document() -> Overhead {
        let estimate = Some(Estimate { median: 1500.0, low: 1400.0, high: 1600.0, confidence: 0.98, n: 7 });
        let ratio = Some(Estimate { median: 5.0, low: 4.5, high: 5.5, confidence: 0.98, n: 7 });
        let figure = Figure {
            measurement: "round-trip".to_owned(),
            subject: "process".to_owned(),
            group: OverheadGroup::Lab,
            quantity: "p50".to_owned(),
            unit: Unit::Nanoseconds,
            estimate,
            blocks: Vec::new(),
            detail: false,
            note: String::new(),
            missing: None,
        };
        let claim = Claim {
            measurement: "round-trip".to_owned(),
            subject: "process".to_owned(),
            quantity: "p50".to_owned(),
            against: "spinning ping-pong".to_owned(),
            unit: Unit::Ratio,
            estimate: ratio,
            blocks: Vec::new(),
            reach: Bound::AtMost(6.0).judge(ratio.as_ref()),
            stretch: Some(Bound::AtMost(3.0).judge(ratio.as_ref())),
            note: String::new(),
        };
        let missing = Claim {
            subject: "absent".to_owned(),
            estimate: None,
            reach: Bound::AtMost(6.0).judge(None),
            stretch: None,
            note: "not measured: a|b".to_owned(),
            ..claim.clone()
        };
        Overhead {
            schema_version: super::super::SCHEMA_VERSION,
            command: "cargo lab overhead --seed 1".to_owned(),
            revision: None,
            seed: 1,
            workers: 2,
            blocks: 7,
            quick: false,
            interrupted: false,
            elapsed_ns: 1,
            host: Host {
                fingerprint: String::new(),
                cpu_model: "some CPU".to_owned(),
                cores: 2,
                memory_bytes: 0,
                os: "linux".to_owned(),
                rustc: String::new(),
                facts: BTreeMap::new(),
                warnings: vec![Warning::Told("busy".to_owned())],
            },
            figures: vec![Figure { detail: true, quantity: "hidden".to_owned(), ..figure.clone() }, figure],
            claims: vec![claim, missing],
        }
    }

    #[test]
    fn text_has_the_figure_the_ratio_and_both_verdicts() {
        let text = document().to_text();
        let line = |part: &str| text.lines().find(|line| line.contains(part)).unwrap_or_default().to_owned();
        assert!(line("process: p50").contains("1.50 µs [1.40 µs to 1.60 µs]"), "{text}");
        let claim = line("/ spinning ping-pong");
        assert!(claim.contains("5.00x [4.50x to 5.50x]"), "{text}");
        assert!(claim.contains("≤ 6.00x yes") && claim.contains("≤ 3.00x no"), "{text}");
        assert!(line("absent").contains("not measured"), "{text}");
        assert!(text.contains("reach: 1 of 2 hold; stretch: 0 of 1 hold"), "{text}");
        assert!(text.contains("CAUTION: busy") && !text.contains("hidden"), "{text}");
    }

    #[test]
    fn markdown_has_one_row_per_claim() {
        let text = document().to_markdown();
        assert!(text.contains("| 5.00x \\[4.50x to 5.50x\\] | ≤ 6.00x | yes | ≤ 3.00x | no |"), "{text}");
        assert!(text.contains("not measured: a\\|b"), "{text}");
    }

    #[test]
    fn serde_keeps_it() {
        let document = document();
        let json = serde_json::to_string(&document).unwrap();
        assert_eq!(serde_json::from_str::<Overhead>(&json).unwrap(), document);
    }
}
