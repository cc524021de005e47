//! The state that the handles and the supervisor of a process pool share.

use std::{
    os::{fd::AsFd, unix::net::UnixStream},
    sync::{Arc, Condvar, OnceLock, Weak},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use super::{
    launch::Settings,
    ledger::events::{self, Untold},
    lock::{Lock, Locked},
    state::State,
    workers::handle::WorkerHandle,
};
use crate::{
    cancel::CancelToken,
    error::TaskError,
    future::{Task as CellTask, callbacks, has_time, is_elsewhere, new_pool_id, spin},
    portable::{
        job::{ProcessTask, TaskOwner},
        location::Location,
    },
    process::{config::Config, wire::identity::Identity},
    sys,
};

pub(in crate::process) struct PoolShared {
    pub(in crate::process) id: u64,
    pub(in crate::process) config: Config,
    pub(in crate::process) identity: Identity,
    pub(in crate::process) token: CancelToken,
    state: Lock,
    supervisor: OnceLock<ThreadId>,
    me: OnceLock<Weak<Self>>,
    /// Wakes the supervisor; a byte already there is enough.
    pub(in crate::process) doorbell: Arc<UnixStream>,
    /// The condition on which submitters wait for space in a bounded queue.
    pub(in crate::process) space: Condvar,
    /// The condition on which `shutdown` waits for the end, and `warm_up` for workers.
    pub(in crate::process) changed: Condvar,
}

/// A thread that spins for an answer yields to others after so many turns, about two microseconds, and then after twice as many
/// each time.
const YIELD: u32 = 32;

/// A thread that uses the pool tells an observer for no longer than this, but for the last thing that it tells.
const LONGEST_TELLING: Duration = Duration::from_millis(1);
/// A submit waits no longer than this for an observer that is far behind.
const LONGEST_DELAY: Duration = Duration::from_millis(100);

impl PoolShared {
    /// `doorbell` is what wakes the supervisor.
    pub(in crate::process) fn new(config: Config, identity: Identity, doorbell: UnixStream) -> Self {
        let doorbell = Arc::new(doorbell);
        let state = State::new(config.max_workers, config.idle_timeout, config.observer.is_some());
        Self {
            id: new_pool_id(),
            config,
            identity,
            token: CancelToken::new(),
            state: Lock::new(state, Arc::clone(&doorbell)),
            supervisor: OnceLock::new(),
            me: OnceLock::new(),
            doorbell,
            space: Condvar::new(),
            changed: Condvar::new(),
        }
    }

    /// Whether this process is a forked copy of that of the pool. Then nothing of it may be touched: the supervisor is not
    /// here, the lock may be held for ever, and the memory and the sockets of the workers are the other process's as well.
    pub(in crate::process) fn is_elsewhere(&self) -> bool {
        is_elsewhere(self.id)
    }

    /// From now on this thread is the supervisor.
    pub(super) fn note_supervisor(&self) {
        let _ = self.supervisor.set(thread::current().id());
        callbacks::wait_for_none_here();
    }

    /// Whether this is the supervisor's thread, on which no code may wait for the pool.
    pub(in crate::process) fn is_supervisor_here(&self) -> bool {
        self.supervisor.get().is_some_and(|supervisor| *supervisor == thread::current().id())
    }

    pub(in crate::process) fn lock(&self) -> Locked<'_> {
        debug_assert!(!self.is_elsewhere(), "a forked copy keeps away from the state of a pool");
        self.state.lock()
    }

    /// Whether a thread has panicked with the lock, and what it guards may be wrong.
    pub(in crate::process) fn is_poisoned(&self) -> bool {
        self.state.is_poisoned()
    }

    pub(super) fn launch_settings(&self) -> Settings {
        let config = &self.config;
        Settings {
            method: config.start_method,
            arguments: config.launch_arguments.clone(),
            environment: config.environment.clone(),
            directory: config.directory.clone(),
            startup_timeout: config.startup_timeout,
            identity: self.identity.clone(),
            preload: config.preload.clone(),
            ends_group: config.kill_process_group,
        }
    }

    pub(in crate::process) fn wake_supervisor(&self) {
        // When the buffer is full the supervisor will wake up anyway.
        sys::send_if_room(self.doorbell.as_fd(), &[1]);
    }

    /// Releases the lock, tells what has happened, and wakes the threads that have to know: waiters of tasks that are done,
    /// submitters, the supervisor.
    ///
    /// That calls wakers and an observer, on the caller's thread. They may fork there, and then the caller goes on in the copy as
    /// well: before it takes the lock again, it asks whether the pool [is elsewhere](Self::is_elsewhere).
    pub(in crate::process) fn conclude(&self, mut state: Locked<'_>) {
        let to_wake = state.take_to_wake();
        #[cfg(debug_assertions)]
        if !self.is_poisoned() {
            assert!(state.queue.len() > 64 || state.is_consistent(), "a task is lost, or in two places, or miscounted");
            assert!(state.is_sleep_covered(), "the supervisor was not told of something that will be due");
        }
        let is_called = state.sleep.take_call();
        let has_untold = state.ledger.events.has_untold();
        drop(state);
        if is_called {
            self.wake_supervisor();
        }
        if self.config.queue_capacity != usize::MAX {
            self.space.notify_all();
        }
        match to_wake {
            None => {}
            Some(to_wake) if self.is_supervisor_here() => to_wake.wake_elsewhere(),
            Some(to_wake) => to_wake.wake(),
        }
        // Last, for an observer may take its time; and what was woken may have ended the pool, and waited until all was told: so no
        // other thread may be kept from telling until here.
        if has_untold && !self.is_elsewhere() {
            let untold = self.lock().ledger.events.begin_telling();
            untold.into_iter().for_each(|untold| self.tell(untold));
        }
    }

    /// Nothing will run here any more: ends all that is queued and, where the pool is broken by a death, all that runs.
    pub(super) fn break_pool(&self, state: &mut State, error: TaskError) {
        if matches!(error, TaskError::PoolBroken { .. }) {
            state.stop_all(&error, self.config.grace);
        }
        state.doom_queue(&error);
        state.lifecycle.break_with(error);
        self.changed.notify_all();
        self.space.notify_all();
    }

    /// Tells what has happened: this thread for a short time, and then one that no other thread waits for, which goes on with what
    /// happens meanwhile. So no thread of the user tells for all others, and the supervisor, which keeps time limits, tells nothing
    /// itself.
    #[cold]
    fn tell(&self, mut untold: Untold) {
        let end = Instant::now() + LONGEST_TELLING;
        if !self.is_supervisor_here() && untold.tell(self.config.observer.as_deref(), Some(end)) {
            if self.is_elsewhere() {
                return;
            }
            let more = self.lock().ledger.events.more();
            self.note_told();
            match more {
                Some(more) => untold = more,
                None => return,
            }
        }
        match self.me.get().and_then(Weak::upgrade) {
            Some(core) => callbacks::run_elsewhere(move || core.tell_all(untold)),
            None => self.tell_all(untold),
        }
    }

    fn tell_all(&self, mut untold: Untold) {
        loop {
            untold.tell(self.config.observer.as_deref(), None);
            if self.is_elsewhere() {
                return;
            }
            let more = self.lock().ledger.events.more();
            self.note_told();
            match more {
                Some(more) => untold = more,
                None => return,
            }
        }
    }

    /// For threads that wait until all was told.
    fn note_told(&self) {
        self.changed.notify_all();
    }

    /// Before a task is added: where an observer is far behind, gives it some time. Then what is untold does not grow as fast
    /// as tasks can be submitted.
    pub(in crate::process) fn let_observer_catch_up<'a>(&self, mut state: Locked<'a>) -> Locked<'a> {
        let end = Instant::now() + LONGEST_DELAY;
        while state.ledger.events.is_behind() && !events::is_telling_here() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = state.wait(&self.changed, Some(left));
        }
        state
    }

    /// From now on it can hand itself to other threads.
    pub(in crate::process) fn note_self(self: &Arc<Self>) {
        let _ = self.me.set(Arc::downgrade(self));
    }
}

