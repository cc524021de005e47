//! The worker's end of the shared-memory transport. It trusts the parent.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    hint::spin_loop,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use super::{
    Record, ReplyHeader, ReplyKind, Request, SocketWorker, WorkerEnd,
    layout::{
        CAPACITY, HEADER, Header, INLINE, LONGEST_OUT, MIN_ROOM, OUTBOXES, claim_word, kind, offset, record_length,
        replies, requests,
    },
    protocol,
    socket_worker::put_attached,
};
use crate::{
    codec::Output,
    process::wire::frame,
    shm,
    sys::{Mapping, Writable},
};

/// How long a worker spins, where a core is free for it.
const SPIN_TIME: Duration = Duration::from_micros(50);
/// Elsewhere it spins for so many turns, about a microsecond: falling asleep takes longer than that.
const SPINS_WITHOUT_CORE: u32 = 2;
/// After so many turns, about two microseconds, and then after twice as many each time, it yields to other threads: the parent may
/// be on the same core, and have the next request.
const YIELD: u32 = 4;

/// Two rings in shared memory; what is in the cells is known to this process alone.
pub(in crate::process) struct RingWorker {
    requests: Mapping,
    replies: Mapping,
    control: RefCell<SocketWorker>,
    /// Records passed.
    passed: Cell<u32>,
    position: Cell<u64>,
    next_number: Cell<u64>,
    produced: Cell<u64>,
    outboxes: RefCell<Vec<Outbox>>,
    /// Records that were passed and not taken: a definition, and what comes behind it. See [`next`](WorkerEnd::next).
    put_off: RefCell<VecDeque<(u64, Header)>>,
    /// The request at the current position is this worker's.
    is_claimed: Cell<bool>,
    /// Whether it had been waiting for what it has not returned yet.
    waited: Cell<bool>,
}

fn is_definition(header: Header) -> bool {
    matches!(header.kind & !kind::SPILLED, kind::DEFINE | kind::DEFINE_BOUND)
}

/// The definition with this content.
fn definition(header: Header, content: &[u8]) -> io::Result<Record<'_>> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let (offset, rest) = content.split_first_chunk().ok_or_else(malformed)?;
    let (name_hash, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
    Ok(Record::Define {
        definition: header.number,
        offset: u64::from_le_bytes(*offset),
        name_hash: u64::from_le_bytes(*name_hash),
        bound: (header.kind & !kind::SPILLED == kind::DEFINE_BOUND).then_some(rest),
    })
}

/// Memory for long replies.
struct Outbox {
    mapping: Mapping,
    /// How often the parent could not receive the outbox at this place, when this one was made.
    lost: u32,
    /// The parent reads it until it has consumed so many bytes of replies.
    busy_until: u64,
}

impl RingWorker {
    pub(in crate::process) fn new(control: SocketWorker, [requests, replies]: &[OwnedFd; 2]) -> io::Result<Self> {
        let requests = Mapping::open(requests.as_fd(), requests::LENGTH, Writable::HereOnly)?;
        let replies = Mapping::open(replies.as_fd(), replies::LENGTH, Writable::Everywhere)?;
        requests.populate(requests::LENGTH);
        replies.populate(replies::LENGTH);
        // What a copy of this process still writes, which was made in the middle of a result's `Serialize`, would be read as this
        // worker's.
        replies.leave_out_of_copies();
        Ok(Self {
            requests,
            replies,
            control: RefCell::new(control),
            passed: Cell::new(0),
            position: Cell::new(0),
            next_number: Cell::new(0),
            produced: Cell::new(0),
            outboxes: RefCell::default(),
            put_off: RefCell::default(),
            is_claimed: Cell::new(false),
            waited: Cell::new(false),
        })
    }

    fn published(&self) -> u32 {
        // ORDERING: Acquire pairs with the parent's Release: the records are complete.
        self.requests.word(requests::PUBLISHED).load(Ordering::Acquire)
    }

    fn kick(&self) {
        self.control.borrow_mut().kick();
    }

