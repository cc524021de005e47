//! The parent's end of the shared-memory transport.

use std::{
    borrow::Cow,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::Ordering,
    time::Instant,
};

use super::{
    ControlChannel, FUNCTION, Load, NotifyPolicy, ParentEnd, Record, RecordOffset, Reply, ReplyKind,
    layout::{
        CAPACITY, HEADER, Header, INLINE, LONGEST_OUT, MOST_ITEMS_OUT, OUTBOXES, SLOTS, claim_word, claimed, kind,
        offset, record_length, replies, requests, room_for,
    },
    protocol,
};
use crate::{
    codec::{self, Output},
    error::TaskError,
    portable::{
        bytes::{LONGEST_COPY, Long},
        results,
    },
    process::wire::frame::{self},
    shm::NO_DESCRIPTOR,
    sys::{self, Mapping, Writable},
    untrusted::{Malformed, Reader},
};

/// The parent's end of the rings, and the files that the worker gets.
pub(in crate::process) fn ring_pair(control: ControlChannel) -> io::Result<(Rings, [OwnedFd; 2])> {
    let (requests, requests_file) = Mapping::create(requests::LENGTH, Writable::HereOnly)?;
    let (replies, replies_file) = Mapping::create(replies::LENGTH, Writable::Everywhere)?;
    // Otherwise the first lap of each ring faults on every page, on both sides.
    requests.populate(requests::LENGTH);
    replies.populate(replies::LENGTH);
    let rings = Rings {
        requests,
        replies,
        control,
        published: 0,
        rung: 0,
        position: 0,
        free_from: 0,
        next_number: 0,
        oldest_number: 0,
        consumed: 0,
        drained: 0,
        may_spin: false,
        notify_policy: NotifyPolicy::BeforeSleep,
        scratch: Vec::new(),
        outboxes: Vec::new(),
        is_overfull: false,
    };
    Ok((rings, [requests_file, replies_file]))
}

/// Two rings in shared memory, one for each direction. Everything that the parent relies on is in this struct and not in
/// memory that the worker can write to.
pub(in crate::process) struct Rings {
    requests: Mapping,
    replies: Mapping,
    control: ControlChannel,
    /// Records pushed ...
    published: u32,
    /// ... and how many of them the worker was told of.
    rung: u32,
    /// Where the next request goes.
    position: u64,
    /// Requests before this position are not needed any more.
    free_from: u64,
    next_number: u64,
    /// The oldest request that may still be in the ring.
    oldest_number: u64,
    /// Bytes of replies received.
    consumed: u64,
    drained: u32,
    may_spin: bool,
    notify_policy: NotifyPolicy,
    scratch: Vec<u8>,
    /// Memory in which the worker leaves long replies; `None` where it could not be received.
    outboxes: Vec<Option<OwnedFd>>,
    /// Something was pushed for which there was no room. It is not in the ring, so no record behind it can be understood: this is
    /// the end of the worker.
    is_overfull: bool,
}

impl Rings {
    /// Free bytes; `None` if there were more in the ring than it holds.
    fn free(&self) -> Option<usize> {
        let taken = self.position.checked_sub(self.free_from)?;
        CAPACITY.checked_sub(usize::try_from(taken).ok()?)
    }

    /// Adds a record, where there is room for it. The caller has made sure of that: this checks again because it is the last place
    /// that can, before bytes of another record are overwritten.
    pub(super) fn put(&mut self, header: Header, content: [&[u8]; 2]) -> RecordOffset {
        let length = content[0].len() + content[1].len();
        let needed = record_length(length);
        let rest = CAPACITY - offset(self.position);
        let skipped = if rest < needed { rest } else { 0 };
        let fits = self.free().is_some_and(|free| skipped + needed <= free);
        debug_assert!(fits, "{needed} bytes are pushed, and {skipped} skipped, where {:?} are free", self.free());
        if !fits || self.is_overfull {
            self.is_overfull = true;
            return RecordOffset { end: self.position, ..RecordOffset::default() };
        }
        if skipped > 0 {
            self.put_header(Header::new(rest - HEADER, 0, kind::PAD));
            self.position += rest as u64;
            self.published = self.published.wrapping_add(1);
        }
        let start = offset(self.position);
        let mut at = requests::RING + start + HEADER;
        for part in content {
            // SAFETY: the mapping is the parent's own; the worker reads these bytes once `PUBLISHED` says so, and has passed the
            // record that was here before, or the place would not be free.
            unsafe { self.requests.write(at, part) };
            at += part.len();
        }
        self.put_header(header);
        self.position += needed as u64;
        self.published = self.published.wrapping_add(1);
        RecordOffset { end: self.position, offset: start as u32, length: length as u32 }
    }

