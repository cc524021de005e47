//! `lab run`: one cell on the user's own input, with the answers on standard output.
//!
//! Every item has a name, and its outcome is printed under that name: an answer, a failure, or a skip. In JSON each line
//! is an object whose `kind` is `answer`, `failed`, `skipped` or, of the last one, `summary`.

use std::{
    io::{self, BufWriter, ErrorKind, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{ArgMatches, Args, Command, FromArgMatches, builder::PossibleValuesParser};
use executor_core::{Executor, Payload, Task, TaskError};
use serde_json::{Map, Value, json};
use workloads::{Digest, Format, ItemName, Place, PrepareError, Shown, Skipped, Start, Workload};

use crate::{
    error::{LabError, chain},
    executors::{AnyExecutor, Kind},
    stats::nanos,
    tell::tell,
};

/// The executor, and the form of the output.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// The executor that runs the tasks.
    #[arg(long, short, value_enum, default_value_t = Kind::Thread)]
    executor: Kind,
    /// Number of workers [default: one per CPU].
    #[arg(long, short, value_parser = clap::value_parser!(u32).range(1..=4096))]
    workers: Option<u32>,
    /// Form of the answers.
    #[arg(long, default_value = "text")]
    format: String,
    /// Exit with 1 also when an item was skipped that was not named itself, such as a socket in a folder.
    #[arg(long)]
    strict: bool,
}

impl Settings {
    /// Reads the options that [`with_common_options`] has added.
    pub(crate) fn read(matches: &ArgMatches) -> Result<Self, LabError> {
        Self::from_arg_matches(matches).map_err(|error| LabError::Usage(error.to_string()))
    }

    /// Runs the cell and prints its answers.
    pub(crate) fn answer<I, F, M, S>(&self, mut answers: Answers<I, F, M, S>) -> Result<ExitCode, LabError>
    where
        I: Payload,
        F: Task<I, M>,
        F::Output: Payload,
        M: 'static,
        S: FnMut(&mut Digest, &ItemName, F::Output) -> Shown,
    {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = self.workers.map_or(cores, |workers| workers as usize);
        if let (Kind::Serial, Some(workers @ 2..)) = (self.executor, self.workers) {
            tell!("serial has one worker: --workers {workers} changes nothing");
        }
        let left_out = answers.skipped;
        answers.format = self.format();
        let failed = answers.print(&AnyExecutor::start(self.executor, workers)?)?;
        let is_bad = failed > 0 || left_out.named > 0 || (self.strict && left_out.all > 0);
        Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    pub(crate) fn format(&self) -> Format {
        match self.format.as_str() {
            "text" => Format::Text,
            "json" => Format::Json,
            // Clap accepts no other value.
            _ => Format::Own,
        }
    }
}

/// The subcommand of one workload.
pub(crate) fn command<W: Workload>() -> Command {
    let command = Command::new(W::NAME).aliases(W::ALIAS);
    // `about` comes last: the options of a workload set one of their own.
    with_common_options(W::run_options(command), W::OWN_FORMAT).about(W::ABOUT)
}

/// Adds the options that all workloads have.
pub(crate) fn with_common_options(command: Command, own_format: Option<&'static str>) -> Command {
    let formats = ["text", "json"].into_iter().chain(own_format);
    Settings::augment_args(command).mut_arg("format", |format| format.value_parser(PossibleValuesParser::new(formats)))
}

/// Runs the cell and prints its answers.
pub(crate) fn run<W: Workload>(matches: &ArgMatches, data: &Path, start: Start<'_>) -> Result<ExitCode, LabError> {
    let settings = Settings::read(matches)?;
    let mut workload = W::from_run(matches)?;
    // The server lives until the last answer is here.
    let _beside = workload.begin(start)?;
    tell_made(workload.made_without(), data);
    let prepared = match workload.prepare(&Place { data, again: false }) {
        // Each skipped item is named with its reason, also when no other is left.
        Err(PrepareError::AllSkipped { skipped }) => {
            let left_out = tell_skipped(settings.format(), &skipped, workload.named())?;
            let error = PrepareError::AllSkipped { skipped };
            if settings.format() == Format::Json {
                print_line(&summary(0, 0, left_out.all, 0, &Digest::new().finish()))?;
            }
            return Err(error.into());
        }
        prepared => prepared?,
    };
    let left_out = tell_skipped(settings.format(), &prepared.skipped, workload.named())?;
    let format = settings.format();
    let names = prepared.items.iter().enumerate().map(|(index, item)| W::item(index, item)).collect();
    let show = move |digest: &mut Digest, name: &ItemName, answer: W::Output| {
        W::add_answer(digest, &answer);
        W::show(name, answer, format)
    };
    let answers = Answers::new(W::run, names, prepared.items, show);
    settings.answer(Answers { skipped: left_out, ..answers })
}

/// Says where the made files are: their folder is in the current one, so a lab that is started elsewhere makes new ones.
fn tell_made(option: Option<&str>, data: &Path) {
    if let Some(option) = option {
        let place = std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf());
        tell!("no {option}: made files are used, which are kept in {}", place.display());
    }
}

/// Numbers of the items that were left out.
#[derive(Debug, Clone, Copy, Default)]
struct LeftOut {
    all: usize,
    /// How many of them the user has named, which is as bad as a failure.
    named: usize,
}

fn tell_skipped(format: Format, skipped: &[Skipped], named: &[PathBuf]) -> Result<LeftOut, LabError> {
    let mut left_out = LeftOut { all: skipped.len(), named: 0 };
    for skipped in skipped {
        tell!("skipped {skipped}");
        left_out.named += usize::from(named.contains(&skipped.path));
        if format == Format::Json {
            let reason = field("reason", json!(skipped.reason));
            print_line(&name_line(&ItemName::path("path", &skipped.path), "skipped", reason))?;
        }
    }
    Ok(left_out)
}

fn print_line(line: &[u8]) -> Result<(), LabError> {
    match io::stdout().write_all(line) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(LabError::Output(error)),
        _ => Ok(()),
    }
}

