//! The settings of a stress run, and its outcome.

use std::{process::ExitCode, time::Duration};

use clap::ValueEnum;
use serde::Serialize;

/// The executor under stress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StressTarget {
    /// `ThreadPoolExecutor`.
    Thread,
    /// `ProcessPoolExecutor` over shared memory.
    Process,
    /// `ProcessPoolExecutor` over sockets.
    Socket,
    /// `ProcessPoolExecutor` with a fork server, over either.
    Forkserver,
    /// `RayonExecutor`.
    Rayon,
    /// `SerialExecutor`.
    Serial,
    /// All of them, one after the other.
    All,
}

impl StressTarget {
    pub(super) fn each() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied().filter(|target| *target != Self::All)
    }

    /// The name that `--executor` takes.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// The settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Duration for each executor.
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    pub(crate) target: StressTarget,
    /// Only this round, again and again.
    pub(crate) round: Option<u64>,
    /// A thread whose step takes longer than this hangs.
    pub(crate) patience: Duration,
}

/// The outcome of all executors.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(super) seed: u64,
    pub(super) command: String,
    pub(super) executors: Vec<Stressed>,
}

/// The outcome of one executor.
#[derive(Debug, Default, Serialize)]
pub(super) struct Stressed {
    pub(super) executor: String,
    pub(super) rounds: u64,
    pub(super) operations: u64,
    pub(super) tasks: u64,
    /// Results that were checked one by one.
    pub(super) results: u64,
    pub(super) callbacks: u64,
    pub(super) workers_died: u64,
    pub(super) elapsed_s: f64,
    /// `None` where there were too few rounds to say anything.
    pub(super) memory_early_kib: Option<u64>,
    pub(super) memory_late_kib: Option<u64>,
    pub(super) wrong: Vec<String>,
    pub(super) leaks: Vec<String>,
    /// The command that repeats the round in which the first of these was seen.
    pub(super) reproduce: Option<String>,
}

const WRONG: u8 = 5;
pub(super) const HANG: u8 = 6;
const LEAK: u8 = 7;

impl Outcome {
    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.executors.iter().any(|one| !one.wrong.is_empty()) {
            ExitCode::from(WRONG)
        } else if self.executors.iter().any(|one| !one.leaks.is_empty()) {
            ExitCode::from(LEAK)
        } else {
            ExitCode::SUCCESS
        }
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for one in &self.executors {
            text.push_str(&format!(
                "{:<10} {:>5.0} s, {} rounds, {} operations, {} tasks, {} results checked, {} callbacks, {} workers died, \
                 {}: {}\n",
                one.executor,
                one.elapsed_s,
                one.rounds,
                one.operations,
                one.tasks,
                one.results,
                one.callbacks,
                one.workers_died,
                match (one.memory_early_kib, one.memory_late_kib) {
                    (Some(early), Some(late)) => format!("memory {early} -> {late} KiB"),
                    _ => "too few rounds to compare memory".to_owned(),
                },
                if one.wrong.is_empty() && one.leaks.is_empty() { "good" } else { "BAD" },
            ));
            for what in &one.wrong {
                text.push_str(&format!("  wrong: {what}\n"));
            }
            for what in &one.leaks {
                text.push_str(&format!("  leak: {what}\n"));
            }
            if let Some(command) = &one.reproduce {
                text.push_str(&format!("  reproduce: {command}\n"));
            }
        }
        text
    }
}

/// The command that repeats the run.
pub(crate) fn command(settings: &Settings) -> String {
    // Every setting has its option: with another patience a hang would be another one.
    let Settings { time, seed, target, round, patience } = settings;
    let (seconds, patience, executor) = (time.as_secs(), patience.as_secs(), target.name());
    let round = round.map_or_else(String::new, |round| format!(" --round {round}"));
    format!("lab stress --seconds {seconds} --seed {seed} --executor {executor} --patience {patience}{round}")
}
