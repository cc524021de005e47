//! The commands of the lab.

use std::{
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Parser, Subcommand, ValueEnum};
use reports::{
    model::{OverheadGroup, Run, Tone, Verdict},
    overhead::Overhead,
};
use workloads::fetch::ServerConfig;

use crate::{
    cell::{self, CellSpec},
    compare,
    error::{LabError, chain},
    executors::Kind,
    experiments::{
        self, Experiment, bench,
        overhead::{self, Effort, Measurement, Plan, Probe},
        settings::Settings,
        stress::{self, Target},
    },
    machine,
    own_input::OwnInput,
    peers::limits::Limit,
    place,
    real_input::{self, RealWork},
    runner::{child, progress::Progress},
    tell::tell,
};

/// Measures executors on real work, and shows when process overhead beats thread overhead.
#[derive(Debug, Parser)]
#[command(
    name = "lab",
    version,
    after_help = "Exit codes: 0 done; 1 something went wrong, or an item failed or was named and skipped (--strict: or was \
                  skipped at all); 2 wrong usage; 4 the runs cannot be compared; 5 an executor gave wrong answers; 6 one hangs and 7 one leaks (both: \
                  stress); 130 stopped by Ctrl-C, with the report of what was measured (a second Ctrl-C: at once, without)."
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
    /// One workload over executors and worker counts, as an HTML report; on made input, or on your own.
    Sweep {
        /// What to run.
        workload: WorkloadName,
        /// On what; all of them by default. Serial, which the others are compared with, is always there.
        #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME,...")]
        executors: Vec<Kind>,
        /// With how many workers each; default: 1, 2, 4, ... to four per core, and to 50 for fetch and io_wait.
        #[arg(long, value_delimiter = ',', value_name = "N,...", value_parser = clap::value_parser!(u32).range(1..=4096))]
        workers: Vec<u32>,
        /// How many samples of each cell; default: 6, and 3 with --quick.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        reps: Option<u32>,
        /// Small input.
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        own: Box<OwnInput>,
        #[command(flatten)]
        where_to: WhereTo,
    },
    /// One workload on one executor, with your own input; the answers go to standard output.
    Run {
        #[command(subcommand)]
        work: RealWork,
    },
    /// What one task costs on each executor, on its peers, and on the bare machine, and which figures are reached.
    Overhead {
        /// What to measure; all of it by default, in about ten minutes.
        #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME,...")]
        only: Vec<Measurement>,
        /// Number of workers.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=4096))]
        workers: u32,
        /// Fewer blocks and smaller sizes: to see whether it works.
        #[arg(long)]
        quick: bool,
        /// How often everything is measured, each time in new processes; default: 7, and 3 with --quick.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
        blocks: Option<u32>,
        /// Seed of the order of measuring.
        #[arg(long)]
        seed: Option<u64>,
        /// Text has all figures, Markdown what they are held against, JSON every value of every block.
        #[arg(long, value_enum, default_value_t = TableFormat::Text)]
        format: TableFormat,
    },
    /// Does random things to executors from several threads at once, and checks every answer. Looks for hangs, lost tasks,
    /// and threads, processes, files and memory that pools leave behind.
    Stress {
        /// How long, for each executor.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        seconds: u64,
        /// What the actors do follows from it; default: from the clock.
        #[arg(long)]
        seed: Option<u64>,
        /// On what.
        #[arg(long, value_enum, default_value_t = Target::All)]
        executor: Target,
        /// Only this round, again and again: to reproduce what one has shown.
        #[arg(long)]
        round: Option<u64>,
        /// After so many seconds without progress something hangs.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        patience: u64,
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
    /// Takes one measurement of the overhead of one executor, peer or limit, which comes as JSON on standard input.
    #[command(hide = true)]
    Probe,
    /// The second process of a bare limit.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Limit {
        /// Which one.
        #[arg(value_enum)]
        limit: Limit,
    },
}

