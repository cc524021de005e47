//! A task on its way to a worker and back, whatever its types.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    identity::FunctionId,
    pool::Core,
    wire::{self, Malformed},
};
use crate::{
    cancel::Pins,
    codec,
    error::TaskError,
    future::{Body, State, Task as CellTask, TaskFuture, TaskId, TaskRef, TypedRef},
    task::{Bound, ChunkOutput, EntryOf, Payload, Task},
};

/// One item's answer: its encoded result, or its error.
pub(super) type Answer = Result<Vec<u8>, TaskError>;

/// Everything that a worker needs, in encoded form.
#[derive(Debug)]
pub(super) struct Request {
    function: FunctionId,
    bound: Option<Arc<Bound>>,
    /// Index of each item and where its bytes are. Items that could not be encoded are missing.
    items: Vec<(u32, std::ops::Range<usize>)>,
    bytes: Vec<u8>,
    _pins: Pins,
}

/// How many configurations a worker keeps; both sides forget the oldest one.
pub(super) const KNOWN_BOUNDS: usize = 64;

impl Request {
    /// Encodes a task and its items. What cannot be encoded becomes the answer of its item.
    pub(super) fn encode<F, A, M>(task: &F, items: Vec<A>) -> Result<(Self, Vec<Option<Answer>>), TaskError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
    {
        let function = FunctionId::of(EntryOf::<F, A, M>::ENTRY)?;
        let bound = task.bound().transpose()?;
        let mut request =
            Self { function, bound, items: Vec::with_capacity(items.len()), bytes: Vec::new(), _pins: Pins::default() };
        let mut answers = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let start = request.bytes.len();
            let answer = match codec::encode(&item, &mut request.bytes) {
                Ok(_) if request.bytes.len() > wire::MAX_FRAME / 2 => {
                    Some(TaskError::encode("argument", "it is longer than 512 MiB"))
                }
                Ok(pins) => {
                    request._pins.append(pins);
                    None
                }
                Err(cause) => Some(TaskError::encode("argument", cause)),
            };
            if answer.is_some() {
                request.bytes.truncate(start);
            } else {
                request.items.push((index as u32, start..request.bytes.len()));
            }
            answers.push(answer.map(Err));
        }
        Ok((request, answers))
    }

    /// The frame that asks a worker for the items from `first` on. `known` are the configurations that it has.
    fn frame(&self, task: TaskId, first: usize, known: &mut std::collections::VecDeque<u64>) -> Vec<u8> {
        let items = &self.items[first..];
        let mut frame = Vec::with_capacity(64 + self.bytes.len() + 16 * items.len());
        let start = wire::begin_frame(&mut frame, wire::RUN);
        frame.extend_from_slice(&task.get().to_le_bytes());
        frame.extend_from_slice(&self.function.offset.to_le_bytes());
        frame.extend_from_slice(&self.function.name_hash.to_le_bytes());
        let id = self.bound.as_ref().map_or(0, |bound| bound.id);
        frame.extend_from_slice(&id.to_le_bytes());
        match &self.bound {
            Some(bound) if !known.contains(&id) => {
                known.push_back(id);
                if known.len() > KNOWN_BOUNDS {
                    known.pop_front();
                }
                frame.push(1);
                wire::put_bytes(&mut frame, &bound.bytes);
            }
            _ => frame.push(0),
        }
        for (index, range) in items {
            frame.extend_from_slice(&index.to_le_bytes());
            wire::put_bytes(&mut frame, &self.bytes[range.clone()]);
        }
        // `encode` has kept the items well below the limit; a huge configuration is refused by the worker's side.
        let _ = wire::end_frame(&mut frame, start);
        frame
    }

    /// For the initializer: function, configuration and argument.
    pub(super) fn into_call(self) -> (FunctionId, Vec<u8>, Vec<u8>) {
        let bound = self.bound.map(|bound| bound.bytes.clone()).unwrap_or_default();
        (self.function, bound, self.bytes)
    }
}

