//! What the handles and the workers of a thread pool share: how a task gets in, how threads start, how it all ends.

use std::{
    any::Any,
    cell::Cell as StdCell,
    collections::HashMap,
    rc::Rc,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    capacity::Capacity,
    queue::Queues,
    sleep::{Announced, Sleep},
    state,
    worker::{Worker, WorkerSlot, with_worker_of},
    worker_shared::{Counters, WorkerShared},
};
use crate::{
    cancel::CancelToken,
    error::{Cause, SubmitError, TaskError},
    future::{
        self, BlockingGuard, Cell, PoolContext, State as TaskState, TaskRef, current_pool, end_if_elsewhere,
        enter_pool, is_elsewhere, leave_pool, new_pool_id, note_asleep, note_awake,
    },
    panic,
    shutdown::{Shutdown, ShutdownReport},
    stats::{Observer, PoolState, Stats},
    sync::sleep_until,
    sys::PerProcess,
    task::TaskOptions,
};

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
    /// Only in a pool whose queue is bounded.
    space: Option<Capacity>,
    /// A worker of this pool spins for work.
    spinning: AtomicBool,
    /// Workers that have not come to their first task, because they run the initializer.
    pub(super) beginning: AtomicUsize,
    broken: OnceLock<TaskError>,
    /// What is queued is cancelled: by a worker as well, who comes to a task that the shutdown has not found. It was in no queue
    /// for a moment, or others stood before it that were being cancelled.
    cancels_queued: AtomicBool,
    /// Tasks that workers have cancelled for this reason, and that no report has named yet.
    cancelled_late: AtomicUsize,
    /// The last attempt to start a thread has failed.
    is_short: AtomicBool,
    /// Counted by threads that are no workers, or of tasks that do not run.
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
    /// Taken out of the queue of a broken pool.
    pub(super) refused: AtomicU64,
    /// Run where no worker is any more. Each leaves its entry in the queue.
    pub(super) started: AtomicU64,
    pub(super) done: AtomicU64,
    pub(super) failed: AtomicU64,
    tombs_found: AtomicU64,
}

/// So many tasks that are over may stand in the queues, or as many as others stand there, before they are looked for.
pub(super) const BEARABLE: usize = 64;

/// Tasks that were over before somebody took them out of their queue.
#[derive(Default)]
struct Over {
    /// Since somebody has looked for them.
    number: AtomicUsize,
    /// How many others there were then.
    others: AtomicUsize,
    is_looked_for: AtomicBool,
}

#[derive(Default)]
struct Threads {
    /// Threads that exist.
    live: usize,
    handles: HashMap<u64, Thread>,
    /// Threads that have left the pool, and that somebody joins at the moment.
    joining: usize,
    next: u64,
    /// Of workers that have left.
    slots: Vec<WorkerSlot>,
    /// All that there ever were.
    members: Vec<Arc<WorkerShared>>,
}

thread_local! {
    /// Held until the destructors of all other thread-locals have run.
    static LIFE: StdCell<Option<Arc<()>>> = const { StdCell::new(None) };
}

/// A worker's thread, to be joined.
struct Thread {
    handle: JoinHandle<()>,
    life: Arc<()>,
}

impl Thread {
    /// Whether there is nothing left of it to wait for; std says that of one whose thread-locals are yet to be dropped.
    fn is_gone(&self) -> bool {
        Arc::strong_count(&self.life) == 1
    }
}

/// All pools, so that a task finds its own by its number. Only needed where a task is told something by somebody who is no
/// worker, and cheaper than a counted reference in each task.
static POOLS: PerProcess<RwLock<HashMap<u64, Weak<Pool>>>> = PerProcess::new(RwLock::default);

