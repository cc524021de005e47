//! The trait of workloads.
//!
//! A workload is a value: its settings. They say how its input is made or checked ([`prepare`](Workload::prepare)), and travel
//! to the process that takes a sample, which prepares the same input once more. Its task ([`run`](Workload::run)) is a plain
//! function with a serde argument, the same on every executor. A task's own failure is its output ([`ItemError`]), so that
//! one bad file, database or URL never costs its neighbors.
//!
//! Six of the items below are all that a workload must have. The others adapt the lab's commands to it.

use std::{
    any::Any,
    fmt, io,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use clap::{ArgMatches, Args, Command};
use executor_core::Payload;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{Digest, ItemError, Outcome, PrepareError, Prepared, shown};

/// The longest wait that may be asked for.
pub(crate) const AN_HOUR_MS: u64 = 3_600_000;

/// The most bytes in one piece: more could not be held in memory, and asking for them would end the program.
pub(crate) const A_GIB: i64 = 1 << 30;

/// The size of a workload in the lab's jobs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JobSize {
    /// All workloads together take about one minute instead of about five.
    pub quick: bool,
    /// Iterations of [`kernels::spin()`](mod@crate::kernels) that this machine computes in a microsecond.
    pub iterations_per_us: f64,
}

/// The size for a quick job on a fast core.
impl Default for JobSize {
    fn default() -> Self {
        Self { quick: true, iterations_per_us: 1000.0 }
    }
}

/// The place in which input is made, and how closely earlier input is checked.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The folder in which made input is kept.
    pub data: &'a Path,
    /// Set in a process whose parent has prepared the same input: only names and lengths of made input are checked.
    pub again: bool,
}

/// Returns the command that starts this program again, to call [`beside`](Workload::beside) with the text.
pub type Start<'a> = &'a dyn Fn(&str) -> io::Result<process::Command>;

/// A kind of work to run on executors.
pub trait Workload: fmt::Debug + Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its name in commands and reports.
    const NAME: &'static str;

    /// Another spelling that commands take.
    const ALIAS: Option<&'static str> = None;

    /// A short description for `lab run`.
    const ABOUT: &'static str = "";

    /// Whether its tasks mostly wait, so that more workers than cores can help.
    const WAITS: bool = false;

    /// The argument of one task.
    type Input: Payload + Clone;

    /// The result of one task.
    type Output: Payload + Outcome;

    /// The workload as the lab's jobs measure it.
    fn of_job(job: &JobSize) -> Self;

    /// Makes the input, or checks the input that was given.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] when there is nothing to work on. An error of one item is its own task's error.
    fn prepare(&self, place: &Place<'_>) -> Result<Prepared<Self::Input>, PrepareError>;

    /// The task.
    fn run(input: Self::Input) -> Self::Output;

    /// Adds an output to the digest.
    fn add_answer(digest: &mut Digest, output: &Self::Output) {
        digest.add(output);
    }

    /// Adds the part of an output that must be equal on all executors to the digest.
    fn add_to(&self, digest: &mut Digest, output: &Self::Output) {
        Self::add_answer(digest, output);
    }

    /// The longest that all tasks together may take, where the lab's own limit may be too short for them.
    fn time_limit(&self) -> Option<Duration> {
        None
    }

    /// Starts the server that its tasks need, if any, and notes its address. The server ends when the value is dropped.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] when it cannot be started.
    fn begin(&mut self, _: Start<'_>) -> Result<Option<Box<dyn Any>>, PrepareError> {
        Ok(None)
    }

    /// Runs the server that [`begin`](Self::begin) has started: it is this program again.
    ///
    /// # Errors
    ///
    /// The system's error.
    fn beside(_: &str) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this workload needs nothing beside it"))
    }

    /// Whether a sweep takes paths without an option before them.
    const TAKES_PATHS: bool = false;

    /// Whether its tasks start a program that the user names: a sweep takes the command line in the place of paths, and is on
    /// threads unless other executors are named. The lab's jobs, for which no program is named, leave it out.
    const STARTS_PROGRAMS: bool = false;

    /// The remedy to name where paths are given that it does not take.
    const INSTEAD_OF_PATHS: &'static str = "";

    /// Adds the options of the user's own input, for `lab sweep`.
    fn own_options(command: Command) -> Command {
        command
    }

    /// The same work on the user's own input, if there is any.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] when the options are invalid, or a list cannot be read.
    fn with_own(self, _paths: &[PathBuf], _: &ArgMatches) -> Result<Self, PrepareError> {
        Ok(self)
    }

    /// Adds the options of `lab run`.
    fn run_options(command: Command) -> Command {
        command
    }

    /// The workload that the options of `lab run` ask for; without any, a small job.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] when they are invalid.
    fn from_run(_: &ArgMatches) -> Result<Self, PrepareError> {
        Ok(Self::of_job(&JobSize::default()))
    }

    /// The option that would name input, where input was made instead; `None` where no input is made, or it was named.
    fn made_without(&self) -> Option<&'static str> {
        None
    }

    /// Paths that the user has named: skipping one of these is a failure.
    fn named(&self) -> &[PathBuf] {
        &[]
    }

    /// A format of its own for `--format`, in which only answers are printed.
    const OWN_FORMAT: Option<&'static str> = None;

    /// The name under which the answer of an item is printed.
    fn item(index: usize, _: &Self::Input) -> ItemName {
        ItemName::plain("task", format!("task {index}"))
    }

    /// Prints an answer. Errors are reported before.
    fn show(_: &ItemName, _: Self::Output, _: Format) -> Shown {
        Shown::Nothing
    }
}

/// The format of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
    /// [`OWN_FORMAT`](Workload::OWN_FORMAT).
    Own,
}

/// The name of an item, under which its answer, its failure or its skip is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemName {
    /// The field that it is in JSON.
    pub key: &'static str,
    /// The name as text.
    pub text: String,
    /// The exact name where the text is not exact: a path that is not UTF-8.
    pub bytes: Option<Vec<u8>>,
}

impl ItemName {
    /// A text.
    pub fn plain(key: &'static str, text: String) -> Self {
        Self { key, text, bytes: None }
    }

    /// A path.
    pub fn path(key: &'static str, path: &Path) -> Self {
        let bytes = path.to_str().is_none().then(|| path.as_os_str().as_encoded_bytes().to_vec());
        Self { key, text: shown(path), bytes }
    }
}

/// The output for an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// Nothing; only the time of all of them is printed.
    Nothing,
    /// These bytes.
    Text(Vec<u8>),
    /// These fields, beside the item's name.
    Json(Map<String, Value>),
    /// There is no answer, because of this.
    Failed(String),
}

impl Shown {
    /// One field.
    pub fn json(name: &str, value: Value) -> Self {
        Self::Json([(name.to_owned(), value)].into_iter().collect())
    }

    /// An answer in the form that `show` gives, or why there is none.
    pub fn answered<T>(outcome: Result<T, ItemError>, show: impl FnOnce(T) -> Self) -> Self {
        match outcome {
            Ok(answer) => show(answer),
            Err(error) => Self::Failed(error.reason),
        }
    }
}

/// Options that clap has checked already.
pub(crate) fn parsed<T: Args>(matches: &ArgMatches) -> Result<T, PrepareError> {
    T::from_arg_matches(matches).map_err(|error| PrepareError::Usage { reason: error.to_string() })
}
