//! `lab run`: one cell on the user's own input, with the answers on standard output.
//!
//! Every item has a name, and what becomes of it is told under that name: an answer, a failure, or a skip. In JSON each line
//! is an object whose `kind` is `answer`, `failed`, `skipped` or, of the last one, `summary`.

use std::{
    io::{self, BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::{Args, Subcommand, ValueEnum};
use executor_core::{Executor, Payload, Task, TaskError};
use serde_json::{Map, Value, json};
use workloads::{
    Digest, Outcome, PrepareError, Skipped, fetch,
    kernels::{self, IoWait, Spin},
    sha256, shown, sqlite,
};

use crate::{
    error::{LabError, chain},
    executors::{Kind, Visit, with_executor},
    own_input::{A_GIB, AN_HOUR_MS, Databases, Files, Urls},
    place, server,
    tell::tell,
};

/// Which executor, and how to print.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// What runs the tasks.
    #[arg(long, short, value_enum, default_value_t = Kind::Thread)]
    executor: Kind,
    /// Number of workers; default: one per CPU.
    #[arg(long, short, value_parser = clap::value_parser!(u32).range(1..=4096))]
    workers: Option<u32>,
    /// How the answers are printed; `sha256sum` is for sha256 only.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Exit with 1 also when something that was not named itself was skipped, such as a socket in a folder.
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Sha256sum,
}

/// With URLs of one's own there is no local server that could be told anything.
const OWN: [&str; 2] = ["urls", "url"];

/// How the local server answers.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// How long the local server holds every answer back, in milliseconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=AN_HOUR_MS), conflicts_with_all = OWN)]
    latency_ms: u64,
    /// How much longer, at most, in milliseconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=AN_HOUR_MS), conflicts_with_all = OWN)]
    jitter_ms: u64,
    /// Bytes in a body.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(0..=A_GIB), conflicts_with_all = OWN)]
    body_bytes: u32,
    /// Of a thousand answers, how many are errors.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000), conflicts_with_all = OWN)]
    errors_per_mille: u32,
}

impl ServerArgs {
    fn config(&self) -> fetch::ServerConfig {
        fetch::ServerConfig {
            latency_ms: self.latency_ms,
            jitter_ms: self.jitter_ms,
            body_bytes: self.body_bytes,
            errors_per_mille: self.errors_per_mille,
            ..Default::default()
        }
    }
}

