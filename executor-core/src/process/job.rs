//! A task on its way to a worker and back: the request, the answer, and what stands beside the task's cell meanwhile.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{builder::Call, identity::FunctionId, pool::Core};
use crate::{
    cancel::Pins,
    codec,
    error::TaskError,
    future::{Body, Cell, Slot, State, Stored, Task as CellTask, TypedRef},
    panic,
    task::{Bound, ChunkOutput, Entry, EntryOf, ITEM_OK, Items, Payload, Task},
};

/// A task as the pool holds it.
pub(super) type Job = TypedRef<ProcessTask>;

/// Bytes that are mostly few.
#[derive(Debug)]
pub(super) enum Bytes {
    Few { length: u8, bytes: [u8; Self::FEW] },
    Many(Vec<u8>),
}

impl Bytes {
    const FEW: usize = 22;

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Few { length, bytes } => &bytes[..usize::from(*length)],
            Self::Many(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Bytes {
    fn from(slice: &[u8]) -> Self {
        if slice.len() > Self::FEW {
            return Self::Many(slice.to_vec());
        }
        let mut bytes = [0; Self::FEW];
        bytes[..slice.len()].copy_from_slice(slice);
        // Fits: it is at most FEW.
        Self::Few { length: slice.len() as u8, bytes }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.len() > Self::FEW { Self::Many(bytes) } else { Self::from(&bytes[..]) }
    }
}

/// Everything that a worker needs, but for the argument's bytes.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) entry: &'static Entry,
    pub(super) bound: Option<Arc<Bound>>,
    /// 0 for a single task; otherwise items of a chunk that have no answer yet.
    pub(super) items: u32,
    pub(super) extras: Option<Box<Extras>>,
}

/// What few tasks have.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// What the argument refers to.
    pub(super) pins: Pins,
    pub(super) time_limit: Option<Duration>,
    /// Of a chunk, what is known of its items.
    pub(super) chunk: ChunkAnswer,
    /// How often it may be run again when its worker has died.
    pub(super) retries: u32,
}

impl Request {
    /// Encodes a single task, its argument into `bytes`.
    pub(super) fn single<F, A, M>(task: &F, argument: &A, bytes: &mut Vec<u8>) -> Result<Self, TaskError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
    {
        let mut request = Self::new::<F, A, M>(task)?;
        let pins = codec::encode(argument, bytes).map_err(|cause| TaskError::encode("argument", cause))?;
        if bytes.len() > MAX_BYTES {
            return Err(too_long());
        }
        if !pins.is_empty() {
            request.extras().pins = pins;
        }
        Ok(request)
    }

    /// Encodes a chunk. An item that cannot be encoded has its answer at once.
    pub(super) fn chunk<F, A, M>(task: &F, items: Vec<A>, bytes: &mut Vec<u8>) -> Result<Self, TaskError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
    {
        let mut request = Self::new::<F, A, M>(task)?;
        if items.len() > MAX_ITEMS {
            return Err(TaskError::encode("chunk", format_args!("it has more than {MAX_ITEMS} items")));
        }
        let mut gaps = Vec::new();
        let mut left = items.iter().enumerate();
        let (mut index, mut before) = (0, 0);
        let ((), pins) = Pins::collect(|| {
            // One net for many items: it is put up again only after one has fallen.
            while let Err(panic) = panic::catch(|| {
                for (next, item) in left.by_ref() {
                    (index, before) = (next, bytes.len());
                    if let Err(error) = encode_item(item, bytes) {
                        bytes.truncate(before);
                        gaps.push((index as u32, error));
                    }
                }
            }) {
                bytes.truncate(before);
                gaps.push((index as u32, TaskError::encode("argument", panic)));
            }
        });
        // Both fit: there are no more items than `MAX_ITEMS`.
        request.items = (items.len() - gaps.len()) as u32;
        let chunk = ChunkAnswer { total: items.len() as u32, gaps, ..ChunkAnswer::default() };
        let extras = request.extras();
        extras.pins = pins;
        extras.chunk = chunk;
        Ok(request)
    }

    fn new<F, A, M>(task: &F) -> Result<Self, TaskError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
    {
        Ok(Self { entry: EntryOf::<F, A, M>::ENTRY, bound: task.bound().transpose()?, items: 0, extras: None })
    }

