//! The page of two runs: one file without a script.

use askama::Template;

use crate::chart::{Chart, LegendEntry};
use crate::comparison::{Change, Comparison, ComparisonRow};
use crate::error::ReportError;
use crate::format;
use crate::plot::{Axis, DrawError, Ink, Look, Pen, Plot, Shape, bounds, shorten};
use crate::table::{Field, Table};

/// Height of a row on the canvas.
const ROW: u32 = 40;

const STYLE: &str = include_str!("../templates/report.css");

#[derive(Template)]
#[template(path = "compare.html")]
struct Page<'a> {
    style: &'static str,
    base: &'a str,
    new: &'a str,
    headline: String,
    summary: String,
    told: Vec<Told>,
    apart: String,
    even: String,
    count: usize,
    legend: Vec<LegendEntry>,
    charts: Vec<Chart>,
}

/// The cells with one kind of change, each in words.
struct Told {
    icon: &'static str,
    title: &'static str,
    lines: Vec<String>,
}

/// Renders a comparison as one HTML page without a script. `even` is the change below which a cell counts as the same, as a share.
///
/// # Errors
///
/// [`ReportError`] where a picture cannot be drawn.
pub fn render_comparison(comparison: &Comparison, even: f64) -> Result<String, ReportError> {
    let both: Vec<&ComparisonRow> = comparison.rows.iter().filter(|row| !row.verdict.is_one_sided()).collect();
    let count = |change| both.iter().filter(|row| row.verdict == change).count();
    let headline = match (both.len(), count(Change::Faster) + count(Change::Slower)) {
        (0, _) => "No cell was measured in both runs".to_owned(),
        (_, 0) => "No cell became faster or slower for certain".to_owned(),
        _ => format!("{} slower, {} faster", count(Change::Slower), count(Change::Faster)),
    };
    let page = Page {
        style: STYLE,
        base: &comparison.base,
        new: &comparison.new,
        headline,
        summary: comparison.summary(),
        told: told(&both),
        apart: comparison.only_on_one_side().unwrap_or_default(),
        even: format::percent(even),
        count: both.len(),
        legend: legend()?,
        charts: charts(&both)?,
    };
    page.render().map_err(|source| ReportError::Page { source })
}

fn told(rows: &[&ComparisonRow]) -> Vec<Told> {
    let of = |icon, title, change: Change| {
        let mut rows: Vec<&&ComparisonRow> = rows.iter().filter(|row| row.verdict == change).collect();
        // The largest change comes first.
        rows.sort_by(|a, b| distance(b).total_cmp(&distance(a)));
        Told { icon, title, lines: rows.into_iter().map(|row| in_words(row)).collect() }
    };
    let groups = [
        of("✗", "Wrong or failed", Change::Bad),
        of("▲", "Slower", Change::Slower),
        of("✓", "Faster", Change::Faster),
        of("!", "The base was wrong or failed", Change::BadBase),
    ];
    groups.into_iter().filter(|group| !group.lines.is_empty()).collect()
}

fn distance(row: &ComparisonRow) -> f64 {
    row.ratio.map_or(0.0, |ratio| ratio.ln().abs())
}

fn in_words(row: &ComparisonRow) -> String {
    match (row.ratio, row.low, row.high) {
        (Some(ratio), Some(low), Some(high)) => {
            format!("{}: {} ({})", row.cell, format::ratio(ratio), format::interval(low, high, format::ratio))
        }
        _ => row.cell.clone(),
    }
}

fn legend() -> Result<Vec<LegendEntry>, ReportError> {
    Ok(vec![
        LegendEntry::other("slower", Shape::Square, SLOWER, Look::Mark)?,
        LegendEntry::other("faster", Shape::Disc, FASTER, Look::Mark)?,
        LegendEntry::other("the same, or cannot be told", Shape::Disc, FASTER, Look::Hollow)?,
    ])
}

/// Their colors.
const FASTER: u8 = 0;
const SLOWER: u8 = 3;

/// One chart per workload, which is the first part of a cell's id.
fn charts(rows: &[&ComparisonRow]) -> Result<Vec<Chart>, ReportError> {
    let workload = |row: &ComparisonRow| row.cell.split('/').next().unwrap_or_default().to_owned();
    let mut names: Vec<String> = Vec::new();
    for name in rows.iter().map(|row| workload(row)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let chart = |(index, name): (usize, &String)| {
        let own: Vec<&ComparisonRow> = rows.iter().copied().filter(|row| workload(row) == *name).collect();
        let id = format!("compare-{index}");
        let picture = picture(&id, name, &own)?;
        Ok(Chart {
            missing: if picture.is_some() { String::new() } else { "No cell has a ratio.".to_owned() },
            id,
            title: name.clone(),
            caption: "Time of the new run divided by that of the base, with its interval. The axis is logarithmic."
                .to_owned(),
            pictures: picture.into_iter().collect(),
            keys: Vec::new(),
            table: Some(table(name, &own)),
            wide: false,
        })
    };
    names.iter().enumerate().map(chart).collect()
}

/// A row with a place on a logarithmic axis.
struct Placed<'a> {
    row: &'a ComparisonRow,
    ratio: f64,
    low: f64,
    high: f64,
}

