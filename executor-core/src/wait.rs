//! Waiting for many tasks: [`wait`] and [`as_completed`].
//!
//! Both put one `CompletionSet` among the waiters of every future; a task that ends pushes its index there. Nothing is
//! polled, and a completion costs the same however many futures are waited for.

use std::{
    collections::HashSet,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    error::WaitTimeout,
    future::{BlockingGuard, CompletionSet, TaskFuture, TaskId, Waiter},
    sys,
};

mod sealed {
    use super::{Arc, CompletionSet};

    /// What `wait` needs of a future, whatever its result type.
    pub trait Subscribe {
        /// Announces `index` in `set` when the future is done; at once if it is done already.
        fn announce(&self, set: &SetHandle, index: usize) -> Registration;
        fn withdraw(&self, registration: Registration);
        fn is_done(&self) -> bool;
        fn is_error(&self) -> bool;
        fn run_if_own(&self);
    }

    #[derive(Debug, Clone, Copy)]
    pub struct Registration(pub(super) Option<crate::future::WaiterKey>);

    #[derive(Clone)]
    pub struct SetHandle(pub(super) Arc<CompletionSet>);

    impl std::fmt::Debug for SetHandle {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("SetHandle")
        }
    }
}

use sealed::{Registration, SetHandle, Subscribe};

impl<T> Subscribe for TaskFuture<T> {
    fn announce(&self, set: &SetHandle, index: usize) -> Registration {
        match self.subscribe(Waiter::Set(Arc::clone(&set.0), index)) {
            Ok(key) => Registration(Some(key)),
            Err(_) => {
                set.0.push(index);
                Registration(None)
            }
        }
    }

    fn withdraw(&self, registration: Registration) {
        if let Registration(Some(key)) = registration {
            self.unsubscribe(key);
        }
    }

    fn is_done(&self) -> bool {
        self.done()
    }

    fn is_error(&self) -> bool {
        TaskFuture::is_error(self)
    }

    fn run_if_own(&self) {
        TaskFuture::run_if_own(self);
    }
}

/// A value that [`wait`] and [`as_completed`] can wait for: a [`TaskFuture`], a reference to one, a boxed one with any result
/// type (`Box<dyn Waitable>`), or a pair of any value and one of these, which keeps an item beside its future.
pub trait Waitable {
    #[doc(hidden)]
    fn subscriber(&self) -> &dyn Subscribe;

    /// Returns the id of the task.
    fn task_id(&self) -> TaskId;

    /// Whether another value may stand for the same task, as with references. A future is the only one of its task.
    #[doc(hidden)]
    fn may_be_repeated(&self) -> bool {
        true
    }
}

impl<T> Waitable for TaskFuture<T> {
    fn subscriber(&self) -> &dyn Subscribe {
        self
    }

    fn task_id(&self) -> TaskId {
        self.id()
    }

    fn may_be_repeated(&self) -> bool {
        false
    }
}

impl<C: Waitable + ?Sized> Waitable for &C {
    fn subscriber(&self) -> &dyn Subscribe {
        (**self).subscriber()
    }

    fn task_id(&self) -> TaskId {
        (**self).task_id()
    }
}

impl<C: Waitable + ?Sized> Waitable for Box<C> {
    fn subscriber(&self) -> &dyn Subscribe {
        (**self).subscriber()
    }

    fn task_id(&self) -> TaskId {
        (**self).task_id()
    }

    fn may_be_repeated(&self) -> bool {
        (**self).may_be_repeated()
    }
}

impl<K, C: Waitable> Waitable for (K, C) {
    fn subscriber(&self) -> &dyn Subscribe {
        self.1.subscriber()
    }

    fn task_id(&self) -> TaskId {
        self.1.task_id()
    }

    fn may_be_repeated(&self) -> bool {
        self.1.may_be_repeated()
    }
}

/// When [`wait`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnWhen {
    /// As soon as one future is done. A cancelled future counts as done.
    FirstCompleted,
    /// As soon as one future is done with a [`TaskError`](crate::TaskError) other than cancellation; otherwise when all are done.
    /// To know that, the waiting thread decodes results of worker processes, and keeps them until they are asked for.
    FirstError,
    /// When all futures are done.
    AllCompleted,
}

/// What [`wait`] hands back: all futures that were put in, in their order.
#[derive(Debug)]
pub struct Waited<F> {
    /// The futures that are done.
    pub done: Vec<F>,
    /// The others.
    pub not_done: Vec<F>,
}

