//! The commands of the lab.

use std::{
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Parser, Subcommand, ValueEnum};
use reports::model::{OverheadRow, Run, Verdict};
use workloads::fetch::ServerConfig;

use crate::{
    cell::{self, CellSpec},
    compare,
    error::LabError,
    executors::Kind,
    experiments::{
        bench::{self, Settings},
        overhead::{self, Effort},
    },
    machine,
    real_input::{self, RealWork},
    runner::progress::Progress,
};

/// Measures executors on real work, and shows when process overhead beats thread overhead.
#[derive(Debug, Parser)]
#[command(
    name = "lab",
    version,
    after_help = "Exit codes: 0 done; 1 something went wrong, or --strict and something was skipped or failed; 2 wrong \
                  usage; 4 the runs cannot be compared; 5 an executor gave wrong answers; 130 stopped by Ctrl-C, with the \
                  report of what was measured."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The main job: all workloads on all executors, as one HTML report.
    Bench {
        /// About a minute instead of about five.
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        where_to: WhereTo,
    },
    /// One workload over executors and worker counts, as an HTML report.
    Sweep {
        /// What to run.
        workload: WorkloadName,
        /// On what; all of them by default.
        #[arg(long, value_enum, value_delimiter = ',')]
        executors: Vec<Kind>,
        /// With how many workers each.
        #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=4096))]
        workers: Vec<u32>,
        /// How many samples of each cell.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        reps: Option<u32>,
        /// Small input.
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        where_to: WhereTo,
    },
    /// One workload on one executor, with your own input; the answers go to standard output.
    Run {
        #[command(subcommand)]
        work: RealWork,
    },
    /// What one task costs on each executor, on its peers, and on the bare machine.
    Overhead {
        /// Number of workers.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=4096))]
        workers: u32,
        /// Fewer blocks.
        #[arg(long)]
        quick: bool,
        /// Seed of the order of measuring.
        #[arg(long)]
        seed: Option<u64>,
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Renders the report of an earlier run again.
    Report {
        /// Its run.json.
        run: PathBuf,
        /// Where to; default: beside it.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Compares two runs of the same machine and input, cell by cell.
    Compare {
        /// The run.json to compare with.
        base: PathBuf,
        /// The run.json to compare.
        new: PathBuf,
        #[arg(long, value_enum, default_value_t = TableFormat::Text)]
        format: TableFormat,
    },
    /// What host this is, and whether it is fit to measure.
    Machine {
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Takes one sample: a cell comes as JSON on standard input.
    #[command(hide = true)]
    Sample,
    /// The local HTTP server of the fetch workload.
    #[command(hide = true)]
    Serve {
        /// Its settings as JSON.
        config: String,
    },
    /// Measures the peer procspawn.
    #[cfg(feature = "peers")]
    #[command(hide = true)]
    Procspawn,
}

#[derive(Debug, clap::Args)]
struct WhereTo {
    /// Folder for index.html and run.json; default: reports/out, in a folder of the run.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Seed of the order of measuring; default: from the clock.
    #[arg(long)]
    seed: Option<u64>,
    /// How the findings and the places of both files are printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TableFormat {
    Text,
    Markdown,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WorkloadName {
    Sha256,
    Sqlite,
    Fetch,
    Spin,
    #[value(name = "io_wait", alias = "io-wait")]
    IoWait,
    Payload,
}

impl WorkloadName {
    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sqlite => "sqlite",
            Self::Fetch => "fetch",
            Self::Spin => "spin",
            Self::IoWait => "io_wait",
            Self::Payload => "payload",
        }
    }
}

/// Reads the command line and does what it says.
pub(crate) fn run() -> Result<ExitCode, LabError> {
    match Cli::parse().command {
        Command::Bench { quick, where_to } => {
            let seed = where_to.seed.unwrap_or_else(fresh_seed);
            let command = format!("cargo lab bench{} --seed {seed}", if quick { " --quick" } else { "" });
            measure(
                &where_to,
                &Settings {
                    quick,
                    seed,
                    workload: None,
                    executors: Kind::ALL.to_vec(),
                    workers: Vec::new(),
                    repetitions: None,
                    command,
                    data: bench::default_data(),
                },
            )
        }
        Command::Sweep { workload, executors, workers, reps, quick, where_to } => {
            let seed = where_to.seed.unwrap_or_else(fresh_seed);
            let executors = each_once(if executors.is_empty() { Kind::ALL.to_vec() } else { executors });
            let workers = each_once(workers);
            let list = |numbers: Vec<String>, name: &str| {
                if numbers.is_empty() { String::new() } else { format!(" --{name} {}", numbers.join(",")) }
            };
            let command = format!(
                "cargo lab sweep {}{}{}{}{} --seed {seed}",
                workload.name(),
                list(executors.iter().map(ToString::to_string).collect(), "executors"),
                list(workers.iter().map(ToString::to_string).collect(), "workers"),
                reps.map_or_else(String::new, |reps| format!(" --reps {reps}")),
                if quick { " --quick" } else { "" },
            );
            measure(
                &where_to,
                &Settings {
                    quick,
                    seed,
                    workload: Some(workload.name().to_owned()),
                    executors,
                    workers,
                    repetitions: reps,
                    command,
                    data: bench::default_data(),
                },
            )
        }
        Command::Run { work } => real_input::run(work),
        Command::Overhead { workers, quick, seed, format } => {
            let effort = if quick { Effort::QUICK } else { Effort::FULL };
            let mut progress = Progress::new(effort.blocks as u64)?;
            let rows = overhead::run(workers as usize, effort, seed.unwrap_or_else(fresh_seed), &mut progress)?;
            progress.end();
            match format {
                Format::Text => print(overhead_table(&rows).as_bytes())?,
                Format::Json => print_json(&rows)?,
            };
            Ok(if progress.interrupted() { ExitCode::from(130) } else { ExitCode::SUCCESS })
        }
        Command::Report { run, out } => {
            let loaded = reports::load(&run)?;
            let beside = if run.is_dir() { Some(&*run) } else { run.parent() };
            let folder = out.unwrap_or_else(|| beside.unwrap_or(Path::new(".")).to_path_buf());
            let written = reports::write(&loaded, &folder)?;
            print(format!("{}\n", written.html.display()).as_bytes())
        }
        Command::Compare { base, new, format } => {
            let comparison = compare::compare(&reports::load(&base)?, &reports::load(&new)?)?;
            match format {
                TableFormat::Text => print(comparison.to_text().as_bytes()),
                TableFormat::Markdown => print(comparison.to_markdown().as_bytes()),
                TableFormat::Json => print_json(&comparison),
            }
        }
        Command::Machine { format } => {
            let host = machine::look();
            match format {
                Format::Json => print_json(&host),
                Format::Text => print(machine_text(&host).as_bytes()),
            }
        }
        Command::Sample => {
            let spec: CellSpec = read_json()?;
            print_json(&cell::measure(&spec)?)
        }
        Command::Serve { config } => {
            let config: ServerConfig = serde_json::from_str(&config)
                .map_err(|error| LabError::Sample(format!("the server's settings make no sense: {error}")))?;
            workloads::fetch::serve(config).map_err(LabError::Output)?;
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(feature = "peers")]
        Command::Procspawn => print_json(&crate::peers::procspawn_figures(read_json()?)),
    }
}

fn measure(where_to: &WhereTo, settings: &Settings) -> Result<ExitCode, LabError> {
    // Minutes of measuring must not end at a folder that cannot be written.
    reports::check_folder(where_to.out.as_deref().unwrap_or(&bench::default_folder("")))?;
    let run = bench::run(settings)?;
    let folder = where_to.out.clone().unwrap_or_else(|| bench::default_folder(&run.id));
    let written = reports::write(&run, &folder)?;
    match where_to.format {
        Format::Text => {
            let mut text: String = run.findings.iter().map(|finding| format!("{}\n", finding.text)).collect();
            text.push_str(&format!("\nreport: {}\ndata:   {}\n", written.html.display(), written.json.display()));
            print(text.as_bytes())?;
        }
        Format::Json => {
            print_json(&serde_json::json!({
                "report": written.html, "data": written.json, "interrupted": run.interrupted, "findings": run.findings
            }))?;
        }
    }
    Ok(exit_code(&run))
}

/// Without repetitions, in the given order: a cell that is named twice is one cell.
fn each_once<T: PartialEq>(given: Vec<T>) -> Vec<T> {
    given.into_iter().fold(Vec::new(), |mut unique, value| {
        if !unique.contains(&value) {
            unique.push(value);
        }
        unique
    })
}

fn exit_code(run: &Run) -> ExitCode {
    if run.cells.iter().any(|cell| matches!(cell.verdict, Verdict::Wrong { .. })) {
        ExitCode::from(5)
    } else if run.interrupted {
        ExitCode::from(130)
    } else if run.cells.iter().any(|cell| matches!(cell.verdict, Verdict::Failed { .. })) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// From the clock: different from run to run, and recorded with each.
fn fresh_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs())
}

