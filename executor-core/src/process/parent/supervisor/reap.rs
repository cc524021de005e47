//! The end of a worker: what it was doing is settled, and its process is reaped.

use std::time::{Duration, Instant};

use super::{control_frames::take_frame, start::be_refused};
use crate::{
    error::{Cause, TaskError, WorkerExit},
    process::{
        config::OnWorkerDeath,
        parent::{
            pool::PoolShared,
            spent::Spent,
            state::State,
            workers::{
                handle::WorkerHandle,
                life::{Life, StartError, Stop},
            },
        },
        wire::birth::TRY_AGAIN,
    },
};

/// Workers that end by themselves before they are ready, one after the other: after so many the pool gives up.
const ENDED: u32 = 3;
/// Those that are killed before they are ready may have had nothing to do with it: after so many, and when none has become
/// ready for as long as one may take, the pool gives up.
const KILLED: u32 = 100;

pub(super) fn reap_faulty(pool: &PoolShared, state: &mut State) {
    for number in state.workers.numbers(|worker| worker.violated_protocol && !worker.is_dying()) {
        reap(pool, state, number);
    }
}

/// So often a dead worker is received from; each time it is what one reading takes.
const LAST_RECEIVES: usize = 64;

/// Takes all frames and answers of a dead worker, also those from while it was being killed. A single reading may stop before the
/// last one.
fn take_last_words(pool: &PoolShared, state: &mut State, number: u32) {
    for _ in 0..LAST_RECEIVES {
        let Some(worker) = state.workers.get_mut(number) else { return };
        let before = worker.channel.taken();
        let mut frames = Vec::new();
        // Violations of the protocol do not matter any more.
        let _ = worker.channel.control().receive_frames(&mut |kind, body| frames.push((kind, body.to_vec())));
        for (kind, body) in frames {
            let _ = take_frame(pool, state, number, kind, &body);
        }
        state.receive(number);
        if state.workers.get(number).is_none_or(|worker| worker.channel.taken() == before) {
            return;
        }
    }
}

/// Workers that come in place of one that has died at this time of its life, and count as such.
fn successors(life: &Life, shut_down: bool) -> usize {
    match life {
        // It is started again as if it never had been.
        Life::Starting { .. } => 0,
        Life::Leaving { .. } => usize::from(!shut_down),
        Life::Held | Life::Open | Life::Silent(_) | Life::Stopping(_) => 1,
    }
}

/// A worker is dead, or being killed: reaps it, and settles what it was doing. Where its process takes its time to end, that is
/// done when it has, and its successor comes meanwhile.
pub(super) fn reap(pool: &PoolShared, state: &mut State, number: u32) {
    let Some(worker) = state.workers.get_mut(number) else { return };
    let pid = worker.pid();
    let was_dying = worker.is_dying();
    let exit = worker.try_reap();
    state.workers.leave_idle(number);
    let Some(exit) = exit else {
        if !was_dying {
            note_end(state, number);
            // The first request there may have killed it, and has to wait until it is known how the worker ended.
            let behind = state.workers.get(number).map_or(0, |worker| worker.in_flight().len().saturating_sub(1));
            state.take_back(number, behind);
        }
        return;
    };
    take_last_words(pool, state, number);
    let Some(worker) = state.workers.get_mut(number) else { return };
    let stop = worker.take_stop();
    // The item that has run into its limit may have ended within the grace time. What runs now was not told to stop.
    let has_gone_on = worker.in_flight().has_gone_on(worker.channel.open_items());
    let guilty = stop.as_ref().filter(|stop| !(has_gone_on && matches!(stop.error, TaskError::TimedOut { .. })));
    let error = cause_of_death(worker, guilty, exit);
    if !was_dying {
        note_end(state, number);
    }
    let was_running = state.recover(number, &error, guilty.is_some());
    let Some(mut worker) = state.workers.remove(number) else { return };
    state.ledger.spend_all(worker.channel.control().take_unsent().into_iter().map(Spent::Long));
    if worker.is_announced {
        state.ledger.events.worker_ended();
    }
    if matches!(worker.life(), Life::Starting { .. }) {
        note_failed_start(pool, state, &mut worker, exit);
    } else if !worker.is_leaving() && stop.is_none() {
        let has_begun = was_running || worker.in_flight().has_passed_any();
        state.staffing.note_died(has_begun, Instant::now(), pool.config.max_workers);
        give_up_warming(pool, state, pid, exit);
        if pool.config.on_worker_death == OnWorkerDeath::BreakPool && state.lifecycle.broken().is_none() {
            let cause = if was_running { error } else { TaskError::WorkerDied { pid, exit } };
            pool.break_pool(state, TaskError::PoolBroken { cause: Cause::new(cause) });
        }
    }
    // Its rings are to be unmapped, and the configurations that it knew may be large.
    state.ledger.spend(Spent::Worker(Box::new(worker)));
    pool.changed.notify_all();
}