/// Waits for many futures at once, of any result type and any executor.
///
/// The clock starts at the call. A future that appears twice counts once. A cancelled future is done and wakes the waiting
/// thread. Running out of time is not an error: look at [`Waited::not_done`].
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, ReturnWhen, ThreadPoolExecutor, wait};
///
/// fn half(x: u32) -> u32 { x / 2 }
///
/// let pool = ThreadPoolExecutor::new(2)?;
/// let futures: Vec<_> = (0..10).map(|x| pool.submit(half, x)).collect::<Result<_, _>>()?;
/// let waited = wait(futures, None, ReturnWhen::FirstCompleted);
/// assert!(!waited.done.is_empty());
/// for future in &waited.not_done {
///     future.cancel();                        // the rest is not needed
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wait<F: Waitable>(
    futures: impl IntoIterator<Item = F>,
    timeout: Option<Duration>,
    return_when: ReturnWhen,
) -> Waited<F> {
    let stop: fn(&F) -> bool = match return_when {
        ReturnWhen::FirstCompleted => |_| true,
        ReturnWhen::FirstError => |future| future.subscriber().is_error(),
        ReturnWhen::AllCompleted => |_| false,
    };
    wait_until(futures, timeout, stop)
}

/// Like [`wait`], but returns as soon as `stop` returns `true` for a future that is done; otherwise when all are done. Use it for
/// tasks that return `Result`, whose `Err` is plain output and not a [`TaskError`](crate::TaskError), and for any other condition.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, ThreadPoolExecutor, wait_until};
///
/// let pool = ThreadPoolExecutor::new(2)?;
/// let futures = pool.submit_many(|x: u64| x * x, 0..4)?;
/// let wanted = futures[2].id();
/// let waited = wait_until(futures, None, |future| future.id() == wanted);
/// assert!(waited.done.iter().any(|future| future.id() == wanted));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wait_until<F: Waitable>(
    futures: impl IntoIterator<Item = F>,
    timeout: Option<Duration>,
    mut stop: impl FnMut(&F) -> bool,
) -> Waited<F> {
    let mut pending = as_completed(futures, timeout);
    let mut stopped = pending.entries.is_empty();
    while !stopped {
        match pending.next_index() {
            Some(index) => {
                pending.unfinished -= 1;
                // Done futures stay in their place, which keeps the order of the input.
                stopped =
                    pending.unfinished == 0 || pending.entries[index].as_ref().is_some_and(|entry| stop(&entry.future));
            }
            None => break,
        }
    }
    let (mut done, mut not_done) = (Vec::new(), Vec::new());
    for entry in std::mem::take(&mut pending.entries).into_iter().flatten() {
        entry.future.subscriber().withdraw(entry.registration);
        if entry.future.subscriber().is_done() { done.push(entry.future) } else { not_done.push(entry.future) }
    }
    Waited { done, not_done }
}

struct Entry<F> {
    /// How many futures were put in before this one.
    number: usize,
    future: F,
    registration: Registration,
}

/// An iterator over futures in the order in which they are done; see [`as_completed`].
pub struct AsCompleted<F: Waitable> {
    set: SetHandle,
    /// The process in which the futures announce themselves in the set.
    generation: u64,
    entries: Vec<Option<Entry<F>>>,
    /// The places of futures that were yielded, to be used again.
    free: Vec<usize>,
    /// The tasks for which another value may stand as well.
    seen: HashSet<TaskId>,
    /// How many futures were put in, in total.
    total: usize,
    unfinished: usize,
    deadline: Option<Instant>,
    timed_out: bool,
}

/// Yields futures in the order in which they are done.
///
/// Futures that are already done come first. The clock starts at this call. When it runs out, the iterator yields one
/// [`WaitTimeout`] and ends, and [`into_pending`](AsCompleted::into_pending) has the futures that are left. More futures may be
/// [added](AsCompleted::add) at any time. A future that appears twice is yielded once.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, ThreadPoolExecutor, as_completed};
///
/// fn length(word: String) -> usize { word.len() }
///
/// let pool = ThreadPoolExecutor::new(2)?;
/// let mut futures = Vec::new();
/// for word in ["one", "three", "seventeen"] {
///     futures.push((word, pool.submit(length, word.to_owned())?));     // keep the item beside its future
/// }
/// for done in as_completed(futures, None) {
///     let (word, future) = done?;
///     assert_eq!(future.result()?, word.len());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn as_completed<F: Waitable>(futures: impl IntoIterator<Item = F>, timeout: Option<Duration>) -> AsCompleted<F> {
    let mut this = AsCompleted {
        set: SetHandle(Arc::new(CompletionSet::new())),
        generation: sys::generation(),
        entries: Vec::new(),
        free: Vec::new(),
        seen: HashSet::new(),
        total: 0,
        unfinished: 0,
        // A timeout too long for the clock is none.
        deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        timed_out: false,
    };
    for future in futures {
        this.add(future);
    }
    this
}

