//! The request that a task sends to a worker: its function, its encoded argument or the items of its chunk, and its options.

#[cfg(target_os = "linux")]
use std::any::Any;
use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(target_os = "linux")]
use super::bytes::Large;
use super::{
    answer::{Answer, ChunkAnswer},
    arguments::Items,
    entry::Entry,
    results,
};
#[cfg(target_os = "linux")]
use crate::shm::{self, Attached};
use crate::{
    codec::{self, limits::MAX_ENCODED},
    configuration::Bound,
    error::TaskError,
    panic,
    pins::Pins,
    task::{Payload, Task},
};

/// All that a worker needs for a task, except for the argument's bytes.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) entry: &'static Entry,
    pub(crate) bound: Option<Arc<Bound>>,
    /// How many tasks the pool had taken before.
    pub(crate) ticket: u64,
    pub(crate) extras: Option<Box<Extras>>,
}

/// When a task has waited for as long as it may; the number tells those of the same time apart.
pub(crate) type Expiry = (Instant, u64);

/// The fields that few tasks need.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// What the argument refers to.
    pub(crate) pins: Pins,
    pub(crate) time_limit: Option<Duration>,
    /// Tasks with a higher one come before it in the queue.
    pub(crate) priority: i32,
    /// Of a chunk, what is known of its items, of which there may be none.
    chunk: Option<ChunkAnswer>,
    /// A worker has not claimed it within its time limit.
    pub(crate) is_missed: bool,
    /// How often it may be run again when its worker has died.
    pub(crate) retries: u32,
    /// The weight of the evidence that workers die of it before they have begun it.
    suspicion: u32,
    /// Its place among those that may wait for so long to be begun, and since when it waits.
    pub(crate) expiry: Option<(Expiry, Instant)>,
    /// The argument itself, where it is large and there was no shared memory for it: until there is some, or it is done.
    #[cfg(target_os = "linux")]
    large: Option<Arc<Large>>,
    /// Of a single task, what came beside its result.
    #[cfg(target_os = "linux")]
    attached: Attached,
}

impl Request {
    /// Encodes a single task, its argument into `bytes`. A panic of the argument's destructor is contained.
    pub(crate) fn single<F, A, M>(
        entry: &'static Entry,
        task: &F,
        argument: A,
        bytes: &mut Vec<u8>,
    ) -> Result<Self, TaskError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
    {
        let mut request = match Self::new::<F, A, M>(entry, task) {
            Ok(request) => request,
            Err(error) => {
                panic::drop_contained(argument);
                return Err(error);
            }
        };
        let mut argument = Some(argument);
        #[cfg(target_os = "linux")]
        if let Some(large) = take_large(&mut argument) {
            if large.as_slice().len() > MAX_ENCODED {
                panic::drop_contained(large);
                return Err(too_long());
            }
            match codec::encode_large(large.as_slice(), bytes) {
                Some(pins) => {
                    request.extras().pins = pins;
                    panic::drop_contained(large);
                }
                None => request.extras().large = Some(Arc::new(large)),
            }
            return Ok(request);
        }
        let Some(argument) = argument.take() else { return Ok(request) };
        let encoded = codec::encode(&argument, bytes);
        panic::drop_contained(argument);
        let pins = encoded.map_err(|cause| TaskError::encode("argument", cause))?;
        if bytes.len() > MAX_ENCODED {
            return Err(too_long());
        }
        if !pins.is_empty() {
            request.extras().pins = pins;
        }
        Ok(request)
    }

    /// Encodes a chunk. An item that cannot be encoded has its answer at once; a panic of an item's destructor is contained.
    pub(crate) fn chunk<F, A, M>(
        entry: &'static Entry,
        task: &F,
        items: Vec<A>,
        bytes: &mut Vec<u8>,
    ) -> Result<Self, TaskError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
    {
        let request = Self::of_items(entry, task, &items, bytes);
        panic::drop_each(items);
        request
    }

