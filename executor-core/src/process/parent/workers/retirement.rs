//! When a worker that has become idle is to leave.

use std::time::{Duration, Instant};

use crate::process::parent::sleep::Attention;

#[derive(Debug, Default)]
pub(super) struct Retirement {
    /// How long an idle worker may stay.
    idle_timeout: Option<Duration>,
    /// The pool is shutting down: each worker that becomes idle is to leave.
    is_ending: bool,
}

impl Retirement {
    pub(super) fn new(idle_timeout: Option<Duration>) -> Self {
        Self { idle_timeout, is_ending: false }
    }

    pub(super) fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout
    }

    /// No more tasks will come.
    pub(super) fn begin_end(&mut self) -> Attention {
        self.is_ending = true;
        Attention::Now
    }

    /// What the supervisor has to know of a worker that is idle since then.
    pub(super) fn of_idle_since(&self, since: Instant) -> Attention {
        if self.is_ending {
            return Attention::Now;
        }
        Attention::by(self.idle_timeout.and_then(|timeout| since.checked_add(timeout)))
    }
}
