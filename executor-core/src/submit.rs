//! The handle of an executor, which takes tasks; a running map holds on to one.

use crate::{
    error::{SubmitError, TaskError},
    future::TaskFuture,
    map::{Chunk, ChunkInput, ChunkOutput, Collect},
    task::{Payload, Task, TaskOptions},
};

/// A handle that submits tasks without owning the executor: cheap to clone, and does not keep the executor from shutting down.
pub trait Submit: Clone + Send + Sync + 'static {
    /// Submits one task.
    ///
    /// # Errors
    ///
    /// [`SubmitError`] when the executor does not take it. Everything else, such as an argument that cannot be encoded, is
    /// told by the future.
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
    /// As [`submit_task`](Self::submit_task); what was submitted before is cancelled then.
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
    /// As [`submit_task`](Self::submit_task).
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
    /// The outer one holds the map; the inner one is the first item's.
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

    /// The largest number of workers that run tasks at the same time.
    fn max_workers(&self) -> usize;
}