    fn of_items<F, A, M>(entry: &'static Entry, task: &F, items: &[A], bytes: &mut Vec<u8>) -> Result<Self, TaskError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
    {
        let mut request = Self::new::<F, A, M>(entry, task)?;
        if items.len() > MAX_ITEMS {
            return Err(TaskError::encode("chunk", format_args!("it has more than {MAX_ITEMS} items")));
        }
        let mut gaps = Vec::new();
        let mut left = items.iter().enumerate();
        let (mut index, mut before) = (0, 0);
        let ((), pins) = Pins::collect(|| {
            // One `catch_unwind` for many items: it is entered again only after an item has panicked.
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
        let sent = (items.len() - gaps.len()) as u32;
        let chunk = ChunkAnswer { total: items.len() as u32, sent, left: sent, gaps, ..ChunkAnswer::default() };
        let extras = request.extras();
        extras.pins = pins;
        extras.chunk = Some(chunk);
        Ok(request)
    }

    fn new<F, A, M>(entry: &'static Entry, task: &F) -> Result<Self, TaskError>
    where
        F: Task<A, M>,
        A: Payload,
        F::Output: Payload,
    {
        Ok(Self { entry, bound: task.bound().transpose()?, ticket: 0, extras: None })
    }

    /// Whether the argument goes to a worker as [`settle`](Self::settle) says.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_unsettled(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.large.is_some())
    }

    /// How an argument that has waited for shared memory goes to a worker now. One that is too long to be copied under the
    /// pool's lock gets none any more.
    #[cfg(target_os = "linux")]
    pub(crate) fn settle(&mut self) -> Option<Settled> {
        let extras = self.extras.as_mut()?;
        let large = extras.large.as_ref()?;
        let mut bytes = Vec::new();
        if large.as_slice().len() <= LONGEST_LATE
            && let Some(pins) = codec::encode_large(large.as_slice(), &mut bytes)
        {
            // An argument that is nothing but bytes has pinned nothing before.
            extras.pins = pins;
            return Some(Settled::Reference(bytes, extras.large.take()?));
        }
        bytes.clear();
        codec::begin_plain(large.as_slice(), &mut bytes);
        Some(Settled::Plain(bytes, Arc::clone(large)))
    }

    /// Of an argument that has waited for shared memory, what its task keeps.
    #[cfg(target_os = "linux")]
    pub(crate) fn take_large(&mut self) -> Option<Arc<Large>> {
        self.extras.as_mut()?.large.take()
    }

    /// The segments that came beside an answer.
    #[cfg(target_os = "linux")]
    pub(crate) fn attached(&mut self) -> &mut Attached {
        let Extras { chunk, attached, .. } = self.extras();
        chunk.as_mut().map_or(attached, |chunk| &mut chunk.attached)
    }

    /// What the argument refers to.
    pub(crate) fn pins(&self) -> Option<&Pins> {
        self.extras.as_ref().map(|extras| &extras.pins)
    }

    pub(crate) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    fn chunk_answer(&self) -> Option<&ChunkAnswer> {
        self.extras.as_ref()?.chunk.as_ref()
    }

    /// Of a chunk, what is known of its items.
    pub(crate) fn chunk_answer_mut(&mut self) -> Option<&mut ChunkAnswer> {
        self.extras.as_mut()?.chunk.as_mut()
    }

    /// 0 for a single task; otherwise items of a chunk that have no answer yet.
    pub(crate) fn items(&self) -> u32 {
        self.chunk_answer().map_or(0, |chunk| chunk.left)
    }

    pub(crate) fn is_chunk(&self) -> bool {
        self.chunk_answer().is_some()
    }

    /// Whether it is a chunk, and some of the items that went to a worker have their answers.
    pub(crate) fn was_answered(&self) -> bool {
        self.chunk_answer().is_some_and(|chunk| chunk.left < chunk.sent)
    }

    /// Whether it is a chunk of which some items have their answers.
    pub(crate) fn has_answers(&self) -> bool {
        self.chunk_answer().is_some_and(|chunk| chunk.left < chunk.total)
    }

    pub(crate) fn time_limit(&self) -> Option<Duration> {
        self.extras.as_ref().and_then(|extras| extras.time_limit)
    }

    pub(crate) fn priority(&self) -> i32 {
        self.extras.as_ref().map_or(0, |extras| extras.priority)
    }

    /// The answer of a chunk; `None` for a single task.
    pub(crate) fn into_chunk(self) -> Option<Box<ChunkAnswer>> {
        self.extras?.chunk.map(Box::new)
    }

    /// The answer, whose last bytes these are.
    pub(crate) fn into_answer(mut self, bytes: Cow<'_, [u8]>) -> Answer {
        if let Some(chunk) = self.extras.as_mut().and_then(|extras| extras.chunk.take()) {
            return Answer::Chunk(Box::new(chunk));
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

    /// For how long it has waited, if that is as long as it may.
    pub(crate) fn overdue(&self) -> Option<Duration> {
        let ((end, _), since) = self.extras.as_ref()?.expiry?;
        let now = Instant::now();
        (end <= now).then(|| now - since)
    }

    /// Whether it may be run once more after its worker has died.
    pub(crate) fn retry(&mut self) -> bool {
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

    /// A worker has died that was about to begin it. Says whether that has happened so often that this request must be the cause.
    pub(crate) fn suspect(&mut self, was_killed: bool) -> bool {
        let extras = self.extras();
        extras.suspicion += if was_killed { 1 } else { CONVICTED.div_ceil(ENDED) };
        extras.suspicion >= CONVICTED
    }

    /// Some items have been answered: `bytes` begin with their results. `false` when they do not: whatever a worker says, the
    /// results of the next one belong to the items that come then.
    pub(crate) fn take_items(&mut self, items: u32, bytes: &[u8]) -> bool {
        if items == 0 {
            return true;
        }
        let mut rest = bytes;
        if items > self.items() || !(0..items).all(|_| results::take_first(&mut rest).is_some()) {
            return false;
        }
        let Some(chunk) = self.chunk_answer_mut() else { return false };
        chunk.left -= items;
        chunk.bytes.extend_from_slice(&bytes[..bytes.len() - rest.len()]);
        true
    }

    /// All items that have no answer get this error.
    pub(crate) fn lose_rest(&mut self, error: TaskError) {
        let Some(chunk) = self.chunk_answer_mut() else { return };
        chunk.left = 0;
        chunk.lost = Some(error);
    }

    /// The next item gets this error.
    pub(crate) fn lose_item(&mut self, error: TaskError) {
        let Some(chunk) = self.chunk_answer_mut() else { return };
        let index = chunk.index_of_next();
        chunk.left = chunk.left.saturating_sub(1);
        let at = chunk.gaps.partition_point(|(other, _)| *other < index);
        chunk.gaps.insert(at, (index, error));
    }
}

/// An argument that has found no shared memory is copied into some when it goes to a worker, unless it is longer.
#[cfg(target_os = "linux")]
const LONGEST_LATE: usize = 8 << 20;

/// A task ends, and is not given to another worker, when so many workers were killed that were about to begin it ...
const CONVICTED: u32 = 100;
/// ... or so many have ended by themselves. Many kills from outside say little about a task.
const ENDED: u32 = 3;

/// The most items in a chunk: what the header of a record has room for.
const MAX_ITEMS: usize = (1 << 24) - 1;

/// How it goes to a worker.
#[cfg(target_os = "linux")]
pub(crate) enum Settled {
    /// By reference, encoded. The argument itself, which is not needed any more, is not to be dropped under the pool's lock.
    Reference(Vec<u8>, Arc<Large>),
    /// As it is, behind these bytes. It stays with the request, which may have to go to another worker.
    Plain(Vec<u8>, Arc<Large>),
}

/// The argument, if it is bytes that are worth sharing.
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
    if bytes.len() - start > MAX_ENCODED {
        return Err(too_long());
    }
    if bytes.len() > MAX_ENCODED {
        return Err(TaskError::encode("argument", "its chunk is longer than 512 MiB: set a smaller chunk_size"));
    }
    Items::end(bytes, start).map_err(|cause| TaskError::encode("argument", cause))
}

fn too_long() -> TaskError {
    TaskError::encode("argument", "it is longer than 512 MiB: use SharedBytes")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_before_plain_bytes_and_they_are_their_encoding() {
        for length in [0, 1, 127, 128, 70_000, 3 << 20] {
            let content = vec![7_u8; length];
            let (mut whole, mut parts) = (Vec::new(), Vec::new());
            codec::encode_without_references(&content, &mut whole).unwrap();
            codec::begin_plain(&content, &mut parts);
            parts.extend_from_slice(&content);
            assert!(whole == parts, "{length}");
        }
    }
}
