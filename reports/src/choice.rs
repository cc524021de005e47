//! The first part of the page: what to take for which work. The answers are those of [`advice`].

use crate::advice::{self, Advice, Decision, PAYLOADS, Question, TASK_TIMES, advise};
use crate::format::{self, bytes, duration, times};
use crate::model::{Estimate, Run};
use crate::table::{Field, Table};

/// One row of the decision table.
pub(crate) struct Row {
    /// The kind of work.
    pub(crate) work: String,
    /// More of it.
    pub(crate) detail: String,
    /// Anchor of its evidence.
    pub(crate) link: String,
    /// What to take, or that it cannot be told.
    pub(crate) take: Field,
    /// How many times as fast as serial.
    pub(crate) gain: Field,
    /// Memory.
    pub(crate) memory: String,
    /// Why.
    pub(crate) why: String,
}

/// The decision table: what was measured, and what the cost model says of common cases.
pub(crate) fn rows(run: &Run, decisions: &[Decision]) -> Vec<Row> {
    let mut rows: Vec<Row> = decisions.iter().map(measured).collect();
    if let Some(model) = &run.cost {
        let cases = advice::named().into_iter();
        rows.extend(cases.filter_map(|case| {
            let found = advise(model, &case.question)?;
            let (take, gain) = fields(run, &found);
            Some(Row {
                work: case.name.to_owned(),
                detail: format!("{}; by the cost model", case.detail),
                link: "cost".to_owned(),
                take,
                gain,
                memory: found.best.memory_bytes.map_or_else(|| format::NONE.to_owned(), bytes),
                why: found.because,
            })
        }));
    }
    rows
}

fn measured(decision: &Decision) -> Row {
    let Decision { tasks, task_ns, .. } = decision;
    Row {
        work: decision.workload.clone(),
        detail: format!("measured: {} tasks of {}", format::count(*tasks), duration(*task_ns)),
        link: crate::model::Evidence::chart("scaling", &decision.workload).anchor(),
        take: take(decision.name(), decision.cannot_tell.as_deref()),
        gain: match (&decision.gain, &decision.cannot_tell, decision.too_fast_for) {
            (_, Some(_), _) => Field::none(),
            (_, None, Some(_)) => Field { icon: "▲", class: "care", ..Field::text("cannot tell") },
            (Some(gain), None, None) => Field::estimate(Some(gain), times),
            (None, None, None) => Field::text(times(1.0)),
        },
        memory: decision.memory_bytes.map_or_else(|| format::NONE.to_owned(), bytes),
        why: decision.why.clone(),
    }
}

/// What to take: where that cannot be told, what it leans to stands below.
fn take(name: String, cannot_tell: Option<&str>) -> Field {
    match cannot_tell {
        None => Field::text(name),
        Some(why) => Field {
            icon: "▲",
            class: "care",
            detail: format!("It leans to {name}, but {why}."),
            ..Field::text("cannot tell")
        },
    }
}

/// What to take by the cost model, and the gain.
fn fields(run: &Run, advice: &Advice) -> (Field, Field) {
    let unfit = (!run.unfit().is_empty()).then_some("the machine was not fit to measure it");
    let cannot_tell = unfit.or(advice.cannot_tell.as_deref());
    let gain = match (cannot_tell, advice.best.speed_up) {
        (Some(_), _) => Field::none(),
        (None, Estimate { n: 0, median, .. }) => Field::text(times(median)),
        (None, gain) => {
            Field { detail: format::interval(gain.low, gain.high, times), ..Field::text(times(gain.median)) }
        }
    };
    (take(advice.best.name(), cannot_tell), gain)
}

/// Common cases by the cost model, for readers without a script; `None` where the run has no model.
pub(crate) fn common(run: &Run) -> Option<Table> {
    let model = run.cost.as_ref().filter(|model| !model.fits.is_empty())?;
    let titles = ["A task takes", "No bytes", "64 KiB each", "1 MiB each", "It may crash, no bytes"];
    let caption = format!(
        "Batches of {} tasks that compute, on warm pools, with bytes nested in another type: what to take, and its time against \
         serial",
        format::count(advice::TASKS)
    );
    let mut table = Table::new(caption, &titles);
    let answer = |question: &Question| {
        advise(model, question).map_or_else(Field::none, |found| {
            let (take, gain) = fields(run, &found);
            let gained = format!("{} {}", gain.main, gain.detail.replace(" to ", "–"));
            if take.icon.is_empty() { Field { detail: gained.trim_end().to_owned(), ..take } } else { lean(&found) }
        })
    };
    for task_ns in TASK_TIMES {
        let mut row = vec![Field::text(format::duration_tick(task_ns))];
        row.extend(PAYLOADS.map(|payload| answer(&advice::plain(task_ns, payload))));
        row.push(answer(&Question { crashes: true, ..advice::plain(task_ns, 0) }));
        table.push(row);
    }
    Some(table)
}

/// A field for what cannot be told; there is no room for the reason, which stands above the table.
fn lean(found: &Advice) -> Field {
    Field {
        icon: "▲", class: "care", detail: format!("leans to {}", found.best.name()), ..Field::text("cannot tell")
    }
}

/// What to know of the cost model before its answers are relied on; empty where there is nothing.
pub(crate) fn caution(run: &Run) -> String {
    let Some(model) = &run.cost else {
        return "This run has no cost model, so that only its own workloads have an answer. `lab cost` measures one, and so does \
                `lab bench`."
            .to_owned();
    };
    if !run.unfit().is_empty() {
        return "The machine was not fit to measure executors, so that nothing can be told.".to_owned();
    }
    let poor: Vec<String> = model.fits.iter().filter(|fit| fit.is_poor()).map(|fit| fit.executor.clone()).collect();
    if poor.is_empty() {
        return String::new();
    }
    format!(
        "The cost model predicts poorly in this run ({}): its figures are rough, and where its error is larger than the difference \
         it cannot tell. Repeat the run on an idle machine.",
        poor.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn every_workload_and_every_named_case_has_a_row_with_its_reason() {
        let run = fixture::run();
        let decisions = advice::decisions(&run);
        let rows = rows(&run, &decisions);
        let works: Vec<&str> = rows.iter().map(|row| row.work.as_str()).collect();
        assert_eq!(works[..3], ["sha256", "fetch", "sqlite"]);
        assert_eq!(rows.len(), decisions.len() + advice::named().len());
        assert!(rows.iter().all(|row| !row.why.is_empty() && !row.take.main.is_empty()));
        let last = rows.last().unwrap();
        assert!(last.take.main.starts_with("process with"), "{}", last.take.main);
    }

    #[test]
    fn of_an_unfit_machine_no_row_and_no_case_has_a_figure() {
        let mut run = fixture::run();
        run.fitness = Some(crate::model::Fitness {
            unfit: vec![crate::model::Unfit::Others(1.0)],
            ..crate::model::Fitness::default()
        });
        let rows = rows(&run, &advice::decisions(&run));
        assert!(rows.iter().all(|row| row.take.main == "cannot tell" && row.gain.main == format::NONE));
        let table = common(&run).unwrap();
        assert!(table.rows.iter().flat_map(|row| &row[1..]).all(|field| field.main == "cannot tell"));
        assert!(caution(&run).contains("not fit"));
    }

    #[test]
    fn without_a_model_the_page_says_how_to_get_one() {
        let run = fixture::empty();
        assert!(rows(&run, &[]).is_empty() && common(&run).is_none());
        assert!(caution(&run).contains("lab cost"));
    }
}
