//! The page: one file that carries its style, its script and the raw samples.

use std::collections::BTreeMap;

use askama::Template;

use crate::chart::{Chart, Context, Gallery, LegendEntry, SECTIONS, SectionSpec};
use crate::choice::{self, Row};
use crate::error::ReportError;
use crate::model::{Cause, Cell, Finding, Run, Tone, Verdict};
use crate::table::Table;
use crate::{advice, cells, claims, csv, format, verdicts};

/// The script: the arithmetic of advice, the calculator, and what else the page does.
const SCRIPT: [&str; 3] = [
    include_str!("../templates/advice.js"),
    include_str!("../templates/calculator.js"),
    include_str!("../templates/report.js"),
];

/// The values that the template shows.
#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    run: &'a Run,
    style: &'static str,
    script: String,
    headline: Statement,
    verdicts: Sentences,
    choices: Vec<Row>,
    common: Option<Table>,
    caution: String,
    badges: Vec<Badge>,
    wrong: Vec<WrongCell<'a>>,
    sections: Vec<Section>,
    claims: Option<Table>,
    about_claims: Sentences,
    /// Sentences about cells, and those whose evidence is nowhere on the page.
    others: Sentences,
    missing: Option<Table>,
    all_cells: Table,
    resources: Table,
    machine: Table,
    inputs: Option<Table>,
    elapsed: String,
    sample_count: String,
    run_json: String,
    csv_json: String,
}

/// A finding with a link to its evidence.
struct Statement {
    text: String,
    note: String,
    icon: &'static str,
    word: &'static str,
    class: &'static str,
    /// Anchor of the evidence; empty when the page has no such place.
    link: String,
    link_text: String,
}

/// A short statement about the whole run.
struct Badge {
    icon: &'static str,
    text: String,
    class: &'static str,
    link: &'static str,
}

/// A cell with a wrong answer.
struct WrongCell<'a> {
    cell: &'a Cell,
    expected: &'a str,
    found: &'a str,
}

/// A section with charts.
struct Section {
    id: &'static str,
    title: &'static str,
    intro: &'static str,
    legend: Vec<LegendEntry>,
    charts: Vec<Chart>,
    /// The findings that it shows.
    sentences: Sentences,
}

/// A list of findings.
#[derive(Template)]
#[template(path = "sentences.html")]
struct Sentences {
    statements: Vec<Statement>,
    /// What they are about, for a list that is folded; empty for one that is not.
    about: &'static str,
}

/// Renders a run as one HTML file that needs no network and no other file.
///
/// The same run gives the same text, byte for byte. Every string of the run is escaped.
///
/// # Errors
///
/// [`ReportError::Chart`] when a chart cannot be drawn, [`ReportError::Page`] when the template fails, and
/// [`ReportError::Encode`] when the run cannot be turned into JSON. None of them happens for a run that [`load`] returned.
///
/// [`load`]: crate::load
pub fn render_html(run: &Run) -> Result<String, ReportError> {
    let context = Context::new(run);
    let section = |spec: &&SectionSpec| (spec.gallery)(&context).map(|gallery| section(spec, gallery));
    let mut sections = SECTIONS.iter().map(section).collect::<Result<Vec<_>, _>>()?;
    let anchors = anchors(run, &sections);
    let headline = run.findings.first().map_or_else(nothing_said, |finding| statement(finding, &anchors));
    let decisions = advice::decisions(run);
    let verdicts = verdicts::of(run, &decisions);
    let mut others = Sentences { statements: Vec::new(), about: "cells and the run" };
    let mut about_claims = Sentences { statements: Vec::new(), about: "these verdicts" };
    // The machine's warnings stand in its section, and each sentence stands once.
    let is_warning = |finding: &&Finding| run.host.warnings.iter().any(|warning| warning.to_string() == finding.text);
    // Known causes are marked on the charts of scaling, with their counters in a table of the section of causes.
    let is_marked = |finding: &&Finding| {
        let is_of = |cause: &Cause| !cause.kinds.is_empty() && finding.text.starts_with(&cause.what);
        run.causes.iter().any(is_of)
    };
    let rest = run.findings.iter().skip(1).filter(|it| !is_warning(it) && !is_marked(it) && !verdicts.contains(it));
    for finding in rest {
        let place = sections.iter_mut().find(|section| section.id == finding.evidence.section);
        let unplaced = if finding.evidence == "claims" { &mut about_claims } else { &mut others };
        let sentences = place.map_or(unplaced, |section| &mut section.sentences);
        sentences.statements.push(statement(finding, &anchors));
    }
    let mut choices = choice::rows(run, &decisions);
    for row in &mut choices {
        // A workload with parameters has a chart of another name.
        if !anchors.contains_key(row.link.as_str()) {
            row.link = "scaling".to_owned();
        }
    }
    let encode = |source| ReportError::Encode { run: run.id.clone(), source };
    let page = Page {
        run,
        style: include_str!("../templates/report.css"),
        script: SCRIPT.concat(),
        headline,
        verdicts: Sentences {
            statements: verdicts.iter().map(|finding| statement(finding, &anchors)).collect(),
            about: "",
        },
        choices,
        common: choice::common(run),
        caution: choice::caution(run),
        badges: badges(run),
        wrong: wrong(run),
        claims: claims::table(&run.claims),
        about_claims,
        others,
        missing: cells::missing(run),
        all_cells: cells::all(run),
        resources: cells::resources(run),
        machine: cells::machine(run),
        inputs: cells::inputs(run),
        elapsed: format::duration(run.elapsed_ns as f64),
        sample_count: format::count(run.cells.iter().map(|cell| cell.samples.len() as u64).sum()),
        run_json: inert(&serde_json::to_string(run).map_err(encode)?),
        csv_json: inert(&serde_json::to_string(&csv::samples(run)).map_err(encode)?),
        sections,
    };
    page.render().map_err(|source| ReportError::Page { source })
}

