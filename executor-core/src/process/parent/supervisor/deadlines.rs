//! What is due: limits, grace times, and workers that are to leave.

use std::time::{Duration, Instant};

use super::reap::reap;
use crate::{
    error::{Cause, TaskError},
    process::parent::{
        dispatch::State,
        pool::PoolShared,
        worker_handle::{Life, Stop, WorkerHandle},
    },
};

/// The longest that a worker may take to leave.
const MOST_GRACE: Duration = Duration::from_secs(60);

/// Lets workers go: all that have nothing to do when no task will come any more, those that have done as many tasks as they
/// may, and those that have had nothing to do for long.
pub(super) fn send_home(pool: &PoolShared, state: &mut State, now: Instant) {
    let all = (state.shut_down || state.broken.is_some()) && state.queued() == 0;
    // Without a task there is nothing to finish, whatever the grace of one is.
    let kill_at = now.checked_add(pool.config.grace.clamp(Duration::from_millis(100), MOST_GRACE));
    let limit = pool.config.idle_timeout.filter(|_| state.warming == 0);
    let State { workers, idle, wanted_workers, .. } = state;
    for (number, worker) in workers {
        let ready = worker.is_ready() && worker.in_flight.live() == 0 && worker.stop.is_none();
        let used_up = ready && worker.is_used_up();
        let idle_for_long =
            ready && limit.is_some_and(|limit| now.saturating_duration_since(worker.idle_since) >= limit);
        if all && (ready || worker.is_starting()) || used_up || idle_for_long {
            worker.forget_revoked();
            worker.channel.say_goodbye();
            worker.life = Life::Leaving { kill_at };
            idle.retain(|other| other != number);
            if idle_for_long && !used_up {
                *wanted_workers = wanted_workers.saturating_sub(1);
            }
        }
    }
}

/// Stops what has run, started or said good-bye for too long.
pub(super) fn keep_deadlines(pool: &PoolShared, state: &mut State, now: Instant) {
    let late = |(number, worker): (&u32, &WorkerHandle)| {
        worker.next_deadline().is_some_and(|deadline| deadline <= now).then_some(*number)
    };
    let late: Vec<u32> = state.workers.iter().filter_map(late).collect();
    for number in late {
        let Some(worker) = state.workers.get_mut(&number) else { continue };
        if worker.is_dying() {
            reap(pool, state, number);
            continue;
        }
        match (&mut worker.life, &mut worker.stop) {
            (Life::Starting { until }, _) => {
                worker.startup_error = Some(TaskError::NoWorker {
                    cause: Cause::new(format!(
                        "a worker process, with its initializer, was not ready within {:?}: set a longer startup_timeout",
                        pool.config.startup_timeout
                    )),
                });
                *until = None;
                reap(pool, state, number);
            }
            (Life::Leaving { kill_at }, _) | (Life::Ready, Some(Stop { kill_at, .. })) => {
                *kill_at = None;
                reap(pool, state, number);
            }
            (Life::Ready, None) => {
                worker.in_flight.note_progress(worker.channel.open_items(), now);
                if worker.in_flight.limit().is_none_or(|limit| limit > now) {
                    continue;
                }
                let ran_for = worker.in_flight.front_since().map_or(Duration::ZERO, |since| now - since);
                let front = worker.in_flight.front().map(|(front, _)| front);
                if state.miss(number, now, ran_for, pool.config.grace) {
                    continue;
                }
                state.stop(number, front, &TaskError::TimedOut { ran_for }, pool.config.grace);
            }
        }
    }
}