    pub(super) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    pub(super) fn is_chunk(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.chunk.total > 0)
    }

    pub(super) fn time_limit(&self) -> Option<Duration> {
        self.extras.as_ref().and_then(|extras| extras.time_limit)
    }

    /// The same without anything in it.
    pub(super) fn tombstone(&self) -> Self {
        Self { entry: self.entry, bound: None, items: 0, extras: None }
    }

    /// The answer of a chunk; `None` for a single task.
    pub(super) fn into_chunk(self) -> Option<Box<ChunkAnswer>> {
        let extras = self.extras?;
        (extras.chunk.total > 0).then(|| Box::new(extras.chunk))
    }

    /// Whether it may be run once more after its worker has died.
    pub(super) fn retry(&mut self) -> bool {
        match &mut self.extras {
            Some(extras) if extras.retries > 0 => {
                extras.retries -= 1;
                true
            }
            _ => false,
        }
    }

    /// For an initializer: function, configuration and argument.
    pub(super) fn into_call(self, argument: Vec<u8>) -> Result<Call, TaskError> {
        let bound = self.bound.map(|bound| bound.bytes.clone()).unwrap_or_default();
        Ok((FunctionId::of(self.entry)?, bound, argument))
    }

    /// Some items have been answered: `bytes` are their results.
    pub(super) fn take_items(&mut self, items: u32, bytes: &[u8]) -> bool {
        if items > self.items {
            return false;
        }
        self.items -= items;
        self.extras().chunk.bytes.extend_from_slice(bytes);
        true
    }

    /// The next item gets this error.
    pub(super) fn lose_item(&mut self, error: TaskError) {
        let left = self.items;
        self.items = left.saturating_sub(1);
        let chunk = &mut self.extras().chunk;
        let index = chunk.index_of_next(left);
        let at = chunk.gaps.partition_point(|(other, _)| *other < index);
        chunk.gaps.insert(at, (index, error));
    }
}

/// The longest argument: well below the longest frame.
const MAX_BYTES: usize = super::wire::MAX_FRAME / 2;

/// The most items in a chunk: what the header of a record has room for.
const MAX_ITEMS: usize = (1 << 24) - 1;

/// A panic is the caller's to catch, and what was written before an error is the caller's to cut off.
fn encode_item<A: Payload>(item: &A, bytes: &mut Vec<u8>) -> Result<(), TaskError> {
    let start = Items::begin(bytes);
    codec::encode_uncaught(item, bytes).map_err(|cause| TaskError::encode("argument", cause))?;
    if bytes.len() > MAX_BYTES {
        return Err(too_long());
    }
    Items::end(bytes, start).map_err(|cause| TaskError::encode("argument", cause))
}

fn too_long() -> TaskError {
    TaskError::encode("argument", "it is longer than 512 MiB")
}

/// What is known of a chunk's items.
#[derive(Debug, Default)]
pub(super) struct ChunkAnswer {
    /// Items in the chunk.
    pub(super) total: u32,
    /// Encoded results, in order, of all items but those in `gaps`.
    pub(super) bytes: Vec<u8>,
    /// Items that no worker answers, by their index.
    pub(super) gaps: Vec<(u32, TaskError)>,
    pub(super) ran_for: Duration,
}

impl ChunkAnswer {
    /// The index of the item after those that are known, when `left` are not.
    fn index_of_next(&self, left: u32) -> u32 {
        // Unknown items are the last ones that are no gaps.
        let mut left = left;
        let mut gaps = self.gaps.iter().rev().map(|(index, _)| *index).peekable();
        for index in (0..self.total).rev() {
            if gaps.peek() == Some(&index) {
                gaps.next();
            } else {
                left = left.saturating_sub(1);
                if left == 0 {
                    return index;
                }
            }
        }
        0
    }
}

/// A result as it came from a worker, decoded by whoever asks for it.
#[derive(Debug)]
pub(super) enum Answer {
    Single(Bytes),
    Chunk(Box<ChunkAnswer>),
}

/// What stands beside the cell of a task in a process pool.
pub(super) struct ProcessTask {
    core: Arc<Core>,
    /// Where the pool has the task; only changed under the pool's lock.
    location: AtomicU64,
    slot: Slot<(), Answer>,
}

