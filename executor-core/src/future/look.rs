//! A short look before falling asleep.
//!
//! Waking a sleeping thread costs between 2 and 90 us, and what it waits for is often done in less than one. So who is about
//! to sleep looks for a while first, but only where a core is free for it, and no longer than has been worth it lately.

use std::{
    cell::Cell,
    hint::spin_loop,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use crate::executor::available_cpus;

/// The longest look. Longer than two wake-ups cost, so that of two who wait for one another, and have both fallen asleep, the
/// first to wake finds the other still looking.
const LONGEST: Duration = Duration::from_micros(200);
/// The shortest look, after many in vain.
const SHORTEST: Duration = Duration::from_micros(2);

/// Threads of this process that look right now.
static LOOKING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// How long this thread looks.
    static HABIT: Cell<Duration> = const { Cell::new(LONGEST) };
}

/// Calls `done` until it says so or it is time to sleep; returns what it said last.
pub(crate) fn look(deadline: Option<Instant>, mut done: impl FnMut() -> bool) -> bool {
    if done() {
        return true;
    }
    // All cores but one may look: on that one the others do their work.
    // ORDERING: a count that only has to be about right.
    if LOOKING.fetch_add(1, Ordering::Relaxed) >= available_cpus() - 1 {
        LOOKING.fetch_sub(1, Ordering::Relaxed);
        return false;
    }
    let span = HABIT.get();
    let start = Instant::now();
    let end = deadline.map_or(start + span, |deadline| deadline.min(start + span));
    let found = loop {
        // The clock costs as much as a few looks.
        let seen = (0..8).any(|_| {
            spin_loop();
            done()
        });
        if seen || Instant::now() >= end {
            break seen;
        }
    };
    LOOKING.fetch_sub(1, Ordering::Relaxed);
    if found {
        HABIT.set((span * 2).min(LONGEST));
    }
    found
}

/// What this thread looked for in vain came so long after it began to look. What takes long is not worth a look; what came
/// soon would have been found by a longer one, for a good part of that time was the wake-up.
pub(crate) fn learn(waited: Duration) {
    HABIT.set(if waited < LONGEST + LONGEST / 4 { LONGEST } else { (HABIT.get() / 2).max(SHORTEST) });
}
