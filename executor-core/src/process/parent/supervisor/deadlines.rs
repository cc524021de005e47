//! Deadlines: time limits, grace times, and workers that are to leave.

use std::time::{Duration, Instant};

use super::reap::reap;
use crate::{
    error::{Cause, TaskError},
    process::parent::{
        pool::PoolShared,
        sleep::has_overslept,
        state::State,
        workers::{
            handle::WorkerHandle,
            life::{Life, StartError},
        },
    },
};

/// The longest that a worker may take to leave.
const MOST_GRACE: Duration = Duration::from_secs(60);

/// Lets workers go: all that have nothing to do when no task will come any more, those that have done as many tasks as they
/// may, and those that have had nothing to do for long.
pub(super) fn retire_idle(pool: &PoolShared, state: &mut State, now: Instant) {
    let is_over = state.lifecycle.is_shut_down() || state.lifecycle.broken().is_some();
    let all = is_over && state.queue.is_empty();
    // Without a task there is nothing to finish, whatever the grace of one is.
    let kill_at = now.checked_add(pool.config.grace.clamp(Duration::from_millis(100), MOST_GRACE));
    let limit = state.idle_timeout();
    let is_ready = |worker: &WorkerHandle| worker.is_ready() && worker.is_idle() && !worker.is_stopping();
    let has_rested =
        |worker: &WorkerHandle| limit.is_some_and(|limit| now.saturating_duration_since(worker.idle_since()) >= limit);
    let leaves = |worker: &WorkerHandle| {
        is_ready(worker) && (all || worker.is_used_up() || has_rested(worker)) || all && worker.is_starting()
    };
    for number in state.workers.numbers(leaves) {
        state.workers.leave_idle(number);
        let Some(worker) = state.workers.get_mut(number) else { continue };
        if is_ready(worker) && has_rested(worker) && !worker.is_used_up() {
            state.staffing.want_one_less();
        }
        worker.say_goodbye(kill_at);
    }
}

/// Stops workers that have run a task, started, or left for too long.
pub(super) fn keep_deadlines(pool: &PoolShared, state: &mut State, now: Instant) {
    let is_late = |worker: &WorkerHandle| worker.next_deadline().is_some_and(|deadline| deadline <= now);
    for number in state.workers.numbers(is_late) {
        let Some(worker) = state.workers.get_mut(number) else { continue };
        if worker.is_dying() {
            reap(pool, state, number);
            continue;
        }
        match worker.life() {
            Life::Starting { until } if has_overslept(*until, now) => {
                worker.start_until(now.checked_add(pool.config.startup_timeout));
            }
            Life::Starting { .. } => {
                // A worker that is stopped is killed, and counts as one that was.
                if !worker.is_stopped() {
                    let cause = Cause::new(format!(
                        "a worker process, with its initializer, was not ready within {:?}: \
                         set a longer startup_timeout",
                        pool.config.startup_timeout
                    ));
                    worker.startup_error = Some(StartError::Lasting(TaskError::NoWorker { cause }));
                }
                worker.forget_deadline();
                reap(pool, state, number);
            }
            Life::Leaving { .. } | Life::Stopping(_) => {
                worker.forget_deadline();
                reap(pool, state, number);
            }
            // `keep_claims` attends to workers that are silent.
            Life::Silent(_) => {}
            Life::Held | Life::Open => {
                worker.note_progress(now);
                let in_flight = worker.in_flight();
                if in_flight.limit().is_none_or(|limit| limit > now) {
                    continue;
                }
                let ran_for = in_flight.front_since().map_or(Duration::ZERO, |since| now - since);
                let front = in_flight.front().map(|(front, _)| front);
                if !state.miss(number, now, ran_for, pool.config.grace) {
                    state.stop(number, front, &TaskError::TimedOut { ran_for }, pool.config.grace);
                }
            }
        }
    }
}
