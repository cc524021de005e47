//! `lab run`: one cell on the user's own input, with the answers on standard output.

use std::{
    io::{self, BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::{Args, Subcommand, ValueEnum};
use executor_core::{Executor, Payload, Task, TaskError};
use serde_json::json;
use workloads::{
    Digest, ItemError, PrepareError, Skipped, fetch,
    kernels::{self, IoWait, Spin},
    sha256, sqlite,
};

use crate::{
    error::{LabError, chain},
    executors::{Kind, Visit, with_executor},
    experiments::bench,
};

/// The longest wait that makes sense to ask for.
const AN_HOUR_MS: u64 = 3_600_000;

/// The most bytes in one piece: more could not be held in memory, and asking for them would end the program.
const A_GIB: i64 = 1 << 30;

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
    /// Exit with 1 when anything was skipped or failed.
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Sha256sum,
}

/// How the local server answers.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// How long the local server holds every answer back, in milliseconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=AN_HOUR_MS))]
    latency_ms: u64,
    /// How much longer, at most, in milliseconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=AN_HOUR_MS))]
    jitter_ms: u64,
    /// Bytes in a body.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(0..=A_GIB))]
    body_bytes: u32,
    /// Of a thousand answers, how many are errors.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
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
        /// Files or folders; without any, files that are made in target/lab-data of the current folder.
        #[arg(long, num_args = 1..)]
        path: Vec<PathBuf>,
        /// Bytes read at a time.
        #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=A_GIB))]
        chunk_size: u32,
        #[command(flatten)]
        common: Common,
    },
    /// Ask databases a query; each is opened read-only.
    Sqlite {
        /// SQLite databases; without any, three that are made in target/lab-data of the current folder.
        #[arg(long, num_args = 1..)]
        db: Vec<PathBuf>,
        /// The query.
        #[arg(long, default_value = sqlite::DEFAULT_QUERY, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        query: String,
        #[command(flatten)]
        common: Common,
    },
    /// Get URLs.
    Fetch {
        /// A file with one URL per line; a local server answers without one.
        #[arg(long)]
        urls: Option<PathBuf>,
        /// The longest that one URL may take, in milliseconds.
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=24 * AN_HOUR_MS))]
        timeout_ms: u64,
        /// How many redirects are followed.
        #[arg(long, default_value_t = 5)]
        max_redirects: u32,
        /// The longest body, in bytes.
        #[arg(long, default_value_t = 10 << 20, value_parser = clap::value_parser!(u64).range(1..))]
        max_body: u64,
        /// How many URLs of the local server.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
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
    let data = bench::default_data();
    match work {
        RealWork::Sha256 { path, chunk_size, common } => {
            let chunk_size = chunk_size as usize;
            tell_made("--path", &path, &data);
            let spec = sha256::Spec { paths: path, chunk_size, ..Default::default() };
            let prepared = sha256::prepare(&spec, &data).inspect_err(|error| {
                // Each is named with its reason, also when nothing else is left.
                if let PrepareError::AllSkipped { skipped } = error {
                    tell_skipped(skipped);
                }
            })?;
            let skipped = tell_skipped(&prepared.skipped);
            let job =
                Job::new(&common, sha256::hash_file, prepared.items, |answer: &Result<sha256::Answer, ItemError>| {
                    print_item(answer.as_ref(), |answer| match common.format {
                        Format::Json => line(&json!({
                            "path": answer.path().display().to_string(), "sha256": answer.sha256, "bytes": answer.bytes
                        })),
                        _ => answer.sha256sum_line(),
                    })
                });
            run_job(&common, job, skipped)
        }
        RealWork::Sqlite { db, query, common } => {
            refuse_sha256sum(&common)?;
            tell_made("--db", &db, &data);
            let prepared = sqlite::prepare(&sqlite::Spec { databases: db, query, ..Default::default() }, &data)?;
            let names: Vec<String> = prepared.items.iter().map(|item| item.database.display().to_string()).collect();
            let mut names = names.into_iter();
            let job = Job::new(&common, sqlite::query_database, prepared.items, move |answer| {
                let name = names.next().unwrap_or_default();
                let printed = print_item(answer.as_ref(), |answer: &sqlite::Answer| match common.format {
                    Format::Json => line(&json!({ "database": name, "rows": rows_as_json(answer) })),
                    _ => rows_as_text(&name, answer),
                });
                match printed {
                    Printed::Failed(error) if error.contains("no such table") => {
                        Printed::Failed(format!("{error}; name one of its own with --query"))
                    }
                    printed => printed,
                }
            });
            run_job(&common, job, 0)
        }
        RealWork::Fetch { urls, timeout_ms, max_redirects, max_body, count, server, common } => {
            refuse_sha256sum(&common)?;
            // The system would only say that there is no such file.
            let is_url = |path: &PathBuf| path.starts_with("http:") || path.starts_with("https:");
            if urls.as_ref().is_some_and(is_url) {
                return Err(LabError::Usage("--urls takes a file: put the URL in a file, one a line"));
            }
            let spec = fetch::Spec { urls, timeout_ms, max_redirects, max_body };
            // Lives until the last answer is here.
            let config = server.config();
            let server = if spec.urls.is_none() { Some(bench::start_server(&config)?) } else { None };
            let prepared = match &server {
                Some(server) => fetch::prepare_local(&spec, server.address(), &config, count)?,
                None => fetch::prepare(&spec)?,
            };
            let urls: Vec<String> = prepared.items.iter().map(|item| item.url.clone()).collect();
            let mut urls = urls.into_iter();
            let job = Job::new(&common, fetch::fetch_url, prepared.items, move |answer| {
                let url = urls.next().unwrap_or_default();
                print_item(answer.as_ref(), |answer: &fetch::Answer| match common.format {
                    Format::Json => line(&json!({ "url": url, "answer": answer })),
                    _ => format!("{} {} bytes {url}\n", answer.status, answer.bytes).into_bytes(),
                })
            });
            run_job(&common, job, 0)
        }
        RealWork::Spin { tasks, iterations, common } => {
            refuse_sha256sum(&common)?;
            let items = (0..tasks).map(|seed| Spin { iterations, seed: seed.into() }).collect();
            run_job(&common, Job::new(&common, kernels::spin, items, |_: &u64| Printed::Nothing), 0)
        }
        RealWork::IoWait { tasks, micros, common } => {
            refuse_sha256sum(&common)?;
            let items = (0..tasks).map(|index| IoWait { micros, index: index.into() }).collect();
            run_job(&common, Job::new(&common, kernels::io_wait, items, |_: &u64| Printed::Nothing), 0)
        }
        RealWork::Payload { tasks, input_bytes, output_bytes, common } => {
            refuse_sha256sum(&common)?;
            let items = (0..tasks)
                .map(|index| kernels::Payload::new(input_bytes as usize, output_bytes, index.into()))
                .collect();
            let print = |_: &kernels::PayloadAnswer| Printed::Nothing;
            run_job(&common, Job::new(&common, kernels::payload, items, print), 0)
        }
    }
}