/// Where the pool has a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Location {
    /// It is done.
    Nowhere,
    Queue,
    /// With this worker, as the request whose number ends with these bits.
    Worker(u32, u32),
}

/// The bit of a location that says that somebody may sleep until the task is done.
const WANTED: u64 = 1 << 63;
/// The bit of a location that says that it is the rest of a task that has been running: then it cannot be cancelled.
const BEGUN: u64 = 1 << 62;

impl ProcessTask {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, location: AtomicU64::new(0), slot: Slot::new(()) }
    }

    // ORDERING, of everything here: under the pool's lock.
    pub(super) fn location(&self) -> Location {
        match self.location.load(Ordering::Relaxed) & !(WANTED | BEGUN) {
            0 => Location::Nowhere,
            1 => Location::Queue,
            other => Location::Worker((other >> 32) as u32 - 1, other as u32),
        }
    }

    pub(super) fn set_location(&self, location: Location) {
        let bits = match location {
            Location::Nowhere => 0,
            Location::Queue => 1,
            Location::Worker(worker, number) => u64::from(worker + 1) << 32 | u64::from(number),
        };
        let flags = self.location.load(Ordering::Relaxed) & (WANTED | BEGUN);
        self.location.store(bits | flags, Ordering::Relaxed);
    }

    /// Notes that somebody may sleep until the task is done; `false` when it was known, or the task is done.
    pub(super) fn want(&self) -> bool {
        let location = self.location.load(Ordering::Relaxed);
        if location == 0 || location & WANTED != 0 {
            return false;
        }
        self.location.store(location | WANTED, Ordering::Relaxed);
        true
    }

    pub(super) fn set_begun(&self) {
        self.location.store(self.location.load(Ordering::Relaxed) | BEGUN, Ordering::Relaxed);
    }

    pub(super) fn is_begun(&self) -> bool {
        self.location.load(Ordering::Relaxed) & BEGUN != 0
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.location.load(Ordering::Relaxed) & WANTED != 0
    }
}

/// Ends a task that the pool has just taken out of its queue or off a shelf, under its lock; `true` when somebody is to be
/// woken. Only the books of the pool do this.
pub(super) fn end(job: &Job, outcome: Stored<Answer>) -> bool {
    let state = State::of_outcome(&outcome);
    job.content().location.store(0, Ordering::Relaxed);
    // SAFETY: a task is in one place, and only who took it out of there ends it, so this happens once and there is no race.
    unsafe { job.content().slot.put(outcome) };
    job.cell().end(state)
}

/// A single task with this result.
pub(super) struct Single<R>(PhantomData<R>);

/// A chunk whose items have this result.
pub(super) struct Chunk<R>(PhantomData<R>);

/// How an answer becomes a result.
pub(super) trait Decode: 'static {
    type Output: Send + 'static;
    fn decode(answer: &Answer) -> Result<Self::Output, TaskError>;
    /// Whether there is an error to be found only by decoding.
    fn is_error(answer: &Answer) -> bool;
}

impl<R: Payload> Decode for Single<R> {
    type Output = R;

    fn decode(answer: &Answer) -> Result<R, TaskError> {
        match answer {
            Answer::Single(bytes) => {
                codec::decode(bytes.as_slice()).map_err(|cause| TaskError::decode("result", cause))
            }
            Answer::Chunk(_) => Err(TaskError::decode("result", "it is that of a chunk")),
        }
    }

    fn is_error(answer: &Answer) -> bool {
        Self::decode(answer).is_err()
    }
}

impl<R: Payload> Decode for Chunk<R> {
    type Output = ChunkOutput<R>;

