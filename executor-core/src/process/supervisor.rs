//! The pool's one thread: receives answers, hands out tasks, keeps time limits, and looks after the lives of the workers.
//!
//! Everything it knows is in [`State`], under the pool's lock. Futures are resolved after the lock is released, because that
//! may wake up somebody else's code.

use std::{
    collections::VecDeque,
    io::Read,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, MutexGuard},
    time::{Duration, Instant},
};

use super::{
    flags,
    job::{Answer, Job},
    pool::{Core, Queued, State},
    transport::{ParentEnd, socket_pair},
    wire::{self, Malformed, Reader},
    worker::{Hello, WORKER_VARIABLE},
};
use crate::{
    codec,
    error::{Cause, TaskError},
    future::TaskId,
    sys::{self, WorkerProcess},
};

/// So many workers in a row may end before they are ready; then the pool gives up.
const MAX_FAILED_STARTS: u32 = 3;

/// A worker process as the pool sees it.
pub(super) struct Worker {
    process: WorkerProcess,
    channel: Box<dyn ParentEnd>,
    watched: Arc<Watched>,
    /// Configurations that it has.
    known: VecDeque<u64>,
    life: Life,
    /// Why it could not begin, if it said so.
    complaint: Option<TaskError>,
}

/// What the supervisor sleeps on: descriptors of its own, so that it can do so without the lock.
struct Watched {
    channel: OwnedFd,
    /// Readable once the process has ended, where the system has such a thing.
    process: Option<OwnedFd>,
}

enum Life {
    /// Has not finished the handshake and the initializer.
    Starting {
        until: Instant,
    },
    Idle,
    Busy(Running),
    /// Was told to go, or to stop; gets no more tasks.
    Leaving {
        kill_at: Option<Instant>,
    },
}

struct Running {
    job: Arc<dyn Job>,
    since: Instant,
    until: Option<Instant>,
    /// It was told to stop: what its future will say, and when SIGKILL comes.
    stop: Option<(TaskError, Option<Instant>)>,
}

impl Worker {
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.life, Life::Idle | Life::Busy(_))
    }

    pub(super) fn is_busy(&self) -> bool {
        matches!(self.life, Life::Busy(_))
    }

    /// SIGTERM now and SIGKILL after the grace time; SIGKILL at once when there is none.
    fn stop(&mut self, grace: Duration) -> Option<Instant> {
        if grace == Duration::ZERO {
            self.process.kill();
            None
        } else {
            self.process.terminate();
            Instant::now().checked_add(grace)
        }
    }

    /// When something has to be done about it.
    fn next_deadline(&self) -> Option<Instant> {
        match &self.life {
            Life::Starting { until } => Some(*until),
            Life::Idle => None,
            Life::Busy(Running { stop: Some((_, kill_at)), .. }) => *kill_at,
            Life::Busy(running) => running.until,
            Life::Leaving { kill_at } => *kill_at,
        }
    }
}

/// What is left to do when the lock is released.
enum After {
    Finish(Arc<dyn Job>, Duration),
    Fail(Arc<dyn Job>, TaskError),
}

/// The supervisor's life. `heard` is the other end of the pool's alarm.
pub(super) fn run(core: &Arc<Core>, mut heard: &UnixStream) {
    let mut after = Vec::new();
    loop {
        let mut state = core.lock();
        let now = Instant::now();
        keep_deadlines(core, &mut state, now);
        dispatch(core, &mut state);
        start_workers(core, &mut state, &mut after);
        send_home(core, &mut state);
        if state.shut_down && state.workers.is_empty() && state.queue.is_empty() {
            state.ended = true;
            drop(state);
            core.changed.notify_all();
            conclude(&mut after);
            return;
        }
        if !after.is_empty() {
            drop(state);
            conclude(&mut after);
            continue;
        }
        let deadline = state.workers.values().filter_map(Worker::next_deadline).min();
        let ready = wait(state, heard, deadline);
        let mut buffer = [0; 64];
        while heard.read(&mut buffer).is_ok_and(|count| count == buffer.len()) {}
        let mut state = core.lock();
        for number in ready {
            attend(core, &mut state, number, &mut after);
        }
        dispatch(core, &mut state);
        drop(state);
        conclude(&mut after);
    }
}

fn conclude(after: &mut Vec<After>) {
    for what in after.drain(..) {
        match what {
            After::Finish(job, ran_for) => job.finish(ran_for),
            After::Fail(job, error) => job.fail(error),
        }
    }
}

