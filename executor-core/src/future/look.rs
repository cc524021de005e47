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

/// The longest look. Longer than a wake-up costs, so that nobody who is waited for in time has to be woken.
const LONGEST: Duration = Duration::from_micros(50);
/// The shortest look, after many in vain.
const SHORTEST: Duration = Duration::from_micros(1);
/// After so many short looks comes one of full length, in case things have changed.
const PROBE: u32 = 32;

/// Threads of this process that look right now.
static LOOKING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// How long this thread looks, and how many looks ago it last looked for the full time.
    static HABIT: Cell<(Duration, u32)> = const { Cell::new((LONGEST, 0)) };
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
    let (habit, since_probe) = HABIT.get();
    let span = if since_probe >= PROBE { LONGEST } else { habit };
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
    HABIT.set(match (found, span == LONGEST) {
        (true, _) => ((span * 2).min(LONGEST), 0),
        (false, probed) => ((habit / 2).max(SHORTEST), if probed { 0 } else { since_probe + 1 }),
    });
    found
}
