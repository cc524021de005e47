//! The workloads that Python has tasks for, in the size of the lab's jobs, and in a quick run in a smaller one.

use std::any::Any;

use reports::model::Input;
use serde_json::Value;
use workloads::{
    JobSize, Workload as _,
    fetch::{Fetch, Source},
    kernels::SpinTasks,
    sha256, sqlite,
};

use super::{super::experiment::Job, contender::Found};
use crate::{
    error::LabError,
    registry::{AnyWorkload, Registry},
    work::Work,
};

/// A workload that Python has tasks for.
struct Row {
    /// Its name in the report and in the scripts.
    name: &'static str,
    /// The lab's own, by which another one of the same name is told apart.
    built_in: fn(&JobSize) -> Result<Work, LabError>,
    /// The one that is measured here.
    sized: fn(&JobSize) -> Result<Work, LabError>,
}

static ROWS: [Row; 4] = [
    Row { name: NO_OP, built_in: |size| Work::new(&SpinTasks::of_job(size)), sized: no_ops },
    Row {
        name: "sha256",
        built_in: |size| Work::new(&sha256::Spec::of_job(size)),
        sized: |size| Work::new(&sha256::Spec::of_job(size)),
    },
    Row { name: "sqlite", built_in: |size| Work::new(&sqlite::Spec::of_job(size)), sized: queries },
    Row { name: "fetch", built_in: |size| Work::new(&Fetch::of_job(size)), sized: urls },
];

/// A task that returns its number, so that all time is that of the executor.
const NO_OP: &str = "no-op";

/// Enough for a makespan of some milliseconds, and not too many for a pool that starts ten thousand tasks a second.
fn no_ops(size: &JobSize) -> Result<Work, LabError> {
    Work::new(&SpinTasks { tasks: if size.quick { 500 } else { 2000 }, iterations: 0 })
}

fn queries(size: &JobSize) -> Result<Work, LabError> {
    let job = sqlite::Spec::of_job(size);
    Work::new(&sqlite::Spec { repeats: if size.quick { 20 } else { job.repeats }, ..job })
}

fn urls(size: &JobSize) -> Result<Work, LabError> {
    let mut fetch = Fetch::of_job(size);
    if let (true, Source::Local { count, .. }) = (size.quick, &mut fetch.source) {
        *count = 16;
    }
    Work::new(&fetch)
}

fn size(quick: bool) -> JobSize {
    // Nothing here depends on the speed of the machine.
    JobSize { quick, ..JobSize::default() }
}

/// One workload with its input.
pub(super) struct Case<'a> {
    pub(super) name: &'static str,
    pub(super) workload: &'a dyn AnyWorkload,
    pub(super) work: Work,
    pub(super) input: Input,
    /// The items, as they are sent to Python.
    pub(super) items: Vec<Value>,
    /// The server that its tasks need.
    _beside: Option<Box<dyn Any>>,
}

/// The workload of a row, unless this lab has none, or another one of its name.
fn built_in<'a>(row: &Row, registry: &'a Registry) -> Option<&'a dyn AnyWorkload> {
    let work = (row.built_in)(&size(true)).ok()?;
    let workload = registry.iter().find(|workload| workload.name() == work.name())?;
    (workload.of_job(&size(true)).ok()? == work).then_some(workload)
}

/// The names of those that this lab has.
pub(super) fn names(registry: &Registry) -> impl Iterator<Item = &'static str> {
    ROWS.iter().filter(|row| built_in(row, registry).is_some()).map(|row| row.name)
}

/// Makes the input of each that any Python takes.
pub(super) fn all<'a>(job: &Job<'a>, found: &Found) -> Result<Vec<Case<'a>>, LabError> {
    let wanted = ROWS.iter().filter(|row| !found.contenders(row.name).is_empty());
    wanted.filter_map(|row| Some(case(row, built_in(row, job.settings.registry)?, job))).collect()
}

fn case<'a>(row: &Row, workload: &'a dyn AnyWorkload, job: &Job<'_>) -> Result<Case<'a>, LabError> {
    let mut work = (row.sized)(&size(job.settings.quick))?;
    let beside = workload.begin(&mut work)?;
    let data = &job.settings.data;
    let mut input = workload.input(&work, data)?.0;
    let items = workload.items(&work, data)?;
    if row.name == NO_OP {
        input.workload = NO_OP.to_owned();
        input.description = format!("{} tasks that return their number", items.len());
    }
    Ok(Case { name: row.name, workload, work, input, items, _beside: beside })
}