fn section(spec: &SectionSpec, gallery: Gallery) -> Section {
    let SectionSpec { id, title, intro, .. } = spec;
    let sentences = Sentences { statements: Vec::new(), about: "these figures" };
    Section { id, title, intro, legend: gallery.legend, charts: gallery.charts, sentences }
}

/// The places of the page that a sentence can link to, with their titles.
fn anchors(run: &Run, sections: &[Section]) -> BTreeMap<String, String> {
    let fixed = [("decide", "What to use"), ("cells", "Cells"), ("machine", "Machine"), ("data", "Raw data")];
    let mut anchors: BTreeMap<String, String> =
        fixed.map(|(id, title)| (id.to_owned(), title.to_owned())).into_iter().collect();
    if !run.claims.is_empty() {
        anchors.insert("claims".to_owned(), "Claims".to_owned());
    }
    for section in sections {
        anchors.insert(section.id.to_owned(), section.title.to_owned());
        let charts = section.charts.iter();
        anchors.extend(charts.map(|chart| (chart.id.clone(), format!("{}: {}", section.title, chart.title))));
    }
    anchors
}

/// The headline of a run without findings.
fn nothing_said() -> Statement {
    Statement {
        text: "This run has no findings: too little was measured to say anything.".to_owned(),
        note: String::new(),
        icon: "○",
        word: "",
        class: "neutral",
        link: String::new(),
        link_text: String::new(),
    }
}

/// A finding, linked to its evidence where the page has it.
fn statement(finding: &Finding, anchors: &BTreeMap<String, String>) -> Statement {
    let (icon, word, class) = match finding.tone {
        Tone::Neutral => ("●", "", "neutral"),
        Tone::Caution => ("▲", "Caution", "care"),
        Tone::Wrong => ("✗", "Wrong", "bad"),
    };
    // A chart that is missing in this run still has its section.
    let anchor = finding.evidence.anchor();
    let places = [anchor.as_str(), &finding.evidence.section];
    let (link, link_text) = places
        .into_iter()
        .find_map(|id| anchors.get(id).map(|title| (id.to_owned(), title.clone())))
        .unwrap_or_default();
    Statement { text: with_units(&finding.text), note: with_units(&finding.note), icon, word, class, link, link_text }
}