/// A line of JSON about an item.
fn name_line(name: &ItemName, kind: &str, mut fields: Map<String, Value>) -> Vec<u8> {
    fields.insert("kind".to_owned(), json!(kind));
    fields.insert(name.key.to_owned(), json!(name.text));
    if let Some(bytes) = &name.bytes {
        fields.insert(format!("{}_bytes", name.key), json!(bytes));
    }
    line(&Value::Object(fields))
}

fn field(name: &str, value: Value) -> Map<String, Value> {
    [(name.to_owned(), value)].into_iter().collect()
}

fn line(value: &Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}

/// The last line of JSON: the summary of any run.
fn summary(tasks: usize, failed: usize, skipped: usize, makespan_ns: u64, digest: &str) -> Vec<u8> {
    line(&json!({
        "kind": "summary",
        "tasks": tasks,
        "failed": failed,
        "skipped": skipped,
        "makespan_ns": makespan_ns,
        "digest": digest
    }))
}

/// Prints the answers of a workload as they arrive.
pub(crate) struct Answers<I, F, M, S> {
    task: F,
    /// The names of the items, in their order.
    names: Vec<ItemName>,
    items: Vec<I>,
    /// Adds an answer to the digest, and gives its form.
    show: S,
    format: Format,
    skipped: LeftOut,
    marker: PhantomData<M>,
}

impl<I, F, M, S> Answers<I, F, M, S> {
    pub(crate) fn new(task: F, names: Vec<ItemName>, items: Vec<I>, show: S) -> Self {
        let (format, skipped) = (Format::Text, LeftOut::default());
        Self { task, names, items, show, format, skipped, marker: PhantomData }
    }
}

impl<I, F, M, S> Answers<I, F, M, S>
where
    I: Payload,
    F: Task<I, M>,
    F::Output: Payload,
    M: 'static,
    S: FnMut(&mut Digest, &ItemName, F::Output) -> Shown,
{
    /// Returns how many items failed.
    fn print(mut self, executor: &AnyExecutor) -> Result<usize, LabError> {
        let mut output = BufWriter::new(io::stdout().lock());
        let (mut failed, mut digest) = (0, Digest::new());
        let start = Instant::now();
        let mut answers = executor.map(self.task, self.items);
        // The loop goes over the names and not over the answers: each name has one line, also where no answer came back.
        for name in &self.names {
            let shown = match answers.next() {
                Some(Ok(answer)) => (self.show)(&mut digest, name, answer),
                Some(Err(error)) => {
                    // A lost answer must not make the digest that of fewer items.
                    digest.add(&"lost");
                    Shown::Failed(lost(&error))
                }
                None => Shown::Failed("no answer came back".to_owned()),
            };
            failed += usize::from(matches!(shown, Shown::Failed(_)));
            match output.write_all(&printed(name, shown, self.format)) {
                // The reader has closed the pipe, as in `lab run ... | head`.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(failed),
                written => written.map_err(LabError::Output)?,
            }
        }
        let (elapsed, digest) = (start.elapsed(), digest.finish());
        let last = match self.format {
            Format::Json => {
                output.write_all(&summary(self.names.len(), failed, self.skipped.all, nanos(elapsed), &digest))
            }
            Format::Text => {
                tell_summary(self.names.len(), failed, elapsed, &digest);
                Ok(())
            }
            Format::Own => Ok(()),
        };
        match last.and_then(|()| output.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(LabError::Output(error)),
            _ => Ok(failed),
        }
    }
}

/// The output for an item. A failure goes to standard error as well.
fn printed(name: &ItemName, shown: Shown, format: Format) -> Vec<u8> {
    match shown {
        Shown::Nothing => Vec::new(),
        Shown::Text(bytes) => bytes,
        Shown::Json(fields) => name_line(name, "answer", fields),
        Shown::Failed(error) => {
            tell!("failed {}: {error}", name.text);
            if format == Format::Json { name_line(name, "failed", field("error", json!(error))) } else { Vec::new() }
        }
    }
}

fn tell_summary(count: usize, failed: usize, elapsed: Duration, digest: &str) {
    let rate = count as f64 / elapsed.as_secs_f64();
    let tasks = if count == 1 { "task" } else { "tasks" };
    let time = reports::format::duration(elapsed.as_nanos() as f64);
    tell!("{count} {tasks} in {time}, {rate:.0} tasks/s, {failed} failed, digest {}", &digest[..16]);
}

/// Why a task has no result, with a remedy for a user who does not write the program.
fn lost(error: &TaskError) -> String {
    match error {
        TaskError::Encode { what, .. } if what == "result" && chain(error).contains("512 MiB") => {
            "its answer is longer than the 512 MiB that a worker process can send: ask for less of it, or run it on threads \
             (--executor thread)"
                .to_owned()
        }
        error => chain(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_too_long_has_a_cure_for_users_who_write_no_programs() {
        let error = |cause: &str| TaskError::Encode { what: "result".to_owned(), cause: cause.to_owned().into() };
        let told = lost(&error("it is longer than 512 MiB: use SharedBytes::with_len"));
        assert!(told.contains("--executor thread") && !told.contains("SharedBytes"), "{told}");
        assert!(lost(&error("something else")).contains("something else"));
    }
}
