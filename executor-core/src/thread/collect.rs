//! A whole map into one `Vec`: the workers pull items from the input themselves, and write the answers where they belong.
//!
//! Compared with chunks that are sent as tasks, this avoids the one thread through which every item and answer has to pass.

use std::{
    any::Any,
    collections::VecDeque,
    iter,
    panic::resume_unwind,
    sync::{Arc, Mutex, MutexGuard, TryLockError},
    time::{Duration, Instant},
};

mod output;

use output::{Output, lock};

use super::executor::ThreadPoolHandle;
use crate::{
    error::{SubmitError, TaskError},
    future::{BlockingGuard, TaskFuture, current_pool, end_if_elsewhere, is_elsewhere},
    map::{Collect, Source},
    panic,
    task::TaskOptions,
};

/// A chunk should run for about this long: far above the cost of taking it, and short enough to balance.
const TARGET: Duration = Duration::from_micros(250);

/// The most items at once: their memory then stays in the first-level cache between being pulled and being used.
const MOST: usize = 2048;

/// If an item takes this long, and pulling it takes at most a [`PULL_SHARE`]th of that, all items are pulled at once if they take
/// no more memory than [`MOST_BYTES`], and half of the workers begin at the other end. The most expensive items are often the first or the
/// last ones, and a worker that comes to them last leaves the other workers without work.
const LONG_ITEM: Duration = Duration::from_micros(1);
const PULL_SHARE: u32 = 16;
const MOST_BYTES: usize = 1 << 20;

/// The number of workers that begin if the input does not say how many items it has.
const UNPROMISED_HELPERS: usize = 1024;

struct Input<A> {
    /// Taken away when no thread may touch the input any more.
    source: Option<Source<'static, A>>,
    /// Items pulled so far.
    pulled: usize,
    /// The input has no more items, or is not asked for them any more.
    ended: bool,
    /// How long it took lately to pull one item.
    pull_time: Duration,
    /// Items that were pulled and that no worker has, and the place of the first of them.
    rest: VecDeque<A>,
    front: usize,
    /// The input itself panicked.
    panicked: Option<Box<dyn Any + Send>>,
}

struct Work<F, A, R> {
    call: F,
    input: Mutex<Input<A>>,
    output: Output<R>,
    /// The error of the first item that failed.
    failure: Mutex<Option<(usize, TaskError)>>,
    hint: usize,
    /// The input says exactly how many items there are.
    is_exact: bool,
    chunk_size: Option<usize>,
    workers: usize,
}

impl<F, A, R> Work<F, A, R> {
    /// The only way to the input. The thread that has the lock runs the user's code with it, and may be waiting for a task that no
    /// other thread runs.
    fn input(&self) -> MutexGuard<'_, Input<A>> {
        match self.input.try_lock() {
            Ok(input) => input,
            Err(TryLockError::Poisoned(input)) => input.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let _here = BlockingGuard::begin();
                lock(&self.input)
            }
        }
    }
}

