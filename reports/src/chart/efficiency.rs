//! Efficiency against the duration of a task: the duration from which an executor pays off.

use super::gallery::{Chart, Context, Gallery, Key, LegendEntry, SectionSpec};
use crate::error::ReportError;
use crate::format;
use crate::model::{Crossing, EfficiencyCurve, EfficiencyPoint};
use crate::plot::{Axis, DrawError, HPos, Ink, Pen, Plot, Shape, VPos, bounds, shorten};
use crate::table::{Field, Table};

/// Height of a row of letters above the curves, as a share of the axis.
const ROW: f64 = 0.085;

/// Two letters closer than this share of the axis would overlap.
const NEAR: f64 = 0.03;

/// The section.
pub(crate) static SECTION: SectionSpec = SectionSpec {
    id: "efficiency",
    title: "Efficiency and break-even",
    intro: "The share of the machine that is kept busy with tasks of a given duration; 100% is perfect. \
                          Where a curve crosses a threshold or another curve, the choice of the executor changes. \
                          METG is the smallest granularity (wall time times cores, divided by the number of tasks) with \
                          which an executor reaches a threshold of efficiency, as Task Bench defines it; the tasks of a \
                          batch share what the batch costs once, such as waking the workers. The interval of a crossing is \
                          that of the median of the blocks' crossings; where it reaches beyond the measured durations, only \
                          its other end is given.",
    gallery,
};

/// One chart with all curves and crossings.
fn gallery(context: &Context<'_>) -> Result<Gallery, ReportError> {
    let run = context.run;
    let title = "Efficiency against the duration of a task";
    let points = || run.efficiency.iter().flat_map(|curve| &curve.points).filter(|point| drawable(point));
    let Some((low, high)) = bounds(points().map(|point| point.task_ns)) else {
        let why = if run.efficiency.is_empty() {
            "No efficiency curves: this run did not sweep the duration of a task. `lab breakeven` does.".to_owned()
        } else {
            format!("No efficiency curves: {} executors were swept, and none has a valid point.", run.efficiency.len())
        };
        let mut chart = Chart::missing("efficiency-none", title, why);
        chart.keys = keys(&run.crossings);
        return Ok(Gallery { legend: Vec::new(), charts: vec![chart] });
    };
    let tags = tags(&run.crossings);
    let x = Axis::log("duration of one task when it runs alone", [low, high], format::duration_tick);
    let rows_of = rows_of_letters(&tags, &x);
    let highest = points().map(|point| point.efficiency.high).filter(|high| high.is_finite()).fold(1.0, f64::max);
    let floor = highest.min(1.3) + 0.03;
    let rows = rows_of.iter().copied().max().map_or(0, |row| row + 1);
    let ticks = [0.0, 0.25, 0.5, 0.75, 0.9, 1.0].map(|share| (share, format::percent(share))).to_vec();
    let plot = Plot {
        id: "efficiency-curves",
        title,
        desc: "Ideal time divided by measured time, one curve per executor, with crossings marked by letters that the list below explains.",
        size: (2080, 860),
        left: 124,
        x,
        y: Axis::fixed("efficiency (ideal time / measured time)", 0.0, floor + ROW * f64::from(rows), ticks),
    };
    let picture = plot.draw(|pen| {
        let (left, right) = plot.x.range();
        pen.line([(left, 1.0), (right, 1.0)], Ink::IDEAL, 3)?;
        for curve in &run.efficiency {
            draw_band(pen, curve, context.palette.slot(&curve.executor))?;
        }
        for curve in &run.efficiency {
            draw_curve(pen, curve, context.palette.slot(&curve.executor))?;
        }
        for ((tag, crossing), row) in tags.iter().zip(&rows_of) {
            draw_crossing(pen, &plot, tag, crossing, floor + ROW * (f64::from(*row) + 0.45))?;
        }
        Ok(())
    })?;
    let chart = Chart {
        id: "efficiency-curves".to_owned(),
        title: title.to_owned(),
        caption:
            "Bands and error bars show the intervals of the medians. A ring marks a crossing, the bar through it shows \
                  the interval of its task duration, and its letter refers to the list below."
                .to_owned(),
        pictures: vec![picture],
        missing: String::new(),
        keys: keys(&run.crossings),
        table: Some(table(&run.efficiency)),
        wide: true,
    };
    let legend = run
        .efficiency
        .iter()
        .map(|curve| {
            let name = format!("{}, {} workers", curve.executor, curve.workers);
            LegendEntry::series(&name, context.palette.slot(&curve.executor))
        })
        .collect::<Result<_, _>>()?;
    Ok(Gallery { legend, charts: vec![chart] })
}

