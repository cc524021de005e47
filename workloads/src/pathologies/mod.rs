//! Tasks that share something with all threads of their process, each with a switch that turns the cause off; and controls that
//! share nothing. `lab pathologies` runs each on threads and on processes.
//!
//! A switch is in the task where the task decides what it shares, and otherwise in the environment of the process, which the lab
//! sets. A task gives the same answer with and without its cause.

mod locks;
mod memory;
mod name;
mod sqlite;

pub use name::Pathology;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    ItemError, PrepareError, Prepared,
    kernels::{self, Block, Spin, spin},
    made_input::Check,
    paths,
    workload::{JobSize, Place, Workload},
};

/// The workload: a number of such tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathologyTasks {
    /// What they share.
    pub pathology: Pathology,
    /// Whether they share it. A cause that is turned off in the environment does not depend on it.
    pub shares: bool,
    /// Number of tasks.
    pub tasks: u32,
    /// Repetitions within a task: about 20 µs each.
    pub rounds: u32,
}

/// The argument of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PathologyTask {
    pathology: Pathology,
    shares: bool,
    rounds: u32,
    index: u32,
    /// Empty where the task needs none.
    #[serde(with = "paths::one")]
    database: PathBuf,
    bytes: Block,
}

/// Bytes of a task of [`Pathology::Payload`] for each round.
const BYTES_PER_ROUND: usize = 16 * 1024;

/// Iterations that take about 20 µs.
const ITERATIONS: u64 = 20_000;

impl Workload for PathologyTasks {
    const NAME: &'static str = "pathology";

    type Input = PathologyTask;
    type Output = Result<u64, ItemError>;

    fn of_job(job: &JobSize) -> Self {
        Self { pathology: Pathology::Spin, shares: true, tasks: if job.quick { 16 } else { 64 }, rounds: 16 }
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Prepared<PathologyTask>, PrepareError> {
        let Self { pathology, shares, tasks, rounds } = *self;
        let databases = sqlite::databases(pathology, shares, tasks, place.data, Check::of(place))?;
        let bytes = if pathology == Pathology::Payload { BYTES_PER_ROUND * rounds as usize } else { 0 };
        let task = |index: u32| PathologyTask {
            pathology,
            shares,
            rounds,
            index,
            database: databases.get(index as usize % databases.len().max(1)).cloned().unwrap_or_default(),
            bytes: kernels::Payload::new(bytes, 0, index.into()).input,
        };
        let description = format!("{tasks} tasks of {rounds} rounds, {pathology:?}, shared: {shares}");
        Ok(Prepared::described((0..tasks).map(task).collect(), description))
    }

    fn run(task: PathologyTask) -> Self::Output {
        let PathologyTask { pathology, shares, rounds, index, .. } = task;
        let iterations = ITERATIONS * u64::from(rounds);
        Ok(match pathology {
            Pathology::MallocTrim => memory::many_blocks(rounds),
            Pathology::MmapChurn => memory::large_blocks(rounds),
            Pathology::TlbShootdown => memory::short_mappings(rounds),
            Pathology::Arenas => memory::middle_blocks(rounds),
            Pathology::SqlitePrepare
            | Pathology::SqliteOpen
            | Pathology::SqliteSharedCache
            | Pathology::SqliteWriter => {
                let failed = |cause: rusqlite::Error| ItemError {
                    item: paths::shown(&task.database),
                    reason: cause.to_string(),
                };
                return sqlite::run(pathology, shares, rounds, &task.database).map_err(failed);
            }
            Pathology::LockQuarter => locks::locked(iterations, 4, shares, index),
            Pathology::LockHalf => locks::locked(iterations, 2, shares, index),
            Pathology::LockWhole => locks::locked(iterations, 1, shares, index),
            Pathology::FalseSharing => locks::count(rounds, shares),
            Pathology::ArcClone => locks::clone_references(rounds, shares),
            Pathology::Lines => locks::print_lines(rounds, shares),
            Pathology::Spin => spin(Spin { iterations, seed: index.into() }),
            Pathology::HashMemory => hash(rounds, index),
            Pathology::Payload => kernels::payload(kernels::Payload { input: task.bytes, output_bytes: 0 }).checksum,
            Pathology::Tiny => index.into(),
            Pathology::SharedTable => memory::look_up(rounds, index),
        })
    }
}

/// Hashes some KiB of its own for each round.
fn hash(rounds: u32, index: u32) -> u64 {
    let bytes = vec![index as u8; 8 * 1024];
    let mut hasher = Sha256::new();
    (0..rounds).for_each(|_| hasher.update(&bytes));
    let digest = hasher.finalize();
    digest.iter().take(8).fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn each_gives_the_same_answers_with_and_without_what_it_shares() {
        let folder = tempfile::tempdir().unwrap();
        for pathology in Pathology::value_variants() {
            let answers = |shares| {
                let workload = PathologyTasks { pathology: *pathology, shares, tasks: 3, rounds: 1 };
                let prepared = workload.prepare(&Place { data: folder.path(), again: false }).unwrap();
                assert_eq!(prepared.items.len(), 3);
                let answers = prepared.items.into_iter().map(|item| PathologyTasks::run(item).unwrap());
                answers.collect::<Vec<_>>()
            };
            assert_eq!(answers(true), answers(false), "{pathology:?}");
        }
    }

    #[test]
    fn tasks_that_share_run_at_the_same_time_and_lose_no_write() {
        let folder = tempfile::tempdir().unwrap();
        for pathology in [Pathology::SqliteWriter, Pathology::SqliteSharedCache, Pathology::Lines, Pathology::LockHalf]
        {
            let workload = PathologyTasks { pathology, shares: true, tasks: 8, rounds: 1 };
            let place = Place { data: folder.path(), again: false };
            let items = workload.prepare(&place).unwrap().items;
            std::thread::scope(|scope| {
                let tasks: Vec<_> =
                    items.into_iter().map(|item| scope.spawn(|| PathologyTasks::run(item).unwrap())).collect();
                for task in tasks {
                    task.join().unwrap();
                }
            });
        }
        assert_eq!(sqlite::total(&folder.path().join("pathology-writer-1/0.db")).unwrap(), 8 * sqlite::WRITES as i64);
    }
}