/// Releases the lock, and waits until a worker has something to say, somebody rings, or `deadline` has passed.
fn wait(state: MutexGuard<'_, State>, heard: &UnixStream, deadline: Option<Instant>) -> Vec<u64> {
    let watched: Vec<_> = state
        .workers
        .iter()
        .map(|(number, worker)| (*number, Arc::clone(&worker.watched), worker.channel.wants_to_send()))
        .collect();
    drop(state);
    let mut fds = vec![(heard.as_fd(), false)];
    let mut numbers = vec![u64::MAX];
    for (number, watched, wants_to_send) in &watched {
        fds.push((watched.channel.as_fd(), *wants_to_send));
        numbers.push(*number);
        if let Some(process) = &watched.process {
            fds.push((process.as_fd(), false));
            numbers.push(*number);
        }
    }
    // Nothing but a lack of memory can make this fail; then everybody is looked at.
    let states = sys::poll_until(&fds, deadline).unwrap_or_else(|_| vec![true; fds.len()]);
    let mut ready: Vec<u64> =
        numbers.into_iter().zip(states).filter_map(|(number, ready)| ready.then_some(number)).collect();
    ready.dedup();
    ready
}

/// Hands queued tasks to idle workers. Says whether the supervisor has something to do about the rest.
pub(super) fn dispatch(core: &Core, state: &mut State) -> bool {
    let mut needs_supervisor = false;
    while let Some(&number) = state.idle.last() {
        let Some(Queued { job, claimed }) = state.queue.pop_front() else { return needs_supervisor };
        if !claimed && !job.claim() {
            continue;
        }
        state.queued -= 1;
        state.idle.pop();
        core.space.notify_one();
        let Some(worker) = state.workers.get_mut(&number) else { continue };
        let since = Instant::now();
        let until = job.time_limit().and_then(|limit| since.checked_add(limit));
        if let Some(frame) = job.frame(&mut worker.known) {
            worker.channel.send(&frame);
        }
        // The supervisor sleeps until the deadlines that it knew when it fell asleep.
        needs_supervisor |= until.is_some() || worker.channel.wants_to_send();
        worker.life = Life::Busy(Running { job, since, until, stop: None });
    }
    needs_supervisor || !state.queue.is_empty() && state.workers.len() < core.config.max_workers
}

/// Starts the workers that are missing.
fn start_workers(core: &Arc<Core>, state: &mut State, after: &mut Vec<After>) {
    let starting = state.workers.values().filter(|worker| matches!(worker.life, Life::Starting { .. })).count();
    let demand = state.workers.len() + state.queue.len().saturating_sub(starting + state.idle.len());
    if !state.queue.is_empty() {
        state.wanted = state.wanted.max(demand.min(core.config.max_workers));
    }
    if state.broken.is_some() || state.shut_down && state.queue.is_empty() {
        return;
    }
    let leaving = state.workers.values().filter(|worker| matches!(worker.life, Life::Leaving { .. })).count();
    while state.workers.len() - leaving < state.wanted {
        match start_worker(core) {
            Ok(worker) => {
                let number = state.next_worker;
                state.next_worker += 1;
                state.workers.insert(number, worker);
                if state.to_replace > 0 {
                    state.to_replace -= 1;
                    state.respawned += 1;
                }
            }
            Err(error) if state.workers.is_empty() => {
                let cause = Cause::new(format!("failed to start a worker process: {error}"));
                break_pool(core, state, TaskError::NoWorker { cause }, after);
                return;
            }
            // The workers that exist go on.
            Err(_) => {
                state.wanted = state.workers.len();
                return;
            }
        }
    }
}

fn start_worker(core: &Core) -> std::io::Result<Worker> {
    let (mut channel, worker_end) = socket_pair()?;
    let mut environment = core.config.environment.clone();
    environment.push((WORKER_VARIABLE.into(), std::process::id().to_string().into()));
    let launch = &core.config.launch_arguments;
    let process = WorkerProcess::start(
        worker_end,
        &launch.arguments,
        launch.null_stdout,
        &environment,
        core.config.directory.as_ref(),
    )?;
    let hello = Hello { identity: core.identity.clone(), initializer: core.config.initializer.clone() };
    let mut frame = Vec::new();
    let start = wire::begin_frame(&mut frame, wire::HELLO);
    codec::encode(&hello, &mut frame).map_err(|error| std::io::Error::other(error.to_string()))?;
    wire::end_frame(&mut frame, start)
        .map_err(|Malformed| std::io::Error::other("the initializer's argument is too long"))?;
    channel.send_first(&frame, flags::table_file()?)?;
    let until = Instant::now() + core.config.startup_timeout;
    let watched = Watched { channel: channel.fd().try_clone_to_owned()?, process: process.watch() };
    Ok(Worker {
        process,
        watched: Arc::new(watched),
        channel: Box::new(channel),
        known: VecDeque::new(),
        life: Life::Starting { until },
        complaint: None,
    })
}