/// Puts a non-breaking space between a figure and its unit.
fn with_units(text: &str) -> String {
    const UNITS: [&str; 8] = ["ns", "µs", "ms", "s", "%", "k/s", "M/s", "/s"];
    let mut words = text.split(' ').peekable();
    let mut joined = String::with_capacity(text.len());
    while let Some(word) = words.next() {
        joined.push_str(word);
        let Some(next) = words.peek() else { break };
        let unit = next.trim_end_matches(['.', ',', ';', ')']);
        let figure = word.ends_with(|last: char| last.is_ascii_digit());
        joined.push(if figure && UNITS.contains(&unit) { '\u{a0}' } else { ' ' });
    }
    joined
}

/// Short statements that the reader needs before any figure.
fn badges(run: &Run) -> Vec<Badge> {
    let count = |pick: fn(&Verdict) -> bool| run.cells.iter().filter(|cell| pick(&cell.verdict)).count();
    let wrong = count(|verdict| matches!(verdict, Verdict::Wrong { .. }));
    let failed = count(|verdict| matches!(verdict, Verdict::Failed { .. }));
    let unmeasured = count(|verdict| matches!(verdict, Verdict::NotMeasured));
    let correct = count(|verdict| matches!(verdict, Verdict::Correct));
    let mut badges = Vec::new();
    let mut badge = |icon, text: String, class, link| badges.push(Badge { icon, text, class, link });
    if wrong > 0 {
        badge("✗", format!("{wrong} WRONG"), "bad", "#cells");
    }
    if run.interrupted {
        badge("▲", "interrupted: not all cells were measured".to_owned(), "care", "#cells");
    }
    if run.quick {
        badge("▲", "quick run: fewer samples, wider intervals".to_owned(), "care", "#data");
    }
    if failed > 0 {
        badge("!", format!("{failed} failed"), "care", "#cells");
    }
    if unmeasured > 0 {
        badge("○", format!("{unmeasured} not measured"), "neutral", "#cells");
    }
    if correct > 0 {
        badge("✓", format!("{correct} of {} cells correct", run.cells.len()), "good", "#cells");
    }
    match run.host.warnings.len() {
        0 => badge("✓", "no machine warnings".to_owned(), "good", "#machine"),
        1 => badge("▲", "1 warning about the machine".to_owned(), "care", "#machine"),
        many => badge("▲", format!("{many} warnings about the machine"), "care", "#machine"),
    }
    badges
}

fn wrong<'a>(run: &'a Run) -> Vec<WrongCell<'a>> {
    let pick = |cell: &'a Cell| match cell {
        Cell { verdict: Verdict::Wrong { expected, found }, .. } => Some(WrongCell { cell, expected, found }),
        _ => None,
    };
    run.cells.iter().filter_map(pick).collect()
}

