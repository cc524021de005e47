//! Latencies of single tasks, from the median to the slowest, one chart per workload.
//!
//! Percentiles of several samples cannot be put together without the tasks behind them, and this crate estimates
//! nothing. So each cell is represented by one of its samples: the one with the median makespan.

use super::gallery::{Chart, Context, Gallery, Group, LegendEntry, SectionSpec, why_nothing};
use crate::error::ReportError;
use crate::format;
use crate::model::{Cell, Latency, Sample, Verdict};
use crate::plot::{Axis, Ink, Plot, Shape, bounds, shorten};
use crate::table::{Field, Table};

/// A percentile: its name, the share of tasks beyond it, and the function that reads it.
type Percentile = (&'static str, f64, fn(&Latency) -> u64);

/// A percentile with fewer tasks beyond it is that of a few chance events, or the slowest task itself.
const BEYOND: f64 = 5.0;

/// Whether so many tasks can tell a percentile. The slowest task is always one.
fn carries(tasks: u64, share_beyond: f64) -> bool {
    share_beyond == 0.0 || tasks as f64 * share_beyond >= BEYOND - 1e-9
}

/// The percentiles in their order.
const PERCENTILES: [Percentile; 5] = [
    ("p50", 0.5, |latency| latency.p50_ns),
    ("p90", 0.1, |latency| latency.p90_ns),
    ("p99", 0.01, |latency| latency.p99_ns),
    ("p99.9", 0.001, |latency| latency.p999_ns),
    ("max", 0.0, |latency| latency.max_ns),
];

/// The section.
pub(crate) static SECTION: SectionSpec = SectionSpec {
    id: "latency",
    title: "Latency",
    intro: "Each cell is represented by one of its samples: the one with the median makespan. The chart shows the \
                       worker count closest to the number of cores, and the largest worker count for workloads whose \
                       tasks mostly wait; the tables have all of them. A percentile is left out where fewer than five tasks lie \
            beyond it. All tasks are submitted at once, so that these times contain the wait for those before.",
    gallery,
};

/// One chart per workload and set of parameters.
fn gallery(context: &Context<'_>) -> Result<Gallery, ReportError> {
    let run = context.run;
    let groups: Vec<Group<'_>> = Group::all(run, "latency")
        .into_iter()
        .filter(|group| group.cells.iter().any(|cell| shown(cell).is_some()))
        .collect();
    if groups.is_empty() {
        let cells: Vec<&Cell> = run.cells.iter().collect();
        let chart = Chart::missing("latency-none", "Latency of single tasks", why_nothing(run, &cells, "latencies"));
        return Ok(Gallery { legend: Vec::new(), charts: vec![chart] });
    }
    let mut names: Vec<&str> = Vec::new();
    for cell in groups.iter().flat_map(|group| &group.cells) {
        if shown(cell).is_some() && !names.contains(&cell.executor.as_str()) {
            names.push(&cell.executor);
        }
    }
    let legend =
        names.iter().map(|name| LegendEntry::series(name, context.palette.slot(name))).collect::<Result<_, _>>()?;
    let charts = groups.iter().map(|group| chart(context, group)).collect::<Result<_, _>>()?;
    Ok(Gallery { legend, charts })
}

/// The sample with the median makespan; of an even number the faster of the two in the middle.
pub(crate) fn median_sample(cell: &Cell) -> Option<&Sample> {
    let mut samples: Vec<&Sample> = cell.samples.iter().collect();
    samples.sort_by_key(|sample| (sample.makespan_ns, sample.order));
    samples.get(samples.len().checked_sub(1)? / 2).copied()
}

/// The latencies of a cell, if they may be shown.
fn shown(cell: &Cell) -> Option<&Latency> {
    median_sample(cell)?.latency.as_ref()
}

/// The cell to draw for each executor. For tasks that wait it is the one with the most workers, because they are run with many;
/// for others the one with as many workers as cores, or else the nearest number below, or else above.
fn drawn<'a>(group: &Group<'a>, cores: u32, waits: bool) -> Vec<(&'a Cell, &'a Latency)> {
    let cores = if waits { u32::MAX } else { cores };
    let of = |name: &str| {
        let own = group.cells.iter().filter(|cell| cell.executor == name && matches!(cell.verdict, Verdict::Correct));
        own.filter_map(|cell| shown(cell).map(|latency| (*cell, latency)))
            .min_by_key(|(cell, _)| (cell.workers > cores, cell.workers.abs_diff(cores)))
    };
    group.executors().into_iter().filter_map(of).collect()
}

