//! The pool's one thread: keeps time limits, receives answers when nobody else does, and looks after the lives of the
//! workers.
//!
//! Everything it knows is in [`State`], under the pool's lock. Futures are woken after the lock is released, because that
//! may run somebody else's code.

use std::{
    fmt,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(target_os = "linux")]
use super::loans::Loans;
use super::{
    dispatch::{Refused, State},
    launch::{LaunchError, Launcher, number_of_process},
    pool::Core,
    spent::Spent,
    worker_slot::{Life, Watched, Worker},
};
use crate::{
    codec,
    error::{Cause, TaskError, WorkerExit},
    future::end_if_elsewhere,
    process::{
        config::{OnWorkerDeath, Transport},
        transport::ParentEnd,
        wire::{
            birth::TRY_AGAIN,
            frame,
            handshake::{Hello, HelloFiles},
        },
    },
    shm::flags,
    sys,
    untrusted::Malformed,
};

/// Workers that end by themselves before they are ready, one after the other: after so many the pool gives up.
const ENDED: u32 = 3;
/// Those that are killed before they are ready may have had nothing to do with it: after so many, and when none has become
/// ready for as long as one may take, the pool gives up.
const KILLED: u32 = 100;

/// What stands behind a task for longer than this is given to another worker, if one is free. An observer is told of a start
/// within this time.
const PATIENCE: Duration = Duration::from_millis(1);

/// Where the system has no descriptors, processes or memory left for a worker, it is asked again after this time, and then after
/// twice as long each time ...
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// ... and what waits fails when it has had none for so long.
const SHORTAGE: Duration = Duration::from_millis(500);

/// The longest that a worker may take to leave.
const MOST_GRACE: Duration = Duration::from_secs(60);

/// Who is ready to be attended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    Alarm,
    Launcher,
    Worker(u32),
}

/// The supervisor's life. `heard` is the other end of the pool's alarm.
pub(in crate::process) fn run(core: &Arc<Core>, heard: &UnixStream) {
    core.note_supervisor();
    let cause = match crate::panic::catch(|| supervise(core, heard)) {
        Ok(End::Shutdown) => return,
        Ok(End::Poisoned) => Cause::new("a thread has panicked with the pool's lock"),
        Err(panic) => Cause::new(panic),
    };
    // Nobody waits for what will not come.
    let error = TaskError::NoWorker { cause };
    let give_up = || {
        let mut state = core.lock();
        state.give_up(&error);
        core.conclude(state);
    };
    if crate::panic::catch(give_up).is_err() {
        let lost = core.lock().abandon(&error);
        drop(lost);
    }
    core.changed.notify_all();
    core.space.notify_all();
}

/// How the supervisor's life ends.
enum End {
    /// With the pool.
    Shutdown,
    /// Somebody has panicked with the pool's lock.
    Poisoned,
}

