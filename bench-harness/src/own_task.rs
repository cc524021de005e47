//! A function of the user's as a workload: no trait to implement, and no name to register anywhere.
//!
//! Each process of a run is this program started again. It makes the same lab, and so has the same function and the same way to
//! load its inputs; what it has loaded is told apart by a digest from what the run began with.

use std::{any::Any, fmt::Display, io, marker::PhantomData, path::Path, path::PathBuf, process::ExitCode};

use clap::{ArgMatches, Command};
use executor_core::{Payload, Task};
use reports::model::{Input, Skipped};
use serde::Serialize;
use serde_json::Value;
use workloads::{Digest, Format, ItemName, JobSize, PrepareError, Shown};

use crate::{
    cell::{self, CellSpec, Measured},
    error::LabError,
    open_loop::{self, OpenLoop, OpenLoopSpec},
    registry::AnyWorkload,
    run_command::{self, Answers},
    work::Work,
};

/// What a function that loads inputs may return: the inputs, or a `Result` of them.
pub trait Inputs<I> {
    /// The inputs, or why there are none.
    ///
    /// # Errors
    ///
    /// A message for people.
    fn inputs(self) -> Result<Vec<I>, String>;
}

impl<I> Inputs<I> for Vec<I> {
    fn inputs(self) -> Result<Vec<I>, String> {
        Ok(self)
    }
}

impl<I, E: Display> Inputs<I> for Result<Vec<I>, E> {
    fn inputs(self) -> Result<Vec<I>, String> {
        self.map_err(|error| error.to_string())
    }
}

type Load<I> = Box<dyn Fn() -> Result<Vec<I>, String> + Send + Sync>;

/// A function with its inputs.
pub(crate) struct OwnTask<I, F: Task<I, M>, M> {
    name: &'static str,
    task: F,
    load: Load<I>,
    /// Why an output is the failure of its item.
    failure: fn(&F::Output) -> Option<String>,
    marker: PhantomData<fn() -> M>,
}

impl<I, F: Task<I, M>, M> OwnTask<I, F, M> {
    pub(crate) fn new<N: Inputs<I>>(
        name: &'static str,
        task: F,
        load: impl Fn() -> N + Send + Sync + 'static,
        failure: fn(&F::Output) -> Option<String>,
    ) -> Self {
        Self { name, task, load: Box::new(move || load().inputs()), failure, marker: PhantomData }
    }
}

impl<I, F, M> OwnTask<I, F, M>
where
    I: Payload,
    F: Task<I, M>,
    F::Output: Payload,
    M: 'static,
{
    /// The inputs with their digest.
    fn load(&self) -> Result<(Vec<I>, String), LabError> {
        let inputs = (self.load)()
            .map_err(|reason| LabError::Sample(format!("the inputs of {} could not be loaded: {reason}", self.name)))?;
        if inputs.is_empty() {
            return Err(PrepareError::Empty { what: format!("the list of inputs of {}", self.name) }.into());
        }
        let mut digest = Digest::new();
        for input in &inputs {
            let told = |error| LabError::Sample(format!("an input of {} cannot be encoded: {error}", self.name));
            digest.add_bytes(&postcard::to_stdvec(input).map_err(told)?);
        }
        Ok((inputs, digest.finish()))
    }

    /// The inputs of a cell, which must be the planned ones.
    fn planned(&self, cell: &CellSpec) -> Result<Vec<I>, LabError> {
        let (inputs, fingerprint) = self.load()?;
        if cell.input.as_ref().is_some_and(|planned| *planned != fingerprint) {
            return Err(LabError::Sample(format!(
                "the inputs of {} are others in another process: load the same ones in the same order each time (the order of a \
                 HashMap is another one in each process)",
                self.name
            )));
        }
        Ok(inputs)
    }
}

impl<I, F, M> AnyWorkload for OwnTask<I, F, M>
where
    I: Payload,
    F: Task<I, M>,
    F::Output: Payload,
    M: 'static,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn alias(&self) -> Option<&'static str> {
        None
    }

    fn takes_paths(&self) -> bool {
        false
    }

    fn starts_programs(&self) -> bool {
        false
    }

    fn instead_of_paths(&self) -> &'static str {
        "its inputs come from the function that loads them"
    }

    fn of_job(&self, _: &JobSize) -> Result<Work, LabError> {
        Ok(Work::own(self.name))
    }

    fn own_options(&self, command: Command) -> Command {
        command
    }

    fn with_own(&self, work: &Work, _: &[PathBuf], _: &ArgMatches) -> Result<Work, LabError> {
        Ok(work.clone())
    }

    fn begin(&self, _: &mut Work) -> Result<Option<Box<dyn Any>>, LabError> {
        Ok(None)
    }

    fn beside(&self, _: &str) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a function needs nothing beside it"))
    }

    fn input(&self, _: &Work, _: &Path) -> Result<(Input, Vec<Skipped>), LabError> {
        let (inputs, fingerprint) = self.load()?;
        let (workload, description) = (self.name.to_owned(), described(inputs.len()));
        Ok((Input { workload, description, waits: false, fingerprint }, Vec::new()))
    }

    fn measure(&self, cell: &CellSpec) -> Result<Measured, LabError> {
        let (inputs, failure) = (self.planned(cell)?, self.failure);
        cell::time(cell, self.task.clone(), inputs, move |digest: &mut Digest, output: &F::Output| {
            add(digest, output).or_else(|| failure(output))
        })
    }

    fn open_loop(&self, spec: &OpenLoopSpec) -> Result<OpenLoop, LabError> {
        let (inputs, failure) = (self.planned(&spec.cell)?, self.failure);
        open_loop::measure(spec, self.task.clone(), inputs, move |output| failure(output).is_some())
    }

    fn command(&self) -> Command {
        run_command::with_common_options(Command::new(self.name), None).about("Run this program's own function")
    }

    fn run(&self, matches: &ArgMatches, _: &Path) -> Result<ExitCode, LabError> {
        let settings = run_command::Settings::read(matches)?;
        let (items, _) = self.load()?;
        let names = (1..=items.len()).map(|number| ItemName::plain("task", format!("task {number}"))).collect();
        let (failure, format) = (self.failure, settings.format());
        let show = move |digest: &mut Digest, name: &ItemName, output: F::Output| {
            let failure = add(digest, &output).or_else(|| failure(&output));
            shown(name, &output, failure, format)
        };
        settings.answer(Answers::new(self.task.clone(), names, items, show))
    }
}

