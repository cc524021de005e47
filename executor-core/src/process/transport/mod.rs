//! How requests and answers travel between the parent and one worker: the seam between the pool and a transport.
//!
//! A transport moves whole records, in order, each at most once. Replies of a worker that has died since are still delivered. A
//! transport knows nothing of tasks but that each request is answered, and that a worker claims a request before it runs it. See
//! README.md for the shared-memory transport; the one over sockets is portable, and the oracle for it.

#[cfg(target_os = "linux")]
use std::os::fd::{BorrowedFd, OwnedFd};
use std::{borrow::Cow, io, time::Instant};

#[cfg(target_os = "linux")]
use crate::shm::{Reference, Share};
use crate::{codec::Output, portable::bytes::Long, untrusted::Malformed};

mod control;
mod kick;
#[cfg(target_os = "linux")]
mod layout;
mod outgoing;
#[cfg(target_os = "linux")]
mod protocol;
#[cfg(target_os = "linux")]
mod ring_parent;
#[cfg(target_os = "linux")]
mod ring_worker;
mod socket;
mod socket_parent;
mod socket_worker;
#[cfg(target_os = "linux")]
mod untrusted_files;

#[cfg(all(any(test, fuzzing), not(loom), target_os = "linux"))]
pub(super) mod hostile;
#[cfg(all(test, not(loom), target_os = "linux"))]
mod hostile_tests;
#[cfg(all(test, not(loom), target_os = "linux"))]
mod ring_tests;

pub(super) use control::ControlChannel;
#[cfg(target_os = "linux")]
pub(super) use ring_parent::ring_pair;
#[cfg(target_os = "linux")]
pub(super) use ring_worker::RingWorker;
pub(super) use socket_parent::SocketRequests;
pub(super) use socket_worker::{SocketTransport, SocketWorker};

/// A record for a worker, in order with all others.
#[derive(Debug, Clone, Copy)]
pub(super) enum Record<'a> {
    /// Run a task. `items` is 0 for a single one, and otherwise how many items of a chunk follow one another in `bytes`,
    /// each with its length before it.
    Run { definition: u32, items: u32, bytes: &'a [u8] },
    /// From now on this number means this function (offset, hash of its name, bound configuration).
    Define { definition: u32, offset: u64, name_hash: u64, bound: Option<&'a [u8]> },
    /// From now on requests may refer to this shared memory. A worker's end keeps it for itself.
    #[cfg(target_os = "linux")]
    Share { share: Share, file: BorrowedFd<'a> },
    /// No request will refer to this shared memory any more. A worker's end keeps it for itself.
    #[cfg(target_os = "linux")]
    Forget { id: u64 },
}

impl Record<'_> {
    /// Bytes of the record's content; that of a definition begins with the function.
    pub(super) fn content(&self) -> usize {
        match self {
            Self::Run { bytes, .. } => bytes.len(),
            Self::Define { bound, .. } => FUNCTION + bound.map_or(0, <[u8]>::len),
            #[cfg(target_os = "linux")]
            Self::Share { .. } => 0,
            #[cfg(target_os = "linux")]
            Self::Forget { .. } => size_of::<u64>(),
        }
    }
}

/// Bytes that name a function in its definition.
pub(super) const FUNCTION: usize = 16;

/// Records that are going to be pushed one after the other, with nothing between them: there is room for all of them or they
/// wait. It may be more than what is pushed then, and is never less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Records without content.
    pub(super) bare: usize,
    /// The contents of all others: a definition's, a request's, and what that one may have instead.
    pub(super) contents: [Option<usize>; 3],
}

impl Load {
    /// One record with so many bytes of content.
    #[cfg(target_os = "linux")]
    pub(super) fn one(content: usize) -> Self {
        Self { bare: 0, contents: [Some(content), None, None] }
    }

    /// The content of each record, in any order.
    #[cfg(target_os = "linux")]
    fn records(self) -> impl Iterator<Item = usize> {
        std::iter::repeat_n(0, self.bare).chain(self.contents.into_iter().flatten())
    }
}

/// The place of a request in its transport.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RecordOffset {
    /// Up to where the transport's memory is taken when this request is the last one.
    pub(super) end: u64,
    /// Where its bytes are.
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// A worker's reply to a request.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    /// The low half of the request's number.
    pub(super) number: u32,
    pub(super) kind: ReplyKind,
    /// Of a chunk, how many items `bytes` holds.
    pub(super) items: u32,
    /// How long it ran, in nanoseconds; 0 when it was not measured.
    pub(super) elapsed: u32,
    pub(super) bytes: Cow<'a, [u8]>,
    /// The shared memory that `bytes` refers to; of what the worker has made, with its file if this process
    /// had a descriptor left for it.
    #[cfg(target_os = "linux")]
    pub(super) attached: Vec<(Reference, Option<OwnedFd>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyKind {
    /// The result, or the last items of a chunk.
    Done,
    /// There is no result; `bytes` is an encoded [`TaskError`](crate::TaskError).
    Failed,
    /// Some items of a chunk; more will follow.
    Part,
}

/// When a worker has to wake the parent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(super) enum NotifyPolicy {
    /// When it is about to sleep with answers that the parent has not received.
    #[default]
    BeforeSleep = 0,
    /// When it has nothing left to do.
    WhenEmpty = 1,
    /// With each answer.
    Always = 2,
}

