//! Throughput against the number of workers, one chart per workload.

use super::efficiency::letter;
use super::gallery::{Chart, Context, Gallery, Group, Key, LegendEntry, SectionSpec, why_nothing};
use crate::advice::{Told, told};
use crate::error::ReportError;
use crate::format;
use crate::model::{Cell, Estimate, NoLaw, SERIAL, Scaling, ScalingPoint, Verdict};
use crate::plot::{Axis, DrawError, HPos, Ink, Look, Pen, Plot, Shape, VPos, bounds, shorten};
use crate::table::{Field, Table};

/// At a larger spread, the lower series on a linear axis could not be told from zero.
const WIDEST_LINEAR: f64 = 30.0;

/// The section.
pub(crate) static SECTION: SectionSpec = SectionSpec {
    id: "scaling",
    title: "Scaling",
    intro: "Tasks per second against the number of workers. Error bars show the intervals of the medians. The tables have the speed-up \
            against serial, and the serial share of Karp and Flatt: the part of the work that behaves as if it could not be divided.",
    gallery,
};

/// One chart per workload and set of parameters.
fn gallery(context: &Context<'_>) -> Result<Gallery, ReportError> {
    let run = context.run;
    let groups = Group::all(run, "scaling");
    if groups.is_empty() {
        let why = why_nothing(run, &[], "throughput");
        let chart = Chart::missing("scaling-none", "Throughput against workers", why);
        return Ok(Gallery { legend: Vec::new(), charts: vec![chart] });
    }
    let mut names: Vec<&str> = Vec::new();
    for name in groups.iter().flat_map(Group::executors) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut legend: Vec<LegendEntry> =
        names.iter().map(|name| LegendEntry::series(name, context.palette.slot(name))).collect::<Result<_, _>>()?;
    legend.push(LegendEntry::other("ideal: one worker's throughput times workers", Shape::Disc, 0, Look::Ideal)?);
    legend.push(LegendEntry::other(format!("number of cores ({})", run.host.cores), Shape::Disc, 0, Look::Limit)?);
    if run.cells.iter().any(|cell| matches!(cell.verdict, Verdict::Wrong { .. })) {
        legend.push(LegendEntry::other("WRONG answer, kept out of its line", Shape::Cross, 0, Look::Wrong)?);
    }
    let charts = groups.iter().map(|group| chart(context, group)).collect::<Result<_, _>>()?;
    Ok(Gallery { legend, charts })
}

/// The throughput of a cell, if it has one that can be drawn.
fn throughput(cell: &Cell) -> Option<&Estimate> {
    if matches!(cell.verdict, Verdict::Failed { .. } | Verdict::NotMeasured) {
        return None;
    }
    cell.tasks_per_second.as_ref().filter(|estimate| estimate.median.is_finite() && estimate.median > 0.0)
}

/// The throughput of one worker: the serial executor's, or else the best with one worker.
fn base(cells: &[&Cell]) -> Option<(f64, String)> {
    let right = || cells.iter().filter(|cell| matches!(cell.verdict, Verdict::Correct));
    let serial = right().find(|cell| cell.executor == SERIAL);
    let alone = || {
        let single = right().filter(|cell| cell.workers == 1 && throughput(cell).is_some());
        single.max_by(|a, b| {
            let median = |cell: &Cell| throughput(cell).map_or(0.0, |estimate| estimate.median);
            median(a).total_cmp(&median(b))
        })
    };
    let cell = serial.filter(|cell| throughput(cell).is_some()).or_else(alone)?;
    Some((throughput(cell)?.median, cell.executor.clone()))
}

