//! What the handles and the workers of a thread pool share: how a task gets in, and how it is run or refused.

use std::{
    any::Any,
    collections::HashMap,
    rc::Rc,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    capacity::Capacity,
    queue::{Queues, prepare_deques},
    sleep::{Announced, Sleep},
    threads::Threads,
    worker::{Worker, with_worker_of},
    worker_shared::Counters,
};
use crate::{
    cancel::CancelToken,
    error::{Cause, SubmitError, TaskError},
    future::{
        Cell, PoolContext, State as TaskState, TaskRef, current_pool, end_if_elsewhere, is_elsewhere, new_pool_id,
        note_asleep, note_awake,
    },
    panic,
    stats::{Observer, PoolState, Stats},
    sys::PerProcess,
    task::TaskOptions,
};

mod ending;
mod life;
mod tombstones;

type Initializer = Arc<dyn Fn() -> Result<(), Cause> + Send + Sync>;
pub(super) type MakeState = Box<dyn Fn() -> Rc<dyn Any> + Send + Sync>;
type Hook = Arc<dyn Fn() + Send + Sync>;

pub(super) struct Config {
    pub(super) max_workers: usize,
    pub(super) name_prefix: String,
    pub(super) initializer: Option<Initializer>,
    pub(super) exit_hook: Option<Hook>,
    pub(super) queue_capacity: usize,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) stack_size: Option<usize>,
    pub(super) observer: Option<Box<dyn Observer>>,
    pub(super) state: Option<MakeState>,
}

impl Config {
    /// Whether a worker runs the user's code before its first task.
    pub(super) fn has_beginning(&self) -> bool {
        self.initializer.is_some() || self.state.is_some() || self.observer.is_some()
    }
}

pub(super) struct Pool {
    pub(super) id: u64,
    pub(super) config: Config,
    pub(super) queues: Queues,
    pub(super) idle: Sleep,
    pub(super) token: CancelToken,
    /// `None` in a pool whose queue is unbounded.
    capacity: Option<Capacity>,
    /// Whether a worker of this pool is spinning for work.
    spinning: AtomicBool,
    /// Workers that have not come to their first task yet, because they run the initializer.
    pub(super) beginning: AtomicUsize,
    broken: OnceLock<TaskError>,
    /// Queued tasks are cancelled: also by a worker that takes a task that the shutdown has not found, because the task was in no
    /// queue for a moment, or because it stood behind tasks that were being cancelled.
    cancels_queued: AtomicBool,
    /// Tasks that workers have cancelled because of a shutdown, and that no report has counted yet.
    cancelled_late: AtomicUsize,
    /// Whether the last attempt to start a thread has failed.
    is_short: AtomicBool,
    /// Counts of threads that are no workers, and of tasks that do not run.
    pub(super) outside: Outside,
    over: Over,
    threads: Mutex<Threads>,
    /// `shutdown` waits here for workers to end.
    ended: Condvar,
}

#[derive(Default)]
pub(super) struct Outside {
    pub(super) expired: AtomicU64,
    pub(super) cancelled: AtomicU64,
    /// Tasks that were taken out of the queue of a broken pool.
    pub(super) refused: AtomicU64,
    /// Tasks that were run where there is no worker any more. Each leaves its entry in the queue.
    pub(super) started: AtomicU64,
    pub(super) done: AtomicU64,
    pub(super) failed: AtomicU64,
    tombstones_found: AtomicU64,
}

/// The queues are searched for tasks that are over when there may be so many of them, or as many as other tasks.
pub(super) const BEARABLE: usize = 64;

/// Tasks that were over before a thread took them out of their queue.
#[derive(Default)]
struct Over {
    /// How many there are since the last search for them.
    number: AtomicUsize,
    /// How many other tasks there were at that time.
    others: AtomicUsize,
    is_looked_for: AtomicBool,
}

/// All pools, so that a task finds its own by its number. Only needed if a thread that is no worker changes a task, and cheaper
/// than a counted reference in each task.
static POOLS: PerProcess<RwLock<HashMap<u64, Weak<Pool>>>> = PerProcess::new(RwLock::default);

impl Pool {
    pub(super) fn new(config: Config) -> Arc<Self> {
        prepare_deques();
        let pool = Arc::new(Self {
            id: new_pool_id(),
            queues: Queues::new(),
            idle: Sleep::new(config.max_workers),
            token: CancelToken::new(),
            capacity: (config.queue_capacity < usize::MAX).then(|| Capacity::new(config.queue_capacity)),
            spinning: AtomicBool::new(false),
            beginning: AtomicUsize::new(0),
            broken: OnceLock::new(),
            cancels_queued: AtomicBool::new(false),
            cancelled_late: AtomicUsize::new(0),
            is_short: AtomicBool::new(false),
            outside: Outside::default(),
            over: Over::default(),
            threads: Mutex::default(),
            ended: Condvar::new(),
            config,
        });
        let mut pools = POOLS.get().write().unwrap_or_else(PoisonError::into_inner);
        pools.insert(pool.id, Arc::downgrade(&pool));
        drop(pools);
        pool
    }

