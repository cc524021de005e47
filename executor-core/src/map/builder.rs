//! [`Map`]: a builder that is an iterator.
//!
//! Items are sent in chunks. The number of items in a chunk follows the measured time of an item, unless the user sets it. The
//! number of items that were taken from the input and not yet yielded is bounded, so an endless input needs constant memory.

use std::{
    collections::VecDeque,
    fmt,
    marker::PhantomData,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    backend::MapBackend,
    buffer_pool::BufferPool,
    chunk::{ChunkInput, ChunkOutput},
    chunk_iter::ChunkIter,
    collect::Collect,
    pull::pull,
};
use crate::{
    error::{SubmitError, TaskError},
    future::TaskFuture,
    task::TaskOptions,
    wait::{AsCompleted, as_completed},
};

/// A chunk should run for about this long: far above the cost of one task on any executor (about 20 µs between processes over
/// sockets), and short enough to balance and to cancel.
const TARGET_CHUNK_TIME: Duration = Duration::from_millis(1);

/// No chunk has more items than this unless the user says so.
const MAX_CHUNK: usize = 8192;

/// With a bounded buffer, this many chunks per worker are under way.
const CHUNKS_PER_WORKER: usize = 4;

/// The results of a task over many items, as an iterator in the order of the items; see
/// [`Executor::map`](crate::Executor::map).
///
/// Nothing happens before the first call of `next` (or [`start`](Self::start)), except that the clock of
/// [`timeout`](Self::timeout) starts when the map is made. The error of an item affects no other item: the iteration continues,
/// unless [`stop_on_error`](Self::stop_on_error) is set. Dropping the map cancels tasks that have not started. If the executor
/// shuts down meanwhile, one [`TaskError::ShutDown`] is yielded for the rest of the input.
///
/// Options may also be set after [`start`](Self::start), or between two calls of `next`. None of them loses a result. Options for
/// the whole map ([`timeout`](Self::timeout), [`unordered`](Self::unordered), [`stop_on_error`](Self::stop_on_error)) take effect
/// at once. Options for single items and chunks ([`task_timeout`](Self::task_timeout), [`chunk_size`](Self::chunk_size),
/// [`buffer_size`](Self::buffer_size)) apply to items that have not been submitted yet; there are none after a `start` that has
/// submitted the whole input.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, ThreadPoolExecutor};
///
/// fn square(x: u64) -> u64 { x * x }
///
/// let pool = ThreadPoolExecutor::new(2)?;
/// let first: Vec<u64> = pool.map(square, 0..).chunk_size(4).take(3).collect::<Result<_, _>>()?;
/// assert_eq!(first, [0, 1, 4]);
/// assert_eq!(pool.map(square, 0..1000).into_vec()?.len(), 1000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a map does nothing until it is iterated or started"]
pub struct Map<C, F, M, I>
where
    C: MapBackend<F, I::Item, M>,
    I: Iterator,
{
    handle: C,
    task: F,
    input: Option<I>,
    made: Instant,
    time_limit: Option<Duration>,
    options: TaskOptions,
    chunk_size: Option<usize>,
    buffer_size: Option<usize>,
    unordered: bool,
    stop_on_error: bool,
    /// Estimated time of one item in nanoseconds; `None` before the first chunk is back.
    item_time: Option<f64>,
    /// Items taken from the input and not yet yielded. The items of the chunk that is being yielded count until its end.
    taken: usize,
    /// How many items the chunk that is being yielded has.
    yielding: usize,
    under_way: UnderWay<C::Output>,
    ready: ChunkIter<C::Output>,
    /// The vectors of finished chunks.
    spare: Arc<BufferPool<I::Item, C::Output>>,
    /// The time was up before the executor's queue had room: some of the input has no answer.
    is_short: bool,
    ended: bool,
    marker: PhantomData<fn() -> M>,
}

/// How many chunks run at the same time. An executor of a user's may say that it has no workers at the moment: its map waits for them,
/// where one without chunks would seem to be at its end.
fn workers_of<F, A, M>(handle: &impl MapBackend<F, A, M>) -> usize {
    handle.workers().max(1)
}

enum UnderWay<R> {
    Ordered(VecDeque<Pending<R>>),
    Unordered(AsCompleted<(usize, TaskFuture<ChunkOutput<R>>)>),
}

