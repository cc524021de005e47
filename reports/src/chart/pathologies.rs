//! Why one executor is slower than another: causes with a switch that turns them off, and the cells of the grid that are slow.

use super::gallery::{Chart, Context, Gallery, LegendEntry, SectionSpec};
use crate::error::ReportError;
use crate::format;
use crate::model::{Cause, Estimate, Pathology, PathologyVerdict, Run};
use crate::plot::{Axis, DrawError, HPos, Ink, Look, Pen, Plot, Shape, VPos, bounds, shorten};
use crate::table::{Field, Table};

/// Height of a row on the canvas.
const ROW: u32 = 46;

/// The section.
pub(crate) static SECTION: SectionSpec = SectionSpec {
    id: "pathologies",
    title: "Causes",
    intro: "What the threads of one process share and worker processes do not: tasks that share it, and the same tasks with that \
            cause turned off. Left of 1, processes are faster than as many threads.",
    gallery,
};

fn gallery(context: &Context<'_>) -> Result<Gallery, ReportError> {
    let Run { pathologies, causes, .. } = context.run;
    let mut charts = Vec::new();
    if !pathologies.is_empty() {
        charts.push(Chart {
            id: "pathologies-ratios".to_owned(),
            title: "Time on processes, divided by time on threads".to_owned(),
            caption: "As many processes as threads. A filled mark is the ratio with the cause, an empty one that with the cause turned \
                      off; controls share nothing. The axis is logarithmic."
                .to_owned(),
            pictures: picture(pathologies)?.into_iter().collect(),
            missing: String::new(),
            keys: Vec::new(),
            table: Some(pathology_table(pathologies)),
            wide: false,
        });
    }
    if !causes.is_empty() {
        charts.push(Chart {
            id: "pathologies-cells".to_owned(),
            title: "Slow cells and their causes".to_owned(),
            caption: "Cells that take longer than another one by more than their intervals. The cause is what the kernel's counters can \
                      explain of the difference; where a switch is known, both cells were measured again with it."
                .to_owned(),
            pictures: Vec::new(),
            missing: String::new(),
            keys: Vec::new(),
            table: Some(cause_table(causes)),
            wide: true,
        });
    }
    if charts.is_empty() {
        let why = "No causes: this run measured no pathologies, and no cell of it takes longer than another one for certain. \
                   The job “pathologies” does.";
        charts.push(Chart::missing("pathologies-none", "Causes", why.to_owned()));
        return Ok(Gallery { legend: Vec::new(), charts });
    }
    let legend = if pathologies.is_empty() {
        Vec::new()
    } else {
        vec![
            LegendEntry::other("with the cause", Shape::Disc, 0, Look::Mark)?,
            LegendEntry::other("with the cause turned off", Shape::Square, 3, Look::Hollow)?,
        ]
    };
    Ok(Gallery { legend, charts })
}

/// Whether an estimate has a place on a logarithmic axis.
fn drawable(estimate: &Estimate) -> bool {
    [estimate.low, estimate.median, estimate.high].iter().all(|end| end.is_finite() && *end > 0.0)
}

/// One row per pathology; `None` when none has a figure.
fn picture(pathologies: &[Pathology]) -> Result<Option<String>, ReportError> {
    let estimates = pathologies.iter().flat_map(|it| [it.with, it.without]).flatten().filter(drawable);
    let ends = estimates.flat_map(|estimate| [estimate.low, estimate.high]);
    let Some((low, high)) = bounds(ends) else { return Ok(None) };
    let count = pathologies.len();
    let place = |index: usize| (count - index) as f64 - 0.5;
    let label =
        |it: &Pathology| shorten(&if it.is_control() { format!("{} (control)", it.id) } else { it.id.clone() }, 30);
    let title = "Time on processes divided by time on threads";
    let plot = Plot {
        id: "pathologies-ratios-plot",
        title,
        desc: "One row per cause; a filled mark for the ratio with the cause, an empty one without it, and a bar for each interval. \
               The table below has all figures.",
        size: (1040, ROW * count as u32 + 190),
        left: 440,
        x: Axis::log("time on processes / time on threads", [low.min(0.9), high.max(1.1)], |value| {
            format!("{}x", format::number(value))
        }),
        y: Axis::fixed(
            title,
            0.0,
            count as f64,
            pathologies.iter().enumerate().map(|(index, it)| (place(index), label(it))).collect(),
        ),
    };
    let svg = plot.draw(|pen| {
        pen.line([(1.0, 0.0), (1.0, count as f64)], Ink::IDEAL, 2)?;
        pathologies.iter().enumerate().try_for_each(|(index, it)| row(pen, it, place(index), plot.x.range().0))
    })?;
    Ok(Some(svg))
}

fn row(pen: &Pen<'_, '_>, pathology: &Pathology, y: f64, left: f64) -> Result<(), DrawError> {
    let [with, without] = [pathology.with, pathology.without].map(|estimate| estimate.filter(drawable));
    if with.is_none() && without.is_none() {
        let why = format!("{}: see the table", words(&pathology.verdict));
        return pen.text((left, y), (14, 0), &why, Ink::MUTED, (HPos::Left, VPos::Center));
    }
    for (estimate, what, slot) in [(without, "with the cause turned off", 3), (with, "with the cause", 0)] {
        let Some(estimate) = estimate else { continue };
        // Both intervals of a row would hide each other.
        let y = if slot == 0 { y + 0.12 } else { y - 0.12 };
        let at = (estimate.median, y);
        pen.level(y, estimate.low, estimate.high, Ink::bar(slot))?;
        if slot == 0 {
            pen.mark(at, Shape::Disc, Ink::mark(slot))?;
        } else {
            pen.hollow_mark(at, Shape::Square, Ink::mark(slot))?;
        }
        let what = if pathology.is_control() { "" } else { what };
        pen.hint(at, &format!("{} {what}: {}", pathology.id, format::estimate(&estimate, times)))?;
    }
    Ok(())
}