#[derive(Debug, clap::Args)]
struct WhereTo {
    /// Folder for index.html and run.json. A run that is in it is replaced; files of these names that are no run are not, and
    /// the lab refuses to begin. Default: reports/out, in a folder of the run.
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
                &experiments::ALL,
                Settings {
                    quick,
                    seed,
                    workload: None,
                    executors: Kind::ALL.to_vec(),
                    workers: Vec::new(),
                    repetitions: None,
                    own: OwnInput::default(),
                    id: String::new(),
                    started: Duration::ZERO,
                    command,
                    data: place::default_data(),
                },
            )
        }
        Command::Sweep { workload, executors, workers, reps, quick, own, where_to } => {
            own.refuse_others(workload.name())?;
            let seed = where_to.seed.unwrap_or_else(fresh_seed);
            let executors = each_once(if executors.is_empty() { Kind::ALL.to_vec() } else { executors });
            let workers = each_once(workers);
            let list = |numbers: Vec<String>, name: &str| {
                if numbers.is_empty() { String::new() } else { format!(" --{name} {}", numbers.join(",")) }
            };
            let command = format!(
                "cargo lab sweep {}{}{}{}{}{} --seed {seed}",
                workload.name(),
                list(executors.iter().map(ToString::to_string).collect(), "executors"),
                list(workers.iter().map(ToString::to_string).collect(), "workers"),
                reps.map_or_else(String::new, |reps| format!(" --reps {reps}")),
                if quick { " --quick" } else { "" },
                own.words(),
            );
            measure(
                &where_to,
                &experiments::SWEEP,
                Settings {
                    quick,
                    seed,
                    workload: Some(workload.name().to_owned()),
                    executors,
                    workers,
                    repetitions: reps,
                    own: *own,
                    id: String::new(),
                    started: Duration::ZERO,
                    command,
                    data: place::default_data(),
                },
            )
        }
        Command::Run { work } => real_input::run(work),
        Command::Overhead { only, workers, quick, blocks, seed, format } => {
            let (document, code) = overhead(only, workers, quick, blocks, seed.unwrap_or_else(fresh_seed))?;
            match format {
                TableFormat::Text => print(document.to_text().as_bytes())?,
                TableFormat::Markdown => print(document.to_markdown().as_bytes())?,
                TableFormat::Json => print_json(&document)?,
            };
            Ok(code)
        }
        Command::Stress { seconds, seed, executor, round, patience, format } => {
            let settings = stress::Settings {
                time: Duration::from_secs(seconds),
                seed: seed.unwrap_or_else(fresh_seed),
                target: executor,
                round,
                patience: Duration::from_secs(patience),
            };
            // Before anything can go wrong; not to standard output, where JSON may be expected.
            tell!("seed {}\nreproduce: {}", settings.seed, stress::command(&settings));
            let outcome = stress::run(&settings)?;
            match format {
                Format::Text => print(outcome.to_text().as_bytes())?,
                Format::Json => print_json(&outcome)?,
            };
            Ok(outcome.exit_code())
        }
        Command::Report { run, out } => {
            let loaded = reports::load(&run)?;
            let beside = if run.is_dir() { Some(&*run) } else { run.parent() };
            let folder = out.unwrap_or_else(|| beside.unwrap_or(Path::new(".")).to_path_buf());
            let _claim = reports::claim(&folder)?;
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
            child::end_with_the_lab();
            let spec: CellSpec = read_json()?;
            print_json(&cell::measure(&spec)?)
        }
        Command::Serve { config } => {
            let config: ServerConfig = serde_json::from_str(&config)
                .map_err(|error| LabError::Sample(format!("the server's settings make no sense: {error}")))?;
            workloads::fetch::serve(config).map_err(LabError::Output)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Probe => {
            child::end_with_the_lab();
            let probe: Probe = read_json()?;
            print_json(&overhead::measure(&probe))
        }
        #[cfg(target_os = "linux")]
        Command::Limit { limit } => {
            crate::peers::limits::be_partner(limit).map_err(LabError::Output)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn overhead(
    only: Vec<Measurement>,
    workers: u32,
    quick: bool,
    blocks: Option<u32>,
    seed: u64,
) -> Result<(Overhead, ExitCode), LabError> {
    let names = only.iter().map(|measurement| measurement.name()).collect::<Vec<_>>().join(",");
    let command = format!(
        "cargo lab overhead{}{}{} --workers {workers} --seed {seed}",
        if only.is_empty() { String::new() } else { format!(" --only {names}") },
        if quick { " --quick" } else { "" },
        blocks.map_or_else(String::new, |blocks| format!(" --blocks {blocks}")),
    );
    let mut effort = if quick { Effort::QUICK } else { Effort::FULL };
    effort.blocks = blocks.unwrap_or(effort.blocks);
    let measurements = if only.is_empty() {
        overhead::all()
    } else {
        // Each once, in the order of the table.
        overhead::all().into_iter().filter(|measurement| only.contains(measurement)).collect()
    };
    let plan = Plan { measurements, workers: workers as usize, effort, seed };
    let host = machine::look();
    let mut progress = Progress::new(plan.steps() as u64)?;
    let figures = overhead::run(&plan, &mut progress);
    let elapsed = progress.end();
    let interrupted = progress.interrupted();
    let claims = overhead::claims(&figures, &plan);
    let document = Overhead {
        schema_version: reports::overhead::SCHEMA_VERSION,
        command,
        revision: machine::revision(),
        seed,
        workers,
        blocks: effort.blocks,
        quick,
        interrupted,
        elapsed_ns: crate::stats::nanos(elapsed),
        host,
        figures,
        claims,
    };
    let is_wrong = document.figures.iter().any(|figure| gave_wrong_answers(figure.group, &figure.note));
    let code = match (is_wrong, interrupted) {
        (true, _) => ExitCode::from(5),
        (false, true) => ExitCode::from(130),
        (false, false) => ExitCode::SUCCESS,
    };
    Ok((document, code))
}

fn measure(where_to: &WhereTo, experiments: &[&dyn Experiment], mut settings: Settings) -> Result<ExitCode, LabError> {
    settings.started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    settings.id = place::name(settings.started, if settings.workload.is_none() { "bench" } else { "sweep" });
    let folder = where_to.out.clone().unwrap_or_else(|| place::default_folder(&settings.id));
    // Minutes of measuring must not end at a folder that cannot be written, or that belongs to somebody else.
    let _claim = reports::claim(&folder)?;
    if where_to.out.is_some()
        && let Ok(earlier) = reports::load(&folder)
    {
        // Before the measuring, when it can still be kept.
        tell!("replaces the run of {} in {}", earlier.started_at, folder.display());
    }
    let run = bench::run(&settings, experiments).inspect_err(|error| {
        if let LabError::Prepare(workloads::PrepareError::AllSkipped { skipped }) = error {
            skipped.iter().for_each(|skipped| tell!("skipped {skipped}"));
        }
        // Nothing is in it that could be missed: a folder with something in it is not removed.
        let _ = where_to.out.is_none().then(|| std::fs::remove_dir(&folder));
    })?;
    // What was found goes out before anything else can fail: it cannot be made again.
    if let Format::Text = where_to.format {
        let text: String = run.findings.iter().map(|finding| finding.in_full() + "\n").collect();
        print(text.as_bytes())?;
    }
    let (written, problem) = save(&run, &folder);
    match (where_to.format, &written) {
        (Format::Text, Some(written)) => {
            print(format!("\nreport: {}\ndata:   {}\n", written.html.display(), written.json.display()).as_bytes())?;
        }
        (Format::Text, None) => {}
        (Format::Json, written) => {
            print_json(&serde_json::json!({
                "report": written.as_ref().map(|written| &written.html),
                "data": written.as_ref().map(|written| &written.json),
                "error": problem,
                "interrupted": run.interrupted,
                "findings": run.findings,
                "skipped": run.skipped
            }))?;
        }
    }
    Ok(if problem.is_some() && !is_wrong(&run) { ExitCode::FAILURE } else { exit_code(&run) })
}

/// Writes the report where it should be, or where there is room for it; and what went wrong.
fn save(run: &Run, folder: &Path) -> (Option<reports::Written>, Option<String>) {
    let error = match reports::write(run, folder) {
        Ok(written) => return (Some(written), None),
        Err(error) => chain(&error),
    };
    tell!("error: {error}");
    if reports::load(folder).is_ok_and(|saved| saved.id == run.id) {
        tell!("the results are in {}: `lab report` makes the page of them", folder.join(reports::JSON_NAME).display());
    }
    let elsewhere = std::env::temp_dir().join(format!("lab-{}", run.id));
    match reports::write(run, &elsewhere) {
        Ok(written) => {
            tell!("saved in {} instead", elsewhere.display());
            (Some(written), Some(error))
        }
        Err(other) => {
            tell!("error: {}", chain(&other));
            (None, Some(error))
        }
    }
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

fn is_wrong(run: &Run) -> bool {
    run.cells.iter().any(|cell| matches!(cell.verdict, Verdict::Wrong { .. }))
        || run.overhead.iter().any(|row| gave_wrong_answers(row.group, &row.note))
}

/// Of an executor of ours: what a peer or a limit does wrong is its own.
fn gave_wrong_answers(group: OverheadGroup, note: &str) -> bool {
    group == OverheadGroup::Ours && note.contains(overhead::WRONG)
}

fn exit_code(run: &Run) -> ExitCode {
    if is_wrong(run) {
        ExitCode::from(5)
    } else if run.interrupted {
        ExitCode::from(130)
    } else if run.cells.iter().any(|cell| matches!(cell.verdict, Verdict::Failed { .. }))
        || run.findings.iter().any(|finding| finding.tone == Tone::Wrong)
    {
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

    #[test]
    fn wrong_answers_of_ours_are_told_from_figures_that_cannot_be_had() {
        let note = format!("not measured: {}the answers of 2 tasks add up to 0 instead of 1", overhead::WRONG);
        assert!(gave_wrong_answers(OverheadGroup::Ours, &note));
        assert!(!gave_wrong_answers(OverheadGroup::Peer, &note));
        assert!(!gave_wrong_answers(OverheadGroup::Ours, "not measured: needs two cores"));
    }
}