type ChunkResult<R> = Result<ChunkOutput<R>, TaskError>;

struct Pending<R> {
    items: usize,
    future: TaskFuture<ChunkOutput<R>>,
}

impl<C, F, M, I> Map<C, F, M, I>
where
    C: MapBackend<F, I::Item, M>,
    I: Iterator,
{
    pub(crate) fn new(handle: C, task: F, input: I) -> Self {
        let spare = Arc::new(BufferPool::new(workers_of(&handle).saturating_mul(CHUNKS_PER_WORKER)));
        Self {
            handle,
            task,
            input: Some(input),
            made: Instant::now(),
            time_limit: None,
            options: TaskOptions::new(),
            chunk_size: None,
            buffer_size: None,
            unordered: false,
            stop_on_error: false,
            item_time: None,
            taken: 0,
            yielding: 0,
            under_way: UnderWay::Ordered(VecDeque::new()),
            ready: ChunkIter::empty(),
            spare,
            is_short: false,
            ended: false,
            marker: PhantomData,
        }
    }

    /// Sets a time limit for the whole map, counted from when the map was made. When it has passed, one
    /// [`TaskError::DeadlineExceeded`] is yielded, tasks that have not started are cancelled, and the iteration ends. A call of the
    /// input's `next` that is under way is waited for.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// Sets a time limit for each item. This sets the chunk size to 1, so that each item can be stopped by itself. Items that were
    /// [started](Self::start) before have no limit.
    pub fn task_timeout(mut self, limit: Duration) -> Self {
        self.options = self.options.timeout(limit);
        self.chunk_size = Some(1);
        self
    }

    /// Sets how many items are sent together. Default: chosen by measured time, aiming at about a millisecond of work. With a
    /// [`task_timeout`](Self::task_timeout) the chunk size is 1, whatever is set here.
    ///
    /// # Panics
    ///
    /// If `items` is zero.
    pub fn chunk_size(mut self, items: usize) -> Self {
        assert!(items > 0, "chunk_size must be at least 1");
        if self.options.timeout.is_none() {
            self.chunk_size = Some(items);
        }
        self
    }

    /// Sets how many items are taken from the input before their results are asked for. Default: a few chunks per worker.
    ///
    /// # Panics
    ///
    /// If `items` is zero.
    pub fn buffer_size(mut self, items: usize) -> Self {
        assert!(items > 0, "buffer_size must be at least 1");
        self.buffer_size = Some(items);
        self
    }

    /// Yields results as they are done instead of in the order of the items, including those of items that were
    /// [started](Self::start) before.
    pub fn unordered(mut self) -> Self {
        self.unordered = true;
        self
    }

    /// Sets whether the iteration ends after the first error, and tasks that have not started are cancelled. Default: no.
    pub fn stop_on_error(mut self, stop: bool) -> Self {
        self.stop_on_error = stop;
        self
    }

    /// Submits now, as Python does: the whole input, or as much as [`buffer_size`](Self::buffer_size) allows.
    pub fn start(mut self) -> Self {
        self.begin();
        let whole = self.buffer_size.is_none();
        self.fill(whole);
        self
    }

    /// Returns all results in the order of the items, or the first error, in which case tasks that have not started are cancelled.
    /// [`unordered`](Self::unordered) only has an effect if the map was [started](Self::start) before. In a thread pool the workers
    /// pull the items themselves, so the input has to be `Send`; if it is not, collect the map instead.
    ///
    /// # Errors
    ///
    /// The [`TaskError`] of the first item that failed.
    ///
    /// # Panics
    ///
    /// If the input panics.
    pub fn into_vec(mut self) -> Result<Vec<C::Output>, TaskError>
    where
        I: Send,
    {
        // Only for a map that has not begun: that is where the order is decided.
        self.unordered = false;
        if self.taken == 0
            && self.ready.is_empty()
            && self.options == TaskOptions::new()
            && self.buffer_size.is_none()
            && self.input.is_some()
        {
            let deadline = self.deadline();
            let input = &mut self.input;
            let (hint, most) = input.as_ref().map_or((0, None), Iterator::size_hint);
            let collect = Collect {
                hint,
                most,
                source: Box::new(|count, items| *input = input.take().map(|input| pull(input, count, items))),
                chunk_size: self.chunk_size,
                deadline,
            };
            match self.handle.collect_all(&self.task, collect) {
                Ok(results) => return results,
                Err(collect) => drop(collect),
            }
        }
        let hint = self.input.as_ref().map_or(0, |input| input.size_hint().0);
        let mut results = Vec::new();
        // A size hint of more than there is memory for is ignored.
        let _ = results.try_reserve(hint.min(1 << 20));
        for result in &mut self {
            results.push(result?);
        }
        Ok(results)
    }

    fn begin(&mut self) {
        if self.unordered
            && let UnderWay::Ordered(queue) = &mut self.under_way
        {
            // What is under way continues, and is yielded as it is done from here on.
            let started = std::mem::take(queue).into_iter().map(|Pending { items, future }| (items, future));
            self.under_way = UnderWay::Unordered(as_completed(started, None));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.time_limit.and_then(|limit| self.made.checked_add(limit))
    }

    fn is_late(&self) -> bool {
        self.deadline().is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn next_chunk_size(&self) -> usize {
        let chunk = self.chunk_size.unwrap_or_else(|| {
            let Some(item_time) = self.item_time else { return 1 };
            let by_time = TARGET_CHUNK_TIME.as_nanos() as f64 / item_time.max(1.0);
            // Towards the end chunks shrink, so that no worker is left with a large one while the others have none.
            let left = self.input.as_ref().map_or(0, |input| input.size_hint().0);
            let share = left / workers_of(&self.handle).saturating_mul(2);
            let limit = if left == 0 { MAX_CHUNK } else { share.clamp(1, MAX_CHUNK) };
            (by_time as usize).clamp(1, limit)
        });
        self.buffer_size.map_or(chunk, |buffer| chunk.min(buffer))
    }

    /// Submits chunks until the buffer is full or the input is at its end.
    fn fill(&mut self, whole: bool) {
        loop {
            let chunk = self.next_chunk_size();
            let buffer = match self.buffer_size {
                Some(buffer) => buffer,
                None if whole => usize::MAX,
                None => chunk.saturating_mul(workers_of(&self.handle).saturating_mul(CHUNKS_PER_WORKER)),
            };
            let room = buffer.saturating_sub(self.taken).min(chunk);
            // On executors that run tasks in `submit`, this is where time passes.
            if self.is_late() {
                return;
            }
            // The place of a part of a chunk, once it is yielded, only has room for another part.
            if room == 0 || self.buffer_size.is_none() && room < chunk {
                return;
            }
            let Some(input) = self.input.take() else { return };
            let spare = BufferPool::<I::Item, C::Output>::is_for(room).then(|| Arc::clone(&self.spare));
            let mut items = spare.as_ref().map_or_else(Vec::new, |spare| spare.for_items());
            self.input = Some(pull(input, room, &mut items));
            let count = items.len();
            // Dropped when the items have been stored, as in `end`: its destructor is the user's code.
            let _input = if count < room { self.input.take() } else { None };
            if count == 0 {
                return;
            }
            let input = ChunkInput { items, spare };
            let mut options = self.options;
            if let Some(deadline) = self.deadline() {
                // The submit waits for room in a full queue no longer than this.
                options = options.space_timeout(deadline.saturating_duration_since(Instant::now()));
            }
            match self.handle.submit_chunk(&self.task, input, options) {
                Ok(future) => {
                    self.taken += count;
                    match &mut self.under_way {
                        UnderWay::Ordered(queue) => queue.push_back(Pending { items: count, future }),
                        UnderWay::Unordered(set) => set.add((count, future)),
                    }
                }
                Err(SubmitError::Full) if self.is_late() => {
                    self.input = None;
                    self.is_short = true;
                    return;
                }
                Err(_) => {
                    // A separate answer, so that the input does not just seem to end.
                    self.input = None;
                    let (promise, future) = crate::Promise::new();
                    drop(promise);
                    self.taken += 1;
                    match &mut self.under_way {
                        UnderWay::Ordered(queue) => queue.push_back(Pending { items: 1, future }),
                        UnderWay::Unordered(set) => set.add((1, future)),
                    }
                    return;
                }
            }
        }
    }

    /// Waits for the next chunk; `None` if the time of the whole map is up.
    fn next_chunk(&mut self) -> Option<(usize, ChunkResult<C::Output>)> {
        let deadline = self.deadline();
        match &mut self.under_way {
            UnderWay::Ordered(queue) => {
                let Pending { items, future } = queue.pop_front()?;
                let Some(deadline) = deadline else { return Some((items, future.result())) };
                match future.result_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(result) => Some((items, result)),
                    Err(future) => {
                        queue.push_front(Pending { items, future });
                        None
                    }
                }
            }
            UnderWay::Unordered(set) => {
                set.set_deadline(deadline);
                let (items, future) = set.next()?.ok()?;
                Some((items, future.result()))
            }
        }
    }

    fn receive(&mut self, items: usize, outcome: ChunkResult<C::Output>) {
        self.yielding = items;
        self.ready = ChunkIter::new(match outcome {
            Ok(chunk) => {
                let time = chunk.ran_for.as_nanos() as f64 / items as f64;
                // Half of the new, half of the old: follows a change within a few chunks, and dampens a single outlier.
                self.item_time = Some(self.item_time.map_or(time, |old| (old + time) / 2.0));
                chunk
            }
            Err(error) => ChunkOutput::from_results(std::iter::repeat_n(error, items).map(Err), Duration::ZERO),
        });
    }

    /// Returns an error, or the first result of the next chunk.
    #[inline(never)]
    fn next_slowly(&mut self) -> Option<Result<C::Output, TaskError>> {
        let result = match self.ready.next() {
            Some(result) => result,
            None => self.next_of_another_chunk()?,
        };
        if result.is_err() && self.stop_on_error {
            // First, because dropping values runs the task's code.
            self.end();
            self.ready = ChunkIter::empty();
        }
        Some(result)
    }

    fn next_of_another_chunk(&mut self) -> Option<Result<C::Output, TaskError>> {
        if self.ended {
            return None;
        }
        self.begin();
        loop {
            let yielded = std::mem::take(&mut self.yielding);
            self.taken = self.taken.saturating_sub(yielded);
            if BufferPool::<I::Item, C::Output>::is_for(yielded) {
                self.spare.give_answers(self.ready.take_vector());
            }
            self.fill(false);
            if self.is_idle() {
                // If all items so far have their answers, the time was enough. Asking the input itself might take for ever.
                let may_have_more = |input: &I| input.size_hint().1 != Some(0);
                let is_short = self.is_short || self.input.as_ref().is_some_and(may_have_more) && self.is_late();
                self.end();
                return is_short.then_some(Err(TaskError::DeadlineExceeded));
            }
            match self.next_chunk() {
                Some((items, outcome)) => self.receive(items, outcome),
                None => {
                    self.end();
                    return Some(Err(TaskError::DeadlineExceeded));
                }
            }
            if let Some(result) = self.ready.next() {
                return Some(result);
            }
        }
    }

    fn is_idle(&self) -> bool {
        match &self.under_way {
            UnderWay::Ordered(queue) => queue.is_empty(),
            UnderWay::Unordered(set) => set.unfinished() == 0,
        }
    }
}

impl<C, F, M, I> Map<C, F, M, I>
where
    C: MapBackend<F, I::Item, M>,
    I: Iterator,
{
    fn end(&mut self) {
        self.ended = true;
        // Dropped last, because its destructor is the user's code.
        let _input = self.input.take();
        match &mut self.under_way {
            UnderWay::Ordered(queue) => queue.drain(..).for_each(|pending| {
                pending.future.cancel();
            }),
            UnderWay::Unordered(set) => set.take_pending().into_iter().for_each(|(_, future)| {
                future.cancel();
            }),
        }
    }
}

impl<C, F, M, I> Iterator for Map<C, F, M, I>
where
    C: MapBackend<F, I::Item, M>,
    I: Iterator,
{
    type Item = Result<C::Output, TaskError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // Written so that a value is moved directly to the caller's place: a `TaskError` makes the item a large type.
        match self.ready.next_value() {
            Some(value) => Some(Ok(value)),
            None => self.next_slowly(),
        }
    }
}

impl<C, F, M, I> Drop for Map<C, F, M, I>
where
    C: MapBackend<F, I::Item, M>,
    I: Iterator,
{
    fn drop(&mut self) {
        self.end();
    }
}

impl<C, F, M, I> fmt::Debug for Map<C, F, M, I>
where
    C: MapBackend<F, I::Item, M>,
    I: Iterator,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("taken", &self.taken).field("ended", &self.ended).finish_non_exhaustive()
    }
}