    /// Spins or sleeps until there is a record that has not been passed.
    fn wait_for_more(&self) {
        let passed = self.passed.get();
        let notify_policy = self.requests.word(requests::NOTIFY_POLICY);
        if protocol::pass_all(self.replies.word(replies::PASSED), passed, notify_policy) {
            self.kick();
        }
        let may_spin = self.requests.word(requests::MAY_SPIN).load(Ordering::Relaxed) != 0;
        let end = Instant::now() + SPIN_TIME;
        for turn in 1..=if may_spin { u32::MAX } else { SPINS_WITHOUT_CORE } {
            for _ in 0..16 {
                if self.published() != passed {
                    return;
                }
                spin_loop();
            }
            if Instant::now() >= end {
                break;
            }
            if turn >= YIELD && turn.is_power_of_two() {
                thread::yield_now();
            }
        }
        self.sleep(requests::PUBLISHED, passed);
    }

    /// Sleeps while the word at `at` of the requests' mapping is `value`.
    fn sleep(&self, at: usize, value: u32) {
        let word = self.requests.word(at);
        protocol::sleep_until_changed(word, value, self.replies.word(replies::SLEEPS_AT), || {
            // There may be no thread that looks for the replies.
            if self.requests.long(requests::CONSUMED).load(Ordering::SeqCst) != self.produced.get() {
                self.kick();
            }
        });
    }

    fn pass(&self, header: Header) {
        self.position.set(self.position.get() + record_length(header.length as usize) as u64);
        self.passed.set(self.passed.get().wrapping_add(1));
    }

