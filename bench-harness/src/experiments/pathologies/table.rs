//! The causes with their switches, and the controls.

use clap::ValueEnum as _;
use workloads::pathologies::Pathology;

type Environment = &'static [(&'static str, &'static str)];

/// One cause, or one control.
pub(super) struct Case {
    pub(super) pathology: Pathology,
    pub(super) title: &'static str,
    /// How the cause is turned off; empty for a control.
    pub(super) switch: &'static str,
    /// Of the sample's process, with the cause and without it. Where it is the same, the switch is in the task.
    pub(super) environments: [Environment; 2],
    pub(super) tasks: u32,
    pub(super) rounds: u32,
    /// Cores without which it cannot show.
    pub(super) cores: u32,
    /// Whether a quick run has it.
    pub(super) quick: bool,
}

impl Case {
    /// Whether its switch is one of glibc's allocator.
    pub(super) fn needs_glibc(&self) -> bool {
        self.environments[0] != self.environments[1]
    }

    pub(super) fn id(&self) -> String {
        self.pathology.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// glibc's own thresholds, which it otherwise moves when the program frees a large block.
const GIVES_BACK: Environment = &[("MALLOC_TRIM_THRESHOLD_", "131072"), ("MALLOC_MMAP_THRESHOLD_", "131072")];
const KEEPS: Environment = super::super::causes::KEEP_MEMORY.environment;

const fn case(pathology: Pathology, title: &'static str, switch: &'static str, environments: [Environment; 2]) -> Case {
    Case { pathology, title, switch, environments, tasks: 64, rounds: 16, cores: 2, quick: false }
}

const fn control(pathology: Pathology, title: &'static str) -> Case {
    case(pathology, title, "", [&[], &[]])
}

/// All of them, in the order of the report.
pub(super) static CASES: &[Case] = &[
    Case {
        quick: true,
        ..case(
            Pathology::MallocTrim,
            "small blocks are freed, and the heap is given back to the system",
            "trim threshold of 1 GiB",
            [GIVES_BACK, KEEPS],
        )
    },
    case(
        Pathology::MmapChurn,
        "blocks of 256 KiB are mapped, written and unmapped",
        "mmap threshold of 1 GiB",
        [GIVES_BACK, KEEPS],
    ),
    Case {
        quick: true,
        ..case(
            Pathology::TlbShootdown,
            "short mappings come and go while the other core runs a thread of the process",
            "mmap threshold of 1 GiB",
            [GIVES_BACK, KEEPS],
        )
    },
    case(
        Pathology::Arenas,
        "all threads allocate from one arena",
        "as many arenas as glibc makes",
        [&[("MALLOC_ARENA_MAX", "1")], &[]],
    ),
    case(
        Pathology::SqlitePrepare,
        "an SQL statement is prepared for each row, in memory that SQLite counts under a lock",
        "prepared once in a task",
        [&[], &[]],
    ),
    case(
        Pathology::SqliteOpen,
        "a database is opened and closed for each query",
        "each worker keeps its connection",
        [&[], &[]],
    ),
    Case {
        quick: true,
        ..case(
            Pathology::SqliteSharedCache,
            "connections to one database share a cache of pages",
            "each connection has its own cache",
            [&[], &[]],
        )
    },
    Case {
        rounds: 2,
        ..case(
            Pathology::SqliteWriter,
            "all tasks write into one database",
            "each task has a database of its own",
            [&[], &[]],
        )
    },
    case(Pathology::LockQuarter, "a lock is held for a quarter of each task", "no lock", [&[], &[]]),
    case(Pathology::LockHalf, "a lock is held for half of each task", "no lock", [&[], &[]]),
    Case { quick: true, ..case(Pathology::LockWhole, "a lock is held for all of each task", "no lock", [&[], &[]]) },
    case(
        Pathology::FalseSharing,
        "the counters of all threads lie in one cache line",
        "128 bytes for each counter",
        [&[], &[]],
    ),
    case(Pathology::ArcClone, "all threads clone and drop one Arc", "each thread has an Arc of its own", [&[], &[]]),
    case(
        Pathology::Lines,
        "all threads write lines through one locked writer, as println does",
        "each thread has a writer of its own",
        [&[], &[]],
    ),
    Case { quick: true, ..control(Pathology::Spin, "computing") },
    control(Pathology::HashMemory, "hashing memory of its own (SHA-256)"),
    control(Pathology::Payload, "arguments of 256 KiB"),
    Case { tasks: 2_000, quick: true, ..control(Pathology::Tiny, "tasks that do nothing") },
    control(Pathology::SharedTable, "reading a table that nothing writes"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pathology_of_the_workload_is_in_the_table_once() {
        let mut known: Vec<Pathology> = CASES.iter().map(|case| case.pathology).collect();
        known.sort_unstable();
        assert_eq!(known, Pathology::value_variants());
        assert!(CASES.iter().any(|case| case.quick && case.switch.is_empty()));
    }
}
