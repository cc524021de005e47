//! The results model: one measured run, as it is stored in `run.json`.
//!
//! This file is the border between measuring and showing. The harness fills a [`Run`] with samples and with the
//! estimates it computed from them; everything in this crate only reads it. Durations are nanoseconds, sizes are
//! bytes, rates are per second, unless a name says otherwise.

mod cause;
mod claim;
pub(crate) mod estimate;
mod evidence;
mod fitness;
mod load;
mod missing;
mod outcome;
mod pathology;
mod python;
mod scaling;
mod warning;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::cost::CostModel;
pub use cause::{Cause, CauseKind, Switched};
pub use claim::{Claim, ClaimFigure, ClaimVerdict, FigureKind};
pub use estimate::Estimate;
pub use evidence::Evidence;
pub use fitness::{Fitness, Unfit};
pub use load::{LoadPoint, Percentile};
pub use missing::{NoCrossing, Reason, note_of};
pub use outcome::{Skipped, Verdict};
pub use pathology::{Pathology, PathologySample, PathologyVerdict};
pub use python::{Interpreter, PythonBeside, PythonCell, PythonComparison, PythonSample, PythonVerdict};
pub use scaling::{NoLaw, Scaling, ScalingLaw, ScalingPoint};
pub use warning::Warning;

/// The version of the schema that this crate writes, and the newest it can read.
pub const SCHEMA_VERSION: u32 = 1;

/// Name of the executor without any concurrency: the answers and speeds of all others are compared with it.
pub const SERIAL: &str = "serial";

/// One run of the lab: the measurements with their machine and settings, and the findings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// Name of the run, also the name of its folder: `20261124T153000Z-bench-1a2b`.
    pub id: String,
    /// When the run started, RFC 3339 in UTC.
    pub started_at: String,
    /// How long the whole run took.
    pub elapsed_ns: u64,
    /// How long each of its parts took, by name; empty in runs of older versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub part_ns: BTreeMap<String, u64>,
    /// Version of the lab that measured.
    pub tool_version: String,
    /// Revision of the source tree, with `-dirty` when it had changes; `None` outside a checkout.
    pub revision: Option<String>,
    /// The command that repeats this run, seed included.
    pub command: String,
    /// Seed of the order in which the cells were measured.
    pub seed: u64,
    /// Whether this was the short form of the job.
    pub quick: bool,
    /// Whether the user stopped the run before all cells were measured.
    pub interrupted: bool,
    /// The machine.
    pub host: Host,
    /// Whether it was fit to measure executors; `None` in runs of versions that did not look.
    #[serde(default)]
    pub fitness: Option<Fitness>,
    /// The inputs: one entry per workload, with a fingerprint of its input.
    pub inputs: Vec<Input>,
    /// Every cell of the grid, in the order of the plan.
    pub cells: Vec<Cell>,
    /// How speed grows with workers; empty in runs of older versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scaling: Vec<Scaling>,
    /// Per-task overhead of each executor.
    pub overhead: Vec<OverheadRow>,
    /// Efficiency against task duration, one curve per executor.
    pub efficiency: Vec<EfficiencyCurve>,
    /// The crossings of the curves with each other or with a threshold.
    pub crossings: Vec<Crossing>,
    /// The cells that take longer than others that should be as fast, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// What threads share and processes do not, each with a switch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pathologies: Vec<Pathology>,
    /// The claims that were judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
    /// Latencies at chosen loads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loads: Vec<LoadPoint>,
    /// What executors cost on this machine; `None` where it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostModel>,
    /// Python on the same work; `None` where it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<PythonBeside>,
    /// Findings: sentences about the figures; the first one is the headline.
    pub findings: Vec<Finding>,
    /// Combinations that were not measured, and why.
    pub skipped: Vec<Skipped>,
}

impl Run {
    /// Why the machine was not fit to measure executors; empty where it was.
    #[must_use]
    pub fn unfit(&self) -> &[Unfit] {
        self.fitness.as_ref().map_or(&[], |fitness| &fitness.unfit)
    }