fn refuse_sha256sum(common: &Common) -> Result<(), LabError> {
    if common.format == Format::Sha256sum {
        return Err(LabError::Usage("--format sha256sum is for sha256 only; use text or json"));
    }
    Ok(())
}

/// Whatever the current folder is, the made files are in it: whoever starts the lab elsewhere looks for them there.
fn tell_made(option: &str, given: &[PathBuf], data: &Path) {
    if given.is_empty() {
        let place = std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf());
        eprintln!("no {option}: made files are used, which are kept in {}", place.display());
    }
}

fn tell_skipped(skipped: &[Skipped]) -> usize {
    for skipped in skipped {
        eprintln!("skipped {skipped}");
    }
    skipped.len()
}

fn line(value: &serde_json::Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}

/// Plain JSON values; a blob is an array of numbers.
fn rows_as_json(answer: &sqlite::Answer) -> Vec<Vec<serde_json::Value>> {
    let value = |value: &sqlite::Value| match value {
        sqlite::Value::Null => serde_json::Value::Null,
        sqlite::Value::Integer(number) => json!(number),
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
    Line(Vec<u8>),
    Failed(String),
}

fn print_item<A>(answer: Result<&A, &ItemError>, print: impl FnOnce(&A) -> Vec<u8>) -> Printed {
    match answer {
        Ok(answer) => Printed::Line(print(answer)),
        Err(error) => Printed::Failed(error.to_string()),
    }
}

struct Job<F, A, P, M> {
    task: F,
    items: Vec<A>,
    print: P,
    quiet: bool,
    json: bool,
    marker: std::marker::PhantomData<fn() -> M>,
}

impl<F, A, P, M> Job<F, A, P, M>
where
    F: Task<A, M>,
    P: FnMut(&F::Output) -> Printed,
{
    fn new(common: &Common, task: F, items: Vec<A>, print: P) -> Self {
        let quiet = common.format == Format::Sha256sum;
        Self { task, items, print, quiet, json: common.format == Format::Json, marker: std::marker::PhantomData }
    }
}

fn run_job<F, A, P, M>(common: &Common, job: Job<F, A, P, M>, skipped: usize) -> Result<ExitCode, LabError>
where
    F: Task<A, M>,
    A: Payload,
    F::Output: Payload,
    P: FnMut(&F::Output) -> Printed,
    M: 'static,
{
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = common.workers.map_or(cores, |workers| workers as usize);
    if let (Kind::Serial, Some(workers @ 2..)) = (common.executor, common.workers) {
        eprintln!("serial has one worker: --workers {workers} changes nothing");
    }
    let tasks = job.items.len();
    let failed = with_executor(common.executor, workers, job)??;
    let is_bad = (common.strict && skipped + failed > 0) || (failed > 0 && failed == tasks);
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl<F, A, P, M> Visit for Job<F, A, P, M>
where
    F: Task<A, M>,
    A: Payload,
    F::Output: Payload,
    P: FnMut(&F::Output) -> Printed,
    M: 'static,
{
    /// How many items failed.
    type Output = Result<usize, LabError>;

    fn visit<E: Executor>(mut self, executor: &E, _: &dyn Fn() -> Vec<u32>) -> Self::Output {
        let mut output = BufWriter::new(io::stdout().lock());
        let (count, mut failed, mut digest) = (self.items.len(), 0, Digest::new());
        let start = Instant::now();
        for answer in executor.map(self.task, self.items) {
            let printed = match &answer {
                Ok(answer) => {
                    digest.add(answer);
                    (self.print)(answer)
                }
                // Keeps the names of the following items in step.
                Err(error) => Printed::Failed(lost(error)),
            };
            match printed {
                Printed::Nothing => {}
                Printed::Line(bytes) => match output.write_all(&bytes) {
                    // Whoever reads has seen enough, as in `lab run ... | head`.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(failed),
                    written => written.map_err(LabError::Output)?,
                },
                Printed::Failed(error) => {
                    failed += 1;
                    eprintln!("failed {error}");
                }
            }
        }
        let elapsed = start.elapsed();
        let digest = digest.finish();
        let summary = if self.json {
            output.write_all(&line(&json!({
                "tasks": count, "failed": failed, "makespan_ns": crate::cell::nanos(elapsed), "digest": digest
            })))
        } else {
            if !self.quiet {
                let rate = count as f64 / elapsed.as_secs_f64();
                let tasks = if count == 1 { "task" } else { "tasks" };
                let time = reports::format::duration(elapsed.as_nanos() as f64);
                eprintln!("{count} {tasks} in {time}, {rate:.0} tasks/s, {failed} failed, digest {}", &digest[..16]);
            }
            Ok(())
        };
        match summary.and_then(|()| output.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(LabError::Output(error)),
            _ => Ok(failed),
        }
    }
}

fn lost(error: &TaskError) -> String {
    format!("a task was lost: {}", chain(error))
}
