//! What the supervisor sleeps for, and who wakes it.
//!
//! The rule: whoever makes something due calls the supervisor, or makes sure that it wakes up in time, and only here. What
//! can become due is: the limit of a task that becomes the front of what is in flight, wherever that happens; the end of a grace
//! time; the end of a wait in the queue; a worker that has had nothing to do for long enough; and all that is to be done at
//! once. So what changes a front takes a [`Sleep`] as an argument.
//!
//! Kept by an assertion wherever the pool's lock is released: the supervisor [covers](Sleep::covers) the earliest time that a
//! walk over everything finds.

use std::time::{Duration, Instant};

/// How the supervisor sleeps. Under the pool's lock.
#[derive(Debug, Default)]
pub(in crate::process) struct Sleep {
    until: Until,
    /// It is to be woken when the lock is released.
    is_called: bool,
    /// How long a worker without work may stay.
    idle_timeout: Option<Duration>,
    /// The pool is shutting down: each worker that rests is to be sent home.
    is_ending: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// It is awake, or was called: it looks at everything before it sleeps again.
    #[default]
    Awake,
    Time(Instant),
    /// Until it is called.
    Called,
}

impl Sleep {
    pub(in crate::process) fn new(idle_timeout: Option<Duration>) -> Self {
        Self { idle_timeout, ..Self::default() }
    }

    /// There is something to do for it now.
    pub(in crate::process) fn call(&mut self) {
        if self.until != Until::Awake {
            self.until = Until::Awake;
            self.is_called = true;
        }
    }

    /// There will be something to do for it at this time.
    #[inline]
    pub(super) fn call_by(&mut self, time: Instant) {
        if !self.covers(Some(time)) {
            self.call();
        }
    }

    /// A worker has nothing to do since then.
    pub(super) fn note_rest(&mut self, since: Instant) {
        if self.is_ending {
            self.call();
        } else if let Some(leaves) = self.idle_timeout.and_then(|timeout| since.checked_add(timeout)) {
            self.call_by(leaves);
        }
    }

    pub(in crate::process) fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout
    }

    /// No more tasks will come.
    pub(in crate::process) fn note_end(&mut self) {
        self.is_ending = true;
        self.call();
    }

    /// Whether the supervisor will be awake at this time.
    pub(super) fn covers(&self, time: Option<Instant>) -> bool {
        match (self.until, time) {
            (Until::Awake, _) | (_, None) => true,
            (Until::Time(until), Some(time)) => until <= time,
            (Until::Called, Some(_)) => false,
        }
    }

    #[cfg(test)]
    pub(super) fn is_awake(&self) -> bool {
        self.until == Until::Awake
    }

    /// For who releases the lock: whether the supervisor is to be woken.
    pub(super) fn take_call(&mut self) -> bool {
        std::mem::take(&mut self.is_called)
    }

    /// For the supervisor: it has looked at everything, and sleeps until then.
    pub(super) fn fall_asleep(&mut self, until: Option<Instant>) {
        self.until = until.map_or(Until::Called, Until::Time);
        self.is_called = false;
    }

    /// For the supervisor: it will look at everything before it sleeps again.
    pub(super) fn wake_up(&mut self) {
        self.until = Until::Awake;
        self.is_called = false;
    }
}