fn drawable(point: &EfficiencyPoint) -> bool {
    point.task_ns.is_finite() && point.task_ns > 0.0 && point.efficiency.median.is_finite()
}

/// The crossings that have a place in the picture, each with a letter.
fn tags(crossings: &[Crossing]) -> Vec<(String, &Crossing)> {
    crossings
        .iter()
        .enumerate()
        .filter(|(_, crossing)| in_picture(crossing))
        .map(|(index, crossing)| (letter(index), crossing))
        .collect()
}

fn in_picture(crossing: &Crossing) -> bool {
    let known = |value: f64| value.is_finite() && value > 0.0;
    crossing.task_ns.is_some_and(|task| known(task.median)) && crossing.efficiency.is_some_and(f64::is_finite)
}

/// A, B, ... Z, A1, B1, ...
pub(super) fn letter(index: usize) -> String {
    let letter = char::from(b'A' + (index % 26) as u8);
    if index < 26 { letter.to_string() } else { format!("{letter}{}", index / 26) }
}

/// A row for each letter, so that no two letters overlap.
fn rows_of_letters(tags: &[(String, &Crossing)], x: &Axis) -> Vec<u32> {
    let (low, _) = x.range();
    let mut used: Vec<Vec<f64>> = Vec::new();
    let mut rows_of = Vec::new();
    for (_, crossing) in tags {
        let place = crossing.task_ns.map_or(0.0, |task| x.share(low, task.median));
        let free = used.iter().position(|row| row.iter().all(|other| (other - place).abs() >= NEAR));
        let row = free.unwrap_or(used.len());
        if row == used.len() {
            used.push(Vec::new());
        }
        used[row].push(place);
        rows_of.push(row as u32);
    }
    rows_of
}

/// The values of a curve, from short to long tasks.
fn values(curve: &EfficiencyCurve, value: fn(&EfficiencyPoint) -> f64) -> impl Iterator<Item = (f64, f64)> {
    curve.points.iter().filter(|point| drawable(point)).map(move |point| (point.task_ns, value(point)))
}

fn draw_band(pen: &Pen<'_, '_>, curve: &EfficiencyCurve, slot: u8) -> Result<(), DrawError> {
    let edge = |value| values(curve, value);
    pen.band(edge(|point| point.efficiency.low), edge(|point| point.efficiency.high), Ink::band(slot))
}

fn draw_curve(pen: &Pen<'_, '_>, curve: &EfficiencyCurve, slot: u8) -> Result<(), DrawError> {
    pen.line(values(curve, |point| point.efficiency.median), Ink::line(slot), 4)?;
    for point in curve.points.iter().filter(|point| drawable(point)) {
        let estimate = &point.efficiency;
        let place = (point.task_ns, estimate.median);
        pen.upright(point.task_ns, estimate.low, estimate.high, Ink::bar(slot))?;
        pen.mark(place, Shape::of(slot), Ink::mark(slot))?;
        let (task, share) = (format::duration(point.task_ns), format::estimate(estimate, format::percent));
        pen.hint(place, &format!("{}, tasks of {task}: {share}", shorten(&curve.executor, 60)))?;
    }
    Ok(())
}

