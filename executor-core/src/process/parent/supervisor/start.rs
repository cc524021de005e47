//! How workers are started, and what happens where the system lacks the resources for one.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

#[cfg(target_os = "linux")]
use crate::process::parent::workers::leases::Leases;
use crate::{
    codec,
    error::{Cause, TaskError},
    future::end_if_elsewhere,
    process::{
        config::Transport,
        parent::{
            launch::{LaunchError, Launcher},
            lock::Locked,
            pool::PoolShared,
            spent::Spent,
            staffing::Refused,
            state::State,
            workers::handle::WorkerHandle,
        },
        transport::ParentEnd,
        wire::{
            frame,
            handshake::{Hello, HelloFiles, number_of_process},
        },
    },
    shm::flags,
    sys,
    untrusted::Malformed,
};

/// Where the system has no descriptors, processes or memory left for a worker, it is asked again after this time, and then after
/// twice as long each time ...
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// ... and what waits fails when it has had none for so long.
const SHORTAGE: Duration = Duration::from_millis(500);

/// Each start takes about a millisecond. After this time the supervisor attends to everything else before the next one.
const LONGEST_TURN: Duration = Duration::from_millis(1);

/// Starts the workers that are missing, or some of them. `true` where the supervisor must not sleep before it has looked at everything
/// once more: workers are still missing, or the lock was released meanwhile.
#[must_use]
pub(super) fn start_workers<'a>(
    pool: &'a PoolShared,
    launcher: &mut Launcher,
    mut state: Locked<'a>,
) -> (Locked<'a>, bool) {
    let begun = Instant::now();
    let mut was_released = false;
    while is_missing(pool, &mut state) {
        let outcome = if launcher.spawns() {
            was_released = true;
            pool.conclude(state);
            end_if_elsewhere(pool.id);
            let outcome = start_worker(pool, launcher);
            state = pool.lock();
            outcome
        } else {
            start_worker(pool, launcher)
        };
        match outcome {
            // The thread that has ended the pool meanwhile has not seen it. It has nothing to do, and is killed.
            Ok(worker) if needs_no_more(&state) => state.ledger.spend(Spent::Worker(Box::new(worker))),
            Ok(worker) => {
                state.workers.add(worker);
                state.staffing.note_started();
            }
            // The supervisor will come here again.
            Err(LaunchError::NotYet) => break,
            Err(LaunchError::System(error)) => {
                let is_for_a_moment = sys::is_for_a_moment(&error);
                be_refused(pool, &mut state, &error, is_for_a_moment, None);
                break;
            }
        }
        if begun.elapsed() >= LONGEST_TURN {
            return (state, true);
        }
    }
    (state, was_released)
}

/// Whether no task will run that has no worker yet.
fn needs_no_more(state: &State) -> bool {
    state.lifecycle.broken().is_some() || state.lifecycle.is_shut_down() && state.queue.is_empty()
}

/// Whether one more worker is to be started now.
fn is_missing(pool: &PoolShared, state: &mut State) -> bool {
    let most = pool.config.max_workers;
    // Those that leave have nothing to do any more, and those that die do nothing any more. What is used up still runs something,
    // and its successor waits for its place.
    let going = state.workers.count(|worker| worker.is_leaving() || worker.is_succeeded() || worker.is_dying());
    let staying = state.workers.len() - going;
    // Workers that leave may take their time, but there may only be so many of them.
    state.staffing.is_full = staying >= most || state.workers.len() >= most.saturating_mul(2);
    if needs_no_more(state) {
        return false;
    }
    if !state.queue.is_empty() {
        let free = state.workers.count(|worker| {
            worker.is_starting() || worker.is_ready() && worker.is_held() || worker.is_open() && worker.is_idle()
        });
        let demand = staying + state.queue.len().saturating_sub(free);
        state.staffing.want(demand.min(most));
    }
    if state.staffing.warms_up_still() {
        state.staffing.want(most);
    }
    let now = Instant::now();
    if state.staffing.refused.is_some_and(|refused| refused.again > now) || state.staffing.rests_until(now).is_some() {
        return false;
    }
    // Where some were always on their way, none would be known to be the last that could not be had.
    let has_to_wait = state.staffing.refused.is_some_and(|refused| refused.by_worker)
        && state.workers.iter().any(WorkerHandle::is_starting);
    staying < state.staffing.wanted() && !state.staffing.is_full && !has_to_wait
}

