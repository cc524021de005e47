//! Common cases: questions that a reader of the page is likely to have.

use super::Question;
use crate::cost::Lane;

/// How long a task takes, in nanoseconds.
pub const TASK_TIMES: [f64; 5] = [10e3, 100e3, 1e6, 10e6, 100e6];

/// Bytes of an argument.
pub const PAYLOADS: [u64; 3] = [0, 64 << 10, 1 << 20];

/// Number of tasks of each case.
pub const TASKS: u64 = 1000;

/// A question with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The kind of work.
    pub name: &'static str,
    /// More of it.
    pub detail: &'static str,
    /// The question.
    pub question: Question,
}

/// Tasks that compute, with arguments of one size; bytes are nested in another type, as `lab advise` assumes them.
#[must_use]
pub fn plain(task_ns: f64, payload: u64) -> Question {
    Question { task_ns, tasks: TASKS, payload, result: 0, lane: Lane::Nested, waits: 0.0, crashes: false, cold: false }
}

/// The cases of the decision table.
#[must_use]
pub fn named() -> Vec<Case> {
    vec![
        Case { name: "Tiny tasks", detail: "1000 tasks of 1 µs", question: plain(1e3, 0) },
        Case {
            name: "Tasks of 1 ms with 64 KiB",
            detail: "1000 of them, the bytes nested in another type",
            question: plain(1e6, 64 << 10),
        },
        Case {
            name: "Tasks that wait",
            detail: "1000 tasks of 10 ms, of which 9 ms need no core",
            question: Question { waits: 0.9, ..plain(10e6, 0) },
        },
        Case {
            name: "Tasks that may crash, leak or must be stopped",
            detail: "1000 tasks of 1 ms",
            question: Question { crashes: true, ..plain(1e6, 0) },
        },
    ]
}
