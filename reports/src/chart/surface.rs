//! Where processes are faster than threads, by the cost model: a heat map over the work of a task and the bytes of its argument.

use super::gallery::Chart;
use crate::cost::{CostModel, Fit, Lane, Load};
use crate::error::ReportError;
use crate::format;
use crate::model::Estimate;
use crate::plot::{Axis, DrawError, HPos, Ink, Pen, Plot, VPos};
use crate::table::{Field, Table};

/// Tasks in a batch.
const TASKS: f64 = 1000.0;

/// Work of a task in nanoseconds.
const WORK: [f64; 6] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8];

/// Bytes of an argument.
const BYTES: [u64; 6] = [0, 1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// Ratios up to which a field has a shade of its own; beyond the last one it has the darkest. Below 1 the same holds for the inverse.
const STEPS: [f64; 3] = [1.05, 1.5, 4.0];

/// The chart, for as many workers as there are cores. `None` where the model has not both executors.
pub(super) fn chart(model: &CostModel, cores: u32) -> Result<Option<Chart>, ReportError> {
    let fit = |name: &str| model.fits.iter().find(|fit| fit.executor == name && fit.workers == cores);
    let (Some(process), Some(thread)) = (fit("process"), fit("thread")) else { return Ok(None) };
    let id = "cost-surface";
    let title = "Time on processes, divided by time on threads";
    if let Some(poor) = [process, thread].into_iter().find(|fit| fit.is_poor()) {
        let (within, all) = poor.predicted_within(0.15);
        let why = format!(
            "Cannot be told: of the batches that the model of {} has not seen, it predicts {within} of {all} within 15%.",
            poor.executor
        );
        return Ok(Some(Chart::missing(id, title, why)));
    }
    let mut pictures = Vec::new();
    let mut table = Table::new(
        format!(
            "Batches of 1,000 tasks on {cores} warm workers: time on processes divided by time on threads, by the model"
        ),
        &["Bytes of the argument", "Work of a task#", "Nested bytes#", "Vec<u8>#", "SharedBytes#"],
    );
    let fields: Vec<(Lane, Vec<Place>)> =
        Lane::ALL.into_iter().map(|lane| (lane, places(process, thread, lane))).collect();
    for (lane, places) in &fields {
        pictures.push(picture(*lane, places)?);
    }
    for index in 0..BYTES.len() * WORK.len() {
        let (row, column) = (index / WORK.len(), index % WORK.len());
        let of_lane = fields.iter().map(|(_, places)| Field::estimate(Some(&places[index].ratio), format::times));
        let what = [bytes(row), format::duration(WORK[column])].map(Field::text);
        table.push(what.into_iter().chain(of_lane).collect());
    }
    Ok(Some(Chart {
        id: id.to_owned(),
        title: title.to_owned(),
        caption: format!(
            "Batches of 1,000 tasks on {cores} warm workers, by the cost model, for each way in which bytes travel. Below 1x processes are \
             faster. A figure with ~ cannot be told from 1: its interval has it. What threads share beyond bytes, such as locks, is not in \
             it: see Causes."
        ),
        pictures,
        missing: String::new(),
        keys: Vec::new(),
        table: Some(table),
        wide: true,
    }))
}

/// A field of the map.
struct Place {
    column: usize,
    row: usize,
    ratio: Estimate,
}

fn places(process: &Fit, thread: &Fit, lane: Lane) -> Vec<Place> {
    let at = |row: usize, column: usize| {
        let bytes = BYTES[row];
        let load = Load {
            tasks: TASKS,
            work_ns: TASKS * WORK[column],
            lane: (bytes > 0).then_some(lane),
            bytes_in: bytes as f64,
            bytes_out: 0.0,
            cold: false,
        };
        Place { column, row, ratio: ratio(&process.predict(&load), &thread.predict(&load)) }
    };
    (0..BYTES.len()).flat_map(|row| (0..WORK.len()).map(move |column| at(row, column))).collect()
}

/// Errors of both add up in squares, as shares.
fn ratio(of: &Estimate, against: &Estimate) -> Estimate {
    let share = |estimate: &Estimate| estimate.high / estimate.median - 1.0;
    let error = share(of).hypot(share(against));
    let median = of.median / against.median;
    Estimate { median, low: median / (1.0 + error), high: median * (1.0 + error), ..*of }
}

fn bytes(row: usize) -> String {
    if BYTES[row] == 0 { "none".to_owned() } else { format::bytes(BYTES[row]) }
}

/// The shade of a ratio: 3 is even.
fn shade(ratio: f64) -> u8 {
    let beyond = |ratio: f64| STEPS.iter().filter(|step| ratio >= **step).count() as u8;
    3 + beyond(ratio) - beyond(1.0 / ratio)
}

fn picture(lane: Lane, places: &[Place]) -> Result<String, ReportError> {
    let id = format!("cost-surface-{}", lane.name().to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), ""));
    let title = format!("Processes against threads, {}", lane.name());
    let middle = |index: usize| index as f64 + 0.5;
    let columns = WORK.iter().enumerate().map(|(index, work)| (middle(index), format::duration_tick(*work)));
    let plot = Plot {
        id: &id,
        title: &title,
        desc: "A field for each work of a task and number of bytes, with the time on processes divided by that on threads. The table \
               below has all figures.",
        size: (1040, 700),
        left: 150,
        x: Axis::fixed("work of a task", 0.0, WORK.len() as f64, columns.collect()),
        y: Axis::fixed(
            &format!("bytes of its argument, as {}", lane.name()),
            0.0,
            BYTES.len() as f64,
            (0..BYTES.len()).map(|row| (middle(row), bytes(row))).collect(),
        ),
    };
    plot.draw(|pen| places.iter().try_for_each(|place| field(pen, place)))
}

