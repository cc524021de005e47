//! The kinds of executors under test.

use std::fmt;

use clap::ValueEnum;
use reports::model::SERIAL;
use serde::{Deserialize, Serialize};

/// An executor by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// `SerialExecutor`: each task runs at once, in `submit`.
    Serial,
    /// `ThreadPoolExecutor`.
    Thread,
    /// `ProcessPoolExecutor`.
    Process,
    /// `RayonExecutor`.
    Rayon,
    /// A new thread for each task.
    ThreadPerTask,
    /// A new worker process for each task.
    ProcessPerTask,
}

/// The properties of an executor in the lab.
struct Row {
    kind: Kind,
    name: &'static str,
    /// A note on its figures for the reader of a table.
    note: &'static str,
    /// Whether it keeps its workers from task to task, so that its overhead is measured in detail.
    is_pool: bool,
    has_processes: bool,
}

/// The one table of executors under test, in the order of reports; every list of executors derives from it.
static TABLE: [Row; 6] = [
    Row {
        kind: Kind::Serial,
        name: SERIAL,
        note: "runs the task in submit; arguments are moved, not copied",
        is_pool: false,
        has_processes: false,
    },
    Row { kind: Kind::Thread, name: "thread", note: MOVED, is_pool: true, has_processes: false },
    Row { kind: Kind::Process, name: "process", note: "", is_pool: true, has_processes: true },
    Row { kind: Kind::Rayon, name: "rayon", note: MOVED, is_pool: true, has_processes: false },
    Row { kind: Kind::ThreadPerTask, name: "thread-per-task", note: MOVED, is_pool: false, has_processes: false },
    Row { kind: Kind::ProcessPerTask, name: "process-per-task", note: "", is_pool: false, has_processes: true },
];

const MOVED: &str = "arguments are moved, not copied";

impl Kind {
    pub(crate) const ALL: [Self; TABLE.len()] = {
        let mut all = [Self::Serial; TABLE.len()];
        let mut index = 0;
        while index < all.len() {
            all[index] = TABLE[index].kind;
            index += 1;
        }
        all
    };

    /// The executors that keep their workers.
    pub(crate) fn pools() -> impl Iterator<Item = Self> {
        TABLE.iter().filter(|row| row.is_pool).map(|row| row.kind)
    }

    fn row(self) -> &'static Row {
        // INVARIANT: the table is in the order of the enum; a test checks it.
        &TABLE[self as usize]
    }

    pub(crate) fn name(self) -> &'static str {
        self.row().name
    }

    pub(crate) fn note(self) -> &'static str {
        self.row().note
    }

    pub(crate) fn has_processes(self) -> bool {
        self.row().has_processes
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_kinds_and_has_the_names_that_clap_and_serde_have() {
        assert_eq!(Kind::ALL, Kind::value_variants());
        for kind in Kind::ALL {
            assert_eq!(kind.row().kind, kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(kind.to_possible_value().unwrap().get_name(), kind.name());
        }
    }
}