/// The parent's end. Nothing in it blocks. What the worker can write to is believed only as far as it was checked.
pub(super) trait ParentEnd: Send {
    /// The most requests that may be in flight here at the same time.
    fn depth(&self) -> usize;

    /// Whether there is room for all of these records.
    fn has_room(&self, load: Load) -> bool;

    /// Adds a record, for which there is room: [`has_room`](Self::has_room) said so of it and of all that were added since. The
    /// worker does not learn of it before [`notify`](Self::notify).
    fn push(&mut self, record: Record<'_>) -> RecordOffset {
        self.push_with(record, None)
    }

    /// The same; the content of the record goes on with `long`, which is more than
    /// [`LONGEST_COPY`](crate::portable::bytes::LONGEST_COPY) and is not copied.
    fn push_with(&mut self, record: Record<'_>, long: Option<Long>) -> RecordOffset;

    /// Notifies the worker of everything that was pushed. `may_spin` says whether a core is free on which it may spin for more.
    fn notify(&mut self, may_spin: bool);

    /// All requests up to this one are answered: their memory can be used again.
    fn release(&mut self, number: u64, place: RecordOffset);

    /// Every request that was pushed is answered or revoked. Says whether the worker has passed all that was pushed.
    fn release_all(&mut self) -> bool;

    /// Whether the worker has claimed this request.
    fn is_claimed(&self, number: u64) -> bool;

    /// Whether the worker has passed all records, also those that were revoked; it alone can say so.
    fn has_passed_all(&self) -> bool {
        true
    }

    /// Whether the worker is known not to have read this request to its end, so that it has not begun it. That stays so only if
    /// the worker is dead, or stopped and stays so.
    fn is_unread(&self, _: u64) -> bool {
        false
    }

    /// Takes a request back that the worker has not claimed; `false` when it has.
    fn revoke(&mut self, number: u64) -> bool;

    /// Whether [`bytes`](Self::bytes) has what was pushed, where it is so long.
    fn keeps(&self, bytes: usize) -> bool;

    /// The bytes of a request that was revoked, or whose worker is dead.
    fn bytes(&self, place: RecordOffset) -> Vec<u8>;

    /// Hands every reply that has arrived to `receiver`. One whose bytes are still on their way waits for the next call.
    fn receive(&mut self, receiver: &mut dyn FnMut(Reply<'_>) -> Result<(), Malformed>) -> Result<(), Malformed>;

    /// Rises with everything that is taken from the worker.
    fn taken(&self) -> u64 {
        0
    }

    /// Of the chunk that the worker runs: how many items it has finished and not sent. It may say anything.
    fn open_items(&self) -> u32 {
        0
    }

    /// Of the chunk that a dead worker was running: the items that it finished and did not send.
    fn unfinished(&mut self) -> Option<(u32, Vec<u8>)>;

    fn set_notify_policy(&mut self, notify_policy: NotifyPolicy);

    /// No more requests will come.
    fn say_goodbye(&mut self);

    /// The socket beside the transport, for what is not a request or a reply.
    fn control(&mut self) -> &mut ControlChannel;

    /// When to send over it again what the system has refused to take, and not for want of room.
    fn refused_until(&self) -> Option<Instant> {
        None
    }
}

/// A request as the worker sees it, claimed.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) record: Record<'a>,
    pub(super) number: u32,
    /// Whether the worker had been waiting for it.
    pub(super) waited: bool,
}

/// The header of a reply, which goes with its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplyHeader {
    pub(super) number: u32,
    pub(super) kind: ReplyKind,
    pub(super) items: u32,
    pub(super) elapsed: u32,
}

/// The worker's end. Everything in it may block.
pub(super) trait WorkerEnd {
    /// Waits for the next request, and claims it; `None` when no more will come. `body` is memory to put it in.
    fn next<'a>(&'a self, body: &'a mut Vec<u8>) -> io::Result<Option<Request<'a>>>;

    /// Where the next reply is to be written.
    fn room(&self) -> io::Result<Output<'_>>;

    /// So many items of a chunk are complete in the output, and so many bytes: not to be lost if this process dies.
    fn progress(&self, items: u32, bytes: usize);

    /// Sends a reply that was written into [`room`](Self::room).
    fn send(&self, output: Output<'_>, reply: ReplyHeader) -> io::Result<()>;

    /// Sends frames over the socket, beside requests and replies.
    fn send_control(&self, frames: &[u8]) -> io::Result<()>;
}
