//! The workloads that this lab knows, behind one type.

use std::{any::Any, io, marker::PhantomData, path::Path, path::PathBuf, process, process::ExitCode};

use clap::{ArgMatches, Command};
use reports::model::{Input, Skipped};
use serde::Deserialize as _;
use serde_json::Value;
use workloads::{
    Digest, JobSize, Outcome as _, Place, VisitWorkload, Workload,
    fetch::Fetch,
    kernels::{IoWaitTasks, SpinTasks},
    pathologies::PathologyTasks,
    sha256, shown, sqlite,
};

use crate::{
    cell::{self, CellSpec, Measured},
    error::LabError,
    open_loop::{self, OpenLoop, OpenLoopSpec},
    run_command,
    work::Work,
};

/// A workload without its type.
pub(crate) trait AnyWorkload: Send + Sync {
    fn name(&self) -> &'static str;
    fn alias(&self) -> Option<&'static str>;

    /// Whether a sweep takes paths without an option before them.
    fn takes_paths(&self) -> bool;
    /// Whether it takes a command line in their place.
    fn starts_programs(&self) -> bool;
    /// The remedy to name where it takes neither.
    fn instead_of_paths(&self) -> &'static str;

    /// The workload as the lab's jobs measure it.
    fn of_job(&self, job: &JobSize) -> Result<Work, LabError>;
    /// Adds the options of the user's own input.
    fn own_options(&self, command: Command) -> Command;
    /// The same work on the user's own input.
    fn with_own(&self, work: &Work, paths: &[PathBuf], matches: &ArgMatches) -> Result<Work, LabError>;
    /// Starts the server that its tasks need, if any, until the value is dropped.
    fn begin(&self, work: &mut Work) -> Result<Option<Box<dyn Any>>, LabError>;
    /// Runs that server: the program was started again for it.
    fn beside(&self, config: &str) -> io::Result<()>;
    /// Makes its input, and describes it and the items that are left out.
    fn input(&self, work: &Work, data: &Path) -> Result<(Input, Vec<Skipped>), LabError>;
    /// Runs a cell once.
    fn measure(&self, cell: &CellSpec) -> Result<Measured, LabError>;
    /// Takes its latencies at a chosen load.
    fn open_loop(&self, spec: &OpenLoopSpec) -> Result<OpenLoop, LabError>;

    /// Its items as JSON, for another program to run its task on.
    fn items(&self, _: &Work, _: &Path) -> Result<Vec<Value>, LabError> {
        Err(only_here(self.name()))
    }
    /// The digest of the answers of another program, which are JSON in the order of the items; an answer that is a failure is an
    /// error.
    fn digest(&self, _: &Work, _: Vec<Value>) -> Result<String, LabError> {
        Err(only_here(self.name()))
    }

    /// Its subcommand of `lab run`.
    fn command(&self) -> Command;
    /// Runs that subcommand.
    fn run(&self, matches: &ArgMatches, data: &Path) -> Result<ExitCode, LabError>;
}

fn only_here(name: &str) -> LabError {
    LabError::Usage(format!("{name} is a function of this program, which no other program can run"))
}

struct Of<W>(PhantomData<fn() -> W>);

