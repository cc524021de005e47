//! The command line. Each workload adds its own options.

use std::path::PathBuf;

use clap::{
    CommandFactory, Parser, Subcommand,
    builder::{PossibleValue, PossibleValuesParser},
};

use super::{
    advise::Ask,
    output::{Format, TableFormat},
};
#[cfg(target_os = "linux")]
use crate::peers::baselines::Baseline;
use crate::{
    executors::Kind,
    experiments::{overhead::Measurement, pathologies::PathologyName, stress::StressTarget},
    own_input,
    registry::Registry,
};

/// Measures executors on real work, and shows from which task duration a process pool outperforms a thread pool.
#[derive(Debug, Parser)]
#[command(
    name = "lab",
    version,
    after_help = "Exit codes: 0 done; 1 an error occurred, an item failed, or an item that was named was skipped (--strict: \
                  any item was skipped); 2 wrong usage; 4 the runs cannot be compared; 5 an executor gave wrong answers; 6 an \
                  executor hangs and 7 an executor leaks (both: stress); 130 stopped by Ctrl-C, with a report of the cells \
                  that were measured (a second Ctrl-C stops at once, without a report)."
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Measure all workloads on all executors, and write one HTML report: the main job.
    Bench {
        /// Take about two minutes instead of about ten.
        #[arg(long)]
        quick: bool,
        /// Take twice as many samples, and judge the claims as well, however long it takes (about 40 minutes on two cores).
        #[arg(long, conflicts_with = "quick")]
        full: bool,
        /// Leave out Python, which otherwise runs the same work beside the executors.
        #[arg(long)]
        no_python: bool,
        #[command(flatten)]
        where_to: WhereTo,
    },
    /// Measure one workload over executors and worker counts, on made input or on your own, and write an HTML report.
    Sweep {
        /// The workload to run.
        #[arg(index = 1)]
        workload: String,
        /// Executors to measure [default: all]. Serial is always measured, since the others are compared with it.
        #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME,...")]
        executors: Vec<Kind>,
        /// Worker counts [default: 1, 2, 4, ... to four per core; to 50 for workloads that wait].
        #[arg(long, value_delimiter = ',', value_name = "N,...", value_parser = clap::value_parser!(u32).range(1..=4096))]
        workers: Vec<u32>,
        /// Number of samples of each cell [default: 6, with --quick 3].
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        reps: Option<u32>,
        /// Loads at which latencies are measured, in percent of the throughput of a closed loop [default: 50, 80 for workloads that
        /// wait, or else none].
        #[arg(long, value_delimiter = ',', value_name = "PERCENT,...", value_parser = clap::value_parser!(u32).range(1..=1000))]
        loads: Vec<u32>,
        /// Use small input and fewer samples.
        #[arg(long)]
        quick: bool,
        /// Files, folders or databases, for the workloads that take them; of `command` the command line, after `--`.
        #[arg(index = 2, value_name = "PATH")]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        where_to: WhereTo,
    },
    /// Measure from which task duration each pool is worth its overhead (METG), and write an HTML report: the part of `bench`
    /// about it.
    Breakeven {
        /// Use fewer samples.
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        where_to: WhereTo,
    },
    /// Fit the cost model of this machine: what a pool, a batch, a task and a byte cost on each executor, and from which work on
    /// it is worth it; `advise` answers from it. The part of `bench` about it.
    Cost {
        /// Use fewer samples, and pools with one worker for each core only.
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        where_to: WhereTo,
    },
    /// Say which executor and how many workers to take for your tasks, and what that buys, by the cost model of this machine.
    Advise {
        #[command(flatten)]
        ask: Ask,
    },
    /// Run one workload on one executor, with your own input; the answers go to standard output.
    Run,
    /// Measure the cost of one task on each executor, on its peers, and on the bare machine, and check performance targets.
    Overhead {
        /// Measurements to take [default: all, in about ten minutes].
        #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME,...")]
        only: Vec<Measurement>,
        /// Number of workers.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=4096))]
        workers: u32,
        /// Use fewer blocks and smaller sizes, to check that the measurements work.
        #[arg(long)]
        quick: bool,
        /// Repetitions of everything, each in new processes [default: 7, with --quick 3].
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
        blocks: Option<u32>,
        /// Seed of the order of measuring [default: from the clock].
        #[arg(long)]
        seed: Option<u64>,
        /// Output format: text has all figures, Markdown the targets, JSON every value of every block.
        #[arg(long, value_enum, default_value_t = TableFormat::Text)]
        format: TableFormat,
    },
    /// Measure what the threads of a process share and processes do not (allocator, address space, SQLite, locks, cache lines), each
    /// with the cause and with the cause turned off, and controls that share nothing. Writes an HTML report.
    Pathologies {
        /// Causes and controls to measure [default: all, in about two minutes].
        #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME,...")]
        only: Vec<PathologyName>,
        /// Number of threads, and of processes [default: one per core].
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
        workers: Option<u32>,
        /// Number of samples of each [default: 6, with --quick 3].
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        reps: Option<u32>,
        /// Use half of the tasks and fewer samples.
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        where_to: WhereTo,
    },
    /// Judge the 32 claims that a text on Python's concurrent.futures makes about executors, each by an experiment and a rule that
    /// is stated: supported, refuted, or under which condition. Writes an HTML report.
    Claims {
        /// Claims to judge, by number [default: all, in a few minutes].
        #[arg(long, value_delimiter = ',', value_name = "N,...", value_parser = clap::value_parser!(u32).range(1..=32))]
        only: Vec<u32>,
        /// Number of samples of each figure [default: 9, with --quick 6].
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        reps: Option<u32>,
        /// Use fewer tasks and samples.
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        where_to: WhereTo,
    },
    /// Run the same work on Python's pools of threads, processes and interpreters and on loky, beside the lab's executors, with every
    /// answer checked. Writes an HTML report. The part of `bench` about it.
    Python {
        /// A Python; may be given several times [default: python3 on the PATH].
        #[arg(long, value_name = "PROGRAM")]
        python: Vec<PathBuf>,
        /// Number of workers of each pool [default: one per core].
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
        workers: Option<u32>,
        /// Number of samples of each [default: as many as fit into 80 seconds, with --quick into 14, and at most 9, with --quick 6].
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        reps: Option<u32>,
        /// Use smaller input and fewer samples.
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        where_to: WhereTo,
    },
    /// Perform random operations on executors from several threads at once, and check every answer. Detects hangs, lost tasks,
    /// and threads, processes, files and memory that pools leave behind.
    Stress {
        /// Duration for each executor, in seconds.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        seconds: u64,
        /// Seed of the operations [default: from the clock].
        #[arg(long)]
        seed: Option<u64>,
        /// The executor to test.
        #[arg(long, value_enum, default_value_t = StressTarget::All)]
        executor: StressTarget,
        /// Repeat only this round, to reproduce a failure that it has shown.
        #[arg(long)]
        round: Option<u64>,
        /// Seconds without progress after which a thread counts as hanging.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        patience: u64,
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Render the report of an earlier run again.
    Report {
        /// Path to run.json, or to its folder.
        run: PathBuf,
        /// Output folder [default: the folder of run.json].
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Compare two runs on the same machine and input, cell by cell.
    Compare {
        /// The run.json to compare with.
        base: PathBuf,
        /// The run.json to compare.
        new: PathBuf,
        #[arg(long, value_enum, default_value_t = TableFormat::Text)]
        format: TableFormat,
        /// Write one HTML page with a chart of all cells as well.
        #[arg(long, value_name = "FILE")]
        page: Option<PathBuf>,
    },
    /// Describe the machine, and check whether it is quiet enough to benchmark.
    Machine {
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Internal: takes one sample of a cell, which comes as JSON on standard input.
    #[command(hide = true)]
    Sample,
    /// Internal: runs the server that a workload needs.
    #[command(hide = true)]
    Beside {
        /// Name of the workload.
        workload: String,
        /// Settings of the server.
        config: String,
    },
    /// Internal: takes one measurement of one executor, peer or baseline; its description comes as JSON on standard input.
    #[command(hide = true)]
    Probe,
    /// Internal: takes the latencies of one cell at a chosen load; its description comes as JSON on standard input.
    #[command(hide = true)]
    OpenLoopSample,
    /// Internal: takes one block of the cost model; its description comes as JSON on standard input.
    #[command(hide = true)]
    CostSample,
    /// Internal: runs a program that shows a claim; its description comes as JSON on standard input.
    #[command(hide = true)]
    ClaimSample,
    /// Internal: peer process of a baseline measurement.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Baseline {
        /// The baseline.
        #[arg(value_enum)]
        baseline: Baseline,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct WhereTo {
    /// Folder for index.html and run.json [default: a folder of the run in reports/out]. An earlier run in it is replaced; the
    /// lab refuses to begin where it holds files of these names that are not a run.
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
    /// Seed of the order of measuring [default: from the clock].
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Say what was measured even if the machine is not fit to measure it: other programs use its cores, or its noise is too large.
    #[arg(long)]
    pub(super) accept_unfit: bool,
    /// Format in which the findings and the paths of both files are printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
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
