//! The pool's one thread: keeps time limits, receives answers when no other thread does, and starts, watches and reaps workers.
//!
//! Everything it knows is in [`State`](super::state::State), under the pool's lock. Futures are woken after the lock is released,
//! because that may run the user's code.

use std::{
    io::Read,
    os::unix::net::UnixStream,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{launch::Launcher, pool::PoolShared, workers::handle::WorkerHandle};
use crate::{
    error::{Cause, TaskError},
    future::end_if_elsewhere,
};

mod attend;
mod control_frames;
mod deadlines;
mod descriptors;
mod reap;
mod start;

use attend::{attend, attend_pending_frames, send_refused};
use deadlines::{keep_deadlines, retire_idle};
use descriptors::{Fds, Ready};
use reap::reap_faulty;
use start::start_workers;

/// A request that is in flight behind a task for longer than this is given to another worker, if one is free. An observer is told
/// of a start within this time.
const STUCK_AFTER: Duration = Duration::from_millis(1);

/// The supervisor's life. `doorbell_rx` is the other end of the pool's doorbell.
pub(in crate::process) fn run(pool: &Arc<PoolShared>, doorbell_rx: &UnixStream) {
    pool.note_supervisor();
    let cause = match crate::panic::catch(|| supervise(pool, doorbell_rx)) {
        Ok(End::Shutdown) => return,
        Ok(End::Poisoned) => Cause::new("a thread has panicked with the pool's lock"),
        Err(panic) => Cause::new(panic),
    };
    // No thread is left waiting for what will not come.
    let error = TaskError::NoWorker { cause };
    let give_up = || {
        let mut state = pool.lock();
        state.give_up(&error);
        pool.conclude(state);
    };
    if crate::panic::catch(give_up).is_err() {
        let lost = pool.lock().abandon(&error);
        drop(lost);
    }
    pool.changed.notify_all();
    pool.space.notify_all();
}

/// How the supervisor's life ends.
enum End {
    /// With the pool.
    Shutdown,
    /// A thread has panicked with the pool's lock.
    Poisoned,
}

fn supervise(pool: &Arc<PoolShared>, mut doorbell_rx: &UnixStream) -> End {
    let mut launcher = Launcher::new(pool.launch_settings());
    let mut look_again = None;
    loop {
        #[cfg(target_os = "linux")]
        let preallocated = exchange_segments();
        let mut state = pool.lock();
        let now = Instant::now();
        #[cfg(test)]
        assert!(state.panics == 0, "a test asks for it");
        if pool.is_poisoned() {
            return End::Poisoned;
        }
        state.receive_all();
        let has_attended = attend_pending_frames(pool, &mut state);
        send_refused(&mut state, now);
        state.expire(now);
        keep_deadlines(pool, &mut state, now);
        if state.watches.behind && look_again.is_none_or(|time| time <= now) {
            state.watches.behind = state.steal_from_stuck();
            look_again = now.checked_add(STUCK_AFTER);
        }
        reap_faulty(pool, &mut state);
        state.keep_claims(now, pool.config.grace);
        let comes_again;
        (state, comes_again) = start_workers(pool, &mut launcher, state);
        state.workers.open_held();
        launcher.end_unwanted();
        if let Some(error) = state.lifecycle.broken().cloned()
            && !state.workers.iter().any(WorkerHandle::is_open)
        {
            // Values that the last workers have left behind.
            state.doom_queue(&error);
        }
        state.end_doomed();
        state.staffing.fork_server = launcher.server_pid();
        state.refill();
        #[cfg(target_os = "linux")]
        state.workers.iter_mut().for_each(|(_, worker)| worker.exchange_shared(&preallocated));
        retire_idle(pool, &mut state, now);
        // The places of those that leave.
        if state.workers.open_held() {
            state.refill();
        }
        state.note_starts();
        if state.is_done() {
            launcher.end();
            state.end();
            pool.conclude(state);
            pool.changed.notify_all();
            return End::Shutdown;
        }
        let again = state.watches.behind.then(|| look_again.unwrap_or(now));
        let start = if state.watches.starts { now.checked_add(STUCK_AFTER) } else { None };
        let refused = state.staffing.refused.map(|refused| refused.again).filter(|again| *again > now);
        let rest = state.staffing.rests_until(now);
        let times = [state.next_deadline(), launcher.deadline(), again, start, refused, rest];
        let deadline = times.into_iter().flatten().min();
        state.sleep.fall_asleep(deadline);
        let is_unattended =
            |worker: &mut WorkerHandle| !worker.is_dying() && (worker.violated_protocol || worker.has_pending_frames());
        if comes_again
            || has_attended
            || state.queue.is_doomed()
            || state.workers.iter_mut().any(|(_, worker)| is_unattended(worker))
        {
            state.sleep.call();
        }
        let fds = Fds::of(&mut state);
        pool.conclude(state);
        // A waker or an observer may have forked on this thread.
        end_if_elsewhere(pool.id);
        let ready = fds.wait(doorbell_rx, &launcher, deadline);
        let mut buffer = [0; 64];
        while doorbell_rx.read(&mut buffer).is_ok_and(|count| count == buffer.len()) {}
        attend_all(pool, &mut launcher, &ready);
    }
}

/// Frees what no worker holds any more, and makes what is missing. Without the lock, because that takes time. A kick may say that a
/// worker has dropped its last holder of a segment; so whatever reads kicks has the supervisor come back here.
#[cfg(target_os = "linux")]
fn exchange_segments() -> Vec<Arc<crate::shm::Segment>> {
    crate::shm::sweep();
    crate::shm::preallocated()
}

/// What has come while this thread slept.
fn attend_all(pool: &Arc<PoolShared>, launcher: &mut Launcher, ready: &[Ready]) {
    let mut state = pool.lock();
    state.sleep.wake_up();
    let is_late = launcher.deadline().is_some_and(|deadline| deadline <= Instant::now());
    if (is_late || ready.contains(&Ready::Launcher))
        && let Err(error) = launcher.attend()
    {
        state.staffing.fork_server = launcher.server_pid();
        pool.break_pool(&mut state, error);
    }
    for ready in ready {
        if let Ready::Worker(number) = ready {
            attend(pool, &mut state, *number);
        }
    }
    pool.conclude(state);
}