fn field(pen: &Pen<'_, '_>, place: &Place) -> Result<(), DrawError> {
    let (left, bottom) = (place.column as f64, place.row as f64);
    let (right, top) = (left + 1.0, bottom + 1.0);
    let ratio = &place.ratio;
    pen.band([(left, bottom), (right, bottom)], [(left, top), (right, top)], Ink::shade(shade(ratio.median)))?;
    let is_unclear = ratio.low <= 1.0 && 1.0 <= ratio.high;
    let text = format!("{}{}", if is_unclear { "~" } else { "" }, format::times(ratio.median));
    let middle = (left + 0.5, bottom + 0.5);
    pen.text(middle, (0, 0), &text, Ink::TEXT, (HPos::Center, VPos::Center))?;
    let what = format!("{} of work, {} in", format::duration(WORK[place.column]), bytes(place.row));
    pen.hint(middle, &format!("{what}: {}", format::estimate(ratio, format::times)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn every_field_has_its_figure_and_shades_are_even_to_both_sides() {
        let model = fixture::run().cost.unwrap();
        let chart = chart(&model, 2).unwrap().unwrap();
        assert_eq!(chart.pictures.len(), 3);
        for picture in &chart.pictures {
            assert_eq!(picture.matches("fill-shade").count(), 36);
        }
        assert_eq!(chart.table.unwrap().rows.len(), 36);
        for (ratio, step) in [(1.0, 3), (1.04, 3), (1.1, 4), (1.0 / 1.1, 2), (2.0, 5), (0.5, 1), (9.0, 6), (0.1, 0)] {
            assert_eq!(shade(ratio), step, "{ratio}");
        }
    }

    #[test]
    fn a_poor_model_has_a_reason_and_one_without_both_executors_no_chart() {
        let mut model = fixture::run().cost.unwrap();
        assert!(chart(&model, 64).unwrap().is_none());
        let points = model.fits.iter_mut().flat_map(|fit| &mut fit.points);
        points.filter(|point| point.held_out).for_each(|point| point.predicted_ns = 2.0 * point.measured_ns.median);
        let chart = chart(&model, 2).unwrap().unwrap();
        assert!(chart.pictures.is_empty() && chart.missing.contains("Cannot be told"), "{}", chart.missing);
    }

    #[test]
    fn the_interval_of_a_ratio_has_the_errors_of_both() {
        let of = |median: f64, error: f64| Estimate {
            median,
            low: median * (1.0 - error),
            high: median * (1.0 + error),
            confidence: 0.9,
            n: 9,
        };
        let found = ratio(&of(20.0, 0.3), &of(10.0, 0.4));
        assert!((found.median - 2.0).abs() < 1e-9 && (found.high - 3.0).abs() < 1e-9, "{found:?}");
    }
}
