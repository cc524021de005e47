//! Python's pools beside the lab's executors, on the same work.

use super::gallery::{Chart, Context, Gallery, LegendEntry, SectionSpec};
use crate::error::ReportError;
use crate::format;
use crate::model::{Estimate, PythonBeside, PythonCell, PythonComparison, PythonVerdict, Verdict};
use crate::plot::{Axis, DrawError, HPos, Ink, Look, Pen, Plot, Shape, VPos, bounds, shorten};
use crate::table::{Field, Table};

/// Height of a row on the canvas.
const ROW: u32 = 40;

/// The section.
pub(crate) static SECTION: SectionSpec = SectionSpec {
    id: "python",
    title: "Python beside us",
    intro: "The same tasks on the same input as a program in Python would run them, on pools of as many workers, in the same run. \
            Right of 1, Python takes longer.",
    gallery,
};

fn gallery(context: &Context<'_>) -> Result<Gallery, ReportError> {
    let none = |why: String| Chart::missing("python-none", "Python", why);
    let Some(python) = &context.run.python else {
        let why = "No Python: this run did not measure it. The job “python” does.";
        return Ok(Gallery { legend: Vec::new(), charts: vec![none(why.to_owned())] });
    };
    if python.cells.is_empty() {
        let missing: Vec<String> = python.missing.iter().map(|it| format!("{}: {}", it.what, it.reason)).collect();
        let why = format!("No Python was measured. {}", missing.join("; "));
        return Ok(Gallery { legend: Vec::new(), charts: vec![none(why.trim_end().to_owned())] });
    }
    let entry = |name: &str| {
        LegendEntry::other(format!("against the lab's {name}"), Shape::of(slot(name)), slot(name), Look::Mark)
    };
    let legend = against(python).into_iter().map(entry).collect::<Result<_, _>>()?;
    Ok(Gallery { legend, charts: vec![ratios(python)?, cells(python), settings(python)] })
}

/// The executors of the lab that Python's are compared with, each once.
fn against(python: &PythonBeside) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for comparison in &python.comparisons {
        if !names.contains(&comparison.against.as_str()) {
            names.push(&comparison.against);
        }
    }
    names
}

/// The look of the executor that is compared with.
fn slot(against: &str) -> u8 {
    match against {
        "thread" => 0,
        "process" => 1,
        _ => 2,
    }
}

fn ratios(python: &PythonBeside) -> Result<Chart, ReportError> {
    Ok(Chart {
        id: "python-ratios".to_owned(),
        title: "Time of Python, divided by the time of the lab's executor".to_owned(),
        caption: "A loop is compared with the serial executor, threads and interpreters with the thread pool, and processes with the \
                  process pool. The time is that from the first submit until the last result, on warm pools, by each one's own clock. \
                  The axis is logarithmic."
            .to_owned(),
        pictures: picture(&python.comparisons)?.into_iter().collect(),
        missing: String::new(),
        keys: Vec::new(),
        table: Some(ratio_table(python)),
        wide: false,
    })
}

/// Whether an estimate has a place on a logarithmic axis.
fn drawable(estimate: &Estimate) -> bool {
    [estimate.low, estimate.median, estimate.high].iter().all(|end| end.is_finite() && *end > 0.0)
}

fn name(comparison: &PythonComparison) -> String {
    // The version is in the table.
    let executor = comparison.executor.split_once(": ").map_or(comparison.executor.as_str(), |(_, pool)| pool);
    shorten(&format!("{}, {executor}", comparison.workload), 40)
}

/// One row per comparison; `None` when none has a figure.
fn picture(comparisons: &[PythonComparison]) -> Result<Option<String>, ReportError> {
    let estimates = comparisons.iter().filter_map(|it| it.ratio).filter(drawable);
    let Some((low, high)) = bounds(estimates.flat_map(|estimate| [estimate.low, estimate.high])) else {
        return Ok(None);
    };
    let count = comparisons.len();
    let place = |index: usize| (count - index) as f64 - 0.5;
    let title = "Time of Python divided by time of the lab's executor";
    let plot = Plot {
        id: "python-ratios-plot",
        title,
        desc: "One row per workload and executor of Python, with a mark for the ratio and a bar for its interval. The table below has \
               all figures.",
        size: (1040, ROW * count as u32 + 190),
        left: 460,
        x: Axis::log("time of Python / time of the lab's executor", [low.min(0.9), high.max(1.1)], times),
        y: Axis::fixed(
            title,
            0.0,
            count as f64,
            comparisons.iter().enumerate().map(|(index, it)| (place(index), name(it))).collect(),
        ),
    };
    let svg = plot.draw(|pen| {
        pen.line([(1.0, 0.0), (1.0, count as f64)], Ink::IDEAL, 2)?;
        comparisons.iter().enumerate().try_for_each(|(index, it)| row(pen, it, place(index), plot.x.range().0))
    })?;
    Ok(Some(svg))
}

fn row(pen: &Pen<'_, '_>, comparison: &PythonComparison, y: f64, left: f64) -> Result<(), DrawError> {
    let Some(estimate) = comparison.ratio.filter(drawable) else {
        return pen.text((left, y), (14, 0), words(&comparison.verdict), Ink::MUTED, (HPos::Left, VPos::Center));
    };
    let slot = slot(&comparison.against);
    let at = (estimate.median, y);
    pen.level(y, estimate.low, estimate.high, Ink::bar(slot))?;
    pen.mark(at, Shape::of(slot), Ink::mark(slot))?;
    let PythonComparison { workload, executor, against, .. } = comparison;
    pen.hint(at, &format!("{workload}, {executor} / {against}: {}", format::estimate(&estimate, times)))
}