/// Once for each worker that ends: one that is started may come in its place.
fn note_end(state: &mut State, number: u32) {
    let is_shut_down = state.lifecycle.is_shut_down();
    let successors = state.workers.get(number).map_or(0, |worker| successors(worker.life(), is_shut_down));
    state.staffing.replace(successors);
}

/// The error of the task that a dead worker was running.
fn cause_of_death(worker: &WorkerHandle, stop: Option<&Stop>, exit: WorkerExit) -> TaskError {
    match stop {
        Some(Stop { error: TaskError::TimedOut { .. }, .. }) => {
            let since = worker.in_flight().front_since();
            TaskError::TimedOut { ran_for: since.map_or(Duration::ZERO, |since| since.elapsed()) }
        }
        Some(stop) => stop.error.clone(),
        None if worker.is_out_of_memory => TaskError::MemoryLimit,
        None => TaskError::WorkerDied { pid: worker.pid(), exit },
    }
}

/// A worker has ended before it was ready.
fn note_failed_start(pool: &PoolShared, state: &mut State, worker: &mut WorkerHandle, exit: WorkerExit) {
    let shortage = match worker.startup_error.take() {
        Some(StartError::Shortage(step)) => Some(format!("a new one failed to {step}")),
        // It could not say which.
        None if exit == WorkerExit::Code(TRY_AGAIN) => Some("a new one has found no thread or no memory".to_owned()),
        other => {
            worker.startup_error = other;
            None
        }
    };
    if let Some(shortage) = shortage {
        // It has had no task since it was started.
        return be_refused(pool, state, &shortage, true, Some(worker.idle_since()));
    }
    // A worker that violated the protocol was killed for that.
    let is_hopeless = if exit.may_be_from_outside() && !worker.violated_protocol {
        let (count, since) = state.staffing.note_killed_start();
        count >= KILLED && since.elapsed() >= pool.config.startup_timeout
    } else {
        state.staffing.note_failed_start() >= ENDED
    };
    if worker.startup_error.is_none() && !is_hopeless {
        return;
    }
    let pid = worker.pid();
    let prepares = pool.config.initializer.is_some() || pool.config.preload.is_some();
    let prepared = if prepares { "does the initializer or the preload end it? " } else { "" };
    let error = match worker.startup_error.take() {
        Some(StartError::Lasting(error)) => error,
        _ => TaskError::NoWorker {
            cause: Cause::new(format!(
                "worker process {pid} ended before it was ready ({exit}): \
                 {prepared}is executor_core::init() the first line of main?"
            )),
        },
    };
    pool.break_pool(state, error);
}

/// A worker that was ready has died. Threads that wait for all of them do not wait for ever where some die before the last one is
/// ready, over and over.
fn give_up_warming(pool: &PoolShared, state: &mut State, pid: u32, exit: WorkerExit) {
    let Some((since, replaced)) = state.staffing.replaced_in_warm_up() else { return };
    if replaced < pool.config.max_workers as u64 * u64::from(ENDED) || since.elapsed() < pool.config.startup_timeout {
        return;
    }
    state.staffing.fail_warm_up(TaskError::NoWorker {
        cause: Cause::new(format!(
            "workers die before all {} of them are ready: {replaced} were replaced, and the last one that died was {pid} ({exit})",
            pool.config.max_workers
        )),
    });
    // Tasks start those that they need.
    state.staffing.want_no_more_than(0);
}