    fn decode(answer: &Answer) -> Result<ChunkOutput<R>, TaskError> {
        let Answer::Chunk(chunk) = answer else { return Err(TaskError::decode("result", "it is not that of a chunk")) };
        let mut bytes = &chunk.bytes[..];
        let mut output = ChunkOutput { values: Vec::new(), errors: Vec::new(), ran_for: chunk.ran_for };
        // As many as have their bytes, whatever the worker said.
        output.values.reserve((chunk.total as usize).min(bytes.len()));
        let mut gaps = chunk.gaps.iter().peekable();
        // One net for all: after a panic nobody knows where the next result begins.
        let decoded = panic::catch(|| {
            for index in 0..chunk.total {
                let result = match gaps.next_if(|(gap, _)| *gap == index) {
                    Some((_, error)) => Err(error.clone()),
                    None => decode_item(&mut bytes)?,
                };
                match result {
                    Ok(value) => output.values.push(value),
                    Err(error) => output.errors.push((index as usize, error)),
                }
            }
            Ok(())
        });
        let undecodable = match decoded {
            Ok(Ok(())) => return Ok(output),
            Ok(Err(error)) => error,
            Err(panic) => TaskError::decode("result", panic),
        };
        for index in output.values.len() + output.errors.len()..chunk.total as usize {
            output.errors.push((index, undecodable.clone()));
        }
        Ok(output)
    }

    fn is_error(_: &Answer) -> bool {
        false
    }
}

/// The next item's result; an error when it cannot be known where it ends.
fn decode_item<R: Payload>(bytes: &mut &[u8]) -> Result<Result<R, TaskError>, TaskError> {
    let undecodable = |cause| TaskError::decode("result", cause);
    let Some((&kind, rest)) = bytes.split_first() else {
        return Err(TaskError::decode("result", "the worker did not send it"));
    };
    *bytes = rest;
    if kind == ITEM_OK {
        codec::decode_first(bytes).map(Ok).map_err(undecodable)
    } else {
        codec::decode_first(bytes).map(Err).map_err(undecodable)
    }
}

/// The functions of a task whose answer is decoded in this way.
pub(super) struct Encoded<D>(PhantomData<D>);

impl<D: Decode> Body for Encoded<D> {
    type Content = ProcessTask;
    type Output = D::Output;

    fn take(task: &CellTask<ProcessTask>) -> Option<Result<D::Output, TaskError>> {
        // SAFETY: only the handle takes.
        let outcome = unsafe { task.content().slot.take_outcome(task.cell()) }?;
        Some(match outcome {
            Ok(answer) => D::decode(&answer),
            Err(error) => Err(*error),
        })
    }

    fn is_error(task: &CellTask<ProcessTask>) -> bool {
        match task.cell().state() {
            State::Failed => true,
            // SAFETY: the cell is done, and the handle that asks has not taken the outcome, or it would not be asked.
            State::Finished => unsafe { task.content().slot.peek() }.is_some_and(D::is_error),
            _ => false,
        }
    }

    fn error_kind(task: &CellTask<ProcessTask>) -> Option<&'static str> {
        // SAFETY: only the handle takes the outcome, and it is the handle that asks.
        unsafe { task.content().slot.error_kind(task.cell()) }
    }

    fn cancel(task: &CellTask<ProcessTask>) -> bool {
        task.content().core.cancel(task)
    }

    fn kill(task: &CellTask<ProcessTask>) -> bool {
        task.content().core.kill(task)
    }

    fn is_running(task: &CellTask<ProcessTask>) -> bool {
        task.content().core.is_running(task)
    }

    fn look(task: &CellTask<ProcessTask>, deadline: Option<Instant>) -> bool {
        task.content().core.look(task, deadline)
    }

    fn wanted(task: &CellTask<ProcessTask>) {
        task.content().core.want(task);
    }

    fn clear(content: &mut ProcessTask, cell: &Cell) {
        // SAFETY: this is the end of the task; its work is nothing.
        unsafe { content.slot.clear(cell, false) };
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_however_many() {
        for length in [0, 1, Bytes::FEW, Bytes::FEW + 1, 1000] {
            let all: Vec<u8> = (0..length).map(|index| index as u8).collect();
            assert_eq!(Bytes::from(&all[..]).as_slice(), all);
            assert_eq!(Bytes::from(all.clone()).as_slice(), all);
        }
    }

    #[test]
    fn the_next_item_of_a_chunk_is_the_first_that_is_not_known() {
        let gap = |index| (index, TaskError::Cancelled);
        let chunk = ChunkAnswer { total: 6, gaps: vec![gap(0), gap(3)], ..ChunkAnswer::default() };
        // Items 1, 2, 4 and 5 are answered by workers, in this order.
        assert_eq!([4, 3, 2, 1].map(|left| chunk.index_of_next(left)), [1, 2, 4, 5]);
    }
}