fn chart(context: &Context<'_>, group: &Group<'_>) -> Result<Chart, ReportError> {
    let drawn: Vec<&Cell> = group.cells.iter().copied().filter(|cell| throughput(cell).is_some()).collect();
    if drawn.is_empty() {
        let why = why_nothing(context.run, &group.cells, "throughput");
        return Ok(Chart {
            wide: false,
            table: Some(table(context, group)),
            ..Chart::missing(&group.anchor, &group.title, why)
        });
    }
    let base = base(&group.cells);
    let causes = causes(context, &drawn);
    let plot = Plot {
        id: &group.anchor,
        title: &format!("Throughput of {} against workers", group.title),
        desc: &format!(
            "Tasks per second against the number of workers, one line for each of: {}. The table below the picture has all figures.",
            group.executors().join(", ")
        ),
        size: (1080, 660),
        left: 124,
        x: Axis::counts("workers", drawn.iter().map(|cell| cell.workers).chain([context.run.host.cores])),
        y: throughput_axis(&drawn, base.as_ref().map(|(base, _)| *base)),
    };
    let picture = plot.draw(|pen| {
        cores(pen, &plot, context.run.host.cores)?;
        if let Some((base, _)) = &base {
            pen.line(ideal(&plot, *base), Ink::IDEAL, 4)?;
        }
        let names = group.executors();
        let mut all = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let place = |workers| plot.x.beside(workers, index, names.len());
            all.push((points(&drawn, name, place), context.palette.slot(name)));
        }
        for (points, slot) in &all {
            series(pen, points, *slot)?;
        }
        for (points, _) in &all {
            wrong(pen, points)?;
            for (tag, cell, _) in &causes {
                mark_cause(pen, points, cell, tag)?;
            }
        }
        Ok(())
    })?;
    let scale = if plot.y.is_log() { " The vertical axis is logarithmic." } else { "" };
    let caption = match &base {
        Some((base, name)) => {
            format!("The ideal line starts from {name} with one worker, {}.{scale}", format::rate(*base))
        }
        None => format!("No ideal line: no executor was measured correctly with one worker.{scale}"),
    };
    let caption = caption + &laws(context, group);
    Ok(Chart {
        id: group.anchor.clone(),
        title: group.title.clone(),
        caption,
        pictures: vec![picture],
        missing: String::new(),
        keys: causes.into_iter().map(key).collect(),
        table: Some(table(context, group)),
        wide: false,
    })
}

/// What is known of how the speed grows: the rule for tasks that wait, and why there is no law where none was fitted.
fn laws(context: &Context<'_>, group: &Group<'_>) -> String {
    let known: Vec<&Scaling> = group.executors().into_iter().filter_map(|name| scaling(context, group, name)).collect();
    let mut text = String::new();
    if let Some(expected) = known.iter().find_map(|scaling| scaling.expected_workers.as_ref()) {
        let workers = format::estimate(expected, |workers| format!("{workers:.0}"));
        text.push_str(&format!(" Cores x (1 + wait / compute) is {workers} workers."));
    }
    // Said once, where it is first met, and not for each executor and each workload.
    let is_first = |scaling: &Scaling, why: NoLaw| {
        context.run.scaling.iter().find(|other| other.law == Err(why)).is_some_and(|first| std::ptr::eq(first, scaling))
    };
    for scaling in &known {
        match scaling.law {
            Ok(law) => {
                let share = |estimate| format::estimate(estimate, format::percent);
                let (contention, coherency) = (share(&law.contention), share(&law.coherency));
                let name = &scaling.executor;
                text.push_str(&format!(
                    " Universal Scalability Law of {name}: contention {contention}, coherency {coherency}."
                ));
            }
            Err(why) if is_first(scaling, why) => {
                text.push_str(&format!(" No Universal Scalability Law is fitted: {why}."));
            }
            Err(_) => {}
        }
    }
    text
}

fn scaling<'a>(context: &Context<'a>, group: &Group<'_>, executor: &str) -> Option<&'a Scaling> {
    let cell = group.cells.iter().find(|cell| cell.executor == executor)?;
    let is_of = |it: &&Scaling| it.workload == cell.workload && it.params == cell.params && it.executor == executor;
    context.run.scaling.iter().find(is_of)
}

/// The causes of the slow cells among those that are drawn, each with its letter.
fn causes<'a>(context: &Context<'a>, drawn: &[&Cell]) -> Vec<(String, &'a str, Told)> {
    let own = context.run.causes.iter().filter(|cause| drawn.iter().any(|cell| cell.id == cause.cell));
    let known = own.filter_map(|cause| Some((cause.cell.as_str(), told(context.run, cause)?)));
    known.enumerate().map(|(index, (cell, told))| (letter(index), cell, told)).collect()
}

