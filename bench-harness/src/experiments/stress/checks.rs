//! The checks: that every answer is right, that every error has a reason, that each future resolves once, and that the numbers
//! add up.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use executor_core::{
    ChunkInput, ChunkOutput, Collect, Executor, Observer, Payload, PoolState, Shutdown, ShutdownReport, Stats, Submit,
    SubmitError, Task, TaskEnd, TaskError, TaskFuture, TaskId, TaskOptions,
};

use super::{
    tasks::{answer, panic_message},
    user_code::Mood,
};

/// The expected behavior of a task that is not interfered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    Answer,
    Panic,
    /// Ends its worker process.
    Crash,
    /// Has an argument, a result or a configuration whose own code misbehaves on the way to another process.
    UserCode(Mood),
}

/// A task, and what the driver has done to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expect {
    pub(super) argument: u64,
    pub(super) plan: Plan,
    /// The driver has asked for its end.
    pub(super) may_be_cancelled: bool,
    /// `cancel` returned that it is cancelled.
    pub(super) is_cancelled: bool,
    /// `kill` returned that it will be killed.
    pub(super) is_killed: bool,
    pub(super) may_time_out: bool,
    pub(super) may_expire: bool,
}

impl Expect {
    pub(super) fn new(plan: Plan, argument: u64) -> Self {
        Self {
            argument,
            plan,
            may_be_cancelled: false,
            is_cancelled: false,
            is_killed: false,
            may_time_out: false,
            may_expire: false,
        }
    }

    pub(super) fn timing_out(mut self) -> Self {
        self.may_time_out = true;
        self
    }

    pub(super) fn expiring(mut self) -> Self {
        self.may_expire = true;
        self
    }

    pub(super) fn cancelled_perhaps(mut self) -> Self {
        self.may_be_cancelled = true;
        self
    }
}

/// Events that may happen to any task of a round.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hazards {
    /// Workers are processes.
    pub(super) processes: bool,
    /// Workers are killed at random.
    pub(super) kills: bool,
    /// A dead worker breaks the pool.
    pub(super) breaks: bool,
}

/// The state that all drivers of one round share.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) hazards: Hazards,
    /// The strongest shutdown that was asked for; 0 for none.
    ending: AtomicU8,
    /// The number of submitted tasks is only known to be at least the count.
    inexact: AtomicBool,
    submitted: Arc<AtomicU64>,
    wrong: Mutex<Vec<String>>,
    pub(super) operations: AtomicU64,
    pub(super) results: AtomicU64,
    pub(super) callbacks: Callbacks,
}

impl Round {
    pub(super) fn new(hazards: Hazards) -> Self {
        Self { hazards, ..Self::default() }
    }