impl TaskOwner for PoolShared {
    fn id(&self) -> u64 {
        self.id
    }

    fn cancel(&self, task: &CellTask<ProcessTask>) -> bool {
        if self.is_elsewhere() {
            return false;
        }
        let mut state = self.lock();
        let cancelled = state.cancel(task);
        if cancelled {
            // Other tasks may wait for the room that this one had.
            state.refill();
        }
        // The supervisor may have been waiting for just this one.
        if cancelled && state.lifecycle.is_shut_down() {
            state.sleep.call();
        }
        self.conclude(state);
        cancelled
    }

    /// Stops a task even if it runs; `false` when it is done, or being stopped already by a limit or a shutdown.
    fn kill(&self, task: &CellTask<ProcessTask>) -> bool {
        if self.is_elsewhere() {
            return false;
        }
        let mut state = self.lock();
        state.receive_all();
        let mut stopped = state.kill(task);
        if !stopped && let Location::Worker(number, request) = task.content().location().get() {
            // Begun meanwhile, so that there may be an answer to the request before it.
            state.receive(number);
            let front =
                state.workers.get(number).and_then(|worker| worker.in_flight().find(request)).map(|(front, _)| front);
            stopped = front.is_some()
                && state.stop(number, front, &TaskError::Cancelled, self.config.grace)
                // One that is being stopped for another reason will say that one.
                && state.workers.get(number).is_some_and(WorkerHandle::is_killed);
        }
        state.sleep.call();
        self.conclude(state);
        stopped
    }