/// Lets idle workers go when no task will come any more.
fn send_home(core: &Core, state: &mut State) {
    if !(state.shut_down || state.broken.is_some()) || !state.queue.is_empty() {
        return;
    }
    let mut frame = Vec::new();
    let start = wire::begin_frame(&mut frame, wire::BYE);
    // Cannot be too long.
    let _ = wire::end_frame(&mut frame, start);
    state.idle.clear();
    for worker in state.workers.values_mut() {
        if matches!(worker.life, Life::Idle | Life::Starting { .. }) {
            worker.channel.send(&frame);
            worker.life = Life::Leaving { kill_at: Instant::now().checked_add(core.config.grace) };
        }
    }
}

/// Something happened at this worker: takes what it sent, and sees whether it is alive.
fn attend(core: &Arc<Core>, state: &mut State, number: u64, after: &mut Vec<After>) {
    let Some(worker) = state.workers.get_mut(&number) else { return };
    worker.channel.flush();
    let ended = worker.watched.process.as_ref().is_some_and(|process| sys::is_readable(process.as_fd()));
    let mut frames = Vec::new();
    let open = worker.channel.receive(&mut |kind, body| frames.push((kind, body.to_vec())));
    let mut sane = open.is_ok();
    for (kind, body) in frames {
        sane = sane && take_frame(core, state, number, kind, &body, after).is_ok();
    }
    if !sane || ended || open == Ok(false) {
        bury(core, state, number, after);
    }
}

/// Takes one frame from a worker, which is not trusted: what makes no sense is an error, and the end of that worker.
fn take_frame(
    core: &Core,
    state: &mut State,
    number: u64,
    kind: u8,
    body: &[u8],
    after: &mut Vec<After>,
) -> Result<(), Malformed> {
    let worker = state.workers.get_mut(&number).ok_or(Malformed)?;
    let text = || Cause::new(String::from_utf8_lossy(&body[..body.len().min(1 << 16)]));
    let mut reader = Reader(body);
    match (kind, &mut worker.life) {
        (wire::READY, Life::Starting { .. }) => {
            worker.life = Life::Idle;
            state.idle.push(number);
            state.failed_starts = 0;
            core.changed.notify_all();
            Ok(())
        }
        // It was told to go while it was starting.
        (wire::READY, Life::Leaving { .. }) => Ok(()),
        (wire::REFUSED, Life::Starting { .. }) => {
            worker.complaint = Some(TaskError::NoWorker { cause: text() });
            Err(Malformed)
        }
        (wire::INITIALIZER_FAILED, Life::Starting { .. }) => {
            worker.complaint = Some(TaskError::InitializerFailed { cause: text() });
            Err(Malformed)
        }
        (wire::ANSWER, Life::Busy(running)) => {
            if reader.u64()? != running.job.id().get() {
                return Err(Malformed);
            }
            let index = reader.u32()?;
            let answer: Answer = match reader.u8()? {
                0 => Ok(reader.0.to_vec()),
                1 => Err(codec::decode(reader.0).unwrap_or_else(|cause| TaskError::decode("error", cause))),
                _ => return Err(Malformed),
            };
            running.job.answer(index, answer)
        }
        (wire::DONE, Life::Busy(running)) => {
            if reader.u64()? != running.job.id().get() || !running.job.is_answered() {
                return Err(Malformed);
            }
            let ran_for = Duration::from_nanos(reader.u64()?);
            let job = Arc::clone(&running.job);
            // A worker that was signalled may die at any moment now, and must not get another task.
            worker.life = match running.stop.take() {
                Some((_, kill_at)) => Life::Leaving { kill_at },
                None => {
                    state.idle.push(number);
                    Life::Idle
                }
            };
            state.done += 1;
            after.push(After::Finish(job, ran_for));
            Ok(())
        }
        _ => Err(Malformed),
    }
}

