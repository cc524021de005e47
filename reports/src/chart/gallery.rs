//! Galleries of charts, and the groups of cells that one chart shows.

use std::collections::BTreeSet;

use askama::Template;

use crate::error::ReportError;
use crate::model::{Cell, Run, Verdict};
use crate::plot::{Look, Palette, Shape, swatch};
use crate::table::Table;

/// A section of the page: its texts, and the function that draws its charts.
#[derive(Debug)]
pub(crate) struct SectionSpec {
    /// Anchor in the page.
    pub(crate) id: &'static str,
    /// Title.
    pub(crate) title: &'static str,
    /// The text above the charts.
    pub(crate) intro: &'static str,
    /// Draws the charts.
    pub(crate) gallery: fn(&Context<'_>) -> Result<Gallery, ReportError>,
}

/// The charts of one section and the legend that they share.
#[derive(Debug, Default)]
pub(crate) struct Gallery {
    /// The meaning of each look.
    pub(crate) legend: Vec<LegendEntry>,
    /// The charts, first to last.
    pub(crate) charts: Vec<Chart>,
}

/// One line of a legend.
#[derive(Debug)]
pub(crate) struct LegendEntry {
    /// A small picture, made here and safe to show.
    pub(crate) swatch: String,
    /// Its meaning.
    pub(crate) label: String,
}

/// A picture with its texts and the figures behind it.
#[derive(Debug, Template)]
#[template(path = "figure.html")]
pub(crate) struct Chart {
    /// Anchor in the page.
    pub(crate) id: String,
    /// Title.
    pub(crate) title: String,
    /// A note for its reader.
    pub(crate) caption: String,
    /// The pictures, as safe `<svg>` elements.
    pub(crate) pictures: Vec<String>,
    /// Why there is no picture; empty when there is one.
    pub(crate) missing: String,
    /// Explanations of the letters in the picture.
    pub(crate) keys: Vec<Key>,
    /// The figures behind the picture.
    pub(crate) table: Option<Table>,
    /// Whether the picture takes the whole width.
    pub(crate) wide: bool,
}

/// The meaning of a letter in a picture.
#[derive(Debug)]
pub(crate) struct Key {
    /// The letter, or a dash for a crossing that is not in the picture.
    pub(crate) tag: String,
    /// The crossing of the letter, in words.
    pub(crate) label: String,
    /// Its figure with the interval.
    pub(crate) value: String,
    /// A further note.
    pub(crate) note: String,
}

impl Chart {
    /// A chart that says in words why there is no picture.
    pub(super) fn missing(id: &str, title: &str, why: String) -> Self {
        Chart {
            id: id.to_owned(),
            title: title.to_owned(),
            caption: String::new(),
            pictures: Vec::new(),
            missing: why,
            keys: Vec::new(),
            table: None,
            wide: true,
        }
    }
}

impl LegendEntry {
    /// The look of a series.
    pub(super) fn series(name: &str, slot: u8) -> Result<Self, ReportError> {
        LegendEntry::other(name, Shape::of(slot), slot, Look::Series)
    }

    /// Any other look.
    pub(crate) fn other(label: impl Into<String>, shape: Shape, slot: u8, look: Look) -> Result<Self, ReportError> {
        Ok(LegendEntry { swatch: swatch(shape, slot, look)?, label: label.into() })
    }
}

/// The context that all charts of a page share.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// The run.
    pub(crate) run: &'a Run,
    pub(super) palette: Palette,
}

impl<'a> Context<'a> {
    /// Gives every executor of the run its look.
    pub(crate) fn new(run: &'a Run) -> Self {
        let cells = run.cells.iter().map(|cell| cell.executor.as_str());
        let curves = run.efficiency.iter().map(|curve| curve.executor.as_str());
        let fits = run.cost.iter().flat_map(|model| &model.fits).map(|fit| fit.executor.as_str());
        let loads = run.loads.iter().map(|point| point.executor.as_str());
        Context { run, palette: Palette::new(cells.chain(curves).chain(fits).chain(loads)) }
    }
}

/// Cells that one chart shows: one workload with one set of parameters.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) title: String,
    pub(super) anchor: String,
    pub(super) cells: Vec<&'a Cell>,
}

impl<'a> Group<'a> {
    /// The groups of a run in the order of their first cell; anchors start with `prefix` and are unique.
    pub(super) fn all(run: &'a Run, prefix: &str) -> Vec<Group<'a>> {
        let mut groups: Vec<Group<'a>> = Vec::new();
        let mut taken = BTreeSet::new();
        for cell in &run.cells {
            let same = |group: &&mut Group<'a>| {
                group.cells.iter().any(|other| other.workload == cell.workload && other.params == cell.params)
            };
            if let Some(group) = groups.iter_mut().find(same) {
                group.cells.push(cell);
                continue;
            }
            let title = cell.title();
            let anchor = anchor(prefix, &title, &mut taken);
            groups.push(Group { title, anchor, cells: vec![cell] });
        }
        groups
    }

    /// The executors of the group in the order of their first cell.
    pub(super) fn executors(&self) -> Vec<&'a str> {
        let mut names: Vec<&'a str> = Vec::new();
        for cell in &self.cells {
            if !names.contains(&cell.executor.as_str()) {
                names.push(&cell.executor);
            }
        }
        names
    }
}

/// A name for links that holds letters, digits and dashes only.
fn anchor(prefix: &str, title: &str, taken: &mut BTreeSet<String>) -> String {
    let mut slug = String::new();
    for c in title.chars().take(60) {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let base = format!("{prefix}-{}", slug.trim_matches('-'));
    let mut anchor = base.clone();
    let mut number = 2;
    while !taken.insert(anchor.clone()) {
        anchor = format!("{base}-{number}");
        number += 1;
    }
    anchor
}

/// Why no cell of a list can be drawn, in words.
pub(super) fn why_nothing(run: &Run, cells: &[&Cell], what: &str) -> String {
    let stopped = if run.interrupted { " The run was stopped before its end." } else { "" };
    if cells.is_empty() {
        return format!("No {what}: this run measured no grid of workloads, executors and workers.{stopped}");
    }
    let count = |pick: fn(&Verdict) -> bool| cells.iter().filter(|cell| pick(&cell.verdict)).count();
    format!(
        "No {what}: of {} cells, {} failed, {} were not measured, {} gave a wrong answer, and the rest carry no such figure.{stopped}",
        cells.len(),
        count(|verdict| matches!(verdict, Verdict::Failed { .. })),
        count(|verdict| matches!(verdict, Verdict::NotMeasured)),
        count(|verdict| matches!(verdict, Verdict::Wrong { .. })),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn anchors_are_plain_and_unique() {
        let mut taken = BTreeSet::new();
        assert_eq!(anchor("scaling", "SHA 256 <x>", &mut taken), "scaling-sha-256-x");
        assert_eq!(anchor("scaling", "sha/256/x", &mut taken), "scaling-sha-256-x-2");
    }

    #[test]
    fn cells_with_other_parameters_get_a_chart_of_their_own() {
        let run = fixture::run();
        let titles: Vec<String> = Group::all(&run, "s").into_iter().map(|group| group.title).collect();
        assert_eq!(titles, ["sha256", "fetch", "sqlite", "sha256, payload_bytes 65536"]);
    }
}