fn supervise(core: &Arc<Core>, mut heard: &UnixStream) -> End {
    let mut launcher = Launcher::new(core.launch_settings());
    let mut look_again = None;
    loop {
        #[cfg(target_os = "linux")]
        let blanks = crate::shm::blanks();
        let mut state = core.lock();
        let now = Instant::now();
        #[cfg(test)]
        assert!(state.panics == 0, "a test asks for it");
        if core.is_poisoned() {
            return End::Poisoned;
        }
        state.receive_all();
        attend_unheard(core, &mut state);
        state.expire(now);
        keep_deadlines(core, &mut state, now);
        if state.is_watched && look_again.is_none_or(|time| time <= now) {
            state.is_watched = state.relieve();
            look_again = now.checked_add(PATIENCE);
        }
        bury_insane(core, &mut state);
        state.keep_claims(now, core.config.grace);
        start_workers(core, &mut launcher, &mut state);
        state.open_held();
        launcher.end_unwanted();
        if let Some(error) = state.broken.clone()
            && !state.workers.values().any(Worker::is_open)
        {
            // What the last workers have left behind.
            state.doom_queue(&error);
        }
        state.end_doomed();
        state.fork_server = launcher.server_pid();
        state.refill();
        #[cfg(target_os = "linux")]
        state.workers.values_mut().for_each(|worker| worker.exchange_shared(&blanks));
        send_home(core, &mut state, now);
        // The places of those that leave.
        if state.open_held() {
            state.refill();
        }
        state.note_starts();
        if state.shut_down && state.workers.is_empty() && state.queued() == 0 {
            launcher.end();
            state.fork_server = None;
            state.ended = true;
            state.forget_done();
            core.conclude(state);
            core.changed.notify_all();
            return End::Shutdown;
        }
        let again = state.is_watched.then(|| look_again.unwrap_or(now));
        let start = if state.is_start_awaited { now.checked_add(PATIENCE) } else { None };
        let refused = state.refused.map(|refused| refused.again).filter(|again| *again > now);
        let times = [state.next_deadline(), launcher.deadline(), again, start, refused];
        let deadline = times.into_iter().flatten().min();
        state.sleep.fall_asleep(deadline);
        let is_unattended = |worker: &mut Worker| !worker.is_dying() && (worker.is_insane || worker.is_unheard());
        if state.is_doomed() || state.workers.values_mut().any(is_unattended) {
            state.sleep.call();
        }
        let fds = Fds::of(&mut state);
        core.conclude(state);
        let ready = fds.wait(heard, &launcher, deadline);
        // A waker or an observer may have forked on this thread.
        end_if_elsewhere(core.id);
        let mut buffer = [0; 64];
        while heard.read(&mut buffer).is_ok_and(|count| count == buffer.len()) {}
        let mut state = core.lock();
        state.sleep.wake_up();
        let launcher_is_late = launcher.deadline().is_some_and(|deadline| deadline <= Instant::now());
        if (launcher_is_late || ready.contains(&Ready::Launcher))
            && let Err(error) = launcher.attend()
        {
            state.fork_server = launcher.server_pid();
            break_pool(core, &mut state, error);
        }
        for ready in ready {
            if let Ready::Worker(number) = ready {
                attend(core, &mut state, number);
            }
        }
        core.conclude(state);
    }
}

/// What the supervisor sleeps on.
struct Fds(Vec<(u32, Arc<Watched>, Interest)>);

/// What there is to be heard of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interest {
    Frames,
    /// And there is something to be sent.
    FramesAndRoom,
    /// It is dying, and its socket has nothing more to tell.
    End,
    /// The same, and the descriptor of its process does not tell of its end.
    Nothing,
}

impl Interest {
    fn of(worker: &mut Worker) -> Self {
        match worker.dying {
            Some(dying) if dying.look.is_some() => Self::Nothing,
            Some(_) => Self::End,
            None if worker.channel.control().wants_to_send() => Self::FramesAndRoom,
            None => Self::Frames,
        }
    }
}

impl Fds {
    fn of(state: &mut State) -> Self {
        let watched = state.workers.iter_mut();
        Self(
            watched
                .map(|(number, worker)| (*number, Arc::clone(&worker.watched), Interest::of(worker)))
                .filter(|(.., interest)| *interest != Interest::Nothing)
                .collect(),
        )
    }

    /// Waits until a worker has something to say, somebody rings, or `deadline` has passed. No lock is held.
    fn wait(&self, heard: &UnixStream, launcher: &Launcher, deadline: Option<Instant>) -> Vec<Ready> {
        let mut fds = vec![(heard.as_fd(), false)];
        let mut who = vec![Ready::Alarm];
        for fd in launcher.watched() {
            fds.push(fd);
            who.push(Ready::Launcher);
        }
        for (number, watched, interest) in &self.0 {
            if *interest != Interest::End {
                fds.push((watched.channel.as_fd(), *interest == Interest::FramesAndRoom));
                who.push(Ready::Worker(*number));
            }
            if let Some(process) = &watched.process {
                fds.push((process.as_fd(), false));
                who.push(Ready::Worker(*number));
            }
        }
        let states = sys::poll_until(&fds, deadline);
        let mut ready: Vec<Ready> =
            who.into_iter().zip(states).filter_map(|(who, ready)| ready.then_some(who)).collect();
        ready.dedup();
        ready
    }
}