    /// Fills fields from texts that runs of older versions have in their place.
    pub(crate) fn upgrade(&mut self) {
        for row in &mut self.overhead {
            row.missing = row.missing.take().or_else(|| missing::reason_of(&row.note));
        }
    }
}

/// The machine that measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Runs are comparable only when this is equal: CPU model, cores, kernel release, rustc.
    pub fingerprint: String,
    /// CPU model, as the system names it.
    pub cpu_model: String,
    /// CPUs that this process may use.
    pub cores: u32,
    /// Physical memory.
    pub memory_bytes: u64,
    /// Operating system and kernel release.
    pub os: String,
    /// Compiler that built the lab.
    pub rustc: String,
    /// Further facts, by name: governor, turbo, hypervisor, load average, cgroup quota, THP, ...
    pub facts: BTreeMap<String, String>,
    /// Reasons to interpret figures of this machine with care; empty if there are none.
    pub warnings: Vec<Warning>,
}

/// The input of a workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Name of the workload.
    pub workload: String,
    /// A description: `64 made files of 1 MiB, seed 42`.
    pub description: String,
    /// Whether its tasks mostly wait, so that more workers than cores can help.
    #[serde(default)]
    pub waits: bool,
    /// Equal for equal inputs; runs are comparable only when it is equal.
    pub fingerprint: String,
}

/// One point of the grid: a workload on an executor with a number of workers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Unique in the run, and stable between runs: `sha256/process/w2`.
    pub id: String,
    /// Name of the workload.
    pub workload: String,
    /// Further parameters of the workload, by name: `payload_bytes`, `task_ns`, ...
    pub params: BTreeMap<String, String>,
    /// Name of the executor: `serial`, `thread`, `process`, `rayon`, `thread-per-task`, `process-per-task`.
    pub executor: String,
    /// Number of workers.
    pub workers: u32,
    /// Tasks in one sample.
    pub tasks: u64,
    /// Every sample, in the order of measuring.
    pub samples: Vec<Sample>,
    /// Whether the cell's answers were right.
    pub verdict: Verdict,
    /// Median of the samples' makespans with its interval; `None` without a valid sample.
    pub makespan_ns: Option<Estimate>,
    /// Median of the samples' throughputs with its interval.
    pub tasks_per_second: Option<Estimate>,
}

impl Cell {
    /// The workload with its parameters: `sha256, payload_bytes 64`.
    #[must_use]
    pub fn title(&self) -> String {
        let mut title = self.workload.clone();
        for (name, value) in &self.params {
            title.push_str(&format!(", {name} {value}"));
        }
        title
    }
}

/// One timed execution of all tasks of a cell, in a process of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Block of the schedule; samples of one block were measured next to each other.
    pub block: u32,
    /// Position in the whole schedule.
    pub order: u32,
    /// From the first submit until the last result, on a pool that was already warm.
    pub makespan_ns: u64,
    /// Tasks divided by makespan.
    pub tasks_per_second: f64,
    /// Time from a task's submit until its result was collected; `None` where no task is waited for.
    pub latency: Option<Latency>,
    /// CPU time in user mode, workers included. Of starting a worker process, at most the kernel's tick is in it (10 ms).
    pub user_cpu_ns: u64,
    /// CPU time in the kernel, workers included, as `user_cpu_ns`.
    pub system_cpu_ns: u64,
    /// Context switches by waiting, workers included. These and the following counters begin and end with the makespan. (In older
    /// runs, which lack the delay below, the start of the workers is in them.)
    pub voluntary_switches: u64,
    /// Context switches by preemption, workers included.
    pub involuntary_switches: u64,
    /// Page faults served without the disk.
    pub minor_faults: u64,
    /// Page faults served from the disk.
    pub major_faults: u64,
    /// Time in which threads, those of workers included, were ready to run and had no core. `None` where the system does not
    /// count it, and where threads and processes of their own run the tasks, which end before they can be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_queue_delay_ns: Option<u64>,
    /// Time in which any thread of the machine was ready to run and had no core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_pressure_ns: Option<u64>,
    /// CPU time that the host of a virtual machine took from it, of all cores together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stolen_ns: Option<u64>,
    /// Highest proportional set size of the process tree (the sample's process and its workers), as it was read from outside
    /// every few milliseconds while the cell ran once more, untimed, right after this sample, because reading it takes time from
    /// the tasks. `None` where that was not done, which is in all blocks but the first, and where the system does not report it.
    pub peak_pss_bytes: Option<u64>,
    /// Whether it is the second attempt, because other programs used the cores during the first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_repeated: bool,
    /// Tasks that ended in an error.
    pub failed_tasks: u64,
    /// Digest of the answers.
    pub digest: String,
}