fn described(count: usize) -> String {
    format!("{count} inputs of a function of this program")
}

/// Adds an output to the digest, in the form in which it comes from a worker process: JSON cannot tell all values apart. Returns why
/// that cannot be done.
fn add<O: Serialize>(digest: &mut Digest, output: &O) -> Option<String> {
    match postcard::to_stdvec(output) {
        Ok(bytes) => {
            digest.add_bytes(&bytes);
            None
        }
        Err(error) => Some(format!("its answer cannot be encoded: {error}")),
    }
}

fn shown<O: Serialize>(name: &ItemName, output: &O, failure: Option<String>, format: Format) -> Shown {
    // What JSON does not have, such as a map whose keys are no texts, is told and not shown.
    let value = serde_json::to_value(output).unwrap_or_else(|error| Value::String(error.to_string()));
    match (failure, format) {
        (Some(reason), _) => Shown::Failed(reason),
        (None, Format::Json) => Shown::json("answer", value),
        (None, _) => Shown::Text(format!("{}: {value}\n", name.text).into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::executors::Kind;

    fn cell(executor: Kind, input: Option<String>) -> CellSpec {
        CellSpec { work: Work::own("own"), executor, workers: 2, data: PathBuf::new(), input }
    }

    fn halve(number: u32) -> Result<u32, String> {
        if number.is_multiple_of(2) { Ok(number / 2) } else { Err(format!("{number} is odd")) }
    }

    #[test]
    fn a_function_and_a_closure_for_its_inputs_are_all_that_is_needed() {
        let factor = 3;
        let own = OwnTask::new("own", |x: u64, y: f64| x as f64 * y, move || vec![(factor, 0.5), (2, 0.25)], |_| None);
        let input = own.input(&Work::own("own"), Path::new("")).unwrap().0;
        let measured = |executor| {
            own.measure(&cell(executor, Some(input.fingerprint.clone()))).map(|it| (it.tasks, it.digest)).unwrap()
        };
        assert_eq!(measured(Kind::Serial).0, 2);
        for executor in [Kind::Thread, Kind::Rayon, Kind::ThreadPerTask] {
            assert_eq!(measured(executor), measured(Kind::Serial), "{executor}");
        }
    }

    #[test]
    fn an_error_of_a_function_that_may_fail_is_the_failure_of_its_item() {
        let failure = |output: &Result<u32, String>| output.as_ref().err().cloned();
        let own = OwnTask::new("own", halve, || vec![4, 3, 2, 1], failure);
        let measured = own.measure(&cell(Kind::Thread, None)).unwrap();
        assert_eq!((measured.failed_tasks, measured.first_error.as_deref()), (2, Some("3 is odd")));
    }

    #[test]
    fn inputs_that_are_others_each_time_or_missing_are_told_with_the_cure() {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let own = OwnTask::new("own", |x: u32| x, || vec![CALLS.fetch_add(1, Ordering::Relaxed)], |_| None);
        let input = own.input(&Work::own("own"), Path::new("")).unwrap().0;
        let error = own.measure(&cell(Kind::Serial, Some(input.fingerprint))).unwrap_err();
        assert!(error.to_string().contains("HashMap"), "{error}");

        let missing = || Err::<Vec<u32>, _>("there is no such folder");
        let own = OwnTask::new("own", |x: u32| x, missing, |_| None);
        assert!(own.measure(&cell(Kind::Serial, None)).unwrap_err().to_string().contains("no such folder"));
        let own = OwnTask::new("own", |x: u32| x, Vec::<u32>::new, |_| None);
        assert!(own.measure(&cell(Kind::Serial, None)).unwrap_err().to_string().contains("nothing to work on"));
    }

    #[test]
    fn answers_that_json_does_not_tell_apart_are_other_answers() {
        let digest = |number: f64| {
            let mut digest = Digest::new();
            assert_eq!(add(&mut digest, &number), None);
            digest.finish()
        };
        assert_ne!(digest(f64::INFINITY), digest(f64::NAN));
        let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert_eq!(add(&mut Digest::new(), &keys), None);
    }
}