struct Progress {
    request: Option<Request>,
    /// How many of the request's items have their answers.
    answered: usize,
    answers: Vec<Option<Answer>>,
}

/// A task as the pool sees it.
pub(super) trait Job: Send + Sync {
    fn id(&self) -> TaskId;
    fn time_limit(&self) -> Option<Duration>;
    /// Pending -> Running.
    fn claim(&self) -> bool;
    /// Pending -> Cancelled.
    fn cancel_queued(&self) -> bool;
    /// What to send to a worker; `None` when no item is left to be sent.
    fn frame(&self, known: &mut std::collections::VecDeque<u64>) -> Option<Vec<u8>>;
    /// Takes an answer; only the next expected item is accepted.
    fn answer(&self, index: u32, answer: Answer) -> Result<(), Malformed>;
    /// The worker died: the item that it was running gets `error`. `true` when others are left that have not been run.
    fn lose_item(&self, error: TaskError) -> bool;
    /// Whether every item has its answer.
    fn is_answered(&self) -> bool;
    /// All answers are here.
    fn finish(&self, ran_for: Duration);
    /// The task ends with an error.
    fn fail(&self, error: TaskError);
}

/// A task with its types.
pub(super) struct ProcessJob<T> {
    core: Arc<Core>,
    time_limit: Option<Duration>,
    progress: Mutex<Progress>,
    /// Once the cell is done.
    outcome: Mutex<Option<Outcome>>,
    decode: Decode<T>,
    is_chunk: bool,
}

enum Outcome {
    Error(TaskError),
    Answers(Vec<Option<Answer>>, Duration),
}

/// Makes the result of what the workers answered, on the thread that asks for it.
type Decode<T> = fn(Vec<Option<Answer>>, Duration) -> Result<T, TaskError>;

impl<R: Payload> ProcessJob<R> {
    pub(super) fn single(
        core: Arc<Core>,
        limit: Option<Duration>,
        request: Request,
        answers: Vec<Option<Answer>>,
    ) -> Self {
        Self::new(core, limit, request, answers, false, |answers, _| {
            decode_answer(answers.into_iter().next().flatten())
        })
    }
}

impl<R: Payload> ProcessJob<ChunkOutput<R>> {
    pub(super) fn chunk(
        core: Arc<Core>,
        limit: Option<Duration>,
        request: Request,
        answers: Vec<Option<Answer>>,
    ) -> Self {
        Self::new(core, limit, request, answers, true, |answers, ran_for| {
            Ok(ChunkOutput::from_results(answers.into_iter().map(decode_answer), ran_for))
        })
    }
}

fn decode_answer<R: Payload>(answer: Option<Answer>) -> Result<R, TaskError> {
    match answer {
        Some(Ok(bytes)) => codec::decode(&bytes).map_err(|cause| TaskError::decode("result", cause)),
        Some(Err(error)) => Err(error),
        None => Err(TaskError::decode("result", "the worker did not answer")),
    }
}

impl<T: Send + 'static> ProcessJob<T> {
    fn new(
        core: Arc<Core>,
        time_limit: Option<Duration>,
        request: Request,
        answers: Vec<Option<Answer>>,
        is_chunk: bool,
        decode: Decode<T>,
    ) -> Self {
        let progress = Mutex::new(Progress { request: Some(request), answered: 0, answers });
        Self { core, time_limit, progress, outcome: Mutex::new(None), decode, is_chunk }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self) -> Vec<Option<Answer>> {
        let mut progress = self.progress();
        progress.request = None;
        std::mem::take(&mut progress.answers)
    }
}

impl<T: Send + 'static> ProcessJob<T> {
    /// The task for the queue, and its future.
    pub(super) fn into_task(self) -> (Arc<dyn Job>, TaskFuture<T>) {
        let (task, future) = TaskRef::allocate(self);
        (Arc::new(task), future)
    }

    fn outcome(&self) -> MutexGuard<'_, Option<Outcome>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel_queued(task: &CellTask<Self>) -> bool {
        if !task.cell().cancel() {
            return false;
        }
        task.body().progress().request = None;
        true
    }

    fn end(task: &CellTask<Self>, outcome: Outcome) {
        // Refused when a kill came first.
        if !task.cell().settle() {
            return;
        }
        let state = match &outcome {
            Outcome::Error(TaskError::Cancelled) => State::Cancelled,
            Outcome::Error(_) => State::Failed,
            Outcome::Answers(..) => State::Finished,
        };
        *task.body().outcome() = Some(outcome);
        task.cell().finish(state);
    }
}