/// The letter of a cause, above its cell.
fn mark_cause(pen: &Pen<'_, '_>, points: &[Point<'_>], cell: &str, tag: &str) -> Result<(), DrawError> {
    let Some(point) = points.iter().find(|point| point.cell.id == cell) else { return Ok(()) };
    // A cell that is compared with two others has two letters; the first one is read from the left.
    let beside = 18 * i32::from(tag.bytes().next().unwrap_or(b'A') % 2);
    pen.text(point.place, (beside - 9, -14), tag, Ink::TAG, (HPos::Center, VPos::Bottom))
}

fn key((tag, _, told): (String, &str, Told)) -> Key {
    let why = format!("because {}", told.why);
    Key { tag, label: told.cell, value: told.time, note: why }
}

/// Linear from zero where that shows every series, else logarithmic. The ideal line may leave at the top.
fn throughput_axis(cells: &[&Cell], base: Option<f64>) -> Axis {
    let ends = cells
        .iter()
        .filter_map(|cell| throughput(cell))
        .flat_map(|estimate| [estimate.low, estimate.median, estimate.high].into_iter().filter(|value| *value > 0.0));
    let (low, high) = bounds(ends).unwrap_or((1.0, 1.0));
    let most = cells.iter().map(|cell| cell.workers).max().unwrap_or(1);
    let ideal = base.map_or(high, |base| base * f64::from(most));
    let high = f64::max(high, ideal.min(high * 1.3));
    if high / low > WIDEST_LINEAR {
        Axis::log("tasks per second", [low, high], format::rate_tick)
    } else {
        Axis::from_zero("tasks per second", high, format::rate_tick)
    }
}

/// The line at the number of cores.
fn cores(pen: &Pen<'_, '_>, plot: &Plot<'_>, cores: u32) -> Result<(), DrawError> {
    let (x, (bottom, top)) = (f64::from(cores.max(1)), plot.y.range());
    pen.line([(x, bottom), (x, top)], Ink::LIMIT, 3)?;
    let label = if cores == 1 { "1 core".to_owned() } else { format!("{cores} cores") };
    pen.text((x, top), (0, -6), &label, Ink::MUTED, (HPos::Center, VPos::Bottom))
}

/// The part of the ideal line that stays inside of the plotting area.
fn ideal(plot: &Plot<'_>, base: f64) -> Vec<(f64, f64)> {
    let (_, top) = plot.y.range();
    let (_, right) = plot.x.range();
    let end = right.min(top / base);
    (0..=48)
        .map(|step| end.max(1.0).powf(f64::from(step) / 48.0))
        .filter(|workers| base * workers <= top * 1.000_001)
        .map(|workers| (workers, base * workers))
        .collect()
}

/// A cell in its place.
struct Point<'a> {
    cell: &'a Cell,
    estimate: &'a Estimate,
    place: (f64, f64),
}

/// The points of one executor by rising number of workers, each where `place` puts its number of workers.
fn points<'a>(cells: &[&'a Cell], name: &str, place: impl Fn(f64) -> f64) -> Vec<Point<'a>> {
    let mut own: Vec<&'a Cell> = cells.iter().copied().filter(|cell| cell.executor == name).collect();
    own.sort_by_key(|cell| cell.workers);
    let point = |cell: &'a Cell| {
        let estimate = throughput(cell)?;
        Some(Point { cell, estimate, place: (place(f64::from(cell.workers.max(1))), estimate.median) })
    };
    own.into_iter().filter_map(point).collect()
}

