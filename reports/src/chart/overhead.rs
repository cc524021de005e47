//! The cost of one task: on the executors of executor-core, on those of other projects, and on the bare hardware.

use super::gallery::{Chart, Context, Gallery, LegendEntry, SectionSpec};
use crate::error::ReportError;
use crate::format;
use crate::model::{Estimate, OverheadGroup, OverheadRow};
use crate::plot::{Axis, DrawError, HPos, Ink, Look, Pen, Plot, Shape, VPos, bounds, shorten};
use crate::table::{Field, Table};

/// Height of a row on the canvas.
const ROW: u32 = 46;

/// The groups in the order of the page.
const GROUPS: [OverheadGroup; 3] = [OverheadGroup::Lab, OverheadGroup::Peer, OverheadGroup::Baseline];

/// The section.
pub(crate) static SECTION: SectionSpec = SectionSpec {
    id: "overhead",
    title: "Overhead per task",
    intro: "The time that an executor adds to every task, measured with tasks that do nothing.",
    gallery,
};

/// One chart with two pictures: many tasks in flight, and one at a time.
fn gallery(context: &Context<'_>) -> Result<Gallery, ReportError> {
    let title = "Cost of one task";
    let rows = &context.run.overhead;
    if rows.is_empty() {
        let why = "No overhead figures: this run did not measure the cost of an empty task. The job “overhead” does.";
        let chart = Chart::missing("overhead-none", title, why.to_owned());
        return Ok(Gallery { legend: Vec::new(), charts: vec![chart] });
    }
    let per_task = picture(
        rows,
        Side {
            id: "overhead-per-task",
            title: "Many tasks in flight: time per task",
            axis: "time per task (1 / throughput)",
            dots: |row| vec![Dot { estimate: row.throughput.as_ref().and_then(per_task), tail: false }],
        },
    )?;
    let round_trip = picture(
        rows,
        Side {
            id: "overhead-round-trip",
            title: "One task at a time: round trip, median and 99th percentile",
            axis: "median, and 99th percentile as a stick",
            dots: |row| {
                vec![
                    Dot { estimate: row.round_trip_p50_ns.filter(drawable), tail: false },
                    Dot { estimate: row.round_trip_p99_ns.filter(drawable), tail: true },
                ]
            },
        },
    )?;
    let pictures: Vec<String> = [per_task, round_trip].into_iter().flatten().collect();
    let missing = if pictures.is_empty() {
        "No overhead picture: none of the rows below has a figure; their notes say why.".to_owned()
    } else {
        String::new()
    };
    let chart = Chart {
        id: "overhead-cost".to_owned(),
        title: title.to_owned(),
        caption: "Empty tasks. Left: submit many, then collect them all. Right: submit one, wait for its result, \
                  repeat. Both axes are logarithmic; further left is better."
            .to_owned(),
        pictures,
        missing,
        keys: Vec::new(),
        table: Some(table(rows)),
        wide: true,
    };
    let mut legend: Vec<LegendEntry> = GROUPS
        .into_iter()
        .filter(|group| rows.iter().any(|row| row.group == *group))
        .map(|group| {
            let (shape, slot, look) = look(group);
            LegendEntry::other(group_title(group), shape, slot, look)
        })
        .collect::<Result<_, _>>()?;
    legend.push(LegendEntry::other("99th percentile", Shape::Stick, 0, Look::Mark)?);
    Ok(Gallery { legend, charts: vec![chart] })
}

/// The look of a group: differs in shape and filling, not in color only.
fn look(group: OverheadGroup) -> (Shape, u8, Look) {
    match group {
        OverheadGroup::Lab => (Shape::Disc, 0, Look::Mark),
        OverheadGroup::Peer => (Shape::Square, 3, Look::Hollow),
        OverheadGroup::Baseline => (Shape::Diamond, 2, Look::Mark),
    }
}

fn group_title(group: OverheadGroup) -> &'static str {
    match group {
        OverheadGroup::Lab => "executor-core",
        OverheadGroup::Peer => "peers",
        OverheadGroup::Baseline => "baselines of the hardware",
    }
}

/// Whether an estimate has a place on a logarithmic axis.
fn drawable(estimate: &Estimate) -> bool {
    estimate.median.is_finite() && estimate.median > 0.0
}