fn placed<'a>(row: &'a ComparisonRow) -> Option<Placed<'a>> {
    let ends = |value: Option<f64>| value.filter(|value| value.is_finite() && *value > 0.0);
    Some(Placed { row, ratio: ends(row.ratio)?, low: ends(row.low)?, high: ends(row.high)? })
}

fn picture(id: &str, workload: &str, rows: &[&ComparisonRow]) -> Result<Option<String>, ReportError> {
    let rows: Vec<Placed<'_>> = rows.iter().filter_map(|row| placed(row)).collect();
    let Some((low, high)) = bounds(rows.iter().flat_map(|row| [row.low, row.high])) else { return Ok(None) };
    let count = rows.len();
    let place = |index: usize| (count - index) as f64 - 0.5;
    let label = |row: &Placed<'_>| {
        let cell = &row.row.cell;
        shorten(cell.split_once('/').map_or(cell.as_str(), |(_, rest)| rest), 30)
    };
    let title = format!("Times of {workload}, new divided by base");
    let plot = Plot {
        id: &format!("{id}-plot"),
        title: &title,
        desc: "One row per cell: a mark for the ratio, and a bar for its interval. The table below has all figures.",
        size: (1040, ROW * count as u32 + 190),
        left: 440,
        x: Axis::log("new / base", [low.min(0.9), high.max(1.1)], format::times),
        y: Axis::fixed(
            &title,
            0.0,
            count as f64,
            rows.iter().enumerate().map(|(index, row)| (place(index), label(row))).collect(),
        ),
    };
    let svg = plot.draw(|pen| {
        pen.line([(1.0, 0.0), (1.0, count as f64)], Ink::IDEAL, 2)?;
        rows.iter().enumerate().try_for_each(|(index, row)| draw(pen, row, place(index)))
    })?;
    Ok(Some(svg))
}

fn draw(pen: &Pen<'_, '_>, row: &Placed<'_>, y: f64) -> Result<(), DrawError> {
    let at = (row.ratio, y);
    let slot = if row.row.verdict == Change::Slower { SLOWER } else { FASTER };
    pen.level(y, row.low, row.high, Ink::bar(slot))?;
    match row.row.verdict {
        Change::Slower => pen.mark(at, Shape::Square, Ink::mark(slot))?,
        Change::Faster => pen.mark(at, Shape::Disc, Ink::mark(slot))?,
        _ => pen.hollow_mark(at, Shape::Disc, Ink::mark(slot))?,
    }
    pen.hint(at, &format!("{}, {}", in_words(row.row), row.row.verdict.name()))
}

fn table(workload: &str, rows: &[&ComparisonRow]) -> Table {
    let mut table = Table::new(
        format!("Median times of {workload} in both runs"),
        &["Cell", "Base#", "New#", "New / base#", "Interval#", "Verdict"],
    );
    for row in rows {
        let mut fields = row.fields().into_iter();
        let mut verdict = Field::text(row.verdict.name());
        (verdict.icon, verdict.class) = match row.verdict {
            Change::Faster => ("✓", "good"),
            Change::Bad => ("✗", "bad"),
            Change::Slower | Change::BadBase => ("▲", "care"),
            _ => ("○", "muted"),
        };
        let figures = fields.by_ref().take(5).map(Field::text);
        table.push(figures.chain([verdict]).collect());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cell: &str, ratio: Option<f64>, verdict: Change) -> ComparisonRow {
        ComparisonRow {
            cell: cell.to_owned(),
            base_median_ns: Some(1e6),
            new_median_ns: ratio.map(|ratio| 1e6 * ratio),
            ratio,
            low: ratio.map(|ratio| 0.95 * ratio),
            high: ratio.map(|ratio| 1.05 * ratio),
            verdict,
        }
    }

    fn comparison(rows: Vec<ComparisonRow>) -> Comparison {
        Comparison { base: "<main>".to_owned(), new: "feature".to_owned(), rows }
    }

    #[test]
    fn every_cell_of_both_runs_has_a_mark_or_a_row_and_the_largest_change_comes_first() {
        let rows = vec![
            row("spin/thread/w2", Some(1.2), Change::Slower),
            row("spin/process/w2", Some(1.5), Change::Slower),
            row("spin/rayon/w2", Some(0.5), Change::Faster),
            row("sqlite/thread/w2", Some(1.0), Change::Same),
            row("sqlite/thread/w4", None, Change::Bad),
            row("sqlite/thread/w8", None, Change::Gone),
        ];
        let html = render_comparison(&comparison(rows), 0.03).unwrap();
        assert_eq!(html.matches("<figure").count(), 2);
        assert_eq!(html.matches("class=\"hit\"").count(), 4);
        let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text} in {html}"));
        assert!(at("spin/process/w2: 1.500x (1.425x to 1.575x)") < at("spin/thread/w2: 1.200x"));
        assert!(at("Wrong or failed") < at("Slower"));
        assert!(html.contains("only on one side: 1 cells of &#60;main&#62;") && html.contains("a change of 3%"));
        assert!(!html.contains("<script") && !html.contains("<main> against"));
    }

    #[test]
    fn runs_without_a_common_cell_say_so() {
        let html = render_comparison(&comparison(vec![row("a/serial/w1", None, Change::Gone)]), 0.03).unwrap();
        assert!(html.contains("No cell was measured in both runs"), "{html}");
    }
}