/// What to run.
#[derive(Debug, Subcommand)]
pub(crate) enum RealWork {
    /// Hash files, and folders with all below them.
    Sha256 {
        /// As --path.
        #[arg(value_name = "PATH")]
        more: Vec<PathBuf>,
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        common: Common,
    },
    /// Ask databases a query; each is opened read-only.
    Sqlite {
        /// As --db.
        #[arg(value_name = "FILE")]
        more: Vec<PathBuf>,
        #[command(flatten)]
        databases: Databases,
        #[command(flatten)]
        common: Common,
    },
    /// Get URLs.
    Fetch {
        /// URLs, instead of a list of them.
        #[arg(value_name = "URL", conflicts_with = "urls")]
        url: Vec<String>,
        #[command(flatten)]
        urls: Urls,
        /// How many URLs of the local server.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = OWN)]
        count: u32,
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        common: Common,
    },
    /// Compute.
    Spin {
        /// Number of tasks.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        tasks: u32,
        /// Steps of the computation in each.
        #[arg(long, default_value_t = 500_000)]
        iterations: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Wait without using the CPU.
    // Named as in reports and in `lab sweep`.
    #[command(name = "io_wait", alias = "io-wait")]
    IoWait {
        /// Number of tasks.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        tasks: u32,
        /// Microseconds to wait in each.
        #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(0..=1000 * AN_HOUR_MS))]
        micros: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Move bytes to the task and back.
    Payload {
        /// Number of tasks.
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
        tasks: u32,
        /// Bytes in.
        #[arg(long, default_value_t = 256 * 1024, value_parser = clap::value_parser!(u32).range(0..=A_GIB))]
        input_bytes: u32,
        /// Bytes out.
        #[arg(long, default_value_t = 64 * 1024, value_parser = clap::value_parser!(u32).range(0..=A_GIB))]
        output_bytes: u32,
        #[command(flatten)]
        common: Common,
    },
}

/// Runs the cell and prints its answers.
pub(crate) fn run(work: RealWork) -> Result<ExitCode, LabError> {
    let data = place::default_data();
    match work {
        RealWork::Sha256 { more, files, common } => {
            let spec = files.spec(&more, sha256::Spec::default())?;
            tell_made("--path", &spec.paths, &data);
            let prepared = match sha256::prepare(&spec, &data) {
                // Each is named with its reason, also when nothing else is left.
                Err(PrepareError::AllSkipped { skipped }) => {
                    let left_out = tell_skipped(&common, &skipped, &spec.paths)?;
                    let error = PrepareError::AllSkipped { skipped };
                    if common.format == Format::Json {
                        print_line(&summary(0, 0, left_out.all, 0, &Digest::new().finish()))?;
                    }
                    return Err(error.into());
                }
                prepared => prepared?,
            };
            let left_out = tell_skipped(&common, &prepared.skipped, &spec.paths)?;
            let names = prepared.items.iter().map(|item| Name::path("path", &item.path())).collect();
            let print = |_: &Name, answer: sha256::Answer| match common.format {
                Format::Json => {
                    Printed::Json(fields([("sha256", json!(answer.sha256)), ("bytes", json!(answer.bytes))]))
                }
                _ => Printed::Text(answer.sha256sum_line()),
            };
            run_job(&common, Job::new(&common, sha256::hash_file, names, prepared.items, answered(print)), left_out)
        }
        RealWork::Sqlite { more, databases, common } => {
            refuse_sha256sum(&common)?;
            let spec = databases.spec(&more, sqlite::Spec::default());
            tell_made("--db", &spec.databases, &data);
            let prepared = sqlite::prepare(&spec, &data)?;
            let names = prepared.items.iter().map(|item| Name::path("database", &item.database)).collect();
            let print = |name: &Name, answer: sqlite::Answer| match common.format {
                Format::Json => Printed::Json(fields([("rows", json!(rows_as_json(&answer)))])),
                _ => Printed::Text(rows_as_text(&name.text, &answer)),
            };
            let print = answered(print);
            let hinted = move |name: &Name, answer| match print(name, answer) {
                Printed::Failed(error) if error.contains("no such table") => {
                    Printed::Failed(format!("{error}; name one of its own with --query"))
                }
                printed => printed,
            };
            let job = Job::new(&common, sqlite::query_database, names, prepared.items, hinted);
            run_job(&common, job, LeftOut::default())
        }
        RealWork::Fetch { url, urls, count, server, common } => {
            refuse_sha256sum(&common)?;
            let spec = urls.spec()?;
            if let Some(file) = url.iter().find(|url| !url.contains("://") && Path::new(url).is_file()) {
                return Err(LabError::Usage(format!(
                    "{file} is a file and no URL: name a list of URLs with --urls {file}"
                )));
            }
            // Lives until the last answer is here.
            let config = server.config();
            let is_own = !url.is_empty() || spec.urls.is_some();
            let server = if is_own { None } else { Some(server::start(&config)?) };
            let prepared = match &server {
                Some(server) => fetch::prepare_local(&spec, server.address(), &config, count)?,
                None if url.is_empty() => fetch::prepare(&spec)?,
                None => fetch::prepare_urls(&spec, url)?,
            };
            let names = prepared.items.iter().map(|item| Name::plain("url", item.shown())).collect();
            let print = |name: &Name, answer: fetch::Answer| match common.format {
                Format::Json => Printed::Json(fields([("answer", json!(answer))])),
                _ => Printed::Text(format!("{} {} bytes {}\n", answer.status, answer.bytes, name.text).into_bytes()),
            };
            let job = Job::new(&common, fetch::fetch_url, names, prepared.items, answered(print));
            run_job(&common, job, LeftOut::default())
        }
        RealWork::Spin { tasks, iterations, common } => {
            refuse_sha256sum(&common)?;
            let items = (0..tasks).map(|seed| Spin { iterations, seed: seed.into() }).collect();
            run_job(&common, Job::new(&common, kernels::spin, numbered(tasks), items, unprinted), LeftOut::default())
        }
        RealWork::IoWait { tasks, micros, common } => {
            refuse_sha256sum(&common)?;
            let items = (0..tasks).map(|index| IoWait { micros, index: index.into() }).collect();
            run_job(&common, Job::new(&common, kernels::io_wait, numbered(tasks), items, unprinted), LeftOut::default())
        }
        RealWork::Payload { tasks, input_bytes, output_bytes, common } => {
            refuse_sha256sum(&common)?;
            let items = (0..tasks)
                .map(|index| kernels::Payload::new(input_bytes as usize, output_bytes, index.into()))
                .collect();
            run_job(&common, Job::new(&common, kernels::payload, numbered(tasks), items, unprinted), LeftOut::default())
        }
    }
}

fn refuse_sha256sum(common: &Common) -> Result<(), LabError> {
    if common.format == Format::Sha256sum {
        return Err(LabError::Usage("--format sha256sum is for sha256 only; use text or json".to_owned()));
    }
    Ok(())
}

/// Whatever the current folder is, the made files are in it: whoever starts the lab elsewhere looks for them there.
fn tell_made(option: &str, given: &[PathBuf], data: &Path) {
    if given.is_empty() {
        let place = std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf());
        tell!("no {option}: made files are used, which are kept in {}", place.display());
    }
}

/// What was left out.
#[derive(Debug, Clone, Copy, Default)]
struct LeftOut {
    all: usize,
    /// Of them, what the user has named: as bad as a failure.
    named: usize,
}

fn tell_skipped(common: &Common, skipped: &[Skipped], named: &[PathBuf]) -> Result<LeftOut, LabError> {
    let mut left_out = LeftOut { all: skipped.len(), named: 0 };
    for skipped in skipped {
        tell!("skipped {skipped}");
        left_out.named += usize::from(named.contains(&skipped.path));
        if common.format == Format::Json {
            let reason = fields([("reason", json!(skipped.reason))]);
            print_line(&Name::path("path", &skipped.path).line("skipped", reason))?;
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

/// The name of an item: what its answer, its failure or its skip is told under.
struct Name {
    /// Which field it is in JSON.
    key: &'static str,
    text: String,
    /// Where the text cannot say it: a path that is not UTF-8.
    bytes: Option<Vec<u8>>,
}

impl Name {
    fn plain(key: &'static str, text: String) -> Self {
        Self { key, text, bytes: None }
    }

    fn path(key: &'static str, path: &Path) -> Self {
        let bytes = path.to_str().is_none().then(|| path.as_os_str().as_encoded_bytes().to_vec());
        Self { key, text: shown(path), bytes }
    }

    /// A line of JSON about it.
    fn line(&self, kind: &str, mut fields: Map<String, Value>) -> Vec<u8> {
        fields.insert("kind".to_owned(), json!(kind));
        fields.insert(self.key.to_owned(), json!(self.text));
        if let Some(bytes) = &self.bytes {
            fields.insert(format!("{}_bytes", self.key), json!(bytes));
        }
        line(&Value::Object(fields))
    }
}

fn numbered(tasks: u32) -> Vec<Name> {
    (0..tasks).map(|number| Name::plain("task", format!("task {number}"))).collect()
}

fn fields<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn line(value: &Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}

/// The last line of JSON, whatever was run and whatever became of it.
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

/// Plain JSON values; a blob is an array of numbers, and an infinity, which JSON has no number for, a string.
fn rows_as_json(answer: &sqlite::Answer) -> Vec<Vec<Value>> {
    let value = |value: &sqlite::Value| match value {
        sqlite::Value::Null => Value::Null,
        sqlite::Value::Integer(number) => json!(number),
        sqlite::Value::Real(number) if number.is_infinite() => {
            json!(if *number > 0.0 { "Infinity" } else { "-Infinity" })
        }
        sqlite::Value::Real(number) => json!(number),
        sqlite::Value::Text(text) => json!(text),
        sqlite::Value::Blob(bytes) => json!(bytes),
    };
    answer.rows.iter().map(|row| row.iter().map(value).collect()).collect()
}

fn rows_as_text(name: &str, answer: &sqlite::Answer) -> Vec<u8> {
    let mut text = String::new();
    for row in &answer.rows {
        let values: Vec<String> = row
            .iter()
            .map(|value| match value {
                sqlite::Value::Null => "NULL".to_owned(),
                sqlite::Value::Integer(number) => number.to_string(),
                sqlite::Value::Real(number) => number.to_string(),
                sqlite::Value::Text(text) => text.clone(),
                sqlite::Value::Blob(bytes) => format!("{} bytes", bytes.len()),
            })
            .collect();
        text.push_str(&format!("{name}: {}\n", values.join(" | ")));
    }
    text.into_bytes()
}

/// What becomes of an answer.
enum Printed {
    Nothing,
    Text(Vec<u8>),
    Json(Map<String, Value>),
    Failed(String),
}

/// For tasks that say themselves why their item has no answer.
fn answered<T>(print: impl Fn(&Name, T) -> Printed) -> impl Fn(&Name, Result<T, workloads::ItemError>) -> Printed {
    move |name, answer| match answer {
        Ok(answer) => print(name, answer),
        Err(error) => Printed::Failed(error.reason),
    }
}

fn unprinted<T>(_: &Name, _: T) -> Printed {
    Printed::Nothing
}

struct Job<F, A, P, M> {
    task: F,
    /// Names and items are in step.
    names: Vec<Name>,
    items: Vec<A>,
    print: P,
    format: Format,
    skipped: usize,
    marker: std::marker::PhantomData<fn() -> M>,
}

impl<F, A, P, M> Job<F, A, P, M>
where
    F: Task<A, M>,
    P: Fn(&Name, F::Output) -> Printed,
{
    fn new(common: &Common, task: F, names: Vec<Name>, items: Vec<A>, print: P) -> Self {
        debug_assert_eq!(names.len(), items.len());
        Self { task, names, items, print, format: common.format, skipped: 0, marker: std::marker::PhantomData }
    }
}

fn run_job<F, A, P, M>(common: &Common, mut job: Job<F, A, P, M>, left_out: LeftOut) -> Result<ExitCode, LabError>
where
    F: Task<A, M>,
    A: Payload,
    F::Output: Payload + Outcome,
    P: Fn(&Name, F::Output) -> Printed,
    M: 'static,
{
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = common.workers.map_or(cores, |workers| workers as usize);
    if let (Kind::Serial, Some(workers @ 2..)) = (common.executor, common.workers) {
        tell!("serial has one worker: --workers {workers} changes nothing");
    }
    job.skipped = left_out.all;
    let failed = with_executor(common.executor, workers, job)??;
    let is_bad = failed > 0 || left_out.named > 0 || (common.strict && left_out.all > 0);
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl<F, A, P, M> Visit for Job<F, A, P, M>
where
    F: Task<A, M>,
    A: Payload,
    F::Output: Payload + Outcome,
    P: Fn(&Name, F::Output) -> Printed,
    M: 'static,
{
    /// How many items failed.
    type Output = Result<usize, LabError>;

    fn visit<E: Executor>(self, executor: &E, _: &dyn Fn() -> Vec<u32>) -> Self::Output {
        let mut output = BufWriter::new(io::stdout().lock());
        let (count, mut failed, mut digest) = (self.names.len(), 0, Digest::new());
        let start = Instant::now();
        let mut answers = executor.map(self.task, self.items);
        // By the names and not by the answers: each name has one line, whatever came back for it.
        for name in &self.names {
            let printed = match answers.next() {
                Some(Ok(answer)) => {
                    digest.add(&answer);
                    (self.print)(name, answer)
                }
                Some(Err(error)) => {
                    // Answers without one of them are not those of fewer items.
                    digest.add(&"lost");
                    Printed::Failed(lost(&error))
                }
                None => Printed::Failed("no answer came back".to_owned()),
            };
            let bytes = match printed {
                Printed::Nothing => continue,
                Printed::Text(bytes) => bytes,
                Printed::Json(fields) => name.line("answer", fields),
                Printed::Failed(error) => {
                    failed += 1;
                    tell!("failed {}: {error}", name.text);
                    if self.format != Format::Json {
                        continue;
                    }
                    name.line("failed", fields([("error", json!(error))]))
                }
            };
            match output.write_all(&bytes) {
                // Whoever reads has seen enough, as in `lab run ... | head`.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(failed),
                written => written.map_err(LabError::Output)?,
            }
        }
        let elapsed = start.elapsed();
        let digest = digest.finish();
        let last = match self.format {
            Format::Json => {
                output.write_all(&summary(count, failed, self.skipped, crate::stats::nanos(elapsed), &digest))
            }
            Format::Text => {
                let rate = count as f64 / elapsed.as_secs_f64();
                let tasks = if count == 1 { "task" } else { "tasks" };
                let time = reports::format::duration(elapsed.as_nanos() as f64);
                tell!("{count} {tasks} in {time}, {rate:.0} tasks/s, {failed} failed, digest {}", &digest[..16]);
                Ok(())
            }
            Format::Sha256sum => Ok(()),
        };
        match last.and_then(|()| output.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(LabError::Output(error)),
            _ => Ok(failed),
        }
    }
}

/// Why a task gave nothing back, and what helps those who do not write the program.
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
    fn an_answer_that_is_too_long_has_a_cure_for_those_who_write_no_programs() {
        let error = |cause: &str| TaskError::Encode { what: "result".to_owned(), cause: cause.to_owned().into() };
        let told = lost(&error("it is longer than 512 MiB: use SharedBytes::with_len"));
        assert!(told.contains("--executor thread") && !told.contains("SharedBytes"), "{told}");
        assert!(lost(&error("something else")).contains("something else"));
    }
}