/// Starts the workers that are missing.
fn start_workers(core: &Core, launcher: &mut Launcher, state: &mut State) {
    let most = core.config.max_workers;
    let count = |state: &State, is: fn(&Worker) -> bool| state.workers.values().filter(|worker| is(worker)).count();
    // Those that leave have nothing to do any more, and those that die do nothing any more. What is used up still runs something,
    // and its successor waits for its place.
    let going = count(state, |worker| worker.is_leaving() || worker.is_succeeded() || worker.is_dying());
    // Those that leave may take their time, but are no crowd.
    let is_full = |state: &State| state.workers.len() - going >= most || state.workers.len() >= most.saturating_mul(2);
    state.is_full = is_full(state);
    if state.broken.is_some() || state.shut_down && state.queued() == 0 {
        return;
    }
    let free = count(state, |worker| {
        worker.is_starting() || worker.is_ready() && worker.is_held || worker.is_open() && worker.shelf.live() == 0
    });
    if state.queued() > 0 {
        let demand = state.workers.len() - going + state.queued().saturating_sub(free);
        state.wanted_workers = state.wanted_workers.max(demand.min(core.config.max_workers));
    }
    if state.warming > 0 && state.no_worker.is_none() {
        state.wanted_workers = core.config.max_workers;
    }
    if state.refused.is_some_and(|refused| refused.again > Instant::now()) {
        return;
    }
    while state.workers.len() - going < state.wanted_workers && !is_full(state) {
        // Where some were always on their way, none would be known to be the last that could not be had.
        if state.refused.is_some_and(|refused| refused.by_worker) && count(state, Worker::is_starting) > 0 {
            return;
        }
        match start_worker(core, launcher) {
            Ok(worker) => {
                state.add_worker(worker);
                state.is_full = is_full(state);
                if state.to_replace > 0 {
                    state.to_replace -= 1;
                    state.respawned += 1;
                }
            }
            // The supervisor will come here again.
            Err(LaunchError::NotYet) => return,
            Err(LaunchError::System(error)) => {
                let is_for_a_moment = sys::is_for_a_moment(&error);
                return be_refused(core, state, &error, is_for_a_moment, None);
            }
        }
    }
}

/// The system has refused a worker. Workers that exist go on without it. `started`: when one was started that has said so.
fn be_refused(
    core: &Core,
    state: &mut State,
    error: &dyn fmt::Display,
    is_for_a_moment: bool,
    started: Option<Instant>,
) {
    let cause = Cause::new(format!("failed to start a worker process: {error}"));
    let no_worker = TaskError::NoWorker { cause };
    let is_alone = state.workers.values().all(Worker::is_dying);
    if is_alone && !is_for_a_moment {
        return break_pool(core, state, no_worker);
    }
    let now = Instant::now();
    // A pool that has some workers does without others, and may ask again much later, when it has none any more. That is another
    // lack, which begins then.
    let tried = started.unwrap_or(now);
    let last = state.refused.filter(|last| tried.saturating_duration_since(last.again) < SHORTAGE);
    let pause = last.map_or(FIRST_PAUSE, |last| last.pause);
    let since = last.filter(|_| is_alone).map_or(now, |last| last.since);
    let is_lasting = now.saturating_duration_since(since) >= SHORTAGE;
    let by_worker = started.is_some() || last.is_some_and(|last| last.by_worker);
    state.refused = Some(Refused { since, pause: (2 * pause).min(SHORTAGE / 4), again: now + pause, by_worker });
    if is_alone && is_lasting {
        // It is what waits that pays for it. Who comes later may have more luck.
        state.doom_queue(&no_worker);
        state.refused = None;
        state.wanted_workers = 0;
    } else if !is_alone {
        state.wanted_workers = state.workers.len();
    }
    if state.warming > 0 && (is_lasting || !is_alone) {
        state.no_worker = Some(no_worker);
        core.changed.notify_all();
    }
}

