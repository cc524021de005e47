//! What the supervisor sleeps for, and which threads wake it.
//!
//! The rule: what makes something due says so in an [`Attention`], which the code that has the [`Sleep`] must give to it. What can
//! become due is: the limit of a task that becomes the first in flight, wherever that happens; the end of a grace time; the end of
//! a wait in the queue; a worker that has been idle for long enough; and all that is to be done at once. The parts of the pool's
//! state know nothing of the supervisor: their methods return what it has to know.
//!
//! Kept by an assertion wherever the pool's lock is released: the supervisor [covers](Sleep::covers) the earliest time that a
//! walk over everything finds.

use std::{
    ops::BitOrAssign,
    time::{Duration, Instant},
};

/// When the supervisor has to look at what has changed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[must_use = "the supervisor would sleep through what has become due: give it to `Sleep::attend`"]
pub(in crate::process) enum Attention {
    /// Nothing has become due.
    #[default]
    None,
    /// At this time.
    By(Instant),
    Now,
}

impl Attention {
    /// At this time, if there is one: a time too far for the clock never comes.
    pub(super) fn by(time: Option<Instant>) -> Self {
        time.map_or(Self::None, Self::By)
    }

    pub(super) fn now_if(is_due: bool) -> Self {
        if is_due { Self::Now } else { Self::None }
    }

    /// Of two changes, what the supervisor has to know of both.
    #[inline]
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Now, _) | (_, Self::Now) => Self::Now,
            (Self::By(one), Self::By(other)) => Self::By(one.min(other)),
            (Self::None, other) | (other, Self::None) => other,
        }
    }
}

impl BitOrAssign for Attention {
    #[inline]
    fn bitor_assign(&mut self, other: Self) {
        *self = self.and(other);
    }
}

/// A supervisor that looks so much later than it had to was not running meanwhile.
const OVERSLEPT: Duration = Duration::from_secs(1);

/// Whether the supervisor looks so late at what was due then that the program was stopped, or frozen with its workers. So what
/// should have got ready by then has not had its time.
pub(super) fn has_overslept(due: Option<Instant>, now: Instant) -> bool {
    due.is_some_and(|due| now.saturating_duration_since(due) >= OVERSLEPT)
}

/// How the supervisor sleeps. Under the pool's lock.
#[derive(Debug, Default)]
pub(in crate::process) struct Sleep {
    until: Until,
    /// It is to be woken when the lock is released.
    is_called: bool,
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
    /// Makes sure that the supervisor is awake when it has to be.
    #[inline]
    pub(in crate::process) fn attend(&mut self, attention: Attention) {
        match attention {
            Attention::None => {}
            Attention::By(time) if self.covers(Some(time)) => {}
            Attention::By(_) | Attention::Now => self.call(),
        }
    }

    /// There is something to do for it now.
    pub(in crate::process) fn call(&mut self) {
        if self.until != Until::Awake {
            self.until = Until::Awake;
            self.is_called = true;
        }
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

    /// For the thread that releases the lock: whether the supervisor is to be woken.
    #[must_use]
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