impl<F: Waitable> AsCompleted<F> {
    /// Waits for one more future. A reference to a future that was put in before is ignored. Once the time has run out, no more
    /// futures are yielded: a future that is added then is only found by [`into_pending`](Self::into_pending).
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::{Executor, ThreadPoolExecutor, as_completed};
    ///
    /// let pool = ThreadPoolExecutor::new(2)?;
    /// let halve = |x: u64| x / 2;
    /// let mut set = as_completed([pool.submit(halve, 64)?], None);
    /// let mut steps = 0;
    /// while let Some(done) = set.next() {
    ///     steps += 1;
    ///     let x = done?.result()?;
    ///     if x > 1 {
    ///         set.add(pool.submit(halve, x)?);
    ///     }
    /// }
    /// assert_eq!(steps, 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add(&mut self, future: F) {
        if future.may_be_repeated() && !self.seen.insert(future.task_id()) {
            return;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.follow_fork();
        let registration = future.subscriber().announce(&self.set, index);
        self.entries[index] = Some(Entry { number: self.total, future, registration });
        self.total += 1;
        self.unfinished += 1;
    }

    /// Returns how many futures have not been yielded.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Returns the futures that have not been yielded, in the order in which they were put in.
    #[must_use]
    pub fn into_pending(mut self) -> Vec<F> {
        self.withdraw_all()
    }

    pub(crate) fn take_pending(&mut self) -> Vec<F> {
        self.unfinished = 0;
        self.withdraw_all()
    }

    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    fn withdraw_all(&mut self) -> Vec<F> {
        let mut left: Vec<_> = std::mem::take(&mut self.entries).into_iter().flatten().collect();
        self.free.clear();
        left.sort_unstable_by_key(|entry| entry.number);
        let withdraw = |entry: Entry<F>| {
            entry.future.subscriber().withdraw(entry.registration);
            entry.future
        };
        left.into_iter().map(withdraw).collect()
    }

    /// Begins again if this process is a forked copy of the one that has made the set: a thread that is missing may have locked it.
    fn follow_fork(&mut self) {
        if self.generation != sys::generation() {
            self.begin_again();
        }
    }

    /// In a forked copy of the process, where tasks that were under way are not announced: asks each future anew.
    #[cold]
    fn begin_again(&mut self) {
        self.generation = sys::generation();
        self.set = SetHandle(Arc::new(CompletionSet::new()));
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if let Some(entry) = entry {
                entry.registration = entry.future.subscriber().announce(&self.set, index);
            }
        }
    }

    /// The next future that is done, or `None` when the time is up. The caller ensures that there is an unfinished one.
    fn next_index(&mut self) -> Option<usize> {
        self.follow_fork();
        if let Some(index) = self.set.0.try_pop() {
            return Some(index);
        }
        // A look is no wait: no stand-in is needed for this thread.
        if self.deadline.is_some_and(|end| end <= Instant::now()) {
            return self.set.0.try_pop();
        }
        let here = BlockingGuard::begin_or_run(|| {
            self.entries.iter().flatten().for_each(|entry| entry.future.subscriber().run_if_own());
        });
        self.set.0.pop(&here, self.deadline)
    }
}

impl<F: Waitable> Iterator for AsCompleted<F> {
    type Item = Result<F, WaitTimeout>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.unfinished == 0 || self.timed_out {
            return None;
        }
        match self.next_index().and_then(|index| Some((index, self.entries[index].take()?))) {
            Some((index, entry)) => {
                self.free.push(index);
                self.unfinished -= 1;
                Some(Ok(entry.future))
            }
            None => {
                self.timed_out = true;
                Some(Err(WaitTimeout { unfinished: self.unfinished, total: self.total }))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self.deadline {
            _ if self.timed_out => (0, Some(0)),
            None => (self.unfinished, Some(self.unfinished)),
            // Those that are done in time, and then one error for the others.
            Some(_) => (self.unfinished.min(1), Some(self.unfinished)),
        }
    }
}

impl<F: Waitable> Drop for AsCompleted<F> {
    fn drop(&mut self) {
        drop(self.withdraw_all());
    }
}

impl<F: Waitable> fmt::Debug for AsCompleted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("unfinished", &self.unfinished).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