    pub(super) fn find(id: u64) -> Option<Arc<Self>> {
        POOLS.get().read().unwrap_or_else(PoisonError::into_inner).get(&id)?.upgrade()
    }

    /// Whether this process is a forked copy of the pool's process: none of the pool's threads are here, and no lock may be taken.
    #[inline]
    pub(super) fn is_elsewhere(&self) -> bool {
        is_elsewhere(self.id)
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place in the queue for a task that is about to be pushed; returns the reason if there is none.
    #[inline]
    pub(super) fn admit(&self, options: &TaskOptions) -> Result<(), SubmitError> {
        if self.is_elsewhere() {
            return Err(SubmitError::ShutDown);
        }
        if self.idle.is_shut() {
            return Err(SubmitError::ShutDown);
        }
        match &self.capacity {
            None => Ok(()),
            // In a broken pool every task gets in, and resolves with the reason.
            Some(capacity) => match capacity.acquire(options, || self.idle.is_closed()) {
                Err(SubmitError::ShutDown) if !self.idle.is_shut() => {
                    capacity.force();
                    Ok(())
                }
                outcome => outcome,
            },
        }
    }

    /// Tells the observer, if there is one. `false` if the observer has forked on a thread of the user's and this is the copy, which
    /// may not touch the pool.
    #[inline]
    pub(super) fn observe(&self, tell: impl FnOnce(&dyn Observer)) -> bool {
        let Some(observer) = &self.config.observer else { return true };
        panic::contain(|| tell(&**observer));
        end_if_elsewhere(current_pool());
        !self.is_elsewhere()
    }

    /// Queues an admitted task, and ensures that a worker comes for it. `false` if the caller has to take the task back, because
    /// the pool was shut down meanwhile.
    #[inline]
    pub(super) fn push(self: &Arc<Self>, task: TaskRef, priority: i32, cell: &Cell) -> bool {
        self.put(task, priority);
        // A worker that was searching may have the task already, and may count as busy: it has begun it, or has only just taken it.
        // If no task is queued, it was taken, or is being moved by a thread that counts as searching and looks at the queues
        // afterwards.
        self.announce(1, || cell.state() == TaskState::Pending && self.queues.has_any_work())
    }

    #[inline]
    pub(super) fn put(&self, task: TaskRef, priority: i32) {
        if priority != 0 {
            self.queues.push_with_priority(task, priority);
            return;
        }
        with_worker_of(self.id, |worker| match worker {
            Some(worker) => worker.push(task),
            None => self.queues.push(task),
        });
    }

    #[inline]
    pub(super) fn announce(self: &Arc<Self>, tasks: usize, is_needed: impl Fn() -> bool) -> bool {
        match self.idle.announce(tasks, is_needed) {
            Announced::Seen { start: 0 } => true,
            Announced::Seen { start } => {
                self.start(start);
                true
            }
            Announced::Closed => self.refuse(),
        }
    }

    #[cold]
    fn refuse(self: &Arc<Self>) -> bool {
        if self.broken.get().is_some() {
            self.fail_queued();
            return true;
        }
        false
    }

    /// Calls workers for queued tasks, if there are any.
    pub(super) fn call(self: &Arc<Self>, tasks: usize) {
        let start = self.idle.wake_for(tasks);
        if start > 0 {
            self.start(start);
        }
    }

    /// The reason why the pool runs no tasks, if it is broken.
    pub(super) fn broken(&self) -> Option<TaskError> {
        self.broken.get().cloned()
    }

    /// Runs a task that was queued, or ends it if the pool runs no more tasks; returns whether its entry was more than a tombstone.
    #[inline]
    pub(super) fn run(&self, task: &TaskRef) -> bool {
        if let Some(error) = self.broken() {
            return task.fail(error);
        }
        // ORDERING: Relaxed: a thread that submits has not seen the shutdown, or was refused, and reads nothing because of the
        // flag. A worker that runs a task without having seen it has begun before the shutdown has returned, which waits for this
        // worker.
        if !self.cancels_queued.load(Ordering::Relaxed) {
            return task.run();
        }
        if task.cancel() {
            // ORDERING: the number publishes no other memory.
            self.cancelled_late.fetch_add(1, Ordering::Relaxed);
        }
        // The task's entry counted as queued when the task was cancelled.
        false
    }

    /// Whether the caller may spin for work: one worker at a time.
    pub(super) fn begin_spin(&self) -> bool {
        // ORDERING: only limits the number of threads that spin, and publishes nothing.
        !self.spinning.load(Ordering::Relaxed) && !self.spinning.swap(true, Ordering::Relaxed)
    }

    pub(super) fn end_spin(&self) {
        // ORDERING: only limits the number of threads that spin, and publishes nothing.
        self.spinning.store(false, Ordering::Relaxed);
    }

    pub(super) fn state(&self) -> PoolState {
        if self.is_elsewhere() {
            return PoolState::Ended;
        }
        let is_shut = self.idle.is_shut();
        // Counted by tasks: entries of refused tasks may still stand in the queues.
        let live = self.threads().live;
        let has_ended = is_shut && live == 0 && self.stats().queued == 0;
        PoolState::new(self.broken(), is_shut, has_ended)
    }

    pub(super) fn stats(&self) -> Stats {
        if self.is_elsewhere() {
            return Stats::default();
        }
        let threads = self.threads();
        let sum = |counter: fn(&Counters) -> &AtomicU64| -> u64 {
            // ORDERING: Acquire: ends are read before starts, and every end that is seen shows its start.
            threads.members.iter().map(|member| counter(&member.counters).load(Ordering::Acquire)).sum()
        };
        let outside = |counter: fn(&Outside) -> &AtomicU64| counter(&self.outside).load(Ordering::Acquire);
        let done = sum(|counters| &counters.done) + outside(|outside| &outside.done);
        let failed = sum(|counters| &counters.failed) + outside(|outside| &outside.failed);
        let tombstones_found =
            sum(|counters| &counters.tombstones_found) + outside(|outside| &outside.tombstones_found);
        let started_outside = outside(|outside| &outside.started);
        let started = sum(|counters| &counters.started) + started_outside;
        let cancelled = outside(|outside| &outside.cancelled);
        let expired = outside(|outside| &outside.expired);
        let tombstones_made = sum(|counters| &counters.tombstones_made) + started_outside + cancelled + expired;
        let tombstones = tombstones_made.saturating_sub(tombstones_found);
        let entries = self.queues.len();
        Stats {
            workers: threads.live,
            idle: threads.live.min(self.idle.sleeping() + self.idle.searching()),
            queued: entries.saturating_sub(usize::try_from(tombstones).unwrap_or(usize::MAX)),
            running: usize::try_from(started.saturating_sub(done + failed)).unwrap_or(usize::MAX),
            done,
            failed: failed + expired + outside(|outside| &outside.refused),
            cancelled,
            ..Stats::default()
        }
    }
}

/// Drops a pointer to a task that is over. If that drops the task's result, which is the user's code, another thread does it: this one is
/// in the middle of its own work.
pub(super) fn release_task(task: TaskRef) {
    if let Some(task) = task.release_unless_last()
        && task.is_unwanted()
    {
        task.drop_elsewhere();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        POOLS.get().write().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        // These destructors are the user's code, and the last holder of the pool is in the middle of its own work: for example of a
        // cancellation, after which waiters still have to be woken.
        let Config { initializer, exit_hook, observer, state, .. } = &mut self.config;
        panic::drop_contained(initializer.take());
        panic::drop_contained(exit_hook.take());
        panic::drop_contained(observer.take());
        panic::drop_contained(state.take());
    }
}

/// The pool as its workers see it.
impl PoolContext for Pool {
    fn pool_id(&self) -> u64 {
        self.id
    }