/// JSON for the inside of a `<script>`: without `<`, no part of it can end the element or open a comment.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use std::collections::BTreeSet;

    use serde_json::Value;

    /// Puts a text into every string of a value, keys of maps included, except the words that the schema fixes.
    fn poison(value: &mut Value, text: &str) {
        match value {
            Value::String(string) => string.push_str(text),
            Value::Array(items) => items.iter_mut().for_each(|item| poison(item, text)),
            Value::Object(map) => {
                for (key, item) in map.iter_mut() {
                    if !["kind", "kinds", "tone", "group", "lane", "term"].contains(&key.as_str()) {
                        poison(item, text);
                    }
                }
                for name in ["facts", "params"] {
                    if let Some(Value::Object(named)) = map.get_mut(name) {
                        named.insert(text.to_owned(), Value::String(text.to_owned()));
                    }
                }
            }
            _ => {}
        }
    }

    #[test]
    fn no_string_of_the_run_can_become_markup() {
        for text in ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "</script><!--", "' onload='x"] {
            let mut value = serde_json::to_value(fixture::run()).unwrap();
            poison(&mut value, text);
            let run: Run = serde_json::from_value(value).unwrap();
            let html = render_html(&run).unwrap();
            assert!(!html.contains("<script>alert") && !html.contains("<img") && !html.contains("<!--"), "{text}");
            let markup = html.split("<script type=").next().unwrap();
            assert!(!markup.contains(text), "{text}");
            assert_eq!(html.matches("</script>").count(), 3, "{text}");
        }
    }

    #[test]
    fn the_page_is_deterministic_and_asks_for_nothing() {
        let run = fixture::run();
        let html = render_html(&run).unwrap();
        assert_eq!(html, render_html(&run).unwrap());
        for outside in ["src=\"http", "href=\"http", "@import", "url(http", "<link"] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(html.contains("http-equiv=\"Content-Security-Policy\""));
        assert!(html.len() < 2_000_000, "{}", html.len());
    }

    #[test]
    fn what_is_wrong_is_said_loudly_and_what_is_missing_is_listed() {
        let html = render_html(&fixture::run()).unwrap();
        for text in [
            "WRONG",
            "sqlite/rayon/w8",
            "1badd0c5",
            "memory limit of 256 MiB",
            "half of the memory",
            "interrupted",
            "quick run",
        ] {
            assert!(html.contains(text), "{text}");
        }
    }

    #[test]
    fn every_link_inside_the_page_has_its_target_and_every_id_is_unique() {
        for run in [fixture::run(), fixture::empty()] {
            let html = render_html(&run).unwrap();
            let parts = |mark: &str| -> Vec<String> {
                html.split(mark).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
            };
            let ids = parts(" id=\"");
            let unique: BTreeSet<&String> = ids.iter().collect();
            assert_eq!(unique.len(), ids.len(), "{ids:?}");
            for link in parts("href=\"#") {
                assert!(ids.contains(&link), "{link}");
            }
        }
    }

    #[test]
    fn findings_link_to_a_chart_or_else_to_its_section() {
        let html = render_html(&fixture::run()).unwrap();
        assert!(html.contains("href=\"#scaling-fetch\""));
        let mut run = fixture::run();
        run.findings[1].evidence = "scaling-gone".into();
        run.findings[2].evidence = "javascript:alert(1)".into();
        let html = render_html(&run).unwrap();
        assert!(
            !html.contains("#scaling-gone")
                && !html.contains("href=\"#javascript")
                && !html.contains("href=\"javascript")
        );
    }

    #[test]
    fn the_cause_of_an_uncertain_headline_stands_right_under_it() {
        let html = render_html(&fixture::run()).unwrap();
        let below = html.split("</h1>").nth(1).unwrap();
        let place = |text: &str| below.find(text).unwrap_or_else(|| panic!("no {text}"));
        assert!(place("The machine was a bit busy") < place("Evidence: "));
    }

    #[test]
    fn few_sentences_stand_on_top_and_the_others_beside_their_charts() {
        let mut run = fixture::run();
        let crowd = (0..20).map(|index| Finding { text: format!("sentence {index}"), ..run.findings[1].clone() });
        run.findings.extend(crowd.collect::<Vec<_>>());
        let html = render_html(&run).unwrap();
        let top = html.split("<section id=\"decide\"").next().unwrap();
        assert!(top.matches("class=\"evidence\"").count() + top.matches("Evidence: ").count() <= 7, "{top}");
        assert!(!top.contains("sentence 19"));
        let scaling = html.split("<section id=\"scaling\"").nth(1).unwrap().split("</section>").next().unwrap();
        assert!(scaling.contains("<details class=\"said\">") && scaling.contains("sentence 19"));
    }

    #[test]
    fn the_embedded_data_are_the_run_itself() {
        let run = fixture::run();
        let html = render_html(&run).unwrap();
        let embedded = |id: &str| {
            let start = html.split(&format!("id=\"{id}\">")).nth(1).unwrap();
            start.split("</script>").next().unwrap().to_owned()
        };
        assert_eq!(serde_json::from_str::<Run>(&embedded("run-json")).unwrap(), run);
        assert_eq!(serde_json::from_str::<String>(&embedded("samples-csv")).unwrap(), csv::samples(&run));
    }

    #[test]
    fn a_figure_stays_with_its_unit() {
        let text = "From 2.25 ms (95% CI 845 µs to 5.40 ms) on, with 2 workers.";
        assert_eq!(with_units(text), "From 2.25\u{a0}ms (95% CI 845\u{a0}µs to 5.40\u{a0}ms) on, with 2 workers.");
        assert_eq!(with_units("  two  spaces "), "  two  spaces ");
    }

    #[test]
    fn an_empty_run_renders_with_reasons() {
        let html = render_html(&fixture::empty()).unwrap();
        assert!(html.contains("no findings"));
        assert_eq!(
            html.matches("class=\"missing\"").count(),
            SECTIONS.len() + 2,
            "every chart, what to use, and the cells"
        );
    }
}