    /// The content of the record at this position.
    fn content<'a>(&'a self, position: u64, header: Header, body: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        if header.kind & kind::SPILLED != 0 {
            self.control.borrow_mut().receive_data(body)?;
            return Ok(body);
        }
        let at = requests::RING + offset(position) + HEADER;
        // SAFETY: the parent, which this process trusts, writes to these bytes again only when a request behind them is
        // answered, or when this worker has passed everything and says so; before either, what was put off is taken.
        Ok(unsafe { self.requests.bytes(at, header.length as usize) })
    }

    /// Takes a record that concerns the transport alone.
    fn take_own(&self, position: u64, header: Header, body: &mut Vec<u8>) -> io::Result<()> {
        match header.kind & !kind::SPILLED {
            kind::SHARE => self.control.borrow_mut().receive_share()?,
            kind::FORGET => {
                let id = self.content(position, header, body)?.first_chunk().map(|id| u64::from_le_bytes(*id));
                id.into_iter().for_each(shm::forget);
            }
            // A request that was revoked: only its content is in the way.
            _ => _ = self.content(position, header, body)?,
        }
        Ok(())
    }

    /// Puts a record off if that is a definition or comes behind one, and takes it otherwise.
    fn put_off(&self, position: u64, header: Header, body: &mut Vec<u8>) -> io::Result<()> {
        let mut put_off = self.put_off.borrow_mut();
        if !is_definition(header) && put_off.is_empty() {
            return self.take_own(position, header, body);
        }
        put_off.push_back((position, header));
        Ok(())
    }

    /// Takes what was put off up to the next definition, which it returns, if there is one.
    fn take_put_off(&self, body: &mut Vec<u8>) -> io::Result<Option<(u64, Header)>> {
        loop {
            let first = self.put_off.borrow_mut().pop_front();
            let Some((position, header)) = first else { return Ok(None) };
            if is_definition(header) {
                return Ok(Some((position, header)));
            }
            self.take_own(position, header, body)?;
        }
    }

    /// Whether this worker gets the request, or it was revoked.
    fn claim(&self, number: u64) -> bool {
        protocol::claim(self.replies.long(claim_word(number)), number)
    }

    /// Makes everything up to `position` the parent's to read.
    fn publish(&self, position: u64) {
        debug_assert!(self.is_within(position), "a reply was written over one that the parent has not read");
        self.produced.set(position);
        let produced = self.replies.long(replies::PRODUCED);
        if protocol::publish_reply(produced, position, self.requests.word(requests::NOTIFY_POLICY)) {
            self.kick();
        }
    }

    fn put_header(&self, position: u64, header: Header) {
        let at = replies::RING + offset(position);
        let [first, second] = header.to_words();
        // ORDERING: published by `publish`.
        self.replies.long(at).store(first, Ordering::Relaxed);
        self.replies.long(at + 8).store(second, Ordering::Relaxed);
    }

    /// Puts a long reply into an outbox, and its place into the ring; returns how long that is. `None` when it has to go over
    /// the socket.
    fn put_out(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        if bytes.len() > LONGEST_OUT {
            return Ok(None);
        }
        // ORDERING: Acquire pairs with the parent's Release: it has copied what it has consumed.
        let consumed = self.requests.long(requests::CONSUMED).load(Ordering::Acquire);
        let mut outboxes = self.outboxes.borrow_mut();
        let fits = |outbox: &Outbox| outbox.busy_until <= consumed && outbox.mapping.length() >= bytes.len();
        let index = match outboxes.iter().position(fits) {
            Some(index) => index,
            None if outboxes.len() < OUTBOXES => outboxes.len(),
            None => return Ok(None),
        };
        // ORDERING: the Acquire of `CONSUMED` came before: it says of every reply that has been consumed.
        let lost = self.requests.word(requests::OUTBOX_LOST + 4 * index).load(Ordering::Relaxed);
        if outboxes.get(index).is_none_or(|outbox| outbox.lost != lost) {
            let length = bytes.len().next_power_of_two().max(1 << 20);
            let Ok((mapping, file)) = Mapping::create(length, Writable::Everywhere) else { return Ok(None) };
            if self.control.borrow_mut().send_file(file.as_fd()).is_err() {
                // More files are on their way than this user may have. If the parent is gone, that is noticed below.
                return Ok(None);
            }
            let new = Outbox { mapping, lost, busy_until: 0 };
            match outboxes.get_mut(index) {
                Some(outbox) => *outbox = new,
                None => outboxes.push(new),
            }
        }
        let outbox = &mut outboxes[index];
        // SAFETY: this process's own memory; the parent reads it when the reply is published, and has read what was there
        // before.
        unsafe { outbox.mapping.write(0, bytes) };
        let position = self.produced.get();
        // Any position behind the reply's begin will do: the parent consumes whole records.
        outbox.busy_until = position + 1;
        let at = replies::RING + offset(position) + HEADER;
        self.replies.long(at).store(index as u64 | (bytes.len() as u64) << 32, Ordering::Relaxed);
        Ok(Some(8))
    }

    /// Room for the next reply, as much of it as is contiguous; `None` when the parent has to read a reply first.
    pub(super) fn try_room(&self) -> Option<Output<'_>> {
        let mut position = self.produced.get();
        let rest = CAPACITY - offset(position);
        if rest < MIN_ROOM + HEADER && self.free() == rest {
            self.put_header(position, Header::new(rest - HEADER, 0, kind::PAD));
            position += rest as u64;
            self.publish(position);
        }
        let free = self.free();
        if free < MIN_ROOM + HEADER {
            return None;
        }
        let length = (free - HEADER).min(INLINE);
        // ORDERING: in this order, so that the parent never finds an old count with the new position.
        self.replies.long(replies::OPEN).store(0, Ordering::Release);
        self.replies.long(replies::OPEN_AT).store(position, Ordering::Release);
        let at = replies::RING + offset(position) + HEADER;
        // SAFETY: the parent has read what was here, and reads it again when it is published; this process has one thread that
        // writes replies, and one reply at a time.
        Some(Output::new(unsafe { self.replies.bytes_mut(at, length) }))
    }

    /// Whether everything that is not consumed, up to `position`, is in the ring at the same time.
    fn is_within(&self, position: u64) -> bool {
        // ORDERING: what was consumed before stays consumed.
        position - self.requests.long(requests::CONSUMED).load(Ordering::Relaxed) <= CAPACITY as u64
    }

    /// How many bytes may be written from here on without a break.
    fn free(&self) -> usize {
        // ORDERING: Acquire pairs with the parent's Release: it has copied what it has consumed.
        let consumed = self.requests.long(requests::CONSUMED).load(Ordering::Acquire);
        let position = self.produced.get();
        // Never more than the ring holds: `publish` makes sure of it.
        CAPACITY.saturating_sub((position - consumed) as usize).min(CAPACITY - offset(position))
    }
}

