//! What is known of a task from outside: its id, its state, and how it has ended.

use std::{
    fmt,
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::error::TaskError;

/// Identifies a task for as long as the program runs. It is hashable, so it can be a map's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(NonZeroU64);

impl TaskId {
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // ORDERING: only uniqueness matters. 2^64 tasks are not reached.
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(NonZeroU64::new(id).unwrap_or(NonZeroU64::MAX))
    }

    /// The id with this number; `None` for 0, which no task has.
    pub(super) fn of(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// Returns the number behind the id.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a callback is given: which task is done, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completed {
    id: TaskId,
    state: State,
}

impl Completed {
    pub(super) fn new(id: TaskId, state: State) -> Self {
        Self { id, state }
    }

    /// Returns the id of the task.
    #[must_use]
    pub fn id(self) -> TaskId {
        self.id
    }

    /// Returns whether the task was cancelled.
    #[must_use]
    pub fn cancelled(self) -> bool {
        self.state == State::Cancelled
    }

    /// Returns whether the task ended with a [`TaskError`] other than cancellation.
    #[must_use]
    pub fn failed(self) -> bool {
        self.state == State::Failed
    }
}

/// The states of a cell; the last three are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum State {
    Pending = 0,
    Running = 1,
    /// A thread has won the right to write the outcome, and is writing it.
    Settling = 2,
    Finished = 3,
    Failed = 4,
    Cancelled = 5,
}

impl State {
    pub(super) fn of(word: u32) -> Self {
        match word & STATE {
            0 => Self::Pending,
            1 => Self::Running,
            2 => Self::Settling,
            3 => Self::Finished,
            4 => Self::Failed,
            _ => Self::Cancelled,
        }
    }

    /// The state of a cell with this outcome.
    pub(crate) fn of_outcome<T>(outcome: &Result<T, Box<TaskError>>) -> Self {
        match outcome {
            Ok(_) => Self::Finished,
            Err(error) if **error == TaskError::Cancelled => Self::Cancelled,
            Err(_) => Self::Failed,
        }
    }

    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }
}

/// The bits of the word that hold the [`State`].
pub(super) const STATE: u32 = 0b111;