impl Pool {
    pub(super) fn new(config: Config) -> Arc<Self> {
        let pool = Arc::new(Self {
            id: new_pool_id(),
            queues: Queues::new(),
            idle: Sleep::new(config.max_workers),
            token: CancelToken::new(),
            space: (config.queue_capacity < usize::MAX).then(|| Capacity::new(config.queue_capacity)),
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

    /// Whether this process is a forked copy of that of the pool: there are no threads here, and nothing may be locked.
    #[inline]
    pub(super) fn is_elsewhere(&self) -> bool {
        is_elsewhere(self.id)
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place in the queue for a task that is about to be pushed; or says why there is none.
    #[inline]
    pub(super) fn admit(&self, options: &TaskOptions) -> Result<(), SubmitError> {
        if self.is_elsewhere() {
            return Err(SubmitError::ShutDown);
        }
        if self.idle.is_shut() {
            return Err(SubmitError::ShutDown);
        }
        match &self.space {
            None => Ok(()),
            // In a broken pool every task gets in, and learns why.
            Some(space) => match space.acquire(options, || self.idle.is_closed()) {
                Err(SubmitError::ShutDown) if !self.idle.is_shut() => {
                    space.force();
                    Ok(())
                }
                outcome => outcome,
            },
        }
    }

    /// Tells the observer, if there is one.
    #[inline]
    pub(super) fn observe(&self, tell: impl FnOnce(&dyn Observer)) {
        if let Some(observer) = &self.config.observer {
            panic::contain(|| tell(&**observer));
            end_if_elsewhere(current_pool());
        }
    }

    /// Queues an admitted task, and sees to it that somebody comes for it. `false` when it is to be taken back: the pool was
    /// shut down meanwhile.
    #[inline]
    pub(super) fn push(self: &Arc<Self>, task: TaskRef, priority: i32, cell: &Cell) -> bool {
        self.put(task, priority);
        // A worker that was looking may have it already, and then be seen as one that is busy: it has begun it, or has only just taken
        // it. Where nothing is queued it was taken, or is being moved by somebody who searches meanwhile and looks afterwards.
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

    /// Calls workers for what is queued, if there is anything.
    pub(super) fn call(self: &Arc<Self>, tasks: usize) {
        let start = self.idle.wake_for(tasks);
        if start > 0 {
            self.start(start);
        }
    }

    /// Starts workers, which count as awake and searching already.
    #[cold]
    fn start(self: &Arc<Self>, workers: usize) {
        for started in 0..workers {
            let mut threads = self.threads();
            let number = threads.next;
            threads.next += 1;
            threads.handles.retain(|_, thread| !thread.is_gone());
            let slot = threads.slots.pop().unwrap_or_else(|| {
                let slot = WorkerSlot::new(&self.queues);
                threads.members.push(Arc::clone(&slot.member));
                slot
            });
            let mut builder = thread::Builder::new().name(format!("{}-{number}", self.config.name_prefix));
            if let Some(bytes) = self.config.stack_size {
                builder = builder.stack_size(bytes);
            }
            // The thread takes its slot from here: it stays when there is no thread.
            let offered = Arc::new(Mutex::new(Some(slot)));
            let (pool, taken) = (Arc::clone(self), Arc::clone(&offered));
            let take = |offer: &Mutex<Option<WorkerSlot>>| offer.lock().unwrap_or_else(PoisonError::into_inner).take();
            let life = Arc::new(());
            let life_there = Arc::clone(&life);
            let serve = move || {
                // Before all other thread-locals, because those that came first end last.
                LIFE.set(Some(life_there));
                pool.serve(take(&taken));
            };
            match builder.spawn(serve) {
                Ok(handle) => {
                    threads.live += 1;
                    threads.handles.insert(number, Thread { handle, life });
                    // ORDERING: as below.
                    self.is_short.store(false, Ordering::Relaxed);
                }
                Err(error) => {
                    threads.slots.extend(take(&offered));
                    // ORDERING: a hint for those who look after it, which comes again when it was missed.
                    self.is_short.store(true, Ordering::Relaxed);
                    // Under the lock: a worker that leaves after this look sees that nobody was called in its place.
                    let alone = threads.live == 0;
                    (started..workers).for_each(|_| self.idle.note_failed_start());
                    drop(threads);
                    // What was announced until then counts on this call. A task waits for a worker that exists; with none at
                    // all nobody would run it. The next one that comes tries again: there may be threads then.
                    if alone {
                        let cause = Cause::new(format!("failed to start a thread: {error}"));
                        self.fail_all(&TaskError::NoWorker { cause });
                    }
                    self.ended.notify_all();
                    return;
                }
            }
        }
    }

    /// The life of a worker's thread.
    fn serve(self: Arc<Self>, slot: Option<WorkerSlot>) {
        enter_pool(Arc::<Self>::clone(&self));
        // There was none for this thread's sister, perhaps.
        future::deadline::ensure_served();
        let begin = || {
            self.observe(|observer| observer.worker_started());
            let prepare = || {
                if let Some(initializer) = &self.config.initializer {
                    initializer()?;
                }
                if let Some(make) = &self.config.state {
                    state::keep(make());
                }
                Ok(())
            };
            let prepared = panic::catch(prepare).unwrap_or_else(|error| Err(Cause::new(error)));
            end_if_elsewhere(self.id);
            if let Err(cause) = prepared {
                self.break_with(TaskError::InitializerFailed { cause });
            }
        };
        let slot = slot.map(|slot| Worker::serve(Arc::clone(&self), slot, begin));
        if let Some(hook) = &self.config.exit_hook {
            panic::contain(|| hook());
            end_if_elsewhere(self.id);
        }
        panic::contain(state::drop_it);
        end_if_elsewhere(self.id);
        self.observe(|observer| observer.worker_ended());
        let mut threads = self.threads();
        threads.slots.extend(slot);
        threads.live -= 1;
        let was_last = threads.live == 0;
        drop(threads);
        // Somebody has failed to start a worker, and counted on this one.
        if was_last && self.idle.awake() == 0 && self.queues.has_any_work() {
            self.call(1);
        }
        self.ended.notify_all();
        // Of a pool whose handle has been dropped by its own task this may be the last holder.
        leave_pool();
        drop(self);
    }

    /// Why no task is run here, if so.
    pub(super) fn broken(&self) -> Option<TaskError> {
        self.broken.get().cloned()
    }

    /// Runs a task that was queued, or ends it where none is run any more; says whether its entry was more than a tombstone.
    #[inline]
    pub(super) fn run(&self, task: &TaskRef) -> bool {
        if let Some(error) = self.broken() {
            return task.fail(error);
        }
        // ORDERING: Relaxed: who submits has not seen the shutdown, or was refused, and nothing is read because of it. Whoever
        // runs a task without having seen it has begun before the shutdown has returned, which waits for this worker.
        if !self.cancels_queued.load(Ordering::Relaxed) {
            return task.run();
        }
        if task.cancel() {
            // ORDERING: a number that stands for itself.
            self.cancelled_late.fetch_add(1, Ordering::Relaxed);
        }
        // Its entry was one of the queue when it was cancelled.
        false
    }

    /// The initializer failed: nothing will run here any more.
    fn break_with(&self, error: TaskError) {
        self.broken.get_or_init(|| error);
        self.idle.break_off();
        self.fail_queued();
        if let Some(space) = &self.space {
            space.close();
        }
    }

    fn fail_queued(&self) {
        if let Some(error) = self.broken() {
            self.fail_all(&error);
        }
    }

    fn fail_all(&self, error: &TaskError) {
        for task in self.queues.drain() {
            if !task.fail(error.clone()) {
                self.found_tombs(1);
            }
        }
    }

    fn found_tombs(&self, number: usize) {
        // ORDERING: a count for those who watch.
        self.outside.tombs_found.fetch_add(number as u64, Ordering::Relaxed);
        (0..number).for_each(|_| self.unmark_cancelled());
    }

    /// Whether the caller may spin for work: one at a time.
    pub(super) fn begin_spin(&self) -> bool {
        // ORDERING: nothing but a courtesy.
        !self.spinning.load(Ordering::Relaxed) && !self.spinning.swap(true, Ordering::Relaxed)
    }

    pub(super) fn end_spin(&self) {
        // ORDERING: as in `begin_spin`.
        self.spinning.store(false, Ordering::Relaxed);
    }

    pub(super) fn resize(self: &Arc<Self>, workers: usize) {
        if self.is_elsewhere() {
            return;
        }
        self.idle.set_limit(workers);
        // No more than can be of use: threads start here, one after the other.
        let queued = self.queues.len();
        if queued > 0 {
            self.call(queued.min(workers));
        }
        // Those that are too many find out and leave.
        self.idle.wake_all();
    }

    pub(super) fn shut_down(self: &Arc<Self>, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        if self.is_elsewhere() {
            return ShutdownReport::default();
        }
        let end = deadline.and_then(|deadline| Instant::now().checked_add(deadline));
        self.idle.shut();
        let mut report = ShutdownReport::default();
        if how != Shutdown::Drain {
            // ORDERING: as in `run`.
            self.cancels_queued.store(true, Ordering::Relaxed);
            let queue = self.queues.drain();
            report.cancelled = queue.iter().filter(|task| task.cancel()).count();
            self.found_tombs(queue.len());
            drop(queue);
            if how == Shutdown::Kill {
                self.token.cancel();
            }
        }
        self.idle.wake_all();
        if let Some(space) = &self.space {
            space.close();
        }
        // A worker that waits for its own end would wait for ever.
        if current_pool() != self.id {
            // One of another pool has a stand-in there, for whom tasks of this one may be waiting.
            let here = BlockingGuard::begin();
            loop {
                // Before the lock: what that starts takes the same lock of another pool, whose shutdown may wait for this one's.
                let until = here.until(end);
                let mut threads = self.threads();
                // A submit that was first may not have called anybody yet: its task is seen here, because `shut` came before.
                if threads.live == 0 && self.idle.awake() == 0 {
                    if self.queues.has_any_work() {
                        drop(threads);
                        self.call(1);
                        continue;
                    }
                    if !threads.handles.is_empty() {
                        let leaving = Leaving::take(self, &mut threads);
                        drop(threads);
                        leaving.join(end.is_some());
                        continue;
                    }
                    if threads.joining == 0 {
                        break;
                    }
                }
                if end.is_some_and(|end| end <= Instant::now()) {
                    break;
                }
                drop(sleep_until(&self.ended, threads, until));
            }
        }
        // ORDERING: as in `run`. Once a worker has ended its count is seen, by the lock.
        report.cancelled += self.cancelled_late.swap(0, Ordering::Relaxed);
        let stats = self.stats();
        report.running = stats.running;
        report.queued = stats.queued;
        report
    }

    pub(super) fn state(&self) -> PoolState {
        if self.is_elsewhere() {
            return PoolState::Ended;
        }
        let is_shut = self.idle.is_shut();
        // By tasks: entries of those that were refused may still stand in the queues.
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
            // ORDERING: Acquire: the ends are read before the starts, and every end that is seen shows its start.
            threads.members.iter().map(|member| counter(&member.counters).load(Ordering::Acquire)).sum()
        };
        let outside = |counter: fn(&Outside) -> &AtomicU64| counter(&self.outside).load(Ordering::Acquire);
        let done = sum(|counters| &counters.done) + outside(|outside| &outside.done);
        let failed = sum(|counters| &counters.failed) + outside(|outside| &outside.failed);
        let tombs_found = sum(|counters| &counters.tombs_found) + outside(|outside| &outside.tombs_found);
        let started_outside = outside(|outside| &outside.started);
        let started = sum(|counters| &counters.started) + started_outside;
        let cancelled = outside(|outside| &outside.cancelled);
        let expired = outside(|outside| &outside.expired);
        let tombs_made = sum(|counters| &counters.tombs_made) + started_outside + cancelled + expired;
        let tombs = tombs_made.saturating_sub(tombs_found);
        let entries = self.queues.len();
        Stats {
            workers: threads.live,
            idle: threads.live.min(self.idle.sleeping() + self.idle.searching()),
            queued: entries.saturating_sub(usize::try_from(tombs).unwrap_or(usize::MAX)),
            running: usize::try_from(started.saturating_sub(done + failed)).unwrap_or(usize::MAX),
            done,
            failed: failed + expired + outside(|outside| &outside.refused),
            cancelled,
            ..Stats::default()
        }
    }

    /// A task was taken out of the queue, and is run or failed.
    #[inline]
    pub(super) fn give_space_back(&self) {
        if let Some(space) = &self.space {
            space.release();
        }
    }

    /// A task is over, or run, and left its entry in the queue.
    #[inline]
    pub(super) fn mark_cancelled(&self) {
        if let Some(space) = &self.space {
            space.mark_cancelled();
        }
    }

    /// A task was cancelled or has expired while it was queued. Its entry stays where it is, until there are so many that it costs
    /// each of them no more than a step or two to look for them all: or they would take memory as long as all workers are busy.
    pub(super) fn bury_queued(self: &Arc<Self>) {
        self.mark_cancelled();
        let over = &self.over;
        // ORDERING: numbers that only have to be about right; the last one keeps others away, and hands nothing over.
        let number = over.number.fetch_add(1, Ordering::Relaxed) + 1;
        if number < BEARABLE.max(over.others.load(Ordering::Relaxed))
            || over.is_looked_for.swap(true, Ordering::Relaxed)
        {
            return;
        }
        over.number.store(0, Ordering::Relaxed);
        let mut found = Vec::new();
        self.idle.begin_search();
        over.others.store(self.queues.sweep(&mut found), Ordering::Relaxed);
        over.is_looked_for.store(false, Ordering::Relaxed);
        if self.idle.end_search() && self.queues.has_any_work() {
            self.call(1);
        }
        self.found_tombs(found.len());
        found.into_iter().for_each(let_go);
    }

    /// Such an entry was taken out of the queue.
    #[inline]
    pub(super) fn unmark_cancelled(&self) {
        if let Some(space) = &self.space {
            space.unmark_cancelled();
        }
    }
}

/// Lets go of a task that is over. Where that drops its result, which is the user's, it is left to another thread: this one is in
/// the middle of something.
pub(super) fn let_go(task: TaskRef) {
    if let Some(task) = task.release_unless_last()
        && task.is_unwanted()
    {
        task.drop_elsewhere();
    }
}

/// Threads that have left the pool; joining them waits for the destructors of their thread-locals. When this is dropped, all who
/// shut the pool down are told.
struct Leaving {
    pool: Arc<Pool>,
    handles: HashMap<u64, Thread>,
    number: usize,
}

impl Leaving {
    fn take(pool: &Arc<Pool>, threads: &mut Threads) -> Self {
        let handles = std::mem::take(&mut threads.handles);
        let number = handles.len();
        threads.joining += number;
        Self { pool: Arc::clone(pool), handles, number }
    }

    /// `elsewhere` when the caller has a deadline: a join has none. Where no thread can be started for it, nobody joins.
    fn join(mut self, elsewhere: bool) {
        if elsewhere {
            let _ = thread::Builder::new().name("executor-join".to_owned()).spawn(move || self.join(false));
            return;
        }
        for (_, thread) in self.handles.drain() {
            let _ = thread.handle.join();
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.pool.threads().joining -= self.number;
        self.pool.ended.notify_all();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        POOLS.get().write().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        // The user's code, and whoever was the last to hold on to the pool is in the middle of something: of a cancel, say, after
        // which somebody is still to be woken.
        let Config { initializer, exit_hook, observer, state, .. } = &mut self.config;
        panic::drop_contained(initializer.take());
        panic::drop_contained(exit_hook.take());
        panic::drop_contained(observer.take());
        panic::drop_contained(state.take());
    }
}

/// A worker's view of its pool.
impl PoolContext for Pool {
    fn pool_id(&self) -> u64 {
        self.id
    }

    fn begin_wait(self: Arc<Self>) -> bool {
        // One that is leaving, and runs a hook or a destructor, counts as no worker any more.
        if !with_worker_of(self.id, |worker| worker.is_some()) {
            return true;
        }
        note_asleep();
        self.idle.begin_wait();
        if self.queues.has_any_work() {
            let start = self.idle.wake_stand_in();
            if start > 0 {
                self.start(start);
                // ORDERING: as where it is set.
                return !self.is_short.load(Ordering::Relaxed);
            }
        }
        true
    }

    fn start_stand_ins(self: Arc<Self>) {
        // ORDERING: as where it is set.
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
