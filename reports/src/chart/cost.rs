//! The cost model: its terms, its residuals, and where executors cross by it.

use super::gallery::{Chart, Context, Gallery, Key, LegendEntry, SectionSpec};
use crate::cost::{BreakEven, CostModel, Fit, Fitted, Point, Term};
use crate::error::ReportError;
use crate::format;
use crate::model::Estimate;
use crate::plot::{Axis, Ink, Plot, Shape, bounds};
use crate::table::{Field, Table};

/// Residuals beyond this share are drawn at it; the tables have them in full.
const MOST: f64 = 0.5;

/// The section.
pub(crate) static SECTION: SectionSpec = SectionSpec {
    id: "cost",
    title: "What executors cost",
    intro: "A batch takes: the cold start of the pool, if it is built for it; what a batch costs once (waking the workers, \
            the ragged end); for each task, what a task costs and what its bytes cost by the way they travel; and the work of \
            all tasks, divided by the gain of the workers. METG contains the share of a task in what its batch costs once; \
            here both are apart. A term that the measurements cannot tell from nothing says so.",
    gallery,
};

fn gallery(context: &Context<'_>) -> Result<Gallery, ReportError> {
    let model = match &context.run.cost {
        Some(model) if !model.fits.is_empty() => model,
        _ => {
            let why = "No cost model: this run did not measure one. `lab cost` does.".to_owned();
            let chart = Chart::missing("cost-none", "Cost model", why);
            return Ok(Gallery { legend: Vec::new(), charts: vec![chart] });
        }
    };
    let mut names: Vec<&str> = Vec::new();
    for fit in &model.fits {
        if !names.contains(&fit.executor.as_str()) {
            names.push(&fit.executor);
        }
    }
    let legend =
        names.iter().map(|name| LegendEntry::series(name, context.palette.slot(name))).collect::<Result<_, _>>()?;
    let surface = super::surface::chart(model, context.run.host.cores)?;
    let charts = surface.into_iter().chain([residuals(context, model)?, terms(model), held_out(model)]).collect();
    Ok(Gallery { legend, charts })
}

/// Every point, measured against predicted.
fn residuals(context: &Context<'_>, model: &CostModel) -> Result<Chart, ReportError> {
    let title = "Measured against the model";
    let points = || model.fits.iter().flat_map(|fit| &fit.points);
    let Some((low, high)) = bounds(points().map(|point| point.measured_ns.median).filter(|time| *time > 0.0)) else {
        return Ok(Chart { keys: keys(model), ..Chart::missing("cost-residuals", title, "No points.".to_owned()) });
    };
    let ticks = [-0.5, -0.25, -0.15, 0.0, 0.15, 0.25, 0.5].map(|share| (share, format::percent(share))).to_vec();
    let plot = Plot {
        id: "cost-residuals",
        title,
        desc: "One mark for each measured batch: by how much it took longer than the model says. Hollow marks were not fitted.",
        size: (1040, 700),
        left: 124,
        x: Axis::log("time of the batch", [low, high], format::duration_tick),
        y: Axis::fixed("measured / model - 1", -MOST - 0.05, MOST + 0.05, ticks),
    };
    let picture = plot.draw(|pen| {
        let (left, right) = plot.x.range();
        pen.line([(left, 0.0), (right, 0.0)], Ink::IDEAL, 3)?;
        for fit in &model.fits {
            let slot = context.palette.slot(&fit.executor);
            for point in &fit.points {
                let place = (point.measured_ns.median, point.residual().clamp(-MOST, MOST));
                match point.held_out {
                    true => pen.hollow_mark(place, Shape::of(slot), Ink::mark(slot))?,
                    false => pen.mark(place, Shape::of(slot), Ink::mark(slot))?,
                }
                let what = format!("{} with {} workers, {}", fit.executor, fit.workers, batch(point));
                pen.hint(place, &format!("{what}: {} beyond the model", format::percent(point.residual())))?;
            }
        }
        Ok(())
    })?;
    Ok(Chart {
        id: "cost-residuals".to_owned(),
        title: title.to_owned(),
        caption: "Hollow marks are batches that were left out of the fit, and predicted. The list below has where one \
                  executor is worth it against another, by the model; the ratios in it were measured directly beside that."
            .to_owned(),
        pictures: vec![picture],
        missing: String::new(),
        keys: keys(model),
        table: None,
        wide: false,
    })
}

/// A batch in words.
fn batch(point: &Point) -> String {
    let load = &point.load;
    let mut text = format!("{} tasks", format::count(load.tasks as u64));
    let work = load.work_ns / load.tasks.max(1.0);
    if load.lane.is_none() {
        text.push_str(&format!(" of {}", format::duration(work)));
    }
    if let Some(lane) = load.lane {
        let size = |bytes: f64| format::bytes(bytes as u64);
        let (bytes_in, bytes_out) = (size(load.bytes_in), size(load.bytes_out));
        text.push_str(&format!(", {bytes_in} in and {bytes_out} out as {}", lane.name()));
    }
    if load.cold {
        text.push_str(", cold");
    }
    text
}