    fn put_header(&self, header: Header) {
        let at = requests::RING + offset(self.position);
        let [first, second] = header.to_words();
        // ORDERING: published by `ring`.
        self.requests.long(at).store(first, Ordering::Relaxed);
        self.requests.long(at + 8).store(second, Ordering::Relaxed);
    }

    /// Reads one reply if it is there. `false` when the rest of it has not come over the socket yet.
    fn receive_one(
        &mut self,
        available: usize,
        receiver: &mut dyn FnMut(Reply<'_>) -> Result<(), Malformed>,
    ) -> Result<bool, Malformed> {
        let at = replies::RING + offset(self.consumed);
        // ORDERING: the Acquire of `PRODUCED` came before.
        let words = [0, 8].map(|word| self.replies.long(at + word).load(Ordering::Relaxed));
        let header = Header::from_words(words);
        let length = header.length as usize;
        let whole = length.checked_next_multiple_of(HEADER).and_then(|length| length.checked_add(HEADER));
        let whole = whole.ok_or(Malformed)?;
        if whole > available || offset(self.consumed) + whole > CAPACITY {
            return Err(Malformed);
        }
        if header.kind != kind::PAD {
            let reply_kind = match header.kind & !(kind::SPILLED | kind::OUT | kind::ATTACHED) {
                kind::DONE => ReplyKind::Done,
                kind::FAILED => ReplyKind::Failed,
                kind::PART => ReplyKind::Part,
                _ => return Err(Malformed),
            };
            let is_spilled = header.kind & kind::SPILLED != 0;
            let spilled = if is_spilled { self.control.next_data()? } else { None };
            if is_spilled && spilled.is_none() {
                return Ok(false);
            }
            let mut is_lost = false;
            let mut scratch = std::mem::take(&mut self.scratch);
            scratch.clear();
            let mut bytes = match spilled {
                Some(bytes) => Cow::Owned(bytes),
                None => {
                    self.replies.copy_out(at + HEADER, length, &mut scratch);
                    if header.kind & kind::OUT == 0 {
                        Cow::Borrowed(&scratch[..])
                    } else {
                        match self.take_out(&scratch)? {
                            Out::NotYet => return Ok(false),
                            Out::Bytes(bytes) => Cow::Owned(bytes),
                            Out::Lost => {
                                is_lost = true;
                                Cow::Owned(lost_reply(header.items)?)
                            }
                        }
                    }
                }
            };
            let reply_kind = if is_lost && header.items == 0 { ReplyKind::Failed } else { reply_kind };
            if is_lost && header.kind & kind::ATTACHED != 0 {
                // It is not known which of the files that follow are its own.
                return Err(Malformed);
            }
            let attached = if header.kind & kind::ATTACHED == 0 {
                Some(Vec::new())
            } else {
                self.control.take_attached(&mut bytes)?
            };
            // The rest of a spilled reply cannot be asked for again; but its files came before it.
            let Some(attached) = attached else { return if is_spilled { Err(Malformed) } else { Ok(false) } };
            let Header { number, elapsed, items, .. } = header;
            let outcome = receiver(Reply { number, kind: reply_kind, items, elapsed, bytes, attached });
            self.scratch = scratch;
            outcome?;
        }
        self.consumed += whole as u64;
        Ok(true)
    }

    /// A copy of what is in an outbox, which the worker may use again when the reply is consumed.
    fn take_out(&mut self, content: &[u8]) -> Result<Out, Malformed> {
        let mut reader = Reader(content);
        let (index, length) = (reader.u32()? as usize, reader.u32()? as usize);
        if index >= OUTBOXES || length > LONGEST_OUT {
            return Err(Malformed);
        }
        if index == self.outboxes.len() {
            self.outboxes.push(None);
        }
        let outbox = self.outboxes.get_mut(index).ok_or(Malformed)?;
        if outbox.is_none() {
            let Some(file) = self.control.next_file()? else { return Ok(Out::NotYet) };
            *outbox = file;
        }
        let Some(file) = outbox else {
            // ORDERING: published with `CONSUMED`, before which the worker does not use it again.
            self.requests.word(requests::OUTBOX_LOST + 4 * index).fetch_add(1, Ordering::Relaxed);
            return Ok(Out::Lost);
        };
        sys::read_shared(file.as_fd(), length).map(Out::Bytes).ok_or(Malformed)
    }
}

/// The outcome of a look into an outbox.
enum Out {
    Bytes(Vec<u8>),
    /// The file of a new one has not come yet.
    NotYet,
    /// Its file could not be received. The worker will send another one.
    Lost,
}

/// In place of a reply whose outbox was lost: an error, or one for each item.
fn lost_reply(items: u32) -> Result<Vec<u8>, Malformed> {
    let error = TaskError::decode("result", NO_DESCRIPTOR);
    let mut output = Output::new(&mut []);
    match items {
        0 => codec::encode_into(&error, &mut output).map_err(|_| Malformed)?,
        1..=MOST_ITEMS_OUT => (0..items).for_each(|_| {
            let start = output.len();
            results::put_error(&mut output, start, &error);
        }),
        _ => return Err(Malformed),
    }
    Ok(output.into_overflow().err().unwrap_or_default())
}

impl Rings {
    /// What the worker says is complete of the reply that comes next: items and bytes.
    fn open(&self) -> (u32, usize) {
        // ORDERING: Acquire pairs with the Release of each item.
        let open = self.replies.long(replies::OPEN).load(Ordering::Acquire);
        let begun_at = self.replies.long(replies::OPEN_AT).load(Ordering::Acquire);
        if begun_at == self.consumed { ((open >> 32) as u32, open as u32 as usize) } else { (0, 0) }
    }
}

impl Rings {
    fn receive_until_quiet(&mut self, receiver: &mut Receiver<'_>) -> Result<(), Malformed> {
        let arrived = |rings: &Self| protocol::arrived(rings.replies.long(replies::PRODUCED));
        // Nothing, as most submits find: no socket would be read for it, so this look is the last one.
        if arrived(self) == self.consumed && !self.control.is_stuffed() {
            return Ok(());
        }
        let mut is_whole = true;
        let is_quiet = protocol::receive(self, arrived, |rings, produced| {
            rings.control.forget_news();
            is_whole = rings.receive_up_to(produced, receiver)?;
            Ok(rings.control.has_news())
        })?;
        if !is_quiet {
            self.control.come_again();
        } else if is_whole && self.control.is_stuffed() {
            // Each content was announced before the next one was begun, and each file before the next reply's.
            return Err(Malformed);
        }
        Ok(())
    }