/// Percentiles of the tasks' latencies in one sample or cell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50_ns: u64,
    /// 90th percentile.
    pub p90_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// 99.9th percentile.
    pub p999_ns: u64,
    /// The slowest task.
    pub max_ns: u64,
}

/// Cost of one task on one executor, as `lab overhead` measures it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OverheadRow {
    /// Name of the executor, peer or baseline.
    pub name: String,
    /// Its group.
    pub group: OverheadGroup,
    /// Number of workers.
    pub workers: u32,
    /// Submit many no-op tasks, then collect them all: tasks per second.
    pub throughput: Option<Estimate>,
    /// One task at a time, from submit until its result: median in nanoseconds.
    pub round_trip_p50_ns: Option<Estimate>,
    /// The same, 99th percentile.
    pub round_trip_p99_ns: Option<Estimate>,
    /// A task with a 1 MiB argument: MiB per second.
    pub payload_mib_per_second: Option<Estimate>,
    /// A note on the row, or why there are no figures.
    pub note: String,
    /// Why there are no figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Reason>,
}

/// The group of a row of the overhead table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverheadGroup {
    /// An executor of executor-core.
    #[serde(rename = "ours")]
    Lab,
    /// An executor of another project.
    Peer,
    /// A bare primitive: what the hardware allows.
    #[serde(rename = "limit")]
    Baseline,
}

/// Efficiency of one executor against the duration of its tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EfficiencyCurve {
    /// Name of the executor.
    pub executor: String,
    /// Number of workers.
    pub workers: u32,
    /// Points by rising task duration.
    pub points: Vec<EfficiencyPoint>,
}

/// One point of an [`EfficiencyCurve`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EfficiencyPoint {
    /// Duration of one task when it runs alone.
    pub task_ns: f64,
    /// Ideal time divided by measured time; 1 is perfect.
    pub efficiency: Estimate,
}

/// A crossing of a curve with another one, or with a threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Crossing {
    /// Unique in the run: `thread-vs-process`, `process-50`.
    pub id: String,
    /// A description: `process pool reaches 50% efficiency`.
    pub label: String,
    /// Duration of a task alone at the crossing, with its interval; `None` when the curves do not meet in the measured range.
    pub task_ns: Option<Estimate>,
    /// METG, the granularity (wall time times cores divided by the number of tasks) at a threshold of efficiency; `None` for
    /// other crossings, and in runs of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metg_ns: Option<Estimate>,
    /// Efficiency at the crossing, for the mark on the chart.
    pub efficiency: Option<f64>,
    /// Why there is no crossing, or a note on it.
    pub note: String,
    /// Why there is no crossing, in a form that programs can tell apart; `None` also in runs of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<NoCrossing>,
}

/// One sentence that the figures support.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The sentence, with its figures and intervals.
    pub text: String,
    /// The section or chart that shows it.
    pub evidence: Evidence,
    /// Why it is not more certain, and the remedy; empty if there is none.
    #[serde(default)]
    pub note: String,
    /// Whether it is good news, bad news or neither.
    pub tone: Tone,
}

impl Finding {
    /// The sentence and its note.
    pub fn in_full(&self) -> String {
        format!("{} {}", self.text, self.note).trim_end().to_owned()
    }
}

/// How to show a [`Finding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// A plain statement.
    Neutral,
    /// A caution.
    Caution,
    /// A failure.
    Wrong,
}
