//! Workers that do not claim the requests that they are sent: stopped by a signal, or stuck in code that belongs to no task.
//!
//! A worker claims a request within microseconds of being told of it. So while the first request in flight is not claimed, the
//! supervisor looks now and then, and when that stays so, or the time limit of the request is over, all requests in flight at that
//! worker go to others and the worker is *silent*: it gets nothing until it has passed what was taken back, and is killed if it
//! does not within the grace time. It has nothing to run meanwhile, so killing it fails no task.
//!
//! Over a socket a request cannot be taken back, but it can be known that it was not read. A worker that is stopped before it has
//! read its request has not begun it, and is killed; and what a dead worker has not begun goes to others. Only where the worker is
//! continued in the very moment between the look and the kill does that task fail.

use std::time::{Duration, Instant};

use super::State;
use crate::{
    error::TaskError,
    process::parent::{
        sleep::Attention,
        workers::{
            handle::WorkerHandle,
            life::{Life, Silent},
        },
    },
};

/// How often the supervisor looks at requests that are not claimed.
const CLAIM_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// A request that was first and not claimed at so many looks goes to another worker, if there is one.
const CLAIM_CHECKS: u32 = 3;
/// After so many it does so in any case.
const MOST_CLAIM_CHECKS: u32 = 200;
/// A worker without a task need not be given less time than this, nor more.
const GRACE: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(10)];

impl State {
    /// A request is the first in flight at a worker, and may stay there unclaimed.
    #[inline]
    pub(super) fn watch_claims(&mut self) -> Attention {
        if self.watches.claims.is_some() {
            return Attention::None;
        }
        self.watches.claims = Instant::now().checked_add(CLAIM_CHECK_INTERVAL);
        Attention::by(self.watches.claims)
    }

    /// For the supervisor: checks requests that are not claimed, and workers that are silent.
    pub(in crate::process) fn keep_claims(&mut self, now: Instant, grace: Duration) {
        self.attend_silent(now);
        if self.watches.claims.is_none_or(|due| due > now) {
            return;
        }
        let mut is_over = true;
        for number in self.workers.numbers(|worker| !worker.is_dying()) {
            let has_other =
                !self.staffing.is_full || self.workers.iter().any(|other| other.is_open() && other.is_idle());
            let Some(worker) = self.workers.get_mut(number) else { continue };
            is_over &= worker.first_unclaimed().is_none() && worker.in_flight().len() < 2;
            let looks = worker.look_whether_claimed();
            let may_fall_silent = worker.is_ready() && !worker.is_stopping();
            let is_silent = looks >= MOST_CLAIM_CHECKS
                || looks >= CLAIM_CHECKS && has_other
                || looks >= 2 && may_fall_silent && worker.is_stopped();
            if is_silent && may_fall_silent {
                self.take_back(number, usize::MAX);
                self.fall_silent(number, now, grace);
                self.end_stopped(number);
            }
        }
        self.watches.claims = if is_over { None } else { now.checked_add(CLAIM_CHECK_INTERVAL) };
    }

    /// Kills a worker that is stopped with a request before it that cannot be taken back in another way.
    fn end_stopped(&mut self, number: u32) {
        let Some(worker) = self.workers.get_mut(number) else { return };
        if worker.first_unclaimed().is_some_and(|first| worker.is_stopped_before(first)) {
            // It gets nothing more from here on; what is in flight at it is settled once it is reaped.
            worker.leave_by(None);
            worker.kill();
        }
    }

    /// The worker gets nothing more until it has passed what was taken back from it, unless it has begun something after all.
    fn fall_silent(&mut self, number: u32, now: Instant, grace: Duration) {
        let Some(worker) = self.workers.get_mut(number) else { return };
        if !worker.is_idle() || !worker.is_ready() {
            return;
        }
        let kill_at = now.checked_add(grace.clamp(GRACE[0], GRACE[1]));
        worker.fall_silent(Silent { since: now, look: now, kill_at });
        self.workers.leave_idle(number);
        self.sleep.call();
    }

    /// The time limit of the first request in flight is over, and its worker has not claimed it. It goes to another one; but not
    /// for ever: its time is over the second time, too. `false` when it was claimed.
    pub(in crate::process) fn miss(&mut self, number: u32, now: Instant, ran_for: Duration, grace: Duration) -> bool {
        let Some(worker) = self.workers.get(number) else { return false };
        let Some(first) = worker.first_unclaimed() else { return false };
        let behind = worker.in_flight().len() - 1;
        self.take_back(number, behind);
        let Some(worker) = self.workers.get_mut(number) else { return false };
        if !worker.channel.revoke(first) {
            return false;
        }
        if let Some(mut taken) = self.take_revoked(number, first) {
            if std::mem::replace(&mut taken.request.extras().is_missed, true) {
                self.fail(taken, &TaskError::TimedOut { ran_for });
            } else {
                self.put_back(number, taken);
            }
        }
        self.fall_silent(number, now, grace);
        true
    }

    fn attend_silent(&mut self, now: Instant) {
        let due = |worker: &WorkerHandle| {
            worker.is_ready() && matches!(worker.life(), Life::Silent(silent) if silent.look <= now)
        };
        for number in self.workers.numbers(due) {
            let Some(worker) = self.workers.get_mut(number) else { continue };
            let Life::Silent(silent) = *worker.life() else { continue };
            if worker.channel.has_passed_all() {
                let attention = self.workers.end_silence(number);
                self.sleep.attend(attention);
            } else if silent.kill_at.is_some_and(|kill_at| kill_at <= now) {
                // Not one that has died: nothing is lost.
                worker.leave_by(Some(now));
            } else {
                let pause = ((now - silent.since) / 4).max(Duration::from_millis(1));
                if let Some(look) = now.checked_add(pause).into_iter().chain(silent.kill_at).min() {
                    worker.fall_silent(Silent { look, ..silent });
                }
            }
        }
    }
}
