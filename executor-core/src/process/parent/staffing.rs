//! How many workers there should be, how many there have been, and what keeps new ones from starting.

use std::time::{Duration, Instant};

use crate::error::TaskError;

/// The system has no descriptors, processes or memory left for a worker, for a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused {
    /// Since when none could be had.
    pub(super) since: Instant,
    /// How long the supervisor waits the next time.
    pub(super) pause: Duration,
    /// When it asks again.
    pub(super) again: Instant,
    /// A new worker has reported the shortage. Then others that start would meet the same one, and are tried one at a time.
    pub(super) by_worker: bool,
}

/// Threads wait until there are as many workers as there may be. Meanwhile none leaves because it is idle.
#[derive(Debug)]
struct WarmUp {
    threads: usize,
    /// When the first of them began to, and how many successors had been started by then.
    since: Instant,
    respawned: u64,
    /// Why there are not as many, once that is known.
    failure: Option<TaskError>,
}

/// Workers die that were ready and have begun nothing, one after the other.
#[derive(Debug, Clone, Copy)]
struct Barren {
    deaths: usize,
    last: Instant,
    /// No worker is started before this.
    rests_until: Option<Instant>,
    /// How long none is the next time.
    pause: Duration,
}

/// At least so many workers may die without having begun anything, and their successors are started at once.
const MOST_UNHINDERED: usize = 3;
/// After more of them, none is started for so long, and then for twice as long each time ...
const FIRST_REST: Duration = Duration::from_millis(5);
/// ... up to this.
const LONGEST_REST: Duration = Duration::from_millis(500);
/// Deaths that are so far apart have nothing to do with one another.
const APART: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(in crate::process) struct Staffing {
    /// How many workers there should be; rises with demand.
    wanted: usize,
    /// No more workers may be started as things are; the supervisor is called where that changes.
    pub(super) is_full: bool,
    warm_up: Option<WarmUp>,
    /// Where the system has refused a worker, and none was ready since.
    pub(super) refused: Option<Refused>,
    /// Workers that ended by themselves before they were ready, since one was.
    failed_starts: u32,
    /// Workers that were killed before they were ready, since one was; and since when.
    killed_starts: Option<(u32, Instant)>,
    /// Workers that died and whose successor has not been started.
    to_replace: usize,
    died: u64,
    respawned: u64,
    barren: Option<Barren>,
    /// The process that workers are forked from, while there is one.
    pub(in crate::process) fork_server: Option<u32>,
}

impl Staffing {
    /// Without workers; the threads that wait for them will count themselves off.
    pub(super) fn emptied(&self) -> Self {
        let warm_up = self.warm_up.as_ref().map(|warm_up| WarmUp { failure: None, ..*warm_up });
        Self { warm_up, ..Self::default() }
    }

    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// There should be at least so many.
    pub(super) fn want(&mut self, workers: usize) {
        self.wanted = self.wanted.max(workers);
    }

    /// There need not be more than this.
    pub(super) fn want_no_more_than(&mut self, workers: usize) {
        self.wanted = self.wanted.min(workers);
    }

    /// One that leaves is not replaced.
    pub(super) fn want_one_less(&mut self) {
        self.wanted = self.wanted.saturating_sub(1);
    }

    /// A thread begins to wait for as many workers as there may be.
    pub(in crate::process) fn begin_warm_up(&mut self, max_workers: usize) {
        self.wanted = max_workers;
        let new = WarmUp { threads: 0, since: Instant::now(), respawned: self.respawned, failure: None };
        self.warm_up.get_or_insert(new).threads += 1;
    }

    pub(in crate::process) fn end_warm_up(&mut self) {
        if let Some(warm_up) = &mut self.warm_up {
            warm_up.threads -= 1;
            if warm_up.threads == 0 {
                self.warm_up = None;
            }
        }
    }

    pub(super) fn is_warming_up(&self) -> bool {
        self.warm_up.is_some()
    }

    /// Whether threads wait for all workers, and nothing is known to keep them from coming.
    pub(super) fn warms_up_still(&self) -> bool {
        self.warm_up.as_ref().is_some_and(|warm_up| warm_up.failure.is_none())
    }

    /// The threads that wait for all workers wait no more.
    pub(super) fn fail_warm_up(&mut self, error: TaskError) {
        if let Some(warm_up) = &mut self.warm_up {
            warm_up.failure = Some(error);
        }
    }

    pub(in crate::process) fn warm_up_failure(&self) -> Option<&TaskError> {
        self.warm_up.as_ref()?.failure.as_ref()
    }