impl<F, A, R> Work<F, A, R>
where
    F: Fn(A) -> R,
{
    /// Notes that an item has no result: items after it are not begun any more.
    fn fail(&self, place: usize, error: TaskError) {
        let mut failure = lock(&self.failure);
        if failure.as_ref().is_none_or(|(first, _)| place < *first) {
            *failure = Some((place, error));
        }
        drop(failure);
        let mut input = self.input();
        input.ended = true;
        let before = place.saturating_sub(input.front).min(input.rest.len());
        let after = input.rest.split_off(before);
        drop(input);
        panic::drop_each(after);
    }

    /// Pulls up to `count` items into the empty `items`.
    fn ask(input: &mut Input<A>, count: usize, items: &mut Vec<A>) {
        let Input { source: Some(source), ended: false, .. } = input else { return };
        let begin = Instant::now();
        let outcome = panic::catch_to_resume(|| source(count, items));
        end_if_elsewhere(current_pool());
        match outcome {
            Ok(()) => {
                input.pull_time = begin.elapsed() / u32::try_from(items.len()).unwrap_or(u32::MAX).max(1);
                input.pulled += items.len();
                input.ended = items.len() < count;
            }
            Err(payload) => {
                // Under the lock that all workers need: a panic of a destructor must not end the map here.
                panic::drop_each(items.drain(..));
                input.ended = true;
                input.panicked = Some(payload);
            }
        }
    }

    /// Moves some items into the empty `items`, from the end if so asked and possible; returns the place of the first. `count` is
    /// passed how many are left, and whether they come from the end.
    fn take(&self, count: impl FnOnce(usize, bool) -> usize, from_end: bool, items: &mut Vec<A>) -> usize {
        let mut input = self.input();
        let input = &mut *input;
        if input.rest.is_empty() {
            let first = input.pulled;
            Self::ask(input, count(self.hint.saturating_sub(first), false), items);
            return first;
        }
        let count = count(input.rest.len(), from_end).min(input.rest.len());
        let others = input.rest.len() - count;
        if from_end {
            items.extend(input.rest.drain(others..));
            return input.front + others;
        }
        items.extend(input.rest.drain(..count));
        input.front += count;
        input.front - count
    }

    /// Pulls all items, if that costs little compared with what they take.
    fn pull_all(&self, item_time: Duration) {
        let mut input = self.input();
        let input = &mut *input;
        let left = self.hint.saturating_sub(input.pulled);
        // Items without a size take time all the same.
        let fits = left.checked_mul(size_of::<A>().max(1)).is_some_and(|bytes| bytes <= MOST_BYTES);
        if input.rest.is_empty() && fits && input.pull_time * PULL_SHARE <= item_time {
            let mut items = Vec::new();
            input.front = input.pulled;
            // One more shows that the input has ended.
            Self::ask(input, left + 1, &mut items);
            input.rest = items.into();
        }
    }

    /// Does the work of each worker.
    fn help(&self, from_end: bool) {
        let mut items = Vec::new();
        let mut by_time = 1;
        let mut at_end = false;
        let mut may_pull_all = self.is_exact && self.workers > 1;
        loop {
            let count = |left: usize, is_end: bool| {
                if is_end && !std::mem::replace(&mut at_end, true) {
                    // Nothing is known about the items there.
                    by_time = 1;
                }
                self.chunk_size.unwrap_or_else(|| {
                    // Towards the end chunks shrink, so that no worker is left with a large one while the other workers have none.
                    let share = if self.hint == 0 { MOST } else { left / self.workers.saturating_mul(2).max(1) };
                    by_time.min(share.clamp(1, MOST))
                })
            };
            let first = self.take(count, from_end, &mut items);
            if items.is_empty() {
                return;
            }
            let count = items.len();
            let begin = Instant::now();
            let outcome = self.output.fill(first, &mut items, &self.call);
            if let Err((place, error)) = outcome {
                self.fail(place, error);
                continue;
            }
            let item_time = begin.elapsed().as_nanos() as f64 / count as f64;
            // Grows step by step: the next items may be more expensive than these.
            by_time = ((TARGET.as_nanos() as f64 / item_time.max(1.0)) as usize).clamp(1, (2 * count).min(MOST));
            let item_time = Duration::from_nanos(item_time as u64);
            if item_time >= LONG_ITEM && std::mem::take(&mut may_pull_all) {
                self.pull_all(item_time);
            }
        }
    }
}

/// Takes the input away before the caller's borrow of it ends, however that happens. The number is that of the pool.
struct Borrowed<'a, F, A, R>(&'a Work<F, A, R>, u64);

impl<F, A, R> Drop for Borrowed<'_, F, A, R> {
    fn drop(&mut self) {
        // In a forked copy that the user's code has made on the caller's thread, no thread touches the input any more, and one that is
        // not in the copy may have locked it.
        if is_elsewhere(self.1) {
            return;
        }
        let source = self.0.input().source.take();
        drop(source);
    }
}