impl WorkerEnd for RingWorker {
    /// A definition, whose content may be long, is taken on behalf of a request: not before that one is claimed, so that a failure
    /// of it, such as the end of this process, is the failure of the request. A record that comes behind a definition and also over
    /// the socket is put off with it, for the socket has one order. Where no request comes that could be claimed, it is taken all
    /// the same: the socket has to become free, and so has the ring.
    fn next<'a>(&'a self, body: &'a mut Vec<u8>) -> io::Result<Option<Request<'a>>> {
        let mut waited = false;
        let (position, header, number) = loop {
            let is_at_end = self.passed.get() == self.published();
            if (self.is_claimed.get() || is_at_end)
                && let Some((position, header)) = self.take_put_off(body)?
            {
                self.waited.set(self.waited.get() || waited);
                break (position, header, 0);
            }
            if is_at_end {
                self.wait_for_more();
                waited = true;
                continue;
            }
            let position = self.position.get();
            let at = requests::RING + offset(position);
            // ORDERING: the Acquire of `PUBLISHED` came before.
            let header = Header::from_words([0, 8].map(|word| self.requests.long(at + word).load(Ordering::Relaxed)));
            if self.is_claimed.take() {
                break (position, header, self.next_number.get() - 1);
            }
            match header.kind & !kind::SPILLED {
                kind::GOODBYE => return Ok(None),
                kind::PAD => {}
                kind::RUN => {
                    let number = self.next_number.get();
                    self.next_number.set(number + 1);
                    if self.claim(number) {
                        if self.put_off.borrow().is_empty() {
                            break (position, header, number);
                        }
                        self.is_claimed.set(true);
                        continue;
                    }
                    self.put_off(position, header, body)?;
                }
                _ => self.put_off(position, header, body)?,
            }
            self.pass(header);
        };
        let content = self.content(position, header, body)?;
        if is_definition(header) {
            return Ok(Some(Request { record: definition(header, content)?, number: 0, waited: false }));
        }
        self.pass(header);
        let record = Record::Run { definition: header.number, items: header.items, bytes: content };
        let waited = self.waited.take() || waited;
        Ok(Some(Request { record, number: number as u32, waited }))
    }

    fn room(&self) -> io::Result<Output<'_>> {
        loop {
            // ORDERING: loaded before the look at `CONSUMED`, so that a change after that look is a change of this word.
            let drained = self.requests.word(requests::DRAINED).load(Ordering::Acquire);
            if let Some(output) = self.try_room() {
                return Ok(output);
            }
            self.sleep(requests::DRAINED, drained);
        }
    }

    fn progress(&self, items: u32, bytes: usize) {
        // ORDERING: Release: the items are complete.
        self.replies.long(replies::OPEN).store(u64::from(items) << 32 | bytes as u64, Ordering::Release);
    }

    fn send(&self, mut output: Output<'_>, reply: ReplyHeader) -> io::Result<()> {
        let mut attached = output.take_attached();
        let flag = if attached.is_empty() { 0 } else { kind::ATTACHED };
        put_attached(&mut output, &attached);
        let position = self.produced.get();
        let kind = match reply.kind {
            ReplyKind::Done => kind::DONE,
            ReplyKind::Failed => kind::FAILED,
            ReplyKind::Part => kind::PART,
        };
        let (length, kind) = match output.into_overflow() {
            Ok(length) => (length, kind),
            Err(overflow) => match self.put_out(&overflow)? {
                Some(length) => (length, kind | kind::OUT),
                None => {
                    // The parent takes the content and then asks for files, which have to be there.
                    self.control.borrow_mut().send_files(&attached)?;
                    attached.clear();
                    self.control.borrow_mut().send_frame(frame::DATA, &overflow)?;
                    (0, kind | kind::SPILLED)
                }
            },
        };
        if !attached.is_empty() {
            self.control.borrow_mut().send_files(&attached)?;
        }
        let header = Header::new(length, reply.number, kind | flag);
        self.put_header(position, Header { elapsed: reply.elapsed, items: reply.items, ..header });
        self.publish(position + record_length(length) as u64);
        Ok(())
    }

    fn send_control(&self, frames: &[u8]) -> io::Result<()> {
        self.control.borrow_mut().send(frames)
    }
}