    /// Notes that a driver is about to end the pool.
    pub(super) fn begin_end(&self, how: Shutdown) {
        let rank = match how {
            Shutdown::Drain => 1,
            Shutdown::CancelQueued => 2,
            Shutdown::Kill => 3,
        };
        self.ending.fetch_max(rank, Ordering::SeqCst);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst) > 0
    }

    pub(super) fn may_cancel_queued(&self) -> bool {
        self.ending.load(Ordering::SeqCst) > 1
    }

    fn may_kill(&self) -> bool {
        self.ending.load(Ordering::SeqCst) > 2
    }

    pub(super) fn wrong(&self, what: impl Into<String>) {
        let what = what.into();
        // Printed at once, since the program may never reach the end of the round.
        crate::tell::tell!("wrong: {what}");
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    pub(super) fn take_wrong(&self) -> Vec<String> {
        std::mem::take(&mut *self.wrong.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn is_wrong(&self) -> bool {
        !self.wrong.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn require(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong(what());
        }
    }

    /// Checks the outcome of one task.
    pub(super) fn check(&self, expect: &Expect, outcome: &Result<u64, TaskError>) {
        self.results.fetch_add(1, Ordering::Relaxed);
        let good = match outcome {
            Ok(_) if expect.is_cancelled || expect.is_killed => false,
            Ok(value) => {
                let may_answer = match expect.plan {
                    Plan::Answer => true,
                    Plan::UserCode(mood) => !self.hazards.processes || mood.crosses(),
                    Plan::Panic | Plan::Crash => false,
                };
                may_answer && *value == answer(expect.argument)
            }
            Err(TaskError::Cancelled) if expect.is_cancelled => true,
            Err(error) => !expect.is_cancelled && self.explains(expect, error),
        };
        self.require(good, || format!("{expect:?} ended with {outcome:?}, ending {:?}", self.ending));
    }

    /// Whether there is a reason for an error.
    pub(super) fn explains(&self, expect: &Expect, error: &TaskError) -> bool {
        if let Plan::UserCode(mood) = expect.plan
            && self.hazards.processes
            && mood.explains(error)
        {
            return true;
        }
        match error {
            TaskError::Panicked { message, .. } => {
                expect.plan == Plan::Panic && *message == panic_message(expect.argument)
            }
            TaskError::Cancelled => expect.may_be_cancelled || self.may_cancel_queued(),
            TaskError::TimedOut { .. } => expect.may_time_out,
            TaskError::Expired { .. } => expect.may_expire,
            TaskError::WorkerDied { .. } => {
                self.hazards.processes && (expect.plan == Plan::Crash || self.hazards.kills)
            }
            TaskError::PoolBroken { .. } => self.hazards.breaks,
            TaskError::ShutDown => self.may_kill(),
            _ => false,
        }
    }

    /// Whether there is a reason for a task not to be taken. Only `Full` depends on the caller.
    pub(super) fn check_refusal(&self, error: SubmitError, may_be_full: bool) {
        let good = match error {
            SubmitError::Full => may_be_full,
            SubmitError::ShutDown => self.is_ending(),
        };
        self.require(good, || format!("a task was refused: {error:?}, ending {:?}", self.ending));
    }

    /// Checks the numbers at the end: each submitted task has ended, by a result or an error.
    pub(super) fn check_stats(&self, stats: &Stats, tally: Option<&Tally>) {
        let ended = stats.done + stats.failed + stats.cancelled;
        self.require(stats.queued == 0 && stats.running == 0, || format!("at the end something is left: {stats:?}"));
        match tally {
            Some(tally) => {
                let [queued, started, ended_seen] =
                    [&tally.queued, &tally.started, &tally.ended].map(|count| count.load(Ordering::SeqCst));
                self.require(ended == queued && ended_seen == queued && started <= queued, || {
                    format!("the observer saw {queued} queued, {started} started, {ended_seen} ended: {stats:?}")
                });
            }
            None => {
                let submitted = self.submitted.load(Ordering::SeqCst);
                let inexact = self.inexact.load(Ordering::SeqCst);
                let good = ended == submitted || inexact && ended >= submitted;
                self.require(good, || format!("{submitted} tasks were submitted, and {ended} have ended: {stats:?}"));
            }
        }
    }

    pub(super) fn submitted(&self, stats: &Stats) -> u64 {
        self.submitted.load(Ordering::SeqCst).max(stats.done + stats.failed + stats.cancelled)
    }

    /// Counts a task that was not submitted through [`Counted`].
    pub(super) fn count_submitted(&self) {
        self.submitted.fetch_add(1, Ordering::SeqCst);
    }
}

/// Callbacks that were added, and those that were called.
#[derive(Debug, Default)]
pub(super) struct Callbacks {
    numbers: Mutex<(u64, u64)>,
    changed: Condvar,
}

impl Callbacks {
    pub(super) fn add(&self) {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).0 += 1;
    }

    pub(super) fn called(&self) {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.1 += 1;
        if numbers.1 >= numbers.0 {
            self.changed.notify_all();
        }
    }

    /// Waits until all callbacks were called, at most for `limit`. Returns how many were added and how many called.
    pub(super) fn wait(&self, limit: Duration) -> (u64, u64) {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = self.changed.wait_timeout_while(numbers, limit, |(added, called)| called < added);
        *waiting.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Counts of an observer of a thread pool.
#[derive(Debug, Default)]
pub(super) struct Tally {
    queued: AtomicU64,
    started: AtomicU64,
    ended: AtomicU64,
}

impl Observer for Tally {
    fn task_queued(&self, _: TaskId) {
        self.queued.fetch_add(1, Ordering::SeqCst);
    }

    fn task_started(&self, _: TaskId) {
        self.started.fetch_add(1, Ordering::SeqCst);
    }

    fn task_ended(&self, _: TaskId, _: TaskEnd) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// An executor whose tasks are counted when they are submitted.
pub(super) struct Counted<E: Executor> {
    pub(super) inner: E,
    core: CountedHandle<E::Handle>,
}

#[derive(Clone)]
pub(super) struct CountedHandle<C> {
    core: C,
    round: Arc<Round>,
}

impl<E: Executor> Counted<E> {
    pub(super) fn new(inner: E, round: &Arc<Round>) -> Self {
        let core = CountedHandle { core: inner.handle().clone(), round: Arc::clone(round) };
        Self { inner, core }
    }
}

impl<E: Executor> Executor for Counted<E> {
    type Handle = CountedHandle<E::Handle>;

    fn handle(&self) -> &Self::Handle {
        &self.core
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }

    fn state(&self) -> PoolState {
        self.inner.state()
    }

    fn shutdown(&self, how: Shutdown, deadline: Option<Duration>) -> ShutdownReport {
        self.inner.shutdown(how, deadline)
    }
}

impl<C: Submit> CountedHandle<C> {
    fn count<T>(&self, outcome: Result<T, SubmitError>) -> Result<T, SubmitError> {
        if outcome.is_ok() {
            self.round.count_submitted();
        }
        outcome
    }
}

impl<C: Submit> Submit for CountedHandle<C> {
    fn submit_task<F, A, M>(&self, task: F, args: A, options: TaskOptions) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        self.count(self.core.submit_task(task, args, options))
    }

    fn submit_tasks<F, A, M>(
        &self,
        task: F,
        args: impl IntoIterator<Item = A>,
        options: TaskOptions,
    ) -> Result<Vec<TaskFuture<F::Output>>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        let outcome = self.core.submit_tasks(task, args, options);
        match &outcome {
            Ok(futures) => drop(self.round.submitted.fetch_add(futures.len() as u64, Ordering::SeqCst)),
            // The pool may have taken some of them.
            Err(_) => self.round.inexact.store(true, Ordering::SeqCst),
        }
        outcome
    }

    fn submit_chunk<F, A, M>(
        &self,
        task: F,
        input: ChunkInput<A, F::Output>,
        options: TaskOptions,
    ) -> Result<TaskFuture<ChunkOutput<F::Output>>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        self.count(self.core.submit_chunk(task, input, options))
    }

    fn collect_all<'a, F, A, M>(
        &self,
        task: &F,
        collect: Collect<'a, A>,
    ) -> Result<Result<Vec<F::Output>, TaskError>, Collect<'a, A>>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        self.core.collect_all(task, collect)
    }

    fn max_workers(&self) -> usize {
        self.core.max_workers()
    }
}