fn draw_crossing(
    pen: &Pen<'_, '_>,
    plot: &Plot<'_>,
    tag: &str,
    crossing: &Crossing,
    row: f64,
) -> Result<(), DrawError> {
    let (Some(task), Some(efficiency)) = (&crossing.task_ns, crossing.efficiency) else { return Ok(()) };
    let (x, (left, right)) = (task.median, plot.x.range());
    if x < left || x > right {
        // The crossing lies outside the measured durations; the list below the picture still has it.
        return Ok(());
    }
    // The line runs from below the letter to above the ring.
    pen.line([(x, row - 0.3 * ROW), (x, plot.y.further(efficiency, 0.015))], Ink::TAG, 2)?;
    pen.level(efficiency, task.low, task.high, Ink::TAG)?;
    pen.ring((x, efficiency), Ink::TAG)?;
    pen.text((x, row), (0, 0), tag, Ink::TAG, (HPos::Center, VPos::Center))?;
    pen.hint((x, row), &format!("{}: {}", crossing.label, format::estimate(task, format::duration)))
}

/// The list below the picture: every crossing, also those that do not exist.
fn keys(crossings: &[Crossing]) -> Vec<Key> {
    let key = |(index, crossing): (usize, &Crossing)| Key {
        tag: if in_picture(crossing) { letter(index) } else { format::NONE.to_owned() },
        label: crossing.label.clone(),
        value: match (&crossing.metg_ns, &crossing.task_ns) {
            (Some(metg), _) => format::estimate(metg, format::duration),
            (None, Some(task)) => format::estimate(task, format::duration),
            (None, None) => crossing.note.clone(),
        },
        note: match (&crossing.metg_ns, &crossing.task_ns) {
            (Some(_), Some(task)) => format!("of this, the task alone takes {}", format::duration(task.median)),
            (_, Some(_)) => crossing.note.clone(),
            // Without a figure, the reason stands in its place.
            (_, None) => String::new(),
        },
    };
    crossings.iter().enumerate().map(key).collect()
}

fn table(curves: &[EfficiencyCurve]) -> Table {
    let mut table = Table::new(
        "Efficiency by executor and task duration: medians with their intervals",
        &["Executor", "Workers#", "Task#", "Efficiency#"],
    );
    for curve in curves {
        for point in &curve.points {
            table.push(vec![
                Field::text(&curve.executor),
                Field::text(curve.workers.to_string()),
                Field::text(format::duration(point.task_ns)),
                Field::estimate(Some(&point.efficiency), format::percent),
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
    fn every_point_and_every_crossing_is_in_the_picture() {
        let run = fixture::run();
        let gallery = gallery(&Context::new(&run)).unwrap();
        let chart = &gallery.charts[0];
        let points: usize = run.efficiency.iter().map(|curve| curve.points.len()).sum();
        assert_eq!(chart.pictures[0].matches("class=\"hit\"").count(), points + 3);
        assert_eq!(chart.keys.len(), run.crossings.len());
        assert_eq!(chart.keys[3].tag, format::NONE);
        assert_eq!(chart.table.as_ref().unwrap().rows.len(), points);
    }

    #[test]
    fn letters_that_would_collide_get_rows_of_their_own() {
        let run = fixture::run();
        let x = Axis::log("t", [100.0, 1e9], format::duration_tick);
        let near = vec![run.crossings[0].clone(); 3];
        assert_eq!(rows_of_letters(&tags(&near), &x), [0, 1, 2]);
        assert_eq!(rows_of_letters(&tags(&run.crossings), &x), [0, 0, 0]);
        assert_eq!(letter(27), "B1");
    }

    #[test]
    fn curves_without_points_say_so_and_keep_the_crossings() {
        let mut run = fixture::run();
        for curve in &mut run.efficiency {
            curve.points.clear();
        }
        let gallery = gallery(&Context::new(&run)).unwrap();
        assert!(gallery.charts[0].missing.contains("none has a valid point"));
        assert_eq!(gallery.charts[0].keys.len(), 4);
    }
}
