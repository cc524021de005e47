//! A task that runs in this process: cell and closure in one allocation, shared by the queue and the future.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use crate::{
    deadline::{self, Expire},
    error::TaskError,
    future::{Cell, Outcome, Shared, State},
    panic,
};

/// The executor that a task belongs to; hears of every change, wherever it comes from.
pub(crate) trait Owner: Send + Sync {
    fn pool_id(&self) -> u64;
    /// A queued task was claimed.
    fn started(&self);
    /// A running task ended.
    fn ended(&self, state: State);
    /// A queued task was cancelled.
    fn cancelled(&self);
}

/// A queue's view of a task.
pub(crate) trait Run: Send + Sync {
    /// Runs the task unless it was claimed or cancelled before.
    fn run(self: Arc<Self>);
    /// Cancels the task unless it was claimed before; says whether this call did it.
    fn cancel_queued(&self) -> bool;
    /// Resolves the task with `error` unless it was claimed before.
    fn fail_queued(&self, error: &TaskError);
}

pub(crate) struct InProcess<T, W> {
    cell: Cell<T>,
    owner: Arc<dyn Owner>,
    time_limit: Option<Duration>,
    /// Taken by whoever claims or cancels the cell.
    work: Mutex<Option<W>>,
}

impl<T, W> InProcess<T, W>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    pub(crate) fn new(owner: Arc<dyn Owner>, time_limit: Option<Duration>, work: W) -> Arc<Self> {
        Arc::new(Self { cell: Cell::new(), owner, time_limit, work: Mutex::new(Some(work)) })
    }

    fn take_work(&self) -> Option<W> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T, W> Run for InProcess<T, W>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    fn run(self: Arc<Self>) {
        if !self.cell.claim() {
            return;
        }
        self.owner.started();
        let outcome = match self.take_work() {
            Some(work) => {
                let _limit = self.time_limit.map(|limit| {
                    let expire: Weak<dyn Expire> = Arc::downgrade(&self) as Weak<Self>;
                    deadline::watch(expire, limit)
                });
                panic::catch(work)
            }
            // Not reached: only a claim or a cancel takes the work, and this call made the claim.
            None => Err(TaskError::ShutDown),
        };
        let failed = outcome.is_err();
        // Before the future resolves, so that who saw it done finds it counted.
        self.owner.ended(if failed { State::Failed } else { State::Finished });
        // Refused when the time limit came first. A result that nobody gets is dropped here, and its destructor is the
        // task's code as well.
        let late = self.cell.complete(Outcome::Ready(outcome));
        let _ = panic::catch(|| drop(late));
    }

    fn cancel_queued(&self) -> bool {
        // Two cancels at once: the one that finds the work is the one that did it.
        if !self.cell.cancel() {
            return false;
        }
        let Some(work) = self.take_work() else { return false };
        self.owner.cancelled();
        let _ = panic::catch(|| drop(work));
        true
    }

    fn fail_queued(&self, error: &TaskError) {
        if self.cell.claim() {
            self.owner.started();
            let work = self.take_work();
            self.owner.ended(State::Failed);
            let _ = self.cell.complete(Outcome::Ready(Err(error.clone())));
            let _ = panic::catch(|| drop(work));
        }
    }
}

impl<T, W> Shared<T> for InProcess<T, W>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    fn cell(&self) -> &Cell<T> {
        &self.cell
    }

    fn cancel(&self) -> bool {
        self.cancel_queued();
        self.cell.state() == State::Cancelled
    }

    fn pool(&self) -> u64 {
        self.owner.pool_id()
    }

    fn run_here(self: Arc<Self>) {
        self.run();
    }
}

impl<T: Send, W: Send> Expire for InProcess<T, W> {
    fn expire(&self, ran_for: Duration) {
        // Refused when the task has ended in the meantime.
        let _ = self.cell.complete(Outcome::Ready(Err(TaskError::TimedOut { ran_for })));
    }
}