    fn is_running(&self, task: &CellTask<ProcessTask>) -> bool {
        if self.is_elsewhere() {
            return false;
        }
        let mut state = self.lock();
        state.receive_all();
        // The thread that takes the last answer of a worker gives it something to do: the worker will not say again that it has
        // none.
        state.refill();
        let running = match task.content().location().get() {
            Location::Nowhere => false,
            // It is to be run again.
            _ if task.content().location().is_begun() => true,
            Location::Worker(number, request) => state.workers.get(number).is_some_and(|worker| {
                worker.in_flight().find(request).is_some_and(|(request, _)| worker.has_begun(request))
            }),
            Location::Queue(_) => false,
        };
        self.conclude(state);
        running
    }

    /// Receives answers for a while, until this task is done; says whether it is.
    fn spin(&self, task: &CellTask<ProcessTask>, deadline: Option<Instant>) -> bool {
        let is_done = || task.cell().state().is_final();
        if self.is_elsewhere() {
            return is_done();
        }
        let mut state = self.lock();
        state.receive_all();
        if is_done() {
            state.refill();
            self.conclude(state);
            return true;
        }
        state.begin_spin();
        let is_crowded = state.workers.busy() >= sys::available_cpus();
        self.conclude(state);
        if self.is_elsewhere() {
            return is_done();
        }
        // Other threads run for some milliseconds once this one yields.
        let may_yield = has_time(deadline);
        let mut turn = 0_u32;
        let found = spin(deadline, || {
            if is_done() {
                return true;
            }
            turn += 1;
            // Where the workers need all cores they come first, and there will be more to receive after them. Elsewhere it
            // may still be that the worker is on this core, and waits for it.
            if may_yield && (is_crowded || turn >= YIELD && turn.is_power_of_two()) {
                thread::yield_now();
            }
            // The thread that has the lock receives as well, or gives a worker something to do.
            if let Some(mut state) = self.state.try_lock() {
                state.receive_all();
                if !state.queue.is_empty() {
                    state.refill();
                }
                self.conclude(state);
                return is_done() || self.is_elsewhere();
            }
            is_done()
        });
        if self.is_elsewhere() {
            return is_done();
        }
        let mut state = self.lock();
        state.end_spin();
        self.conclude(state);
        found || is_done()
    }

    /// A thread is about to sleep until the task is done.
    fn want(&self, task: &CellTask<ProcessTask>) {
        if self.is_elsewhere() {
            return;
        }
        let mut state = self.lock();
        state.want(task);
        self.conclude(state);
    }
}