impl<W: Workload> AnyWorkload for Of<W> {
    fn name(&self) -> &'static str {
        W::NAME
    }

    fn alias(&self) -> Option<&'static str> {
        W::ALIAS
    }

    fn takes_paths(&self) -> bool {
        W::TAKES_PATHS
    }

    fn starts_programs(&self) -> bool {
        W::STARTS_PROGRAMS
    }

    fn instead_of_paths(&self) -> &'static str {
        W::INSTEAD_OF_PATHS
    }

    fn of_job(&self, job: &JobSize) -> Result<Work, LabError> {
        Work::new(&W::of_job(job))
    }

    fn own_options(&self, command: Command) -> Command {
        W::own_options(command)
    }

    fn with_own(&self, work: &Work, paths: &[PathBuf], matches: &ArgMatches) -> Result<Work, LabError> {
        Work::new(&work.open::<W>()?.with_own(paths, matches)?)
    }

    fn begin(&self, work: &mut Work) -> Result<Option<Box<dyn Any>>, LabError> {
        let mut workload: W = work.open()?;
        let running = workload.begin(&|config| beside::<W>(config))?;
        *work = Work::new(&workload)?;
        Ok(running)
    }

    fn beside(&self, config: &str) -> io::Result<()> {
        W::beside(config)
    }

    fn input(&self, work: &Work, data: &Path) -> Result<(Input, Vec<Skipped>), LabError> {
        let prepared = work.open::<W>()?.prepare(&Place { data, again: false })?;
        let skipped = prepared
            .skipped
            .into_iter()
            .map(|path| Skipped { what: format!("{}: {}", W::NAME, shown(&path.path)), reason: path.reason });
        let input = Input {
            workload: W::NAME.to_owned(),
            description: prepared.description,
            waits: W::WAITS,
            fingerprint: prepared.fingerprint,
        };
        Ok((input, skipped.collect()))
    }

    fn measure(&self, cell: &CellSpec) -> Result<Measured, LabError> {
        cell::measure::<W>(cell)
    }

    fn items(&self, work: &Work, data: &Path) -> Result<Vec<Value>, LabError> {
        let prepared = work.open::<W>()?.prepare(&Place { data, again: true })?;
        let encode = |item| serde_json::to_value(item).map_err(|error| LabError::Sample(error.to_string()));
        prepared.items.iter().map(encode).collect()
    }

    fn digest(&self, work: &Work, answers: Vec<Value>) -> Result<String, LabError> {
        let (workload, mut digest) = (work.open::<W>()?, Digest::new());
        for (index, answer) in answers.into_iter().enumerate() {
            let output = W::Output::deserialize(answer)
                .map_err(|error| LabError::Sample(format!("answer {} is none of {}: {error}", index + 1, W::NAME)))?;
            if let Some(error) = output.error() {
                return Err(LabError::Sample(error.to_string()));
            }
            workload.add_to(&mut digest, &output);
        }
        Ok(digest.finish())
    }

    fn open_loop(&self, spec: &OpenLoopSpec) -> Result<OpenLoop, LabError> {
        let items = cell::prepare::<W>(&spec.cell)?.1;
        open_loop::measure(spec, W::run, items, |answer: &W::Output| answer.error().is_some())
    }

    fn command(&self) -> Command {
        run_command::command::<W>()
    }

    fn run(&self, matches: &ArgMatches, data: &Path) -> Result<ExitCode, LabError> {
        run_command::run::<W>(matches, data, &|config| beside::<W>(config))
    }
}

/// This program, started again as the server that a workload needs.
fn beside<W: Workload>(config: &str) -> io::Result<process::Command> {
    let mut command = process::Command::new(std::env::current_exe()?);
    command.args(["beside", W::NAME, config]);
    // Ctrl-C is for the lab, which ends the processes that it has started.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command)
}

/// Workloads of single experiments, which no command names.
static OF_EXPERIMENTS: [&dyn AnyWorkload; 6] = [
    &Of::<PathologyTasks>(PhantomData),
    // Those of the claims, which a lab without workloads judges, too.
    &Of::<SpinTasks>(PhantomData),
    &Of::<IoWaitTasks>(PhantomData),
    &Of::<sha256::Spec>(PhantomData),
    &Of::<sqlite::Spec>(PhantomData),
    &Of::<Fetch>(PhantomData),
];

/// The workloads by name, in the order of reports.
#[derive(Default)]
pub(crate) struct Registry(Vec<Box<dyn AnyWorkload>>);

impl Registry {
    /// The built-in workloads.
    pub(crate) fn built_in() -> Self {
        let mut registry = Self::default();
        workloads::each(&mut registry);
        registry
    }

    /// Adds a workload; it replaces a workload of the same name.
    pub(crate) fn add(&mut self, added: Box<dyn AnyWorkload>) {
        match self.0.iter_mut().find(|known| known.name() == added.name()) {
            Some(known) => *known = added,
            None => self.0.push(added),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &dyn AnyWorkload> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// # Errors
    ///
    /// [`LabError::Usage`] when there is no workload of this name.
    pub(crate) fn find(&self, name: &str) -> Result<&dyn AnyWorkload, LabError> {
        self.iter()
            .chain(OF_EXPERIMENTS)
            .find(|workload| workload.name() == name || workload.alias() == Some(name))
            .ok_or_else(|| LabError::Usage(format!("there is no workload {name}")))
    }
}

impl VisitWorkload for Registry {
    /// Adds a workload; it replaces a workload of the same name.
    fn visit<W: Workload>(&mut self) {
        self.add(Box::new(Of::<W>(PhantomData)));
    }
}