    /// Takes the replies that are there. `false` if something of one has not come yet.
    fn receive_up_to(&mut self, produced: u64, receiver: &mut Receiver<'_>) -> Result<bool, Malformed> {
        let available = produced.checked_sub(self.consumed).ok_or(Malformed)?;
        if available > CAPACITY as u64 || !available.is_multiple_of(HEADER as u64) {
            return Err(Malformed);
        }
        while self.consumed < produced {
            if !self.receive_one((produced - self.consumed) as usize, receiver)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The receiver of replies.
type Receiver<'a> = dyn FnMut(Reply<'_>) -> Result<(), Malformed> + 'a;

impl ParentEnd for Rings {
    fn depth(&self) -> usize {
        SLOTS
    }

    fn has_room(&self, load: Load) -> bool {
        let needed = room_for(load.records());
        debug_assert!(needed <= CAPACITY, "{load:?} would wait for ever");
        let spills = load.records().any(|content| content > INLINE);
        self.next_number - self.oldest_number < SLOTS as u64
            && self.free().is_some_and(|free| needed <= free)
            && !(spills && self.control.wants_to_send())
    }

    fn push_with(&mut self, record: Record<'_>, long: Option<Long>) -> RecordOffset {
        const { assert!(INLINE == LONGEST_COPY, "a long content spills, and one that spills is long or nearly so") };
        debug_assert!(long.as_ref().is_none_or(|long| long.as_slice().len() > LONGEST_COPY), "a long content is long");
        let spills = long.is_some() || record.content() > INLINE;
        match record {
            Record::Run { definition, items, bytes } => {
                debug_assert!(
                    self.next_number - self.oldest_number < SLOTS as u64,
                    "each request has a claim of its own"
                );
                self.next_number += 1;
                if spills {
                    self.control.send_frame_with(frame::DATA, &[bytes], long);
                    let header = Header::new(0, definition, kind::RUN | kind::SPILLED);
                    return self.put(Header { items, ..header }, [&[], &[]]);
                }
                self.put(Header { items, ..Header::new(bytes.len(), definition, kind::RUN) }, [bytes, &[]])
            }
            Record::Define { definition, offset, name_hash, bound } => {
                let mut function = [0; FUNCTION];
                function[..8].copy_from_slice(&offset.to_le_bytes());
                function[8..].copy_from_slice(&name_hash.to_le_bytes());
                let kind = if bound.is_some() { kind::DEFINE_BOUND } else { kind::DEFINE };
                let bound = bound.unwrap_or_default();
                if spills {
                    self.control.send_frame_with(frame::DATA, &[&function, bound], long);
                    return self.put(Header::new(0, definition, kind | kind::SPILLED), [&[], &[]]);
                }
                self.put(Header::new(FUNCTION + bound.len(), definition, kind), [&function, bound])
            }
            Record::Share { share, file } => {
                self.control.send_share(share, file);
                self.put(Header::new(0, 0, kind::SHARE), [&[], &[]])
            }
            Record::Forget { id } => self.put(Header::new(8, 0, kind::FORGET), [&id.to_le_bytes(), &[]]),
        }
    }

    fn notify(&mut self, may_spin: bool) {
        if may_spin != self.may_spin {
            self.may_spin = may_spin;
            // ORDERING: advice that stands for itself.
            self.requests.word(requests::MAY_SPIN).store(may_spin.into(), Ordering::Relaxed);
        }
        let published = self.requests.word(requests::PUBLISHED);
        let counts = [std::mem::replace(&mut self.rung, self.published), self.published];
        protocol::change_and_wake(published, counts, self.replies.word(replies::SLEEPS_AT));
    }

    fn release(&mut self, number: u64, place: RecordOffset) {
        debug_assert!((self.free_from..=self.position).contains(&place.end), "requests are released in their order");
        debug_assert!((self.oldest_number..self.next_number).contains(&number), "requests are released in their order");
        self.free_from = place.end;
        self.oldest_number = number + 1;
    }

    fn release_all(&mut self) -> bool {
        // The usual case, on the way of a task to an idle worker: what the worker says stands in a cache line of another core.
        if self.oldest_number == self.next_number && self.free_from == self.position {
            return true;
        }
        // Of what was revoked last, the worker may not have passed the headers yet. What it says about that concerns no other
        // process: it alone would read something else.
        // ORDERING: Acquire pairs with the worker's Release: it has read what it has passed.
        let has_passed_all = protocol::passed(self.replies.word(replies::PASSED)) == self.published;
        if has_passed_all {
            self.free_from = self.position;
            self.oldest_number = self.next_number;
        }
        has_passed_all
    }

    fn has_passed_all(&self) -> bool {
        // ORDERING: Acquire pairs with the worker's Release: it has read what it has passed.
        self.replies.word(replies::PASSED).load(Ordering::Acquire) == self.published
    }

    fn is_claimed(&self, number: u64) -> bool {
        // ORDERING: the answer may be late by nature.
        self.replies.long(claim_word(number)).load(Ordering::Relaxed) == claimed(number)
    }

    fn revoke(&mut self, number: u64) -> bool {
        protocol::revoke(self.replies.long(claim_word(number)), number)
    }

    fn keeps(&self, bytes: usize) -> bool {
        // The record that was pushed last may not be there.
        bytes <= INLINE && !self.is_overfull
    }

    fn bytes(&self, place: RecordOffset) -> Vec<u8> {
        let at = requests::RING + place.offset as usize + HEADER;
        // SAFETY: only the parent can write to this mapping, and it does not as long as the place is not released.
        unsafe { self.requests.bytes(at, place.length as usize) }.to_vec()
    }

    fn receive(&mut self, receiver: &mut dyn FnMut(Reply<'_>) -> Result<(), Malformed>) -> Result<(), Malformed> {
        if self.is_overfull {
            return Err(Malformed);
        }
        let before = self.consumed;
        let outcome = self.receive_until_quiet(receiver);
        if self.consumed != before {
            let counts = [self.drained, self.drained.wrapping_add(1)];
            self.drained = counts[1];
            let (consumed, drained) = (self.requests.long(requests::CONSUMED), self.requests.word(requests::DRAINED));
            protocol::give_back(consumed, self.consumed, drained, counts, self.replies.word(replies::SLEEPS_AT));
        }
        outcome
    }

    fn taken(&self) -> u64 {
        self.consumed + self.control.received()
    }

    fn open_items(&self) -> u32 {
        self.open().0
    }

    fn unfinished(&mut self) -> Option<(u32, Vec<u8>)> {
        let (items, bytes) = self.open();
        let start = offset(self.consumed) + HEADER;
        if items == 0 || bytes.checked_add(start).is_none_or(|end| end > CAPACITY) {
            return None;
        }
        let mut copy = Vec::new();
        self.replies.copy_out(replies::RING + start, bytes, &mut copy);
        Some((items, copy))
    }

    fn set_notify_policy(&mut self, notify_policy: NotifyPolicy) {
        if notify_policy != self.notify_policy {
            self.notify_policy = notify_policy;
            protocol::set_notify_policy(self.requests.word(requests::NOTIFY_POLICY), notify_policy);
        }
    }

    fn say_goodbye(&mut self) {
        // No record is so short that it would not fit before the ring's end.
        if self.free().is_some_and(|free| free >= HEADER) {
            self.put(Header::new(0, 0, kind::GOODBYE), [&[], &[]]);
            self.notify(false);
        }
    }

    fn control(&mut self) -> &mut ControlChannel {
        &mut self.control
    }

    fn refused_until(&self) -> Option<Instant> {
        self.control.refused_until()
    }
}