/// The line, intervals and marks of one executor, without its wrong cells.
fn series(pen: &Pen<'_, '_>, points: &[Point<'_>], slot: u8) -> Result<(), DrawError> {
    let right = || points.iter().filter(|point| !is_wrong(point.cell));
    pen.line(right().map(|point| point.place), Ink::line(slot), 4)?;
    for point in right() {
        interval(pen, point, Ink::bar(slot))?;
        pen.mark(point.place, Shape::of(slot), Ink::mark(slot))?;
        pen.hint(point.place, &hint(point))?;
    }
    Ok(())
}

/// The wrong cells of one executor. They come last, so that nothing covers them.
fn wrong(pen: &Pen<'_, '_>, points: &[Point<'_>]) -> Result<(), DrawError> {
    for point in points.iter().filter(|point| is_wrong(point.cell)) {
        interval(pen, point, Ink::WRONG)?;
        pen.mark(point.place, Shape::Cross, Ink::WRONG)?;
        pen.text(point.place, (0, 20), "WRONG", Ink::WRONG, (HPos::Center, VPos::Top))?;
        pen.hint(point.place, &format!("{} WRONG ANSWER", hint(point)))?;
    }
    Ok(())
}

fn is_wrong(cell: &Cell) -> bool {
    matches!(cell.verdict, Verdict::Wrong { .. })
}

fn interval(pen: &Pen<'_, '_>, point: &Point<'_>, ink: Ink) -> Result<(), DrawError> {
    pen.upright(point.place.0, point.estimate.low, point.estimate.high, ink)
}

fn hint(point: &Point<'_>) -> String {
    let figure = format::estimate(point.estimate, format::rate);
    format!("{}, workers {}: {figure}", shorten(&point.cell.executor, 60), point.cell.workers)
}

fn table(context: &Context<'_>, group: &Group<'_>) -> Table {
    let mut table = Table::new(
        format!("Throughput of {}: medians with their intervals", group.title),
        &["Executor", "Workers#", "Throughput#", "Makespan#", "Speed-up#", "Efficiency#", "Serial share#", "Verdict"],
    );
    for name in group.executors() {
        let scaling = scaling(context, group, name);
        let mut own: Vec<&&Cell> = group.cells.iter().filter(|cell| cell.executor == name).collect();
        own.sort_by_key(|cell| cell.workers);
        for cell in own {
            let point = scaling.and_then(|it| it.points.iter().find(|point| point.workers == cell.workers));
            table.push(vec![
                Field::text(name),
                Field::text(cell.workers.to_string()),
                Field::estimate(cell.tasks_per_second.as_ref(), format::rate),
                Field::estimate(cell.makespan_ns.as_ref(), format::duration),
                Field::estimate(point.map(|point| &point.speed_up), format::times),
                Field::estimate(point.map(ScalingPoint::efficiency).as_ref(), format::percent),
                Field::estimate(point.and_then(|point| point.serial_share.as_ref()), format::percent),
                Field::verdict(&cell.verdict),
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
    fn every_measured_cell_has_a_point() {
        let run = fixture::run();
        let context = Context::new(&run);
        let gallery = gallery(&context).unwrap();
        assert_eq!(gallery.charts.len(), 4);
        let hits: usize = gallery.charts.iter().map(|chart| chart.pictures[0].matches("class=\"hit\"").count()).sum();
        assert_eq!(hits, run.cells.iter().filter(|cell| cell.tasks_per_second.is_some()).count());
        let sqlite = &gallery.charts[2];
        assert!(sqlite.pictures[0].contains("WRONG"));
        assert!(sqlite.pictures[0].contains("stroke-ideal") && sqlite.pictures[0].contains("2 cores"));
        assert_eq!(sqlite.table.as_ref().unwrap().rows.len(), 26);
    }

    #[test]
    fn a_slow_cell_has_a_letter_and_its_cause_below_the_picture() {
        let run = fixture::run();
        let gallery = gallery(&Context::new(&run)).unwrap();
        let keys: Vec<&Key> = gallery.charts.iter().flat_map(|chart| &chart.keys).collect();
        assert_eq!(keys.len(), 1, "the other cause is not known");
        assert_eq!((keys[0].tag.as_str(), keys[0].value.as_str()), ("A", "2.04x the time of serial"));
        assert!(keys[0].note.contains("page faults"));
        assert!(gallery.charts[2].pictures[0].contains(">A</text>"));
    }

    #[test]
    fn how_speed_grows_is_in_the_caption_and_in_the_table() {
        let run = fixture::run();
        let gallery = gallery(&Context::new(&run)).unwrap();
        let of = |title: &str| gallery.charts.iter().find(|chart| chart.title.starts_with(title)).unwrap();
        let (hashed, fetched) = (of("sha256"), of("fetch"));
        assert!(
            hashed.caption.contains("Universal Scalability Law of thread: contention 3% (1% to 5%"),
            "{}",
            hashed.caption
        );
        let refused = "No Universal Scalability Law is fitted: it needs six numbers of workers";
        assert_eq!(fetched.caption.matches(refused).count(), 1, "{}", fetched.caption);
        assert!(fetched.caption.contains("Cores x (1 + wait / compute) is 31 (29 to 33"), "{}", fetched.caption);
        let rows = &hashed.table.as_ref().unwrap().rows;
        let row = rows.iter().find(|row| row[0].main == "thread" && row[1].main == "2").unwrap();
        assert_eq!((row[4].main.as_str(), row[5].main.as_str(), row[6].main.as_str()), ("1.90x", "95%", "5.3%"));
    }

    #[test]
    fn without_a_serial_run_the_ideal_starts_from_the_best_single_worker() {
        let run = fixture::run();
        let cells: Vec<&Cell> =
            run.cells.iter().filter(|cell| cell.workload == "fetch" && cell.executor != SERIAL).collect();
        let (_, name) = base(&cells).unwrap();
        assert!(name == "rayon" || name == "thread", "{name}");
        assert!(base(&[]).is_none());
    }

    #[test]
    fn a_workload_without_figures_says_so() {
        let mut run = fixture::run();
        run.cells.retain(|cell| cell.tasks_per_second.is_none());
        let gallery = gallery(&Context::new(&run)).unwrap();
        assert!(gallery.charts[0].missing.contains("1 failed"), "{:?}", gallery.charts[0].missing);
    }
}
