//! A task on its way to a worker and back: the request, the answer, and what stands beside the task's cell meanwhile.

#[cfg(target_os = "linux")]
use std::any::Any;
use std::{
    borrow::Cow,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

#[cfg(target_os = "linux")]
use super::shm::{self, Attached};
use super::{builder::Call, identity::FunctionId, pool::Core};
use crate::{
    cancel::Pins,
    codec,
    error::TaskError,
    future::{Body, Cell, Slot, State, Stored, Task as CellTask, TypedRef},
    panic,
    span::Carried,
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
    /// Tasks with a higher one come before it in the queue.
    pub(super) priority: i32,
    /// Of a chunk, what is known of its items.
    pub(super) chunk: ChunkAnswer,
    /// How often it may be run again when its worker has died.
    pub(super) retries: u32,
    /// The argument itself, until it goes to a worker, where it is large and there was no shared memory for it.
    #[cfg(target_os = "linux")]
    large: Option<Large>,
    /// Of a single task, what came beside its result.
    #[cfg(target_os = "linux")]
    attached: Attached,
}

impl Request {
    /// Encodes a single task, its argument into `bytes`.
    pub(super) fn single<F, A, M>(task: &F, argument: A, bytes: &mut Vec<u8>) -> Result<Self, TaskError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
    {
        let mut request = Self::new::<F, A, M>(task)?;
        let mut argument = Some(argument);
        #[cfg(target_os = "linux")]
        if let Some(large) = take_large(&mut argument) {
            if large.as_slice().len() > MAX_BYTES {
                return Err(too_long());
            }
            match codec::encode_large(large.as_slice(), bytes) {
                Some(pins) => request.extras().pins = pins,
                None => request.extras().large = Some(large),
            }
            return Ok(request);
        }
        let Some(argument) = argument.take() else { return Ok(request) };
        let pins = codec::encode(&argument, bytes).map_err(|cause| TaskError::encode("argument", cause))?;
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

    /// For an initializer, which may run in workers that have not been given any shared memory: without references.
    pub(super) fn plain<F, A, M>(task: &F, argument: &A, bytes: &mut Vec<u8>) -> Result<Self, TaskError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
    {
        let request = Self::new::<F, A, M>(task)?;
        codec::encode_without_references(argument, bytes).map_err(|cause| TaskError::encode("argument", cause))?;
        if bytes.len() > MAX_BYTES { Err(too_long()) } else { Ok(request) }
    }

    /// An argument that has waited for shared memory gets some now, or is encoded as it is: then these are its bytes.
    #[cfg(target_os = "linux")]
    pub(super) fn settle(&mut self) -> Option<Vec<u8>> {
        let extras = self.extras.as_mut()?;
        let large = extras.large.take()?;
        let mut bytes = Vec::new();
        match codec::encode_large(large.as_slice(), &mut bytes) {
            // An argument that is nothing but bytes has pinned nothing before.
            Some(pins) => extras.pins = pins,
            None => codec::encode_plain(large.as_slice(), &mut bytes),
        }
        Some(bytes)
    }

    /// What came beside an answer.
    #[cfg(target_os = "linux")]
    pub(super) fn attached(&mut self) -> &mut Attached {
        let is_chunk = self.is_chunk();
        let extras = self.extras();
        if is_chunk { &mut extras.chunk.attached } else { &mut extras.attached }
    }

    /// Whether it holds much memory, with these bytes of its argument.
    pub(super) fn is_heavy(&self, bytes: &Bytes) -> bool {
        #[cfg(target_os = "linux")]
        if self.extras.as_ref().is_some_and(|extras| extras.large.is_some() || !extras.pins.blocks().is_empty()) {
            return true;
        }
        bytes.as_slice().len() > 64 * 1024
    }

    /// What the argument refers to.
    #[cfg(target_os = "linux")]
    pub(super) fn pins(&self) -> Option<&Pins> {
        self.extras.as_ref().map(|extras| &extras.pins)
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

    pub(super) fn priority(&self) -> i32 {
        self.extras.as_ref().map_or(0, |extras| extras.priority)
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

    /// The answer, whose last bytes these are.
    pub(super) fn into_answer(mut self, bytes: Cow<'_, [u8]>) -> Answer {
        if self.is_chunk()
            && let Some(extras) = self.extras.take()
        {
            return Answer::Chunk(Box::new(extras.chunk));
        }
        let bytes = match bytes {
            Cow::Borrowed(bytes) => bytes.into(),
            Cow::Owned(bytes) => bytes.into(),
        };
        #[cfg(target_os = "linux")]
        if let Some(extras) = self.extras
            && !extras.attached.is_empty()
        {
            return Answer::Attached(Box::new((bytes, extras.attached)));
        }
        Answer::Single(bytes)
    }

    /// Whether it may be run once more after its worker has died.
    pub(super) fn retry(&mut self) -> bool {
        match &mut self.extras {
            Some(extras) if extras.retries > 0 => {
                extras.retries -= 1;
                #[cfg(target_os = "linux")]
                extras.attached.clear();
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

/// An argument that is nothing but bytes, and so many of them that they are worth to be shared.
#[cfg(target_os = "linux")]
#[derive(Debug)]
enum Large {
    Vector(Vec<u8>),
    #[cfg(feature = "bytes")]
    Bytes(bytes::Bytes),
}

#[cfg(target_os = "linux")]
impl Large {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Vector(bytes) => bytes,
            #[cfg(feature = "bytes")]
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// The argument, if it is that.
#[cfg(target_os = "linux")]
fn take_large<A: Payload>(argument: &mut Option<A>) -> Option<Large> {
    let argument: &mut dyn Any = argument;
    #[cfg(feature = "bytes")]
    if let Some(bytes) = argument.downcast_mut::<Option<bytes::Bytes>>() {
        return bytes.take_if(|bytes| bytes.len() >= shm::SHARED_FROM).map(Large::Bytes);
    }
    argument.downcast_mut::<Option<Vec<u8>>>()?.take_if(|bytes| bytes.len() >= shm::SHARED_FROM).map(Large::Vector)
}

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
    /// What the results refer to.
    #[cfg(target_os = "linux")]
    pub(super) attached: Attached,
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
    /// A single one that refers to shared memory.
    #[cfg(target_os = "linux")]
    Attached(Box<(Bytes, Attached)>),
    Chunk(Box<ChunkAnswer>),
}

/// What stands beside the cell of a task in a process pool.
pub(super) struct ProcessTask {
    core: Arc<Core>,
    /// Where the pool has the task; only changed under the pool's lock.
    location: AtomicU64,
    /// Until the outcome is there: the span of who has submitted it.
    slot: Slot<Carried, Answer>,
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
/// The bit of a location that says that its argument holds much memory.
const HEAVY: u64 = 1 << 61;
/// The bit of a location that says that an observer was told of its start.
const STARTED: u64 = 1 << 60;
const FLAGS: u64 = WANTED | BEGUN | HEAVY | STARTED;

impl ProcessTask {
    pub(super) fn new(core: Arc<Core>, span: Carried) -> Self {
        Self { core, location: AtomicU64::new(0), slot: Slot::new(span) }
    }

    // ORDERING, of everything here: under the pool's lock.
    pub(super) fn location(&self) -> Location {
        match self.location.load(Ordering::Relaxed) & !FLAGS {
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
        let flags = self.location.load(Ordering::Relaxed) & FLAGS;
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

    /// Notes that its argument holds much memory, which is to be freed as soon as it is cancelled.
    pub(super) fn set_heavy(&self) {
        self.location.store(self.location.load(Ordering::Relaxed) | HEAVY, Ordering::Relaxed);
    }

    pub(super) fn is_heavy(&self) -> bool {
        self.location.load(Ordering::Relaxed) & HEAVY != 0
    }

    /// Notes that the task was started; `false` when it was known.
    pub(super) fn note_started(&self) -> bool {
        let location = self.location.load(Ordering::Relaxed);
        self.location.store(location | STARTED, Ordering::Relaxed);
        location & STARTED == 0
    }

    pub(super) fn is_begun(&self) -> bool {
        self.location.load(Ordering::Relaxed) & BEGUN != 0
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.location.load(Ordering::Relaxed) & WANTED != 0
    }
}

/// Ends a task that the pool has just taken out of its queue or off a shelf, under its lock; `true` when somebody is to be
/// woken. Only the books of the pool do this. The span is to be let go where foreign code may run.
pub(super) fn end(job: &Job, outcome: Stored<Answer>) -> (bool, Carried) {
    let state = State::of_outcome(&outcome);
    job.content().location.store(0, Ordering::Relaxed);
    // SAFETY: a task is in one place, and only who took it out of there ends it, so this happens once and there is no race.
    let span = unsafe { job.content().slot.take_work() };
    // SAFETY: as above.
    unsafe { job.content().slot.put(outcome) };
    (job.cell().end(state), span)
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
            #[cfg(target_os = "linux")]
            Answer::Attached(both) => shm::with_attached(&both.1, || codec::decode(both.0.as_slice()))
                .map_err(|cause| TaskError::decode("result", cause)),
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
        let decode = || {
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
        };
        #[cfg(target_os = "linux")]
        let decoded = crate::panic::catch(|| shm::with_attached(&chunk.attached, decode));
        #[cfg(not(target_os = "linux"))]
        let decoded = crate::panic::catch(decode);
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

    fn take(task: &CellTask<ProcessTask>) -> Option<Stored<D::Output>> {
        // SAFETY: only the handle takes.
        let outcome = unsafe { task.content().slot.take_outcome(task.cell()) }?;
        Some(match outcome {
            Ok(answer) => D::decode(&answer).map_err(Box::new),
            Err(error) => Err(error),
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
        // SAFETY: this is the end of the task. Its work, the span, is there until an outcome is.
        unsafe { content.slot.clear(cell, true) };
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

    proptest::proptest! {
        /// What a worker sends as the results of a chunk is decoded into as many results as the chunk has items.
        #[test]
        fn any_bytes_are_a_result_for_each_item(
            bytes in proptest::collection::vec(proptest::prop_oneof![0..4_u8, proptest::num::u8::ANY], 0..100),
            total in 1..20_u32,
            gaps in proptest::collection::btree_set(0..20_u32, 0..5),
        ) {
            let gaps = gaps.into_iter().filter(|gap| *gap < total).map(|gap| (gap, TaskError::Cancelled)).collect();
            let answer = Answer::Chunk(Box::new(ChunkAnswer { total, bytes, gaps, ..ChunkAnswer::default() }));
            let texts = Chunk::<String>::decode(&answer).unwrap();
            proptest::prop_assert_eq!(texts.values.len() + texts.errors.len(), total as usize);
            proptest::prop_assert!(texts.errors.is_sorted_by(|(one, _), (other, _)| one < other));
            let lists = Chunk::<Vec<u64>>::decode(&answer).unwrap();
            proptest::prop_assert_eq!(lists.values.len() + lists.errors.len(), total as usize);
            proptest::prop_assert!(lists.errors.is_sorted_by(|(one, _), (other, _)| one < other));
        }
    }
}