    fn begin_wait(self: Arc<Self>) -> bool {
        // A worker that is leaving, and runs a hook or a destructor, does not count as a worker any more.
        if !with_worker_of(self.id, |worker| worker.is_some()) {
            return true;
        }
        note_asleep();
        self.idle.begin_wait();
        if self.queues.has_any_work() {
            let start = self.idle.wake_stand_in();
            if start > 0 {
                self.start(start);
                // ORDERING: a hint; a missed value is read again at the next look.
                return !self.is_short.load(Ordering::Relaxed);
            }
        }
        true
    }

    fn start_stand_ins(self: Arc<Self>) {
        // ORDERING: a hint; a missed value is read again at the next look.
        if self.is_short.load(Ordering::Relaxed) && self.queues.has_any_work() {
            self.call(1);
        }
    }

    fn end_wait(&self) {
        if with_worker_of(self.id, |worker| worker.is_some()) {
            self.idle.end_wait();
            note_awake();
        }
    }

    fn begin_user_code(&self) -> bool {
        with_worker_of(self.id, |worker| worker.is_some_and(Worker::stop_search))
    }

    fn end_user_code(&self, searched: bool) {
        with_worker_of(self.id, |worker| {
            if let Some(worker) = worker {
                worker.resume_search(searched);
            }
        });
    }
}
