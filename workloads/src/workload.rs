//! What a workload is.
//!
//! A workload is a value: its settings. They say how its input is made or checked ([`prepare`](Workload::prepare)), and travel
//! to the process that takes a sample, which prepares the same input once more. Its task ([`run`](Workload::run)) is a plain
//! function with a serde argument, the same on every executor. A task's own failure is its output ([`ItemError`]), so that
//! one bad file, database or URL never costs its neighbors.
//!
//! Six of the items below are all that a workload must have. The others say how the lab's commands show it.

use std::{
    any::Any,
    fmt, io,
    path::{Path, PathBuf},
    process,
};

use clap::{ArgMatches, Args, Command};
use executor_core::Payload;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{Digest, ItemError, Outcome, PrepareError, Prepared, shown};

/// The longest wait that makes sense to ask for.
pub(crate) const AN_HOUR_MS: u64 = 3_600_000;

/// The most bytes in one piece: more could not be held in memory, and asking for them would end the program.
pub(crate) const A_GIB: i64 = 1 << 30;

/// How large the lab's jobs want a workload to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JobSize {
    /// About a minute for all workloads instead of about five.
    pub quick: bool,
    /// What this machine computes of [`kernels::spin()`](mod@crate::kernels) in a microsecond.
    pub iterations_per_us: f64,
}

/// Small, and for a fast core.
impl Default for JobSize {
    fn default() -> Self {
        Self { quick: true, iterations_per_us: 1000.0 }
    }
}

/// Where input is made, and how closely that of earlier is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Where made input is kept.
    pub data: &'a Path,
    /// In a process that was started by one that has prepared the same: of made input only names and lengths are looked at.
    pub again: bool,
}

/// Gives the command that starts this program again, to do [`beside`](Workload::beside) with the text.
pub type Start<'a> = &'a dyn Fn(&str) -> io::Result<process::Command>;

/// Something to run on executors.
pub trait Workload: fmt::Debug + Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its name in commands and reports.
    const NAME: &'static str;

    /// Another spelling that commands take.
    const ALIAS: Option<&'static str> = None;

    /// What `lab run` does with it, in a few words.
    const ABOUT: &'static str = "";

    /// Whether its tasks mostly wait, so that more workers than cores can help.
    const WAITS: bool = false;

    /// What one task is given.
    type Input: Payload + Clone;

    /// What it gives back.
    type Output: Payload + Outcome;

    /// As the lab's jobs measure it.
    fn of_job(job: &JobSize) -> Self;

    /// Makes the input, or checks what was given.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] when there is nothing to work on. What is wrong with one item is its own task's error.
    fn prepare(&self, place: &Place<'_>) -> Result<Prepared<Self::Input>, PrepareError>;

    /// The task.
    fn run(input: Self::Input) -> Self::Output;

    /// Adds what must be equal on all executors.
    fn add_to(&self, digest: &mut Digest, output: &Self::Output) {
        digest.add(output);
    }

    /// Starts what its tasks need beside them, and notes where that is; it ends when the value is dropped.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] when it cannot be started.
    fn begin(&mut self, _: Start<'_>) -> Result<Option<Box<dyn Any>>, PrepareError> {
        Ok(None)
    }

    /// What the program does that [`begin`](Self::begin) has started.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn beside(_: &str) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this workload needs nothing beside it"))
    }

    /// Whether a sweep takes paths without an option before them.
    const TAKES_PATHS: bool = false;

    /// What helps where paths are given that it does not take.
    const INSTEAD_OF_PATHS: &'static str = "";

    /// Adds the options of the user's own input, for `lab sweep`.
    fn own_options(command: Command) -> Command {
        command
    }

    /// The same work on the user's own input, where there is any.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] when the options make no sense, or a list cannot be read.
    fn with_own(self, _paths: &[PathBuf], _: &ArgMatches) -> Result<Self, PrepareError> {
        Ok(self)
    }

    /// Adds the options of `lab run`.
    fn run_options(command: Command) -> Command {
        command
    }

    /// What the options of `lab run` ask for; without any, a small job.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] when they make no sense.
    fn from_run(_: &ArgMatches) -> Result<Self, PrepareError> {
        Ok(Self::of_job(&JobSize::default()))
    }

    /// The option that names input where some was made instead; `None` where none is made, or it was named.
    fn made_without(&self) -> Option<&'static str> {
        None
    }

    /// Paths that the user has named: to skip one of these is a failure.
    fn named(&self) -> &[PathBuf] {
        &[]
    }

    /// A format of its own for `--format`, in which nothing but answers is printed.
    const OWN_FORMAT: Option<&'static str> = None;

    /// What the answer of an item is told under.
    fn item(index: usize, _: &Self::Input) -> ItemName {
        ItemName::plain("task", format!("task {index}"))
    }

    /// How an answer is printed. An error is told before it comes here.
    fn show(_: &ItemName, _: Self::Output, _: Format) -> Shown {
        Shown::Nothing
    }
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    Text,
    /// An object a line.
    Json,
    /// [`OWN_FORMAT`](Workload::OWN_FORMAT).
    Own,
}

/// The name of an item: what its answer, its failure or its skip is told under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemName {
    /// Which field it is in JSON.
    pub key: &'static str,
    /// In words.
    pub text: String,
    /// Where the text cannot say it: a path that is not UTF-8.
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

/// What is printed of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// Nothing: only how long all of them took.
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

    /// An answer as `show` says, or why there is none.
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