    /// Since when threads wait for all workers, and how many successors have been started meanwhile.
    pub(super) fn replaced_in_warm_up(&self) -> Option<(Instant, u64)> {
        let warm_up = self.warm_up.as_ref().filter(|warm_up| warm_up.failure.is_none())?;
        Some((warm_up.since, self.respawned - warm_up.respawned))
    }

    /// A worker was started; where one has died it is its successor.
    pub(super) fn note_started(&mut self) {
        if self.to_replace > 0 {
            self.to_replace -= 1;
            self.respawned += 1;
        }
    }

    /// A worker is ready: whatever kept others from being so is over.
    pub(super) fn note_ready(&mut self) {
        self.failed_starts = 0;
        self.killed_starts = None;
        self.refused = None;
    }

    /// A worker that was ready has died; whether it had begun anything. One that had is replaced at once. Where one after the other
    /// has not, whatever kills them may go on, and starts would follow each other as fast as the system can.
    pub(super) fn note_died(&mut self, has_begun: bool, now: Instant, max_workers: usize) {
        self.died += 1;
        if has_begun {
            self.barren = None;
            return;
        }
        let new = Barren { deaths: 0, last: now, rests_until: None, pause: FIRST_REST };
        let before = self.barren.filter(|barren| now.saturating_duration_since(barren.last) < APART);
        let mut barren = Barren { last: now, ..before.unwrap_or(new) };
        barren.deaths += 1;
        // All that are there may die of one event, also during a rest.
        if barren.deaths > max_workers.max(MOST_UNHINDERED) && barren.rests_until.is_none_or(|until| until <= now) {
            barren.rests_until = Some(now + barren.pause);
            barren.pause = (2 * barren.pause).min(LONGEST_REST);
        }
        self.barren = Some(barren);
    }

    /// Until when no worker is started, because they die as fast as they get ready.
    pub(super) fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.barren?.rests_until.filter(|until| *until > now)
    }

    /// The next workers that are started replace so many that have died.
    pub(super) fn replace(&mut self, workers: usize) {
        self.to_replace += workers;
    }

    /// A worker was killed before it was ready: how many have been since one was ready, and since when.
    pub(super) fn note_killed_start(&mut self) -> (u32, Instant) {
        let killed = self.killed_starts.get_or_insert_with(|| (0, Instant::now()));
        killed.0 += 1;
        *killed
    }

    /// A worker has ended by itself before it was ready: how many have since one was ready.
    pub(super) fn note_failed_start(&mut self) -> u32 {
        self.failed_starts += 1;
        self.failed_starts
    }

    /// Workers that have died, and successors that were started.
    pub(in crate::process) fn deaths(&self) -> (u64, u64) {
        (self.died, self.respawned)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn workers_that_die_at_once_are_not_replaced_without_end() {
        let mut staffing = Staffing::default();
        let start = Instant::now();
        let (mut now, mut starts) = (start, 0_u32);
        while now - start < Duration::from_secs(60) {
            starts += 1;
            now += Duration::from_millis(1);
            staffing.note_died(false, now, 1);
            now = staffing.rests_until(now).unwrap_or(now);
        }
        // Each start is followed by a rest of half a second, but for the first ones.
        assert!((120..140).contains(&starts), "{starts}");
        assert_eq!(staffing.deaths(), (u64::from(starts), 0));
        // One that has done something, or a long time, and it is as if it had never been.
        for long in [Duration::ZERO, APART] {
            let mut staffing = Staffing { barren: staffing.barren, ..Staffing::default() };
            if long.is_zero() {
                staffing.note_died(true, now, 1);
            }
            for _ in 0..MOST_UNHINDERED {
                staffing.note_died(false, now + long, 1);
                assert_eq!(staffing.rests_until(now + long), None);
            }
            staffing.note_died(false, now + long, 1);
            assert_eq!(staffing.rests_until(now + long), Some(now + long + FIRST_REST));
        }
    }

    #[test]
    fn workers_that_die_together_are_replaced_at_once() {
        let mut staffing = Staffing::default();
        let now = Instant::now();
        (0..16).for_each(|_| staffing.note_died(false, now, 16));
        assert_eq!(staffing.rests_until(now), None);
        // The same once more is one rest, not sixteen.
        (0..16).for_each(|_| staffing.note_died(false, now, 16));
        assert_eq!(staffing.rests_until(now), Some(now + FIRST_REST));
    }
}