fn times(ratio: f64) -> String {
    format!("{}x", format::number(ratio))
}

fn words(verdict: &PythonVerdict) -> &'static str {
    match verdict {
        PythonVerdict::Slower => "Python is slower",
        PythonVerdict::Faster => "Python is faster",
        PythonVerdict::Even => "the same within 5%",
        PythonVerdict::CannotTell => "cannot tell: the interval is too wide",
        PythonVerdict::TooFew => "cannot tell: too few samples",
        PythonVerdict::NotMeasured => "not measured",
    }
}

fn ratio_table(python: &PythonBeside) -> Table {
    let mut table = Table::new(
        format!("Python against the lab, with {} workers: ratios with their intervals over blocks", python.workers),
        &["Workload", "Python", "The lab's", "Time of Python / of the lab#", "Verdict"],
    );
    for it in &python.comparisons {
        let known = matches!(it.verdict, PythonVerdict::Slower | PythonVerdict::Faster | PythonVerdict::Even);
        table.push(vec![
            Field::text(&it.workload),
            Field::text(&it.executor),
            Field::text(&it.against),
            Field::estimate(it.ratio.as_ref(), times),
            Field { class: if known { "" } else { "muted" }, ..Field::text(words(&it.verdict)) },
        ]);
    }
    table
}

fn cells(python: &PythonBeside) -> Chart {
    let mut table = Table::new(
        "Times and answers: medians with their intervals",
        &["Workload", "Executor", "Tasks#", "Makespan#", "One task#", "Samples#", "Answers"],
    );
    for cell in &python.cells {
        let tasks = cell.tasks.max(1) as f64;
        let per_task = cell.makespan_ns.map(|makespan| format::duration(makespan.median / tasks));
        table.push(vec![
            Field::text(&cell.workload),
            Field::text(&cell.executor),
            Field::text(format::count(cell.tasks)),
            Field::estimate(cell.makespan_ns.as_ref(), format::duration),
            per_task.map_or_else(Field::none, Field::text),
            Field::text(cell.samples.len().to_string()),
            answers(cell),
        ]);
    }
    Chart {
        id: "python-cells".to_owned(),
        title: "Every executor".to_owned(),
        caption: "Answers are compared with those of the serial executor of the lab, byte for byte.".to_owned(),
        pictures: Vec::new(),
        missing: String::new(),
        keys: Vec::new(),
        table: Some(table),
        wide: true,
    }
}

fn answers(cell: &PythonCell) -> Field {
    let detail = match &cell.verdict {
        Verdict::Failed { error } => error.clone(),
        _ => String::new(),
    };
    Field { detail, ..Field::verdict(&cell.verdict) }
}

fn settings(python: &PythonBeside) -> Chart {
    let mut table = Table::new(
        "The Pythons that were measured, and what they lack",
        &["Python", "Program", "GIL", "Process pool starts by", "SQLite", "loky"],
    );
    let text = |value: &str| if value.is_empty() { Field::none() } else { Field::text(value) };
    for it in &python.interpreters {
        table.push(vec![
            Field::text(&it.name),
            Field::code(&it.executable),
            Field::text(if it.gil { "on" } else { "off (free-threaded)" }),
            text(&it.start_method),
            text(&it.sqlite),
            text(&it.loky),
        ]);
    }
    let missing: Vec<String> = python.missing.iter().map(|it| format!("{}: {}", it.what, it.reason)).collect();
    let caption = if missing.is_empty() { String::new() } else { format!("Not measured: {}.", missing.join("; ")) };
    Chart {
        id: "python-settings".to_owned(),
        title: "Settings".to_owned(),
        caption,
        pictures: Vec::new(),
        missing: String::new(),
        keys: Vec::new(),
        table: Some(table),
        wide: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::model::Run;

    #[test]
    fn every_ratio_has_a_mark_and_what_has_none_says_why() {
        let run = fixture::run();
        let python = run.python.as_ref().unwrap();
        let gallery = gallery(&Context::new(&run)).unwrap();
        let marks = python.comparisons.iter().filter(|it| it.ratio.is_some()).count();
        assert!(marks > 2);
        assert_eq!(gallery.charts[0].pictures[0].matches("class=\"hit\"").count(), marks);
        assert!(gallery.charts[0].pictures[0].contains("not measured"));
        assert_eq!(gallery.charts[0].table.as_ref().unwrap().rows.len(), python.comparisons.len());
        assert_eq!(gallery.legend.len(), 3);
        let html = gallery.charts[1].to_string();
        assert!(html.contains("WRONG") && html.contains("RuntimeError: a task broke"), "{html}");
        let settings = gallery.charts[2].to_string();
        assert!(settings.contains("fork") && settings.contains("python3 -m pip install loky"), "{settings}");
    }

    #[test]
    fn a_machine_without_python_is_told_with_the_cure() {
        let mut run: Run = fixture::run();
        let python = run.python.as_mut().unwrap();
        (python.cells, python.comparisons, python.interpreters) = Default::default();
        let charts = gallery(&Context::new(&run)).unwrap().charts;
        assert_eq!(charts.len(), 1);
        assert!(charts[0].missing.contains("python3 -m pip install loky"), "{}", charts[0].missing);
    }
}