fn start_worker(core: &Core, launcher: &mut Launcher) -> Result<Worker, LaunchError> {
    let (process, mut control) = launcher.start()?;
    let table = unless_refused(flags::table_file())?;
    #[cfg(target_os = "linux")]
    let (loans, counts) = match unless_refused(Loans::new(Arc::clone(&core.alarm)))? {
        Some((loans, counts)) => (loans, Some(counts)),
        None => (Loans::nothing(), None),
    };
    #[cfg(not(target_os = "linux"))]
    let counts: Option<std::os::fd::OwnedFd> = None;
    let has_memory = table.is_some() && counts.is_some();
    let transport = if has_memory { core.config.transport } else { Transport::Socket };
    let files: Vec<BorrowedFd<'_>> = table.into_iter().chain(counts.as_ref().map(AsFd::as_fd)).collect();
    let hello = Hello {
        identity: core.identity.clone(),
        preload: launcher.preload_of_worker().cloned(),
        memory_limit: core.config.memory_limit,
        recycle_above: core.config.recycle_above,
        initializer: core.config.initializer.clone(),
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
    let until = Instant::now().checked_add(core.config.startup_timeout);
    let watched = Watched { channel: control.fd().try_clone_to_owned()?, process: process.watch() };
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
    Ok(Worker::new(
        process,
        channel,
        watched,
        until,
        core.config.max_tasks_per_child,
        #[cfg(target_os = "linux")]
        loans,
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

/// Lets workers go: all that have nothing to do when no task will come any more, those that have done as many tasks as they
/// may, and those that have had nothing to do for long.
fn send_home(core: &Core, state: &mut State, now: Instant) {
    let all = (state.shut_down || state.broken.is_some()) && state.queued() == 0;
    // Without a task there is nothing to finish, whatever the grace of one is.
    let kill_at = now.checked_add(core.config.grace.clamp(Duration::from_millis(100), MOST_GRACE));
    let limit = core.config.idle_timeout.filter(|_| state.warming == 0);
    let State { workers, idle, wanted_workers, .. } = state;
    for (number, worker) in workers {
        let ready = worker.is_ready() && worker.shelf.live() == 0 && worker.stop.is_none();
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

/// Attends to the workers whose frames were read by somebody who looked for answers: the socket does not tell of them again.
fn attend_unheard(core: &Core, state: &mut State) {
    let workers = state.workers.iter_mut().filter(|(_, worker)| !worker.is_dying());
    let unheard: Vec<u32> = workers.filter_map(|(number, worker)| worker.is_unheard().then_some(*number)).collect();
    for number in unheard {
        attend(core, state, number);
    }
}

/// Something happened at this worker: takes what it sent, and sees whether it is alive.
fn attend(core: &Core, state: &mut State, number: u32) {
    let Some(worker) = state.workers.get_mut(&number) else { return };
    if worker.is_dying() {
        return bury(core, state, number);
    }
    let control = worker.channel.control();
    control.flush();
    state.books.spent.extend(control.take_spent().into_iter().map(Spent::Long));
    let ended = worker.watched.process.as_ref().is_some_and(|process| sys::is_readable(process.as_fd()));
    let mut frames = Vec::new();
    let open = worker.channel.control().receive_frames(&mut |kind, body| frames.push((kind, body.to_vec())));
    let mut sane = open.is_ok();
    for (kind, body) in frames {
        sane = sane && take_frame(core, state, number, kind, &body).is_ok();
    }
    state.receive(number);
    #[cfg(target_os = "linux")]
    crate::shm::sweep();
    let Some(worker) = state.workers.get_mut(&number) else { return };
    worker.is_insane |= !sane;
    if worker.is_insane || ended || open == Ok(false) {
        bury(core, state, number);
    }
}

/// Takes one frame from a worker, which is not trusted: what makes no sense is an error, and the end of that worker.
fn take_frame(core: &Core, state: &mut State, number: u32, kind: u8, body: &[u8]) -> Result<(), Malformed> {
    let worker = state.workers.get_mut(&number).ok_or(Malformed)?;
    let text = || Cause::new(String::from_utf8_lossy(body));
    match (kind, worker.life) {
        (frame::READY, Life::Starting { .. }) => {
            worker.life = Life::Ready;
            worker.is_announced = true;
            state.books.events.worker_started();
            state.open_held();
            state.failed_starts = 0;
            state.killed_starts = None;
            state.refused = None;
            core.changed.notify_all();
            Ok(())
        }
        // It was told to go while it was starting.
        (frame::READY, Life::Leaving { .. }) => Ok(()),
        (frame::REFUSED, Life::Starting { .. }) => {
            worker.complaint = Some(TaskError::NoWorker { cause: text() });
            Err(Malformed)
        }
        (frame::INITIALIZER_FAILED, Life::Starting { .. }) => {
            worker.complaint = Some(TaskError::InitializerFailed { cause: text() });
            Err(Malformed)
        }
        (frame::GROWN, _) => {
            worker.is_grown = true;
            Ok(())
        }
        (frame::OUT_OF_MEMORY, life) => {
            worker.out_of_memory = true;
            if matches!(life, Life::Starting { .. }) {
                worker.complaint = Some(TaskError::InitializerFailed { cause: Cause::new(TaskError::MemoryLimit) });
            }
            Ok(())
        }
        _ => Err(Malformed),
    }
}

fn bury_insane(core: &Core, state: &mut State) {
    let insane = state.workers.iter().filter(|(_, worker)| worker.is_insane && !worker.is_dying());
    let insane: Vec<u32> = insane.map(|(number, _)| *number).collect();
    for number in insane {
        bury(core, state, number);
    }
}

/// So often a dead worker is received from; each time it is what one reading takes.
const LAST_LOOKS: usize = 64;

/// Takes all that a dead worker has said and answered, also while it was being killed. A single look may end before the end.
fn take_last_words(core: &Core, state: &mut State, number: u32) {
    for _ in 0..LAST_LOOKS {
        let Some(worker) = state.workers.get_mut(&number) else { return };
        let before = worker.channel.taken();
        let mut frames = Vec::new();
        // What makes no sense is of no interest any more.
        let _ = worker.channel.control().receive_frames(&mut |kind, body| frames.push((kind, body.to_vec())));
        for (kind, body) in frames {
            let _ = take_frame(core, state, number, kind, &body);
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
fn bury(core: &Core, state: &mut State, number: u32) {
    let Some(worker) = state.workers.get_mut(&number) else { return };
    let pid = worker.pid();
    let was_dying = worker.is_dying();
    let exit = worker.try_reap();
    state.idle.retain(|idle| *idle != number);
    let Some(exit) = exit else {
        if !was_dying {
            state.to_replace += successors(worker.life, state.shut_down);
            // What is first there may have killed it, and has to wait for how it ended.
            let behind = worker.shelf.live().saturating_sub(1);
            state.take_back(number, behind);
        }
        return;
    };
    take_last_words(core, state, number);
    let Some(worker) = state.workers.get_mut(&number) else { return };
    let stop = worker.stop.take();
    let life = worker.life;
    let died = TaskError::WorkerDied { pid, exit };
    let error = match &stop {
        Some(stop) => match &stop.error {
            TaskError::TimedOut { .. } => {
                let ran_for = worker.shelf.front_since().map_or(Duration::ZERO, |since| since.elapsed());
                TaskError::TimedOut { ran_for }
            }
            other => other.clone(),
        },
        None if worker.out_of_memory => TaskError::MemoryLimit,
        None => died.clone(),
    };
    let lost = state.inherit(number, &error, stop.is_some());
    let Some(mut worker) = state.workers.remove(&number) else { return };
    state.books.spent.extend(worker.channel.control().take_unsent().into_iter().map(Spent::Long));
    if worker.is_announced {
        state.books.events.worker_ended();
    }
    if !was_dying {
        state.to_replace += successors(life, state.shut_down);
    }
    match life {
        Life::Starting { .. } if exit == WorkerExit::Code(TRY_AGAIN) && worker.complaint.is_none() => {
            // It has not had anything to do since it was started.
            be_refused(core, state, &"a new one has found no thread or no memory", true, Some(worker.idle_since));
        }
        Life::Starting { .. } => {
            // One that sends nonsense was killed for that.
            let hopeless = if exit.may_be_from_outside() && !worker.is_insane {
                let (count, since) = state.killed_starts.get_or_insert_with(|| (0, Instant::now()));
                *count += 1;
                *count >= KILLED && since.elapsed() >= core.config.startup_timeout
            } else {
                state.failed_starts += 1;
                state.failed_starts >= ENDED
            };
            if worker.complaint.is_some() || hopeless {
                let prepares = core.config.initializer.is_some() || core.config.preload.is_some();
                let prepared = if prepares { "does the initializer or the preload end it? " } else { "" };
                let error = worker.complaint.take().unwrap_or_else(|| TaskError::NoWorker {
                    cause: Cause::new(format!(
                        "worker process {pid} ended before it was ready ({exit}): \
                         {prepared}is executor_core::init() the first line of main?"
                    )),
                });
                break_pool(core, state, error);
            }
        }
        Life::Leaving { .. } => {}
        Life::Ready => {
            if stop.is_none() {
                state.died += 1;
                give_up_warming(core, state, pid, exit);
                if core.config.on_worker_death == OnWorkerDeath::BreakPool && state.broken.is_none() {
                    let cause = if lost { error } else { died };
                    break_pool(core, state, TaskError::PoolBroken { cause: Cause::new(cause) });
                }
            }
        }
    }
    // Its rings are to be unmapped, and the configurations that it knew may be large.
    state.books.spent.push(Spent::Worker(Box::new(worker)));
    core.changed.notify_all();
}

/// A worker that was ready has died. Those who wait for all of them do not wait for ever where some die before the last one is
/// ready, over and over.
fn give_up_warming(core: &Core, state: &mut State, pid: u32, exit: WorkerExit) {
    let Some((since, successors)) = state.warming_from.filter(|_| state.no_worker.is_none()) else { return };
    let replaced = state.respawned - successors;
    if replaced < core.config.max_workers as u64 * u64::from(ENDED) || since.elapsed() < core.config.startup_timeout {
        return;
    }
    state.no_worker = Some(TaskError::NoWorker {
        cause: Cause::new(format!(
            "workers die before all {} of them are ready: {replaced} were replaced, and the last one that died was {pid} ({exit})",
            core.config.max_workers
        )),
    });
    // Tasks start those that they need.
    state.wanted_workers = 0;
}

/// Nothing will run here any more: ends all that is queued and, where the pool is broken by a death, all that runs.
fn break_pool(core: &Core, state: &mut State, error: TaskError) {
    if matches!(error, TaskError::PoolBroken { .. }) {
        state.stop_all(&error, core.config.grace);
    }
    state.doom_queue(&error);
    state.broken.get_or_insert(error);
    core.changed.notify_all();
    core.space.notify_all();
}

/// Stops what has run, started or said good-bye for too long.
fn keep_deadlines(core: &Core, state: &mut State, now: Instant) {
    let late = |(number, worker): (&u32, &Worker)| {
        worker.next_deadline().is_some_and(|deadline| deadline <= now).then_some(*number)
    };
    let late: Vec<u32> = state.workers.iter().filter_map(late).collect();
    for number in late {
        let Some(worker) = state.workers.get_mut(&number) else { continue };
        if worker.is_dying() {
            bury(core, state, number);
            continue;
        }
        match (&mut worker.life, &mut worker.stop) {
            (Life::Starting { until }, _) => {
                worker.complaint = Some(TaskError::NoWorker {
                    cause: Cause::new(format!(
                        "a worker process, with its initializer, was not ready within {:?}: set a longer startup_timeout",
                        core.config.startup_timeout
                    )),
                });
                *until = None;
                bury(core, state, number);
            }
            (Life::Leaving { kill_at }, _)
            | (Life::Ready, Some(crate::process::parent::worker_slot::Stop { kill_at, .. })) => {
                *kill_at = None;
                bury(core, state, number);
            }
            (Life::Ready, None) => {
                worker.shelf.note_progress(worker.channel.open_items(), now);
                if worker.shelf.limit().is_none_or(|limit| limit > now) {
                    continue;
                }
                let ran_for = worker.shelf.front_since().map_or(Duration::ZERO, |since| now - since);
                let front = worker.shelf.front().map(|(front, _)| front);
                if state.miss(number, now, ran_for, core.config.grace) {
                    continue;
                }
                state.stop(number, front, &TaskError::TimedOut { ran_for }, core.config.grace);
            }
        }
    }
}