fn read_json<T: serde::de::DeserializeOwned>() -> Result<T, LabError> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(LabError::file("read", "standard input"))?;
    serde_json::from_str(&text)
        .map_err(|error| LabError::Sample(format!("standard input is not what was expected: {error}")))
}

fn print_json<T: serde::Serialize>(value: &T) -> Result<ExitCode, LabError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| LabError::Output(error.into()))?;
    print(format!("{text}\n").as_bytes())
}

/// To standard output; a reader that has seen enough is no error.
fn print(bytes: &[u8]) -> Result<ExitCode, LabError> {
    match io::stdout().write_all(bytes) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(LabError::Output(error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn overhead_table(rows: &[OverheadRow]) -> String {
    use reports::format::{NONE, duration, rate};
    let mut text = format!(
        "{:<34} {:>14} {:>14} {:>14} {:>12}  {}\n",
        "executor", "tasks/s", "round trip p50", "p99", "1 MiB, MiB/s", "note"
    );
    for row in rows {
        let of = |estimate: Option<reports::model::Estimate>, show: fn(f64) -> String| {
            estimate.map_or_else(|| NONE.to_owned(), |estimate| show(estimate.median))
        };
        text.push_str(&format!(
            "{:<34} {:>14} {:>14} {:>14} {:>12}  {}\n",
            row.name,
            of(row.throughput, rate),
            of(row.round_trip_p50_ns, duration),
            of(row.round_trip_p99_ns, duration),
            of(row.payload_mib_per_second, |speed| format!("{speed:.0}")),
            row.note
        ));
    }
    text
}

fn machine_text(host: &reports::model::Host) -> String {
    let mut text = format!(
        "CPU      {}\ncores    {}\nmemory   {}\nsystem   {}\ncompiler {}\n",
        host.cpu_model,
        host.cores,
        reports::format::bytes(host.memory_bytes),
        host.os,
        host.rustc
    );
    for (name, value) in &host.facts {
        text.push_str(&format!("{name}: {value}\n"));
    }
    if host.warnings.is_empty() {
        text.push_str("fit to measure\n");
    }
    for warning in &host.warnings {
        text.push_str(&format!("CAUTION: {warning}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
