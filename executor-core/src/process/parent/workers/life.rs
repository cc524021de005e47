//! How far a worker is.

use std::time::Instant;

use crate::error::{Cause, TaskError};

/// ```text
/// Starting ──> Held ──> Open <──> Silent
///    │                   │  └──> Stopping
///    └───────────────────┴─────────┴──────> Leaving
/// ```
#[derive(Debug)]
pub(in crate::process::parent) enum Life {
    /// Has not finished the handshake and the initializer.
    Starting { until: Option<Instant> },
    /// It is ready, and gets no task as long as those that it is to replace have some.
    Held,
    /// It may be given tasks.
    Open,
    /// It does not claim what it is given, and gets nothing until it has passed what was taken back.
    Silent(Silent),
    /// The task that it runs was told to stop. It gets no other one.
    Stopping(Stop),
    /// Was told to go; gets no more tasks.
    Leaving { kill_at: Option<Instant> },
}

/// Why a worker could not begin.
#[derive(Debug)]
pub(in crate::process::parent) enum StartError {
    /// No other one could.
    Lasting(TaskError),
    /// It was refused a resource that another one may get. What it was going to do with that.
    Shortage(Cause),
}

/// The state of a worker that does not claim.
#[derive(Debug, Clone, Copy)]
pub(in crate::process::parent) struct Silent {
    pub(in crate::process::parent) since: Instant,
    /// When it is looked at again.
    pub(in crate::process::parent) look: Instant,
    pub(in crate::process::parent) kill_at: Option<Instant>,
}

/// A task was told to stop.
#[derive(Debug)]
pub(in crate::process::parent) struct Stop {
    /// The reason, with which its future will resolve.
    pub(in crate::process::parent) error: TaskError,
    /// When SIGKILL comes.
    pub(in crate::process::parent) kill_at: Option<Instant>,
}
