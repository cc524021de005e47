//! The commands of the lab.

mod advise;
mod arguments;
mod exit;
mod job;
mod output;
mod overhead;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{ArgMatches, FromArgMatches};

use self::{
    arguments::{Cli, Command},
    exit::fresh_seed,
    job::Sweep,
    output::{Format, TableFormat, print, print_json, read_json},
    overhead::Wanted,
};
use crate::{
    cell::CellSpec,
    compare,
    error::LabError,
    experiments::{self, claims::ClaimProbe, cost::CostProbe, overhead::Probe, stress},
    machine,
    open_loop::OpenLoopSpec,
    place,
    registry::Registry,
    runner::child,
    tell::tell,
};

/// Reads the command line and runs its command.
pub(crate) fn run(registry: &Registry) -> Result<ExitCode, LabError> {
    let matches = arguments::command(registry).get_matches();
    let options_of = |command: &str| matches.subcommand_matches(command);
    match Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command {
        Command::Bench { quick, full, no_python, where_to } => {
            job::bench(registry, job::Bench { quick, full, no_python }, &where_to)
        }
        Command::Breakeven { quick, where_to } => {
            job::part(registry, "breakeven", experiments::BREAK_EVEN, quick, &where_to)
        }
        Command::Cost { quick, where_to } => job::part(registry, "cost", experiments::COST, quick, &where_to),
        Command::Advise { ask } => advise::answer(&ask),
        Command::Sweep { workload, executors, workers, reps, loads, quick, paths, where_to } => {
            let Some(options) = options_of("sweep") else { return Ok(ExitCode::FAILURE) };
            let workload = &*workload;
            job::sweep(registry, Sweep { workload, executors, workers, reps, loads, quick, paths, options }, &where_to)
        }
        Command::Run => match options_of("run").and_then(ArgMatches::subcommand) {
            Some((name, options)) => registry.find(name)?.run(options, &place::default_data()),
            None => Err(LabError::Usage("lab run needs a workload".to_owned())),
        },
        Command::Overhead { only, workers, quick, blocks, seed, format } => {
            let seed = seed.unwrap_or_else(fresh_seed);
            show_overhead(Wanted { only, workers, quick, blocks, seed }, format)
        }
        Command::Pathologies { only, workers, reps, quick, where_to } => {
            job::pathologies(registry, job::Causes { only, workers, reps, quick }, &where_to)
        }
        Command::Claims { only, reps, quick, where_to } => job::claims(registry, only, reps, quick, &where_to),
        Command::Python { python, workers, reps, quick, where_to } => {
            job::python(registry, job::Pythons { python, workers, reps, quick }, &where_to)
        }
        Command::Stress { seconds, seed, executor, round, patience, format } => {
            let settings = stress::Settings {
                time: Duration::from_secs(seconds),
                seed: seed.unwrap_or_else(fresh_seed),
                target: executor,
                round,
                patience: Duration::from_secs(patience),
            };
            stress(&settings, format)
        }
        Command::Report { run, out } => report(&run, out),
        Command::Compare { base, new, format, page } => compare(&base, &new, format, page.as_deref()),
        Command::Machine { format: Format::Json } => print_json(&machine::inspect()),
        Command::Machine { format: Format::Text } => print(machine_text(&machine::inspect()).as_bytes()),
        Command::Sample => {
            let spec: CellSpec = ordered()?;
            print_json(&registry.find(spec.work.name())?.measure(&spec)?)
        }
        Command::Beside { workload, config } => {
            registry.find(&workload)?.beside(&config).map_err(LabError::Output)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Probe => print_json(&experiments::overhead::measure(&ordered::<Probe>()?)),
        Command::OpenLoopSample => {
            let spec: OpenLoopSpec = ordered()?;
            print_json(&registry.find(spec.cell.work.name())?.open_loop(&spec)?)
        }
        Command::CostSample => print_json(&experiments::cost::measure(&ordered::<CostProbe>()?)),
        Command::ClaimSample => print_json(&experiments::claims::answer(ordered::<ClaimProbe>()?)),
        #[cfg(target_os = "linux")]
        Command::Baseline { baseline } => {
            crate::peers::baselines::run_peer(baseline).map_err(LabError::Output)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What the lab has ordered of this process, which ends with it.
fn ordered<T: serde::de::DeserializeOwned>() -> Result<T, LabError> {
    child::end_with_the_lab();
    read_json()
}

fn show_overhead(wanted: Wanted, format: TableFormat) -> Result<ExitCode, LabError> {
    let (document, code) = overhead::measure(wanted)?;
    match format {
        TableFormat::Text => print(document.to_text().as_bytes())?,
        TableFormat::Markdown => print(document.to_markdown().as_bytes())?,
        TableFormat::Json => print_json(&document)?,
    };
    Ok(code)
}

fn stress(settings: &stress::Settings, format: Format) -> Result<ExitCode, LabError> {
    // This comes before anything can fail, and not to standard output, where JSON may be expected.
    tell!("seed {}\nreproduce: {}", settings.seed, stress::command(settings));
    let outcome = stress::run(settings)?;
    match format {
        Format::Text => print(outcome.to_text().as_bytes())?,
        Format::Json => print_json(&outcome)?,
    };
    Ok(outcome.exit_code())
}

fn report(run: &Path, out: Option<PathBuf>) -> Result<ExitCode, LabError> {
    let loaded = reports::load(run)?;
    let beside = if run.is_dir() { Some(run) } else { run.parent() };
    let folder = out.unwrap_or_else(|| beside.unwrap_or(Path::new(".")).to_path_buf());
    let _claim = reports::claim(&folder)?;
    let written = reports::write(&loaded, &folder)?;
    print(format!("{}\n", written.html.display()).as_bytes())
}

fn compare(base: &Path, new: &Path, format: TableFormat, page: Option<&Path>) -> Result<ExitCode, LabError> {
    let comparison = compare::compare(&reports::load(base)?, &reports::load(new)?)?;
    if let Some(page) = page {
        let html = reports::render_comparison(&comparison, compare::EVEN)?;
        std::fs::write(page, html).map_err(LabError::file("write", page))?;
    }
    match format {
        TableFormat::Text => print(comparison.to_text().as_bytes()),
        TableFormat::Markdown => print(comparison.to_markdown().as_bytes()),
        TableFormat::Json => print_json(&comparison),
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
        text.push_str("no machine warnings\n");
    }
    for warning in &host.warnings {
        text.push_str(&format!("CAUTION: {warning}\n"));
    }
    text
}
