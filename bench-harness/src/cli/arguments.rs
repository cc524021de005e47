//! The command line. What belongs to single workloads is put in by those.

use std::path::PathBuf;

use clap::{
    CommandFactory, Parser, Subcommand, ValueEnum,
    builder::{PossibleValue, PossibleValuesParser},
};

#[cfg(target_os = "linux")]
use crate::peers::baselines::Baseline;
use crate::{
    executors::Kind,
    experiments::{overhead::Measurement, stress::StressTarget},
    own_input,
    registry::Registry,
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
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
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
        #[arg(index = 1)]
        workload: String,
        /// On what; all of them by default. Serial, which the others are compared with, is always there.
        #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME,...")]
        executors: Vec<Kind>,
        /// With how many workers each; default: 1, 2, 4, ... to four per core, and to 50 for those that wait.
        #[arg(long, value_delimiter = ',', value_name = "N,...", value_parser = clap::value_parser!(u32).range(1..=4096))]
        workers: Vec<u32>,
        /// How many samples of each cell; default: 6, and 3 with --quick.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        reps: Option<u32>,
        /// Small input.
        #[arg(long)]
        quick: bool,
        /// Files, folders or databases, for the workloads that take them.
        #[arg(index = 2, value_name = "PATH")]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        where_to: WhereTo,
    },
    /// One workload on one executor, with your own input; the answers go to standard output.
    Run,
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
        /// What the drivers do follows from it; default: from the clock.
        #[arg(long)]
        seed: Option<u64>,
        /// On what.
        #[arg(long, value_enum, default_value_t = StressTarget::All)]
        executor: StressTarget,
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
    /// What a workload needs beside its tasks: a server.
    #[command(hide = true)]
    Beside {
        /// Whose.
        workload: String,
        /// Its settings.
        config: String,
    },
    /// Takes one measurement of the overhead of one executor, peer or baseline, which comes as JSON on standard input.
    #[command(hide = true)]
    Probe,
    /// Internal: peer process of a baseline measurement.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Baseline {
        /// Which one.
        #[arg(value_enum)]
        baseline: Baseline,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct WhereTo {
    /// Folder for index.html and run.json. A run that is in it is replaced; files of these names that are no run are not, and
    /// the lab refuses to begin. Default: reports/out, in a folder of the run.
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
    /// Seed of the order of measuring; default: from the clock.
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// How the findings and the places of both files are printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum TableFormat {
    Text,
    Markdown,
    Json,
}

/// The command line of a lab with these workloads.
pub(super) fn command(registry: &Registry) -> clap::Command {
    let names = registry.iter().map(|workload| PossibleValue::new(workload.name()).aliases(workload.alias()));
    let names = PossibleValuesParser::new(names);
    Cli::command()
        .mut_subcommand("sweep", |sweep| {
            own_input::add_options(registry, sweep).mut_arg("workload", |workload| workload.value_parser(names))
        })
        .mut_subcommand("run", |run| {
            run.subcommand_required(true)
                .arg_required_else_help(true)
                .subcommands(registry.iter().map(|workload| workload.command()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command(&Registry::built_in()).debug_assert();
    }
}
