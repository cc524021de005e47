//! The pool's life: what it still takes, and how it ends.

use crate::{error::TaskError, stats::PoolState};

/// ```text
/// Open ──shut_down──> ShuttingDown ──end──> Ended
///  │                      │ break_with: the same, with its cause
///  └─break_with─> Broken ─┘
///                   └─end (its supervisor has given up)─> Abandoned ──shut_down──> Ended
/// ```
#[derive(Debug, Default, Clone)]
pub(in crate::process) enum Lifecycle {
    /// It takes tasks, and runs them.
    #[default]
    Open,
    /// It takes tasks, and ends them with this error.
    Broken(TaskError),
    /// The same, and its supervisor has gone: no worker is left.
    Abandoned(TaskError),
    /// It takes no tasks, and runs those that it has, if it was not broken before or meanwhile.
    ShuttingDown { broken: Option<TaskError> },
    /// It has no tasks and no workers, and no supervisor.
    Ended { broken: Option<TaskError> },
}

impl Lifecycle {
    /// No more tasks are taken.
    pub(in crate::process) fn shut_down(&mut self) {
        *self = match std::mem::take(self) {
            Self::Open => Self::ShuttingDown { broken: None },
            Self::Broken(error) => Self::ShuttingDown { broken: Some(error) },
            Self::Abandoned(error) => Self::Ended { broken: Some(error) },
            other @ (Self::ShuttingDown { .. } | Self::Ended { .. }) => other,
        };
    }

    /// No more tasks are run. The first reason stays.
    pub(super) fn break_with(&mut self, error: TaskError) {
        match self {
            Self::Open => *self = Self::Broken(error),
            Self::ShuttingDown { broken } | Self::Ended { broken } => drop(broken.get_or_insert(error)),
            Self::Broken(_) | Self::Abandoned(_) => {}
        }
    }

    /// The supervisor leaves: after a shutdown because all is done, otherwise because it cannot go on, with this error.
    pub(super) fn end(&mut self, error: Option<&TaskError>) {
        error.into_iter().for_each(|error| self.break_with(error.clone()));
        *self = match std::mem::take(self) {
            Self::ShuttingDown { broken } => Self::Ended { broken },
            Self::Broken(error) => Self::Abandoned(error),
            other @ (Self::Open | Self::Abandoned(_) | Self::Ended { .. }) => other,
        };
        debug_assert!(self.has_ended(), "a supervisor leaves a pool that was shut down, or is broken");
    }

    pub(in crate::process) fn is_shut_down(&self) -> bool {
        matches!(self, Self::ShuttingDown { .. } | Self::Ended { .. })
    }

    /// No worker is left and none will come.
    pub(in crate::process) fn has_ended(&self) -> bool {
        matches!(self, Self::Abandoned(_) | Self::Ended { .. })
    }

    /// Why no task is run any more.
    pub(in crate::process) fn broken(&self) -> Option<&TaskError> {
        match self {
            Self::Open => None,
            Self::Broken(error) | Self::Abandoned(error) => Some(error),
            Self::ShuttingDown { broken } | Self::Ended { broken } => broken.as_ref(),
        }
    }

    pub(in crate::process) fn pool_state(&self) -> PoolState {
        match self {
            Self::Open => PoolState::Active,
            Self::Broken(error) | Self::Abandoned(error) | Self::ShuttingDown { broken: Some(error) } => {
                PoolState::Broken(error.clone())
            }
            Self::ShuttingDown { broken: None } => PoolState::Ending,
            Self::Ended { .. } => PoolState::Ended,
        }
    }
}
