//! What is measured for the claims about time: loads on executors with a number of workers.

use std::{any::Any, collections::BTreeMap, path::Path};

use workloads::{
    fetch::{self, ServerConfig},
    kernels::{IoWaitTasks, SpinTasks, calibrate},
    sha256, sqlite,
};

use crate::{cell::CellSpec, executors::Kind, registry::Registry, work::Work};

/// What the tasks do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Load {
    /// They compute, half a millisecond each.
    Spin,
    /// They wait.
    Wait,
    /// They query databases.
    Sqlite,
    /// They hash files in chunks of 4 KiB.
    Hash,
    /// They hash the same files in chunks of 256 KiB.
    HashLarge,
    /// They get pages of a local server that answers late.
    FetchSlow,
    /// They get pages of one that answers at once.
    FetchFast,
    /// Nothing: what is measured is `submit`.
    Submit,
    /// They compute: what is measured is the memory of all processes.
    Memory,
}

/// A number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Width {
    One,
    Cores,
    FourEach,
    SixteenEach,
    Fifty,
}

impl Width {
    pub(super) fn workers(self, cores: u32) -> u32 {
        match self {
            Self::One => 1,
            Self::Cores => cores,
            Self::FourEach => 4 * cores,
            Self::SixteenEach => 16 * cores,
            Self::Fifty => 50,
        }
    }
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) load: Load,
    pub(super) kind: Kind,
    pub(super) width: Width,
}

pub(super) const fn key(load: Load, kind: Kind, width: Width) -> Key {
    Key { load, kind, width }
}

/// Number of tasks that wait, and how long each does, in microseconds.
pub(super) const WAITS: (u32, u64) = (100, 10_000);

/// The works of the loads, with the servers that they need.
#[derive(Default)]
pub(super) struct Loads {
    works: BTreeMap<Load, Result<Work, String>>,
    /// They end when they are dropped.
    servers: Vec<Box<dyn Any>>,
}

impl Loads {
    /// Makes the input of these loads.
    pub(super) fn prepare(
        loads: impl Iterator<Item = Load>,
        (registry, data): (&Registry, &Path),
        cores: u32,
        quick: bool,
    ) -> Self {
        let mut this = Self::default();
        for load in loads {
            if !this.works.contains_key(&load) {
                let work = this.work(load, (registry, data), cores, quick);
                this.works.insert(load, work);
            }
        }
        this
    }

    fn work(
        &mut self,
        load: Load,
        (registry, data): (&Registry, &Path),
        cores: u32,
        quick: bool,
    ) -> Result<Work, String> {
        let text = |error: crate::error::LabError| crate::error::chain(&error);
        let mut work = plain(load, cores, quick).map_err(text)?;
        let workload = registry.find(work.name()).map_err(text)?;
        self.servers.extend(workload.begin(&mut work).map_err(text)?);
        // Samples find the input that is made here.
        workload.input(&work, data).map_err(text)?;
        Ok(work)
    }

    /// The cell as it is sent to its process.
    pub(super) fn spec(&self, key: Key, cores: u32, data: &Path) -> Result<CellSpec, String> {
        let work = self.works.get(&key.load).cloned().unwrap_or_else(|| Err("it was not prepared".to_owned()))?;
        let workers = key.width.workers(cores);
        Ok(CellSpec { work, executor: key.kind, workers, data: data.to_path_buf(), input: None })
    }
}

fn plain(load: Load, cores: u32, quick: bool) -> Result<Work, crate::error::LabError> {
    // On a machine of many cores a serial sample is not to take minutes.
    let spins = if quick { 100 } else { 200 } * cores.min(4);
    let spin = |tasks| Work::new(&SpinTasks { tasks, iterations: (500.0 * calibrate()) as u64 });
    let fetch = |latency_ms| {
        let server = ServerConfig { latency_ms, jitter_ms: 0, ..ServerConfig::default() };
        let source = fetch::Source::Local { address: String::new(), server, count: if quick { 60 } else { 100 } };
        Work::new(&fetch::Fetch { spec: fetch::Spec::default(), source })
    };
    let hash = |chunk_size| Work::new(&sha256::Spec { chunk_size, made_bytes: 1 << 20, ..sha256::Spec::default() });
    match load {
        Load::Spin => spin(spins),
        Load::Memory | Load::Submit => spin(spins / 2),
        Load::Wait => Work::new(&IoWaitTasks { tasks: WAITS.0, micros: WAITS.1 }),
        Load::Sqlite => Work::new(&sqlite::Spec { repeats: if quick { 60 } else { 150 }, ..sqlite::Spec::default() }),
        Load::Hash => hash(4096),
        Load::HashLarge => hash(256 << 10),
        Load::FetchSlow => fetch(20),
        Load::FetchFast => fetch(0),
    }
}
