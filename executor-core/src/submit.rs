//! The handle of an executor, which takes tasks; a running map holds on to one.

use crate::{
    error::{SubmitError, TaskError},
    future::TaskFuture,
    map::{Chunk, ChunkInput, ChunkOutput, Collect},
    task::{Payload, Task, TaskOptions},
};

/// A handle that submits tasks without owning the executor. It is cheap to clone, and does not keep the executor from shutting
/// down.
pub trait Submit: Clone + Send + Sync + 'static {
    /// Submits one task.
    ///
    /// # Errors
    ///
    /// [`SubmitError`] when the executor does not take the task. Every other error, such as an argument that cannot be encoded,
    /// is in the future.
    fn submit_task<F, A, M>(
        &self,
        task: F,
        args: A,
        options: TaskOptions,
    ) -> Result<TaskFuture<F::Output>, SubmitError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
        M: 'static;

    /// Submits one task for each of `args`.
    ///
    /// # Errors
    ///
    /// As for [`submit_task`](Self::submit_task); tasks of this call that were submitted before the error are cancelled.
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
        let mut futures: Vec<TaskFuture<F::Output>> = Vec::new();
        for args in args {
            match self.submit_task(task.clone(), args, options) {
                Ok(future) => futures.push(future),
                Err(error) => {
                    futures.iter().for_each(|future| _ = future.cancel());
                    return Err(error);
                }
            }
        }
        Ok(futures)
    }

    /// Submits many items of a map as one task. The default runs them one after the other, each with its own panics.
    ///
    /// # Errors
    ///
    /// As for [`submit_task`](Self::submit_task).
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
        let (chunk, items) = Chunk::<F, A, F::Output, M>::new(task, input);
        self.submit_task(chunk, items, options)
    }

    /// Computes a whole map at once, where the executor has a faster way than chunk by chunk; otherwise gives the map back.
    ///
    /// # Errors
    ///
    /// The outer error holds the map; the inner error is that of the first item that failed.
    #[doc(hidden)]
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
        let _ = task;
        Err(collect)
    }

    /// Returns the largest number of workers that run tasks at the same time. A map takes 0, which an executor may have for the
    /// moment, as 1.
    fn max_workers(&self) -> usize;
}