fn chart(context: &Context<'_>, group: &Group<'_>) -> Result<Chart, ReportError> {
    let workload = group.cells.first().map(|cell| &cell.workload);
    let waits = context.run.inputs.iter().any(|input| Some(&input.workload) == workload && input.waits);
    let cells = drawn(group, context.run.host.cores, waits);
    let values = cells.iter().flat_map(|(_, latency)| PERCENTILES.map(|(_, _, pick)| pick(latency) as f64));
    let Some((low, high)) = bounds(values.filter(|value| *value > 0.0)) else {
        let why = why_nothing(context.run, &group.cells, "latencies of correct cells");
        return Ok(Chart {
            wide: false,
            table: Some(table(group)),
            ..Chart::missing(&group.anchor, &group.title, why)
        });
    };
    let ticks = PERCENTILES.iter().enumerate().map(|(index, (name, ..))| (index as f64, (*name).to_owned())).collect();
    let plot = Plot {
        id: &group.anchor,
        title: &format!("Latency of single tasks of {}", group.title),
        desc: "Time from submit to result at five percentiles, one line per executor. The table below the picture has all figures.",
        size: (1080, 660),
        left: 124,
        x: Axis::fixed("percentile of the tasks", -0.35, PERCENTILES.len() as f64 - 0.65, ticks),
        y: Axis::log("time from submit to result", [low, high], format::duration_tick),
    };
    let picture = plot.draw(|pen| {
        for (index, (cell, latency)) in cells.iter().enumerate() {
            let slot = context.palette.slot(&cell.executor);
            let points = PERCENTILES.iter().enumerate().filter(|(_, (_, beyond, _))| carries(cell.tasks, *beyond));
            let points = points.map(|(step, (name, _, pick))| {
                let x = plot.x.beside(step as f64, index, cells.len());
                ((x, pick(latency) as f64), *name)
            });
            pen.line(points.clone().map(|(point, _)| point), Ink::line(slot), 4)?;
            for (point, name) in points {
                pen.mark(point, Shape::of(slot), Ink::mark(slot))?;
                let (executor, ns) = (shorten(&cell.executor, 60), format::duration(point.1));
                pen.hint(point, &format!("{executor}, {} workers, {name}: {ns}", cell.workers))?;
            }
        }
        Ok(())
    })?;
    let same = cells.iter().all(|(cell, _)| cells.first().is_some_and(|(first, _)| first.workers == cell.workers));
    let workers = match cells.first() {
        Some((first, _)) if same && first.workers == 1 => "1 worker each".to_owned(),
        Some((first, _)) if same => format!("{} workers each", first.workers),
        _ => {
            let each: Vec<String> =
                cells.iter().map(|(cell, _)| format!("{} {}", cell.executor, cell.workers)).collect();
            format!("Workers: {}", each.join(", "))
        }
    };
    Ok(Chart {
        id: group.anchor.clone(),
        title: group.title.clone(),
        caption: format!("{workers}. Waiting in the queue is included. The vertical axis is logarithmic."),
        pictures: vec![picture],
        missing: String::new(),
        keys: Vec::new(),
        table: Some(table(group)),
        wide: false,
    })
}

fn table(group: &Group<'_>) -> Table {
    let mut table = Table::new(
        format!("Latencies of {}: the sample with the median makespan of each cell", group.title),
        &["Executor", "Workers#", "Verdict", "p50#", "p90#", "p99#", "p99.9#", "max#", "Block#"],
    );
    for cell in &group.cells {
        let Some(sample) = median_sample(cell) else { continue };
        let Some(latency) = &sample.latency else { continue };
        let mut row =
            vec![Field::text(&cell.executor), Field::text(cell.workers.to_string()), Field::verdict(&cell.verdict)];
        row.extend(PERCENTILES.map(|(_, beyond, pick)| match carries(cell.tasks, beyond) {
            true => Field::text(format::duration(pick(latency) as f64)),
            false => Field::none(),
        }));
        row.push(Field::text(sample.block.to_string()));
        table.push(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn each_cell_is_shown_by_the_sample_in_the_middle() {
        let run = fixture::run();
        let mut cell = run.cells[0].clone();
        let mut makespans: Vec<u64> = cell.samples.iter().map(|sample| sample.makespan_ns).collect();
        makespans.sort_unstable();
        assert_eq!(median_sample(&cell).unwrap().makespan_ns, makespans[4]);
        cell.samples.truncate(2);
        let faster = cell.samples.iter().map(|sample| sample.makespan_ns).min();
        assert_eq!(median_sample(&cell).map(|sample| sample.makespan_ns), faster);
        cell.samples.clear();
        assert!(median_sample(&cell).is_none());
    }

    #[test]
    fn a_percentile_needs_tasks_beyond_it() {
        assert!(carries(10, 0.5) && carries(1, 0.0) && carries(500, 0.01));
        assert!(!carries(9, 0.5) && !carries(200, 0.01) && !carries(4999, 0.001));
    }

    #[test]
    fn each_concurrent_executor_has_one_line_at_the_number_of_cores() {
        let run = fixture::run();
        let context = Context::new(&run);
        let gallery = gallery(&context).unwrap();
        assert_eq!(gallery.legend.len(), 5, "serial has nothing to wait for");
        let sha = &gallery.charts[0];
        assert_eq!(sha.pictures[0].matches("class=\"hit\"").count(), 5 * 3, "400 tasks do not carry a 99th percentile");
        assert!(sha.caption.starts_with("2 workers each"), "{}", sha.caption);
        assert_eq!(sha.table.as_ref().unwrap().rows.len(), 25);
        let fetch = &gallery.charts[1];
        // One of its cells with 16 failed.
        assert!(fetch.caption.starts_with("Workers: thread 16, process 16,"), "{}", fetch.caption);
        assert!(fetch.caption.contains("Waiting in the queue is included"), "{}", fetch.caption);
    }
}
