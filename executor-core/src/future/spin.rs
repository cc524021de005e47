//! Adaptive spinning: a short time of polling before falling asleep.
//!
//! Waking a sleeping thread costs between 2 and 90 µs, and the event that it waits for often takes less than one. So a thread that
//! is about to sleep spins for a while first, but only if a core is free for it, and no longer than has been worth it lately.

use std::{
    cell::Cell,
    hint::spin_loop,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{cell::Cell as TaskCell, pool_context::current_pool};
use crate::sys;

/// The longest that a thread spins while it waits for a task. Longer than two wake-ups cost: if two threads wait for one another,
/// and both have fallen asleep, the first to wake finds the other still spinning.
const WAIT: Duration = Duration::from_micros(200);
/// The longest that a worker spins while its task waits for another one. If that takes longer, the worker that stands in for it
/// makes better use of the core.
const WAIT_IN_POOL: Duration = Duration::from_micros(20);
/// The longest that a worker spins for work.
const WORK: Duration = Duration::from_micros(50);
/// Spinning for less than this is not worth it: sleeping at once costs less.
const SHORTEST: Duration = Duration::from_micros(2);
/// A thread that has spun in vain spins again, for the full time, after so many waits; then after twice as many, and so on
/// up to the second number.
const PROBE: (u32, u32) = (16, 256);

/// Where workers need all cores, a spinning thread first yields this many times ...
const YIELDS: u32 = 2;
/// ... and then naps for this long at each turn.
const NAP: Duration = Duration::from_micros(20);
/// A thread whose deadline is sooner does not yield: a time slice is some milliseconds long.
const LONGEST_YIELDING: Duration = Duration::from_millis(100);

/// Threads of this process that are spinning.
static SPINNING: AtomicUsize = AtomicUsize::new(0);

/// Workers of thread pools of this process that are awake: they run a task or spin for one, and do not block in one. Changes only
/// when a worker falls asleep or wakes up.
static AWAKE: AtomicUsize = AtomicUsize::new(0);

/// Notes that a worker wakes up.
pub(crate) fn note_awake() {
    // ORDERING: a count that only has to be about right.
    AWAKE.fetch_add(1, Ordering::Relaxed);
}

/// Notes that a worker falls asleep, or that its task blocks.
pub(crate) fn note_asleep() {
    // ORDERING: a count that only has to be about right.
    AWAKE.fetch_sub(1, Ordering::Relaxed);
}

thread_local! {
    /// What this thread has learned from waiting for tasks, and from spinning for work.
    static BUDGETS: [Cell<SpinBudget>; 3] =
        const { [Cell::new(SpinBudget::new(WAIT)), Cell::new(SpinBudget::new(WORK)), Cell::new(SpinBudget::new(WAIT_IN_POOL))] };
}

#[derive(Clone, Copy)]
struct SpinBudget {
    longest: Duration,
    /// How long to spin.
    span: Duration,
    /// How many waits ago the last spin for the full time was, and after how many the next one is.
    since_probe: u32,
    interval: u32,
}

impl SpinBudget {
    const fn new(longest: Duration) -> Self {
        Self { longest, span: longest, since_probe: 0, interval: PROBE.0 }
    }

    /// How long to spin this time.
    fn span(self) -> Duration {
        if self.since_probe >= self.interval { self.longest } else { self.span }
    }

    /// The budget after a spin of this length.
    fn after(self, span: Duration, found: bool) -> Self {
        if found {
            return Self { span: (span * 2).min(self.longest), since_probe: 0, interval: PROBE.0, ..self };
        }
        let span_next = if self.span / 2 < SHORTEST { Duration::ZERO } else { self.span / 2 };
        if self.since_probe >= self.interval {
            return Self { span: span_next, since_probe: 0, interval: (self.interval * 2).min(PROBE.1), ..self };
        }
        Self { span: span_next, since_probe: self.since_probe + 1, ..self }
    }
}

/// How many threads may spin at the same time: as many as there are cores. That is not one too many: if one thread waits for a
/// task and another one for work, the first has just handed the work to the second, which has not yet seen it. On a single core
/// no thread spins.
fn limit() -> usize {
    match sys::available_cpus() {
        1 => 0,
        cpus => cpus,
    }
}

/// Calls `done` until it returns `true` or it is time to sleep; returns what it returned last.
pub(crate) fn spin(deadline: Option<Instant>, done: impl FnMut() -> bool) -> bool {
    spin_within(waiting_budget(), deadline, false, done)
}

/// Like [`spin`], until the task of the cell has ended.
pub(crate) fn spin_for_end(deadline: Option<Instant>, cell: &TaskCell) -> bool {
    spin(deadline, || cell.state().is_final())
}

/// Like [`spin_for_end`], for a task of a pool whose workers may need all cores: they have precedence. The spinning thread lets them run at
/// each turn, and finds more done when it comes back. Most yields change nothing while the worker on this core has time left, so
/// soon the thread naps instead: sleeping until a wake-up would cost the workers a system call for every task. The thread comes
/// back after as many time slices as there are workers for each core. So it does not do this if it has to be back soon, or if the
/// task does not have to wait for those workers.
pub(crate) fn spin_over_neighbors(
    deadline: Option<Instant>,
    needs_all_cores: &dyn Fn() -> bool,
    cell: &TaskCell,
) -> bool {
    // ORDERING: a count that only has to be about right.
    let is_crowded = current_pool() == 0 && AWAKE.load(Ordering::Relaxed) >= sys::available_cpus();
    spin_within(waiting_budget(), deadline, is_crowded && has_time(deadline) && needs_all_cores(), || {
        cell.state().is_final()
    })
}

/// Whether a thread that waits until then may let other threads run meanwhile.
pub(crate) fn has_time(deadline: Option<Instant>) -> bool {
    deadline.is_none_or(|end| end.saturating_duration_since(Instant::now()) >= LONGEST_YIELDING)
}

/// Looks for work, as a worker does, until `done` returns `true`.
pub(crate) fn spin_for_work(done: impl FnMut() -> bool) -> bool {
    spin_within(1, None, false, done)
}

fn waiting_budget() -> usize {
    if current_pool() == 0 { 0 } else { 2 }
}

/// Lets other threads run at each turn if it `lets_run`, and otherwise spins.
fn spin_within(budget: usize, deadline: Option<Instant>, lets_run: bool, mut done: impl FnMut() -> bool) -> bool {
    if done() {
        return true;
    }
    let span = BUDGETS.with(|budgets| budgets[budget].get().span());
    let learn = |found| BUDGETS.with(|budgets| budgets[budget].set(budgets[budget].get().after(span, found)));
    if span.is_zero() {
        learn(false);
        return false;
    }
    // ORDERING: a count that only has to be about right.
    if SPINNING.fetch_add(1, Ordering::Relaxed) >= limit() {
        SPINNING.fetch_sub(1, Ordering::Relaxed);
        return false;
    }
    let start = Instant::now();
    let end = deadline.map_or(start + span, |deadline| deadline.min(start + span));
    let mut yields = 0;
    let found = loop {
        let seen = if lets_run {
            if yields < YIELDS {
                yields += 1;
                thread::yield_now();
            } else {
                thread::sleep(NAP);
            }
            done()
        } else {
            // Reading the clock costs as much as a few turns, and little compared with other threads' time slices.
            (0..8).any(|_| {
                spin_loop();
                done()
            })
        };
        if seen || Instant::now() >= end {
            break seen;
        }
    };
    SPINNING.fetch_sub(1, Ordering::Relaxed);
    learn(found);
    found
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Other threads may run for long meanwhile.
    #[test]
    fn a_thread_that_lets_others_run_reads_the_clock_after_each_of_them() {
        let mut turns = 0;
        let found = spin_within(0, None, true, || {
            turns += 1;
            thread::sleep(WAIT);
            false
        });
        // The first call is the one before the spin.
        assert!(!found && turns <= 2, "{turns}");
    }

    #[test]
    fn spinning_in_vain_gets_short_and_then_rare_and_comes_back_where_it_pays() {
        let mut budget = SpinBudget::new(WORK);
        let (mut spun, mut waits) = (Duration::ZERO, 0);
        while waits < 10_000 {
            let span = budget.span();
            spun += span;
            budget = budget.after(span, false);
            waits += 1;
        }
        assert!(spun < WORK * 60, "{spun:?}");
        while budget.span() < WORK {
            budget = budget.after(budget.span(), false);
        }
        budget = budget.after(WORK, true);
        assert_eq!((budget.span(), budget.interval), (WORK, PROBE.0));
    }
}