fn times(ratio: f64) -> String {
    format!("{}x", format::number(ratio))
}

fn words(verdict: &PathologyVerdict) -> String {
    match verdict {
        PathologyVerdict::ProcessesWin { gone: true } => "processes win; not without the cause".to_owned(),
        PathologyVerdict::ProcessesWin { gone: false } => "processes win".to_owned(),
        PathologyVerdict::ThreadsWin => "threads win".to_owned(),
        PathologyVerdict::Tie => "no difference shown".to_owned(),
        PathologyVerdict::NeedsCores { cores } => format!("needs {cores} cores"),
        PathologyVerdict::NotBuilt => "not built".to_owned(),
        PathologyVerdict::Wrong => "WRONG answers".to_owned(),
        PathologyVerdict::Failed { .. } => "failed".to_owned(),
        PathologyVerdict::NotMeasured => "too few samples".to_owned(),
    }
}

fn verdict(pathology: &Pathology) -> Field {
    let (icon, class) = match &pathology.verdict {
        PathologyVerdict::ProcessesWin { .. } | PathologyVerdict::ThreadsWin => ("✓", "good"),
        PathologyVerdict::Wrong => ("✗", "bad"),
        PathologyVerdict::Failed { .. } => ("!", "care"),
        _ => ("○", "muted"),
    };
    let detail = match &pathology.verdict {
        PathologyVerdict::Failed { error } => error.clone(),
        PathologyVerdict::Tie if !pathology.is_control() => "too few cores, or a machine that was not quiet".to_owned(),
        _ => String::new(),
    };
    Field { main: words(&pathology.verdict), detail, icon, class, ..Field::default() }
}

fn pathology_table(pathologies: &[Pathology]) -> Table {
    let mut table = Table::new(
        "Processes against threads, with a cause and without it: medians with their intervals",
        &[
            "Cause",
            "What the tasks do",
            "Turned off by",
            "Workers#",
            "Processes / threads#",
            "The same, turned off#",
            "On threads, with / without#",
            "On processes, with / without#",
            "Verdict",
        ],
    );
    for it in pathologies {
        let switch = if it.is_control() { "(control)" } else { &it.switch };
        table.push(vec![
            Field::text(&it.id),
            Field { class: "prose", ..Field::text(&it.title) },
            Field { class: "prose", ..Field::text(switch) },
            Field::text(it.workers.to_string()),
            Field::estimate(it.with.as_ref(), times),
            Field::estimate(it.without.as_ref(), times),
            Field::estimate(it.threads.as_ref(), times),
            Field::estimate(it.processes.as_ref(), times),
            verdict(it),
        ]);
    }
    table
}

fn cause_table(causes: &[Cause]) -> Table {
    let mut table = Table::new(
        "Slow cells: the ratio of times to another cell, and why",
        &["Cell", "Against", "Ratio#", "Cause", "With the cause turned off#", "Switch"],
    );
    for cause in causes {
        let switched = cause.switched.as_ref();
        table.push(vec![
            Field::text(&cause.cell),
            Field::text(&cause.against),
            Field::estimate(Some(&cause.ratio), times),
            Field { class: "prose", ..Field::text(&cause.evidence) },
            Field::estimate(switched.map(|it| &it.ratio), times),
            switched.map_or_else(Field::none, |it| Field { class: "prose", ..Field::text(&it.switch) }),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn every_ratio_has_a_mark_and_every_row_a_verdict() {
        let run = fixture::run();
        let gallery = gallery(&Context::new(&run)).unwrap();
        let marks = run.pathologies.iter().flat_map(|it| [it.with, it.without]).flatten().count();
        assert!(marks > 4);
        assert_eq!(gallery.charts[0].pictures[0].matches("class=\"hit\"").count(), marks);
        assert!(gallery.charts[0].pictures[0].contains("not built: see the table"));
        let html = gallery.charts[0].to_string();
        for text in
            ["processes win; not without the cause", "no difference", "too few cores, or a machine", "not built"]
        {
            assert!(html.contains(text), "{text}");
        }
        assert_eq!(gallery.charts[1].table.as_ref().unwrap().rows.len(), run.causes.len());
        assert!(gallery.charts[1].to_string().contains("page faults (75 against 3.0 a task"));
    }

    #[test]
    fn figures_that_cannot_be_drawn_leave_the_row_and_its_reason() {
        let mut run = fixture::run();
        for it in &mut run.pathologies {
            (it.with, it.without) = (None, it.without.map(|figure| Estimate { low: 0.0, ..figure }));
        }
        let charts = gallery(&Context::new(&run)).unwrap().charts;
        assert!(charts[0].pictures.is_empty());
        assert_eq!(charts[0].table.as_ref().unwrap().rows.len(), run.pathologies.len());
    }
}
