//! Latency at a chosen load: the open loop beside the closed one.

use super::gallery::{Chart, Context, Gallery, LegendEntry, SectionSpec};
use crate::error::ReportError;
use crate::format;
use crate::model::{LoadPoint, Percentile, Run};
use crate::plot::{Axis, DrawError, Ink, Look, Pen, Plot, Shape, bounds, shorten};
use crate::table::{Field, Table};

/// The section.
pub(crate) static SECTION: SectionSpec = SectionSpec {
    id: "load",
    title: "Latency at a chosen load",
    intro: "In an open loop requests come at times of their own, drawn beforehand, and a latency begins at that time. A closed loop, \
            with one client for each worker, waits for an answer before it asks again: while the executor is slow it asks less, and \
            the long waits are missing in its figures. The load is the share of the closed loop's throughput at which the open one \
            asks. A percentile is left out where fewer than five requests of a block lie beyond it.",
    gallery,
};

/// One chart per workload and load.
fn gallery(context: &Context<'_>) -> Result<Gallery, ReportError> {
    let loads = &context.run.loads;
    if loads.is_empty() {
        let why = "No latencies at a chosen load: this run measured none. A sweep of a workload that waits does, or one with --loads.";
        let chart = Chart::missing("load-none", "Latency at a chosen load", why.to_owned());
        return Ok(Gallery { legend: Vec::new(), charts: vec![chart] });
    }
    let mut names: Vec<&str> = Vec::new();
    let mut groups: Vec<(&str, f64)> = Vec::new();
    for point in loads {
        if !names.contains(&point.executor.as_str()) {
            names.push(&point.executor);
        }
        let group = (point.workload.as_str(), point.load);
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let mut legend = Vec::new();
    for name in names {
        let slot = context.palette.slot(name);
        legend.push(LegendEntry::series(&format!("{name}, open loop"), slot)?);
        legend.push(LegendEntry::other(format!("{name}, closed loop"), Shape::of(slot), slot, Look::Hollow)?);
    }
    let charts = groups.into_iter().map(|(workload, load)| chart(context, workload, load)).collect::<Result<_, _>>()?;
    Ok(Gallery { legend, charts })
}

fn points<'a>(run: &'a Run, workload: &str, load: f64) -> Vec<&'a LoadPoint> {
    run.loads.iter().filter(|point| point.workload == workload && point.load == load).collect()
}

fn chart(context: &Context<'_>, workload: &str, load: f64) -> Result<Chart, ReportError> {
    let points = points(context.run, workload, load);
    let percent = format::percent(load);
    let title = format!("{workload} at {percent} load");
    let id = format!("load-{workload}-{:.0}", 100.0 * load);
    let table = Some(table(&title, &points));
    let all = || points.iter().flat_map(|point| point.open.iter().chain(&point.closed));
    let Some((low, high)) = bounds(all().flat_map(|it| [it.ns.low, it.ns.high]).filter(|ns| *ns > 0.0)) else {
        let why = "No percentile: too few requests. More repetitions do not help; a longer or faster workload does.";
        return Ok(Chart { table, ..Chart::missing(&id, &title, why.to_owned()) });
    };
    let mut shares: Vec<f64> = all().map(|it| it.share).collect();
    shares.sort_by(f64::total_cmp);
    shares.dedup();
    let ticks = shares.iter().enumerate().map(|(index, share)| (index as f64, name(*share))).collect();
    let plot = Plot {
        id: &format!("{id}-plot"),
        title: &title,
        desc: "Percentiles of the time from the due start of a request until its end, one line per executor for the open loop; empty \
               marks for the closed one. The table below the picture has all figures.",
        size: (1080, 660),
        left: 124,
        x: Axis::fixed("percentile of the requests", -0.35, shares.len() as f64 - 0.65, ticks),
        y: Axis::log("time from due start to end", [low, high], format::duration_tick),
    };
    let picture = plot.draw(|pen| {
        for (index, point) in points.iter().enumerate() {
            let place = |it: &Percentile| {
                let step = shares.iter().position(|share| *share == it.share).unwrap_or(0);
                plot.x.beside(step as f64, index, points.len())
            };
            series(pen, (point, context.palette.slot(&point.executor)), place)?;
        }
        Ok(())
    })?;
    let workers: Vec<String> = points.iter().map(|point| format!("{} {}", point.executor, point.workers)).collect();
    Ok(Chart {
        id,
        title,
        caption: format!("Workers: {}. The vertical axis is logarithmic.", workers.join(", ")),
        pictures: vec![picture],
        missing: String::new(),
        keys: Vec::new(),
        table,
        wide: false,
    })
}

/// The open loop as a line, the closed one as empty marks.
fn series(
    pen: &Pen<'_, '_>,
    (point, slot): (&LoadPoint, u8),
    place: impl Fn(&Percentile) -> f64,
) -> Result<(), DrawError> {
    pen.line(point.open.iter().map(|it| (place(it), it.ns.median)), Ink::line(slot), 4)?;
    for (list, is_open) in [(&point.closed, false), (&point.open, true)] {
        let what = if is_open { "open loop" } else { "closed loop" };
        for it in list {
            let at = (place(it), it.ns.median);
            if is_open {
                pen.mark(at, Shape::of(slot), Ink::mark(slot))?;
            } else {
                pen.hollow_mark(at, Shape::of(slot), Ink::mark(slot))?;
            }
            let executor = shorten(&point.executor, 60);
            pen.hint(at, &format!("{executor}, {what}, {}: {}", name(it.share), format::duration(it.ns.median)))?;
        }
    }
    Ok(())
}

fn name(share: f64) -> String {
    format!("p{}", (1000.0 * share).round() / 10.0)
}

fn table(title: &str, points: &[&LoadPoint]) -> Table {
    let columns = [
        "Executor",
        "Workers#",
        "Loop",
        "p50#",
        "p90#",
        "p99#",
        "p99.9#",
        "Requests/s#",
        "Requests#",
        "In flight, found/due#",
    ];
    let mut table = Table::new(format!("Latencies of {title}"), &columns);
    for point in points {
        for (list, is_open) in [(&point.open, true), (&point.closed, false)] {
            let cell =
                |share| Field::estimate(list.iter().find(|it| it.share == share).map(|it| &it.ns), format::duration);
            let mut row = vec![
                Field::text(&point.executor),
                Field::text(point.workers.to_string()),
                Field::text(if is_open { "open" } else { "closed" }),
            ];
            row.extend([0.5, 0.9, 0.99, 0.999].map(cell));
            let rate = point.capacity_per_s.median * if is_open { point.load } else { 1.0 };
            row.push(Field::text(format::number(rate)));
            row.push(if is_open { Field::text(point.requests.to_string()) } else { Field::none() });
            row.push(Field::estimate(point.little.as_ref().filter(|_| is_open), format::number));
            table.push(row);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn each_load_has_a_chart_with_both_loops_and_only_the_percentiles_that_are_carried() {
        let run = fixture::run();
        let gallery = gallery(&Context::new(&run)).unwrap();
        let titles: Vec<&str> = gallery.charts.iter().map(|chart| chart.title.as_str()).collect();
        assert_eq!(titles, ["fetch at 50% load", "fetch at 80% load"]);
        assert_eq!(gallery.legend.len(), 4, "two executors, open and closed");
        let chart = &gallery.charts[1];
        assert_eq!(chart.pictures[0].matches("class=\"hit\"").count(), 2 * 2 * 3);
        assert!(chart.pictures[0].contains("p99: ") && !chart.pictures[0].contains("p99.9: "));
        assert_eq!(chart.table.as_ref().unwrap().rows.len(), 4);
    }
}