/// A throughput in the other unit: time per task. The interval's ends change places.
fn per_task(throughput: &Estimate) -> Option<Estimate> {
    let time = |rate: f64| 1e9 / rate;
    let estimate = Estimate {
        median: time(throughput.median),
        low: time(throughput.high),
        high: time(throughput.low),
        ..*throughput
    };
    drawable(&estimate).then_some(estimate)
}

/// A line of the picture: a group's title or a row of it.
enum Entry<'a> {
    Title(OverheadGroup),
    Row(&'a OverheadRow),
}

impl<'a> Entry<'a> {
    /// The rows of one side by group, each group under its title. A baseline is measured for one quantity, and is not
    /// missing where another one is shown.
    fn all(rows: &'a [OverheadRow], side: &Side) -> Vec<Entry<'a>> {
        let belongs = |row: &OverheadRow| {
            row.group != OverheadGroup::Baseline
                || row.missing.is_some()
                || (side.dots)(row).iter().any(|dot| dot.estimate.is_some())
        };
        let mut entries = Vec::new();
        for group in GROUPS {
            let mut own = rows.iter().filter(|row| row.group == group && belongs(row)).peekable();
            if own.peek().is_some() {
                entries.push(Entry::Title(group));
                entries.extend(own.map(Entry::Row));
            }
        }
        entries
    }
}

/// One figure of a row.
struct Dot {
    estimate: Option<Estimate>,
    /// Whether it is the slow end of the one before.
    tail: bool,
}

/// One of the two pictures.
struct Side {
    id: &'static str,
    title: &'static str,
    axis: &'static str,
    dots: fn(&OverheadRow) -> Vec<Dot>,
}

/// Draws one side; `None` when no row has a figure for it.
fn picture(rows: &[OverheadRow], side: Side) -> Result<Option<String>, ReportError> {
    let entries = Entry::all(rows, &side);
    let estimates: Vec<Estimate> = entries
        .iter()
        .filter_map(|entry| if let Entry::Row(row) = entry { Some((side.dots)(row)) } else { None })
        .flatten()
        .filter_map(|dot| dot.estimate)
        .collect();
    if estimates.is_empty() {
        return Ok(None);
    }
    let ends = estimates.iter().flat_map(|estimate| [estimate.low, estimate.median, estimate.high]);
    let Some((low, high)) = bounds(ends.filter(|end| *end > 0.0)) else { return Ok(None) };
    let label = |entry: &Entry<'_>| match entry {
        Entry::Title(OverheadGroup::Lab) => "EXECUTOR-CORE".to_owned(),
        Entry::Title(OverheadGroup::Peer) => "PEERS".to_owned(),
        Entry::Title(OverheadGroup::Baseline) => "BASELINES".to_owned(),
        Entry::Row(row) => shorten(&row.name, 30),
    };
    let count = entries.len();
    let ticks = entries.iter().enumerate().map(|(index, entry)| ((count - index) as f64 - 0.5, label(entry))).collect();
    let plot = Plot {
        id: side.id,
        title: side.title,
        desc: "One row per executor; a mark for the median, a bar for its interval. The table below has all figures.",
        size: (1080, ROW * count as u32 + 190),
        left: 440,
        x: Axis::log(side.axis, [low, high], format::duration_tick),
        y: Axis::fixed(side.title, 0.0, count as f64, ticks),
    };
    let svg = plot.draw(|pen| {
        for (index, entry) in entries.iter().enumerate() {
            if let Entry::Row(row) = entry {
                draw_row(pen, row, (side.dots)(row), (count - index) as f64 - 0.5, plot.x.range().0)?;
            }
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

fn draw_row(pen: &Pen<'_, '_>, row: &OverheadRow, dots: Vec<Dot>, y: f64, left: f64) -> Result<(), DrawError> {
    let (shape, slot, look) = look(row.group);
    let places: Vec<_> = dots.iter().filter_map(|dot| Some((dot.estimate?.median, y))).collect();
    if places.is_empty() {
        // A reason would be cut off.
        let why = if row.missing.is_some() { "not measured: see the table" } else { "not measured" };
        return pen.text((left, y), (14, 0), why, Ink::MUTED, (HPos::Left, VPos::Center));
    }
    pen.line(places, Ink::bar(slot), 2)?;
    for dot in dots {
        let Some(estimate) = dot.estimate else { continue };
        let place = (estimate.median, y);
        pen.level(y, estimate.low, estimate.high, Ink::bar(slot))?;
        match (dot.tail, look) {
            (true, _) => pen.mark(place, Shape::Stick, Ink::mark(slot))?,
            (false, Look::Hollow) => pen.hollow_mark(place, shape, Ink::mark(slot))?,
            (false, _) => pen.mark(place, shape, Ink::mark(slot))?,
        }
        let what = if dot.tail { ", 99th percentile" } else { "" };
        pen.hint(place, &format!("{}{what}: {}", row.name, format::estimate(&estimate, format::duration)))?;
    }
    Ok(())
}

fn table(rows: &[OverheadRow]) -> Table {
    let mut table = Table::new(
        "Cost of one empty task: medians with their intervals",
        &[
            "Executor",
            "Group",
            "Workers#",
            "Per task#",
            "Throughput#",
            "Round trip p50#",
            "Round trip p99#",
            "1 MiB argument#",
            "Note",
        ],
    );
    let mebibytes: fn(f64) -> String = |rate| format!("{} MiB/s", format::number(rate));
    for group in GROUPS {
        for row in rows.iter().filter(|row| row.group == group) {
            table.push(vec![
                Field::text(&row.name),
                Field::text(group_title(group)),
                Field::text(row.workers.to_string()),
                Field::estimate(row.throughput.as_ref().and_then(per_task).as_ref(), format::duration),
                Field::estimate(row.throughput.as_ref(), format::rate),
                Field::estimate(row.round_trip_p50_ns.as_ref(), format::duration),
                Field::estimate(row.round_trip_p99_ns.as_ref(), format::duration),
                Field::estimate(row.payload_mib_per_second.as_ref(), mebibytes),
                Field { class: "prose", ..Field::text(&row.note) },
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn every_figure_has_a_mark_and_every_gap_its_reason() {
        let run = fixture::run();
        let gallery = gallery(&Context::new(&run)).unwrap();
        let chart = &gallery.charts[0];
        assert_eq!(chart.pictures.len(), 2);
        assert_eq!(chart.pictures[0].matches("class=\"hit\"").count(), 9);
        assert_eq!(chart.pictures[1].matches("class=\"hit\"").count(), 18);
        assert!(chart.pictures[0].contains("not measured: see the table"));
        assert!(chart.to_string().contains("not measured: no module of this name"));
        assert_eq!(chart.table.as_ref().unwrap().rows.len(), run.overhead.len());
    }

    #[test]
    fn a_gap_shows_unless_the_row_is_a_baseline_of_something_else() {
        let without = |group| {
            let mut run = fixture::run();
            let mut rows = run.overhead.iter_mut();
            let row = rows.find(|row| row.group == group && row.throughput.is_some()).unwrap();
            row.throughput = None;
            // This note describes the row and is not the reason of a gap.
            row.note = "two threads, no sleeping".to_owned();
            let name = row.name.clone();
            let picture = gallery(&Context::new(&run)).unwrap().charts[0].pictures[0].clone();
            assert!(!picture.contains("no sleeping"));
            (picture.contains(&name), picture.matches("not measured").count())
        };
        assert_eq!(without(OverheadGroup::Peer), (true, 2), "this row, and the one that has a reason");
        assert_eq!(without(OverheadGroup::Baseline), (false, 1), "the one that has a reason");
    }

    #[test]
    fn time_per_task_turns_the_interval_around() {
        let rate = Estimate { median: 1e6, low: 5e5, high: 2e6, confidence: 0.95, n: 9 };
        let time = per_task(&rate).unwrap();
        assert_eq!((time.low, time.median, time.high), (500.0, 1_000.0, 2_000.0));
        assert!(per_task(&Estimate { median: 0.0, ..rate }).is_none());
    }

    #[test]
    fn rows_without_any_figure_leave_the_table() {
        let mut run = fixture::run();
        run.overhead.retain(|row| row.throughput.is_none());
        let gallery = gallery(&Context::new(&run)).unwrap();
        assert!(gallery.charts[0].missing.contains("notes say why"));
        assert_eq!(gallery.charts[0].table.as_ref().unwrap().rows.len(), 1);
    }
}
