//! The end of a worker: what it was doing is settled, and its process is reaped.

use std::time::{Duration, Instant};

use super::{control_frames::take_frame, start::be_refused};
use crate::{
    error::{Cause, TaskError, WorkerExit},
    process::{
        config::OnWorkerDeath,
        parent::{dispatch::State, pool::PoolShared, spent::Spent, worker_handle::Life},
        wire::birth::TRY_AGAIN,
    },
};

/// Workers that end by themselves before they are ready, one after the other: after so many the pool gives up.
const ENDED: u32 = 3;
/// Those that are killed before they are ready may have had nothing to do with it: after so many, and when none has become
/// ready for as long as one may take, the pool gives up.
const KILLED: u32 = 100;

pub(super) fn reap_faulty(pool: &PoolShared, state: &mut State) {
    let insane = state.workers.iter().filter(|(_, worker)| worker.violated_protocol && !worker.is_dying());
    let insane: Vec<u32> = insane.map(|(number, _)| *number).collect();
    for number in insane {
        reap(pool, state, number);
    }
}

/// So often a dead worker is received from; each time it is what one reading takes.
const LAST_LOOKS: usize = 64;

/// Takes all that a dead worker has said and answered, also while it was being killed. A single look may end before the end.
fn take_last_words(pool: &PoolShared, state: &mut State, number: u32) {
    for _ in 0..LAST_LOOKS {
        let Some(worker) = state.workers.get_mut(&number) else { return };
        let before = worker.channel.taken();
        let mut frames = Vec::new();
        // What makes no sense is of no interest any more.
        let _ = worker.channel.control().receive_frames(&mut |kind, body| frames.push((kind, body.to_vec())));
        for (kind, body) in frames {
            let _ = take_frame(pool, state, number, kind, &body);
        }
        state.receive(number);
        if state.workers.get(&number).is_none_or(|worker| worker.channel.taken() == before) {
            return;
        }
    }
}

/// Workers that come in place of one that has died at this time of its life, and count as such.
fn successors(life: Life, shut_down: bool) -> usize {
    match life {
        // It is started again as if it never had been.
        Life::Starting { .. } => 0,
        Life::Leaving { .. } => usize::from(!shut_down),
        Life::Ready => 1,
    }
}

/// A worker is dead, or as good as dead: reaps it, and settles what it was doing. Where its process takes its time to end, that
/// is done when it has, and its successor comes meanwhile.
pub(super) fn reap(pool: &PoolShared, state: &mut State, number: u32) {
    let Some(worker) = state.workers.get_mut(&number) else { return };
    let pid = worker.pid();
    let was_dying = worker.is_dying();
    let exit = worker.try_reap();
    state.idle.retain(|idle| *idle != number);
    let Some(exit) = exit else {
        if !was_dying {
            state.to_replace += successors(worker.life, state.shut_down);
            // What is first there may have killed it, and has to wait for how it ended.
            let behind = worker.in_flight.live().saturating_sub(1);
            state.take_back(number, behind);
        }
        return;
    };
    take_last_words(pool, state, number);
    let Some(worker) = state.workers.get_mut(&number) else { return };
    let stop = worker.stop.take();
    let life = worker.life;
    let died = TaskError::WorkerDied { pid, exit };
    let error = match &stop {
        Some(stop) => match &stop.error {
            TaskError::TimedOut { .. } => {
                let ran_for = worker.in_flight.front_since().map_or(Duration::ZERO, |since| since.elapsed());
                TaskError::TimedOut { ran_for }
            }
            other => other.clone(),
        },
        None if worker.out_of_memory => TaskError::MemoryLimit,
        None => died.clone(),
    };
    let lost = state.recover(number, &error, stop.is_some());
    let Some(mut worker) = state.workers.remove(&number) else { return };
    state.ledger.spent.extend(worker.channel.control().take_unsent().into_iter().map(Spent::Long));
    if worker.is_announced {
        state.ledger.events.worker_ended();
    }
    if !was_dying {
        state.to_replace += successors(life, state.shut_down);
    }
    match life {
        Life::Starting { .. } if exit == WorkerExit::Code(TRY_AGAIN) && worker.startup_error.is_none() => {
            // It has not had anything to do since it was started.
            be_refused(pool, state, &"a new one has found no thread or no memory", true, Some(worker.idle_since));
        }
        Life::Starting { .. } => {
            // One that sends nonsense was killed for that.
            let hopeless = if exit.may_be_from_outside() && !worker.violated_protocol {
                let (count, since) = state.killed_starts.get_or_insert_with(|| (0, Instant::now()));
                *count += 1;
                *count >= KILLED && since.elapsed() >= pool.config.startup_timeout
            } else {
                state.failed_starts += 1;
                state.failed_starts >= ENDED
            };
            if worker.startup_error.is_some() || hopeless {
                let prepares = pool.config.initializer.is_some() || pool.config.preload.is_some();
                let prepared = if prepares { "does the initializer or the preload end it? " } else { "" };
                let error = worker.startup_error.take().unwrap_or_else(|| TaskError::NoWorker {
                    cause: Cause::new(format!(
                        "worker process {pid} ended before it was ready ({exit}): \
                         {prepared}is executor_core::init() the first line of main?"
                    )),
                });
                pool.break_pool(state, error);
            }
        }
        Life::Leaving { .. } => {}
        Life::Ready => {
            if stop.is_none() {
                state.died += 1;
                give_up_warming(pool, state, pid, exit);
                if pool.config.on_worker_death == OnWorkerDeath::BreakPool && state.broken.is_none() {
                    let cause = if lost { error } else { died };
                    pool.break_pool(state, TaskError::PoolBroken { cause: Cause::new(cause) });
                }
            }
        }
    }
    // Its rings are to be unmapped, and the configurations that it knew may be large.
    state.ledger.spent.push(Spent::Worker(Box::new(worker)));
    pool.changed.notify_all();
}

/// A worker that was ready has died. Those who wait for all of them do not wait for ever where some die before the last one is
/// ready, over and over.
fn give_up_warming(pool: &PoolShared, state: &mut State, pid: u32, exit: WorkerExit) {
    let Some((since, successors)) = state.warming_from.filter(|_| state.no_worker.is_none()) else { return };
    let replaced = state.respawned - successors;
    if replaced < pool.config.max_workers as u64 * u64::from(ENDED) || since.elapsed() < pool.config.startup_timeout {
        return;
    }
    state.no_worker = Some(TaskError::NoWorker {
        cause: Cause::new(format!(
            "workers die before all {} of them are ready: {replaced} were replaced, and the last one that died was {pid} ({exit})",
            pool.config.max_workers
        )),
    });
    // Tasks start those that they need.
    state.wanted_workers = 0;
}
