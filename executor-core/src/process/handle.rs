//! The cloneable handle of a process pool, which takes tasks.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    parent::{lifecycle::Lifecycle, pool::PoolShared},
    worker::entry::EntryOf,
};
use crate::{
    error::{SubmitError, TaskError},
    future::{Promise, TaskFuture, TaskRef},
    map::{ChunkInput, ChunkOutput},
    panic,
    portable::{
        answer::{Chunk, Decode, Single},
        job::{Encoded, Job, Owner, ProcessTask},
        request::Request,
    },
    span,
    submit::Submit,
    task::{Payload, Task, TaskOptions},
};

/// A cloneable handle that submits tasks ([`Submit`]) to a [`ProcessPoolExecutor`](crate::ProcessPoolExecutor) without owning it:
/// for running maps, callbacks, other threads. Cloning it is cheap, and it does not keep the pool from shutting down: then it
/// refuses. It cannot be sent to a worker.
#[derive(Clone)]
pub struct ProcessPoolHandle {
    pub(super) shared: Arc<PoolShared>,
    /// The same pool, in the form in which tasks keep it.
    pub(super) owner: Arc<Owner>,
}

/// The buffer in which a submitting thread encodes arguments; each thread keeps its own.
fn with_scratch<R>(encode: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    thread_local! {
        static SCRATCH: std::cell::Cell<Vec<u8>> = const { std::cell::Cell::new(Vec::new()) };
    }
    // Taken out meanwhile: encoding an argument may submit something else.
    // In an exit handler, or the destructor of another thread-local, it may be gone; then the memory is for this call alone.
    let mut scratch = SCRATCH.try_with(std::cell::Cell::take).unwrap_or_default();
    scratch.clear();
    let result = encode(&mut scratch);
    scratch.shrink_to(1 << 20);
    let _ = SCRATCH.try_with(|place| place.set(scratch));
    result
}

impl ProcessPoolHandle {
    fn enqueue<D: Decode>(
        &self,
        encoded: Result<Request, TaskError>,
        bytes: &mut Vec<u8>,
        options: TaskOptions,
    ) -> Result<TaskFuture<D::Output>, SubmitError> {
        let mut encoded = Some(encoded);
        let outcome = self.try_enqueue::<D>(&mut encoded, bytes, options);
        // What was not taken may have an owner behind `Bytes`, whose destructor is the user's code.
        if let Some(Ok(request)) = encoded {
            panic::drop_contained(request);
        }
        outcome
    }

    /// Most tasks have none of them.
    fn set_extras(&self, request: &mut Request, options: &TaskOptions) {
        let config = &self.shared.config;
        if let Some(limit) = options.timeout.or(config.task_timeout) {
            request.extras().time_limit = Some(limit);
        }
        if config.retries > 0 {
            request.extras().retries = config.retries;
        }
        if options.priority != 0 {
            request.extras().priority = options.priority;
        }
    }

    /// Takes the request out, if the pool takes it.
    fn try_enqueue<D: Decode>(
        &self,
        encoded: &mut Option<Result<Request, TaskError>>,
        bytes: &mut Vec<u8>,
        options: TaskOptions,
    ) -> Result<TaskFuture<D::Output>, SubmitError> {
        let pool = &self.shared;
        if pool.is_elsewhere() {
            return Err(SubmitError::ShutDown);
        }
        // A time too long for the clock is no limit.
        let deadline = options.space_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // Not under the lock, since making the span calls the user's code.
        let span = span::current();
        let mut state = pool.lock();
        if state.ledger.events.is_behind() {
            state = pool.let_observer_catch_up(state);
        }
        loop {
            if state.lifecycle.is_shut_down() {
                return Err(SubmitError::ShutDown);
            }
            let error = match (state.lifecycle.broken(), &*encoded) {
                (Some(error), _) | (None, Some(Err(error))) => Some(error),
                (None, _) => None,
            };
            if let Some(error) = error {
                let (promise, future) = Promise::new();
                // No other thread can see the task before it is counted: its only handle is here.
                let _ = promise.set_error(error.clone());
                state.ledger.refuse(future.cell());
                pool.conclude(state);
                return Ok(future);
            }
            if pool.config.queue_capacity == usize::MAX || state.waiting() < pool.config.queue_capacity {
                break;
            }
            // There may be answers that no thread has received yet, and receiving them makes space.
            state.receive_all();
            state.refill();
            if state.waiting() < pool.config.queue_capacity {
                break;
            }
            if options.refuse_when_full {
                pool.conclude(state);
                return Err(SubmitError::Full);
            }
            state.begin_wait_for_space();
            pool.conclude(state);
            if pool.is_elsewhere() {
                return Err(SubmitError::ShutDown);
            }
            state = pool.lock();
            let mut is_late = false;
            while state.waiting() >= pool.config.queue_capacity && matches!(state.lifecycle, Lifecycle::Open) {
                state = match deadline.map(|end| end.saturating_duration_since(Instant::now())) {
                    None => state.wait(&pool.space, None),
                    Some(Duration::ZERO) => {
                        is_late = true;
                        break;
                    }
                    left => state.wait(&pool.space, left),
                };
            }
            state.ledger.end_wait_for_space();
            if is_late {
                pool.conclude(state);
                return Err(SubmitError::Full);
            }
        }
        let Some(Ok(mut request)) = encoded.take() else { return Err(SubmitError::ShutDown) };
        self.set_extras(&mut request, &options);
        let (task, future) = TaskRef::allocate::<Encoded<D>>(ProcessTask::new(Arc::clone(&self.owner), span));
        let job = Job::new(task);
        state.ledger.events.queued(job.cell());
        if request.is_chunk() && request.items() == 0 {
            // There is no item, or none could be encoded, so there is nothing to run.
            state.ledger.end_chunk(job, request);
        } else {
            if let Some(limit) = options.queue_timeout {
                state.expire_after(limit, &job, &mut request);
            }
            state.admit(job, request, bytes);
        }
        pool.conclude(state);
        Ok(future)
    }
}

impl Submit for ProcessPoolHandle {
    fn submit_task<F, A, M>(&self, task: F, args: A, options: TaskOptions) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static,
    {
        with_scratch(|bytes| {
            let encoded = Request::single::<F, A, M>(EntryOf::<F, A, M>::ENTRY, &task, args, bytes);
            panic::drop_contained(task);
            self.enqueue::<Single<F::Output>>(encoded, bytes, options)
        })
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
        with_scratch(|bytes| {
            let encoded = Request::chunk::<F, A, M>(EntryOf::<F, A, M>::ENTRY, &task, input.into_items(), bytes);
            panic::drop_contained(task);
            self.enqueue::<Chunk<F::Output>>(encoded, bytes, options)
        })
    }

    fn max_workers(&self) -> usize {
        self.shared.config.max_workers
    }
}

impl fmt::Debug for ProcessPoolHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolHandle").finish_non_exhaustive()
    }
}