fn keys(model: &CostModel) -> Vec<Key> {
    let key = |crossing: &BreakEven| {
        let ratio = |check: &crate::cost::Check| {
            let of = format::estimate(&check.ratio, format::ratio);
            format!("{of} at {}", format::duration(check.task_ns))
        };
        let checks: Vec<String> = crossing.checks.iter().map(ratio).collect();
        let mut note = match checks.is_empty() {
            true => String::new(),
            false => format!("measured time divided by that of {}: {}", crossing.against, checks.join("; ")),
        };
        match crossing.agrees() {
            Some(false) => note.push_str(". The measurement disagrees with the model."),
            Some(true) => note.push_str(". The measurement agrees."),
            None => {}
        }
        let missing = || crossing.missing.map_or_else(|| format::NONE.to_owned(), |why| why.to_string());
        Key {
            tag: format::NONE.to_owned(),
            label: crossing.label(),
            value: crossing.task_ns.map_or_else(missing, |task| format::estimate(&task, format::duration)),
            note,
        }
    };
    model.break_even.iter().map(key).collect()
}

/// The terms of all fits.
fn terms(model: &CostModel) -> Chart {
    let titles = ["Term", "Executor", "Workers#", "Figure#", "Cannot tell"];
    let mut table = Table::new("Terms of the cost model: with bootstrap intervals over blocks", &titles);
    for term in Term::all() {
        for fit in &model.fits {
            for fitted in fit.terms.iter().filter(|fitted| fitted.term == term) {
                table.push(row(fit, fitted));
            }
        }
    }
    let title = "Terms";
    Chart { table: Some(table), ..Chart::missing("cost-terms", title, String::new()) }
}

fn row(fit: &Fit, fitted: &Fitted) -> Vec<Field> {
    let estimate = fitted.estimate;
    let figure = match fitted.term {
        Term::Work if estimate.median > 0.0 => {
            let gain = |share: f64| if share > 0.0 { 1.0 / share } else { f64::INFINITY };
            let (low, high) = (gain(estimate.high), gain(estimate.low));
            Field::estimate(Some(&Estimate { median: gain(estimate.median), low, high, ..estimate }), format::ratio)
        }
        Term::ByteIn(_) | Term::ByteOut(_) => {
            let kib = |value: f64| 1024.0 * value;
            let (median, low, high) = (kib(estimate.median), kib(estimate.low), kib(estimate.high));
            Field::estimate(Some(&Estimate { median, low, high, ..estimate }), format::duration)
        }
        _ => Field::estimate(Some(&estimate), format::duration),
    };
    vec![
        Field::text(fitted.term.name()),
        Field::text(&fit.executor),
        Field::text(fit.workers.to_string()),
        figure,
        Field { class: "prose", ..Field::text(fitted.refused.clone().unwrap_or_default()) },
    ]
}

/// The batches that were predicted.
fn held_out(model: &CostModel) -> Chart {
    let titles = ["Batch", "Executor", "Workers#", "Measured#", "Model#", "Residual#"];
    let mut table = Table::new("Batches that were left out of the fit, and predicted", &titles);
    for fit in &model.fits {
        for point in fit.points.iter().filter(|point| point.held_out) {
            table.push(vec![
                Field::text(batch(point)),
                Field::text(&fit.executor),
                Field::text(fit.workers.to_string()),
                Field::estimate(Some(&point.measured_ns), format::duration),
                Field::text(format::duration(point.predicted_ns)),
                Field::text(format::percent(point.residual())),
            ]);
        }
    }
    Chart { table: Some(table), ..Chart::missing("cost-held-out", "Predictions", String::new()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn every_batch_has_a_mark_and_every_term_a_row() {
        let run = fixture::run();
        let gallery = gallery(&Context::new(&run)).unwrap();
        let model = run.cost.as_ref().unwrap();
        let points: usize = model.fits.iter().map(|fit| fit.points.len()).sum();
        let of = |id: &str| gallery.charts.iter().find(|chart| chart.id == id).unwrap();
        assert_eq!(of("cost-residuals").pictures[0].matches("class=\"hit\"").count(), points);
        assert_eq!(of("cost-residuals").keys.len(), model.break_even.len());
        let rows: usize = model.fits.iter().map(|fit| fit.terms.len()).sum();
        assert_eq!(of("cost-terms").table.as_ref().unwrap().rows.len(), rows);
        assert!(!of("cost-held-out").table.as_ref().unwrap().rows.is_empty());
    }
}
