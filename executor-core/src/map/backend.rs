//! Where the chunks of a map go, and the faster path that skips chunks.

use super::{
    chunk::{ChunkInput, ChunkOutput},
    collect::Collect,
};
use crate::{
    error::{SubmitError, TaskError},
    future::TaskFuture,
    submit::Submit,
    task::{Payload, Task, TaskOptions},
};

/// The receiver of a [`Map`]'s chunks: the handle of any executor for portable tasks, and that of a thread pool for closures.
#[doc(hidden)]
pub trait MapBackend<F, A, M>: Clone {
    /// What the task returns for an item.
    type Output: Send + 'static;

    /// Submits the items as one task.
    ///
    /// # Errors
    ///
    /// [`SubmitError`] if the executor does not take them.
    fn submit_chunk(
        &self,
        task: &F,
        input: ChunkInput<A, Self::Output>,
        options: TaskOptions,
    ) -> Result<TaskFuture<ChunkOutput<Self::Output>>, SubmitError>;

    /// See [`Submit::collect_all`].
    ///
    /// # Errors
    ///
    /// The outer error holds the map; the inner error is that of the first item that failed.
    fn collect_all<'a>(
        &self,
        task: &F,
        collect: Collect<'a, A>,
    ) -> Result<Result<Vec<Self::Output>, TaskError>, Collect<'a, A>>;

    /// How many chunks run at the same time.
    fn workers(&self) -> usize;
}

impl<C, F, A, M> MapBackend<F, A, M> for C
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
        input: ChunkInput<A, F::Output>,
        options: TaskOptions,
    ) -> Result<TaskFuture<ChunkOutput<F::Output>>, SubmitError> {
        Submit::submit_chunk(self, task.clone(), input, options)
    }

    fn collect_all<'a>(
        &self,
        task: &F,
        collect: Collect<'a, A>,
    ) -> Result<Result<Vec<F::Output>, TaskError>, Collect<'a, A>> {
        Submit::collect_all(self, task, collect)
    }

    fn workers(&self) -> usize {
        self.max_workers()
    }
}
