//! Where the chunks of a map go, and the way around them.

use super::{
    chunk::{ChunkInput, ChunkOutput},
    gather::Gather,
};
use crate::{
    error::{SubmitError, TaskError},
    future::TaskFuture,
    submit::Submit,
    task::{Payload, Task, TaskOptions},
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
        input: ChunkInput<A, Self::Output>,
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
        input: ChunkInput<A, F::Output>,
        options: TaskOptions,
    ) -> Result<TaskFuture<ChunkOutput<F::Output>>, SubmitError> {
        Submit::submit_chunk(self, task.clone(), input, options)
    }

    fn gather<'a>(&self, task: &F, gather: Gather<'a, A>) -> Result<Result<Vec<F::Output>, TaskError>, Gather<'a, A>> {
        Submit::gather(self, task, gather)
    }

    fn workers(&self) -> usize {
        self.max_workers()
    }
}