/// Submits so many helpers. With a deadline, submits as many as find room in the queue by then, and returns an error if that is not
/// all of them.
fn submit_helpers<F, A, R>(
    handle: &ThreadPoolHandle,
    helpers: usize,
    work: &Arc<Work<F, A, R>>,
    deadline: Option<Instant>,
) -> Result<(Vec<TaskFuture<()>>, Option<TaskError>), TaskError>
where
    F: Fn(A) -> R + Send + Sync + 'static,
    A: Send + 'static,
    R: Send + 'static,
{
    let tasks = (0..helpers).map(|index| {
        let work = Arc::clone(work);
        move || work.help(index % 2 == 1)
    });
    let Some(deadline) = deadline else {
        let futures = handle.enqueue_many(tasks, TaskOptions::new()).map_err(|_| TaskError::ShutDown)?;
        return Ok((futures, None));
    };
    let mut futures = Vec::with_capacity(helpers);
    for task in tasks {
        // The submit waits for room in a full queue no longer than this.
        let left = deadline.saturating_duration_since(Instant::now());
        match handle.enqueue(task, TaskOptions::new().space_timeout(left)) {
            Ok(future) => futures.push(future),
            // The helpers that found room may do all the work.
            Err(SubmitError::Full) => return Ok((futures, Some(TaskError::DeadlineExceeded))),
            Err(_) => {
                futures.iter().for_each(|future| _ = future.cancel());
                return Err(TaskError::ShutDown);
            }
        }
    }
    Ok((futures, None))
}

/// Calls `call` with each item, in the pool's workers. Returns at the deadline at the latest; tasks that run then continue.
pub(super) fn collect_all<F, A, R>(
    handle: &ThreadPoolHandle,
    call: F,
    collect: Collect<'_, A>,
) -> Result<Vec<R>, TaskError>
where
    F: Fn(A) -> R + Send + Sync + 'static,
    A: Send + 'static,
    R: Send + 'static,
{
    let Collect { source, hint, most, chunk_size, deadline } = collect;
    let is_exact = most == Some(hint);
    // SAFETY: only the lifetime changes. `Borrowed` takes the source away, and drops it, before this function returns, and
    // it is only called under the lock that `Borrowed` takes. In a forked copy, where `Borrowed` leaves it, no thread calls it.
    let source = unsafe { std::mem::transmute::<Source<'_, A>, Source<'static, A>>(source) };
    let workers = handle.workers();
    let work = Arc::new(Work {
        call,
        input: Mutex::new(Input {
            source: Some(source),
            pulled: 0,
            ended: false,
            pull_time: Duration::ZERO,
            rest: VecDeque::new(),
            front: 0,
            panicked: None,
        }),
        output: Output::with_capacity(hint),
        failure: Mutex::new(None),
        hint,
        is_exact,
        chunk_size,
        workers,
    });
    let borrowed = Borrowed(&*work, handle.id());
    // If the input does not say how many items there are, there may be some for each worker.
    let most = if is_exact { hint } else { hint.max(most.unwrap_or(usize::MAX).min(UNPROMISED_HELPERS)) };
    let helpers = workers.min(most.div_ceil(chunk_size.unwrap_or(1)).max(1));
    let (futures, mut unfinished) = submit_helpers(handle, helpers, &work, deadline)?;
    let mut is_over = false;
    let mut futures = futures.into_iter();
    while let Some(future) = futures.next() {
        // A helper that has not begun would find no items, and may stand behind tasks that wait for the end of this map.
        if is_over && future.cancel() {
            continue;
        }
        let outcome = match deadline {
            None => future.result(),
            Some(deadline) => match future.result_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(outcome) => outcome,
                Err(future) => {
                    // No other helper is left in the queue either.
                    iter::once(future).chain(futures).for_each(|future| _ = future.cancel());
                    work.fail(0, TaskError::DeadlineExceeded);
                    break;
                }
            },
        };
        // A worker comes back when no item is left for it.
        is_over |= outcome.is_ok();
        unfinished = outcome.err().or(unfinished);
    }
    drop(borrowed);
    let mut input = work.input();
    if let Some(payload) = input.panicked.take() {
        drop(input);
        resume_unwind(payload);
    }
    let ended = input.ended && input.rest.is_empty();
    drop(input);
    if let Some((_, error)) = lock(&work.failure).take() {
        return Err(error);
    }
    if !ended {
        // No worker got to the end: they were cancelled, or the pool is broken.
        return Err(unfinished.unwrap_or(TaskError::ShutDown));
    }
    Ok(work.output.take())
}
