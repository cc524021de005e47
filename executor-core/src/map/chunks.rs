//! Chunks of a map: where they go, what comes back, and the way around them.

use std::{
    fmt,
    time::{Duration, Instant},
    vec,
};

use crate::{
    error::{SubmitError, TaskError},
    executor::Submit,
    future::TaskFuture,
    task::{ChunkOutput, Payload, Task, TaskOptions},
};

/// What a [`Map`] hands its chunks to: the core of any executor for portable tasks, and that of a thread pool for closures.
#[doc(hidden)]
pub trait Chunks<F, A, M>: Clone {
    /// What the task gives for an item.
    type Output: Send + 'static;

    /// Submits the items as one task.
    ///
    /// # Errors
    ///
    /// [`SubmitError`] when they are not taken.
    fn submit_chunk(
        &self,
        task: &F,
        items: Vec<A>,
        options: TaskOptions,
    ) -> Result<TaskFuture<ChunkOutput<Self::Output>>, SubmitError>;

    /// As [`Submit::gather`].
    ///
    /// # Errors
    ///
    /// As there.
    fn gather<'a>(
        &self,
        task: &F,
        gather: Gather<'a, A>,
    ) -> Result<Result<Vec<Self::Output>, TaskError>, Gather<'a, A>>;

    /// How many run at the same time.
    fn workers(&self) -> usize;
}

impl<C, F, A, M> Chunks<F, A, M> for C
where
    C: Submit,
    F: Task<A, M>,
    A: Payload,
    F::Output: Payload,
    M: 'static,
{
    type Output = F::Output;

    fn submit_chunk(
        &self,
        task: &F,
        items: Vec<A>,
        options: TaskOptions,
    ) -> Result<TaskFuture<ChunkOutput<F::Output>>, SubmitError> {
        Submit::submit_chunk(self, task.clone(), items, options)
    }

    fn gather<'a>(&self, task: &F, gather: Gather<'a, A>) -> Result<Result<Vec<F::Output>, TaskError>, Gather<'a, A>> {
        Submit::gather(self, task, gather)
    }

    fn workers(&self) -> usize {
        self.max_workers()
    }
}

/// The results of one chunk, as they are yielded.
pub(super) struct Ready<R> {
    values: vec::IntoIter<R>,
    errors: vec::IntoIter<(usize, TaskError)>,
    /// Where the next one stands in its chunk, and where the next error does.
    place: usize,
    next_error: usize,
}

impl<R> Ready<R> {
    pub(super) fn new(chunk: ChunkOutput<R>) -> Self {
        let next_error = chunk.errors.first().map_or(usize::MAX, |(place, _)| *place);
        Self { values: chunk.values.into_iter(), errors: chunk.errors.into_iter(), place: 0, next_error }
    }

    pub(super) fn empty() -> Self {
        Self::new(ChunkOutput { values: Vec::new(), errors: Vec::new(), ran_for: Duration::ZERO })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.len() == 0 && self.errors.len() == 0
    }

    /// The next one, unless it is an error or the chunk is at its end.
    #[inline]
    pub(super) fn next_value(&mut self) -> Option<R> {
        if self.place == self.next_error {
            return None;
        }
        let value = self.values.next()?;
        self.place += 1;
        Some(value)
    }

    pub(super) fn next(&mut self) -> Option<Result<R, TaskError>> {
        if let Some(value) = self.next_value() {
            return Some(Ok(value));
        }
        let (_, error) = self.errors.next()?;
        self.place += 1;
        self.next_error = self.errors.as_slice().first().map_or(usize::MAX, |(place, _)| *place);
        Some(Err(error))
    }
}

/// What moves items from the input into a vector.
pub(crate) type Source<'a, A> = Box<dyn FnMut(usize, &mut Vec<A>) + Send + 'a>;

/// A map that is computed all at once.
#[doc(hidden)]
pub struct Gather<'a, A> {
    /// Moves so many items, or all that are left, into an empty vector.
    pub(crate) source: Source<'a, A>,
    /// At least so many items.
    pub(crate) hint: usize,
    /// And no more than these.
    pub(crate) is_exact: bool,
    pub(crate) chunk_size: Option<usize>,
    pub(crate) deadline: Option<Instant>,
}

impl<A> fmt::Debug for Gather<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather").field("hint", &self.hint).finish_non_exhaustive()
    }
}