/// The system has refused a worker. Workers that exist go on without it. `started`: when a worker was started that has itself
/// reported the shortage.
pub(super) fn be_refused(
    pool: &PoolShared,
    state: &mut State,
    error: &dyn fmt::Display,
    is_for_a_moment: bool,
    started: Option<Instant>,
) {
    let cause = Cause::new(format!("failed to start a worker process: {error}"));
    let no_worker = TaskError::NoWorker { cause };
    let is_alone = state.workers.iter().all(WorkerHandle::is_dying);
    if is_alone && !is_for_a_moment {
        return pool.break_pool(state, no_worker);
    }
    let now = Instant::now();
    // A pool that has some workers does without others, and may ask again much later, when it has no worker any more. That is
    // another shortage, which begins then.
    let tried = started.unwrap_or(now);
    let last = state.staffing.refused.filter(|last| tried.saturating_duration_since(last.again) < SHORTAGE);
    let pause = last.map_or(FIRST_PAUSE, |last| last.pause);
    let since = last.filter(|_| is_alone).map_or(now, |last| last.since);
    let is_lasting = now.saturating_duration_since(since) >= SHORTAGE;
    let by_worker = started.is_some() || last.is_some_and(|last| last.by_worker);
    state.staffing.refused =
        Some(Refused { since, pause: (2 * pause).min(SHORTAGE / 4), again: now + pause, by_worker });
    if is_alone && is_lasting {
        // Only the tasks that wait now fail. Tasks that come later may get a worker.
        state.doom_queue(&no_worker);
        state.staffing.refused = None;
        state.staffing.want_no_more_than(0);
    } else if !is_alone {
        state.staffing.want_no_more_than(state.workers.len());
    }
    if is_lasting || !is_alone {
        state.staffing.fail_warm_up(no_worker);
        pool.changed.notify_all();
    }
}

fn start_worker(pool: &PoolShared, launcher: &mut Launcher) -> Result<WorkerHandle, LaunchError> {
    let (process, mut control) = launcher.start()?;
    let table = unless_refused(flags::table_file())?;
    #[cfg(target_os = "linux")]
    let (leases, counts) = match unless_refused(Leases::new(std::sync::Arc::clone(&pool.doorbell)))? {
        Some((leases, counts)) => (leases, Some(counts)),
        None => (Leases::nothing(), None),
    };
    #[cfg(not(target_os = "linux"))]
    let counts: Option<std::os::fd::OwnedFd> = None;
    let has_memory = table.is_some() && counts.is_some();
    let transport = if has_memory { pool.config.transport } else { Transport::Socket };
    let files: Vec<BorrowedFd<'_>> = table.into_iter().chain(counts.as_ref().map(AsFd::as_fd)).collect();
    let hello = Hello {
        identity: pool.identity.clone(),
        preload: launcher.preload_of_worker().cloned(),
        memory_limit: pool.config.memory_limit,
        recycle_above: pool.config.recycle_above,
        initializer: pool.config.initializer.clone(),
        transport,
        number: number_of_process(),
        files: HelloFiles { table: table.is_some(), counts: counts.is_some() },
    };
    let mut frame = Vec::new();
    let start = frame::begin_frame(&mut frame, frame::HELLO);
    codec::encode(&hello, &mut frame).map_err(|error| std::io::Error::other(error.to_string()))?;
    frame::end_frame(&mut frame, start)
        .map_err(|Malformed| std::io::Error::other("the initializer's argument is too long"))?;
    // A time too long for the clock is no limit.
    let until = Instant::now().checked_add(pool.config.startup_timeout);
    let socket = control.fd().try_clone_to_owned()?;
    let channel: Box<dyn ParentEnd> = match transport {
        Transport::Socket => {
            control.send_first(&frame, &files)?;
            Box::new(crate::process::transport::SocketRequests::new(control))
        }
        #[cfg(target_os = "linux")]
        Transport::SharedMemory => {
            let (mut rings, [requests, replies]) = crate::process::transport::ring_pair(control)?;
            let files = [&files[..], &[requests.as_fd(), replies.as_fd()]].concat();
            rings.control().send_first(&frame, &files)?;
            Box::new(rings)
        }
    };
    Ok(WorkerHandle::new(
        Box::new(process),
        channel,
        socket,
        until,
        pool.config.max_tasks_per_child,
        #[cfg(target_os = "linux")]
        leases,
    ))
}

/// Where the system has no shared memory to give, because it is refused or the limit on the size of files is low, workers do
/// without, and sockets reach them. What is only missing for a moment, such as descriptors, is an error, as it is with all that
/// a new worker needs.
fn unless_refused<T>(made: io::Result<T>) -> io::Result<Option<T>> {
    match made {
        Err(error) if !sys::is_for_a_moment(&error) => Ok(None),
        made => made.map(Some),
    }
}