impl<T: Send + 'static> Job for TypedRef<ProcessJob<T>> {
    fn id(&self) -> TaskId {
        self.cell().id()
    }

    fn time_limit(&self) -> Option<Duration> {
        self.body().time_limit
    }

    fn claim(&self) -> bool {
        self.cell().claim()
    }

    fn cancel_queued(&self) -> bool {
        ProcessJob::cancel_queued(self)
    }

    fn frame(&self, known: &mut std::collections::VecDeque<u64>) -> Option<Vec<u8>> {
        let progress = self.body().progress();
        let request = progress.request.as_ref()?;
        (progress.answered < request.items.len()).then(|| request.frame(self.id(), progress.answered, known))
    }

    fn answer(&self, index: u32, answer: Answer) -> Result<(), Malformed> {
        let mut progress = self.body().progress();
        let request = progress.request.as_ref().ok_or(Malformed)?;
        let (expected, _) = request.items.get(progress.answered).ok_or(Malformed)?;
        if *expected != index {
            return Err(Malformed);
        }
        progress.answered += 1;
        // In range: `encode` made an answer for every index it gave out.
        *progress.answers.get_mut(index as usize).ok_or(Malformed)? = Some(answer);
        Ok(())
    }

    fn lose_item(&self, error: TaskError) -> bool {
        let mut progress = self.body().progress();
        let Some(request) = &progress.request else { return false };
        let Some((index, _)) = request.items.get(progress.answered) else { return false };
        let (index, count) = (*index as usize, request.items.len());
        progress.answered += 1;
        if let Some(answer) = progress.answers.get_mut(index) {
            *answer = Some(Err(error));
        }
        progress.answered < count
    }

    fn is_answered(&self) -> bool {
        let progress = self.body().progress();
        progress.request.as_ref().is_none_or(|request| progress.answered == request.items.len())
    }

    fn finish(&self, ran_for: Duration) {
        let answers = self.body().release();
        // An error needs no decoding, and a callback should be told of it.
        let outcome = match (&answers[..], self.body().is_chunk) {
            ([Some(Err(error))], false) => Outcome::Error(error.clone()),
            _ => Outcome::Answers(answers, ran_for),
        };
        ProcessJob::end(self, outcome);
    }

    fn fail(&self, error: TaskError) {
        drop(self.body().release());
        ProcessJob::end(self, Outcome::Error(error));
    }
}

impl<T: Send + 'static> Body for ProcessJob<T> {
    type Output = T;

    fn take(task: &CellTask<Self>) -> Option<Result<T, TaskError>> {
        let outcome = task.body().outcome().take();
        match outcome {
            Some(Outcome::Error(error)) => Some(Err(error)),
            Some(Outcome::Answers(answers, ran_for)) => Some((task.body().decode)(answers, ran_for)),
            None => (task.cell().state() == State::Cancelled).then_some(Err(TaskError::Cancelled)),
        }
    }

    fn is_error(task: &CellTask<Self>) -> bool {
        match &*task.body().outcome() {
            Some(Outcome::Error(error)) => *error != TaskError::Cancelled,
            Some(Outcome::Answers(answers, ran_for)) => (task.body().decode)(answers.clone(), *ran_for).is_err(),
            None => false,
        }
    }

    fn cancel(task: &CellTask<Self>) -> bool {
        if !Self::cancel_queued(task) {
            return false;
        }
        task.body().core.job_cancelled();
        true
    }

    fn kill(task: &CellTask<Self>) -> bool {
        Self::cancel(task) || task.body().core.kill_job(task.cell().id())
    }
}