/// A worker is dead, or as good as dead: reaps it, and settles what it was doing.
fn bury(core: &Core, state: &mut State, number: u64, after: &mut Vec<After>) {
    let Some(mut worker) = state.workers.remove(&number) else { return };
    state.idle.retain(|idle| *idle != number);
    let pid = worker.pid();
    let exit = worker.process.reap();
    match worker.life {
        Life::Starting { .. } => {
            state.failed_starts += 1;
            let hopeless = worker.complaint.is_some() || state.failed_starts >= MAX_FAILED_STARTS;
            if hopeless {
                let error = worker.complaint.unwrap_or_else(|| TaskError::NoWorker {
                    cause: Cause::new(format!(
                        "worker process {pid} ended before it was ready ({exit}): \
                         is executor_core::init() the first line of main?"
                    )),
                });
                break_pool(core, state, error, after);
            }
        }
        Life::Idle => {
            state.died += 1;
            state.to_replace += 1;
        }
        Life::Leaving { .. } => state.to_replace += usize::from(!state.shut_down),
        Life::Busy(running) => {
            let job = running.job;
            state.to_replace += 1;
            match running.stop {
                Some((error, _)) => {
                    match error {
                        TaskError::Cancelled => state.cancelled += 1,
                        _ => state.failed += 1,
                    }
                    let error = match error {
                        TaskError::TimedOut { .. } => TaskError::TimedOut { ran_for: running.since.elapsed() },
                        other => other,
                    };
                    after.push(After::Fail(job, error));
                }
                None => {
                    state.died += 1;
                    if job.lose_item(TaskError::WorkerDied { pid, exit }) && state.broken.is_none() {
                        // The other items of the chunk have not been run, and are not lost.
                        state.queue.push_front(Queued { job, claimed: true });
                        state.queued += 1;
                    } else {
                        state.failed += 1;
                        after.push(After::Finish(job, Duration::ZERO));
                    }
                }
            }
        }
    }
    core.changed.notify_all();
}

/// No worker can be had: nothing that is queued will ever run.
fn break_pool(core: &Core, state: &mut State, error: TaskError, after: &mut Vec<After>) {
    for Queued { job, claimed } in state.queue.drain(..) {
        if claimed || job.claim() {
            state.queued -= 1;
            state.failed += 1;
            after.push(After::Fail(job, error.clone()));
        }
    }
    state.broken.get_or_insert(error);
    core.changed.notify_all();
    core.space.notify_all();
}

/// Stops what has run, started or said good-bye for too long.
fn keep_deadlines(core: &Core, state: &mut State, now: Instant) {
    for worker in state.workers.values_mut() {
        if worker.next_deadline().is_none_or(|deadline| deadline > now) {
            continue;
        }
        match &mut worker.life {
            Life::Starting { .. } => {
                worker.complaint = Some(TaskError::NoWorker {
                    cause: Cause::new(format!(
                        "a worker process was not ready within {:?}",
                        core.config.startup_timeout
                    )),
                });
                worker.process.kill();
                // Its end is noticed when it comes; nothing more has to be done about it before.
                worker.life = Life::Starting { until: now + Duration::from_secs(3600) };
            }
            Life::Idle => {}
            Life::Busy(Running { stop: Some((_, kill_at)), .. }) | Life::Leaving { kill_at } => {
                *kill_at = None;
                worker.process.kill();
            }
            Life::Busy(running) => {
                let ran_for = now - running.since;
                let grace = core.config.grace;
                running.until = None;
                stop_running(worker, &TaskError::TimedOut { ran_for }, grace);
            }
        }
    }
}

/// Tells the worker to stop its task; the first reason stays.
fn stop_running(worker: &mut Worker, error: &TaskError, grace: Duration) -> bool {
    let kill_at = match &worker.life {
        Life::Busy(_) => worker.stop(grace),
        _ => return false,
    };
    let Life::Busy(running) = &mut worker.life else { return false };
    match &mut running.stop {
        Some((_, old)) => *old = kill_at,
        stop => *stop = Some((error.clone(), kill_at)),
    }
    true
}

/// Stops the task `id` if it runs.
pub(super) fn stop_job(state: &mut State, id: TaskId, error: &TaskError, grace: Duration) -> bool {
    let worker =
        state.workers.values_mut().find(|worker| matches!(&worker.life, Life::Busy(running) if running.job.id() == id));
    worker.is_some_and(|worker| stop_running(worker, error, grace))
}

/// Stops every task that runs; returns how many.
pub(super) fn stop_all(state: &mut State, error: &TaskError, grace: Duration) -> usize {
    state.workers.values_mut().filter_map(|worker| stop_running(worker, error, grace).then_some(())).count()
}
