//! The parent's end of the shared-memory transport.

use std::{
    borrow::Cow,
    io,
    os::fd::OwnedFd,
    sync::atomic::{Ordering, fence},
};

use super::{
    Alert, ParentEnd, Place, Record, Reply, ReplyKind, SocketParent,
    layout::{
        CAPACITY, HEADER, Header, INLINE, SLOTS, claim_word, claimed, kind, offset, record_length, replies, requests,
        revoked,
    },
};
use crate::{
    process::wire::{self, Malformed},
    sys::{self, Mapping, Writable},
};

/// The parent's end of the rings, and the files that the worker gets.
pub(in crate::process) fn ring_pair(control: SocketParent) -> io::Result<(Rings, [OwnedFd; 2])> {
    let (requests, requests_file) = Mapping::create(requests::LENGTH, Writable::HereOnly)?;
    let (replies, replies_file) = Mapping::create(replies::LENGTH, Writable::Everywhere)?;
    let rings = Rings {
        requests,
        replies,
        control,
        published: 0,
        position: 0,
        free_from: 0,
        next_number: 0,
        oldest_number: 0,
        consumed: 0,
        drained: 0,
        may_look: false,
        alert: Alert::BeforeSleep,
        scratch: Vec::new(),
    };
    Ok((rings, [requests_file, replies_file]))
}

/// Two rings in shared memory, one for each direction. Everything that the parent relies on is in this struct and not in
/// memory that the worker can write to.
pub(in crate::process) struct Rings {
    requests: Mapping,
    replies: Mapping,
    control: SocketParent,
    /// Records pushed.
    published: u32,
    /// Where the next request goes.
    position: u64,
    /// Requests before this position are not needed any more.
    free_from: u64,
    next_number: u64,
    /// The oldest request that may still stand in the ring.
    oldest_number: u64,
    /// Bytes of replies received.
    consumed: u64,
    drained: u32,
    may_look: bool,
    alert: Alert,
    scratch: Vec<u8>,
}

impl Rings {
    fn free(&self) -> usize {
        // Positions are the parent's own, and never further apart than the ring is long.
        CAPACITY - (self.position - self.free_from) as usize
    }

    fn put(&mut self, header: Header, content: [&[u8]; 2]) -> Place {
        let length = content[0].len() + content[1].len();
        let needed = record_length(length);
        let rest = CAPACITY - offset(self.position);
        if rest < needed {
            self.put_header(Header::new(rest - HEADER, 0, kind::PAD));
            self.position += rest as u64;
            self.published = self.published.wrapping_add(1);
        }
        let start = offset(self.position);
        let mut at = requests::RING + start + HEADER;
        for part in content {
            // SAFETY: the mapping is the parent's own; the worker reads these bytes once `PUBLISHED` says so, and has passed
            // what stood here before, or it would not be free.
            unsafe { self.requests.write(at, part) };
            at += part.len();
        }
        self.put_header(header);
        self.position += needed as u64;
        self.published = self.published.wrapping_add(1);
        Place { end: self.position, offset: start as u32, length: length as u32 }
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
            let reply_kind = match header.kind & !kind::SPILLED {
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
            let mut scratch = std::mem::take(&mut self.scratch);
            scratch.clear();
            let bytes = match spilled {
                Some(bytes) => Cow::Owned(bytes),
                None => {
                    self.replies.copy_out(at + HEADER, length, &mut scratch);
                    Cow::Borrowed(&scratch[..])
                }
            };
            let Header { number, elapsed, items, .. } = header;
            let outcome = receiver(Reply { number, kind: reply_kind, items, elapsed, bytes });
            self.scratch = scratch;
            outcome?;
        }
        self.consumed += whole as u64;
        Ok(true)
    }
}

impl ParentEnd for Rings {
    fn depth(&self) -> usize {
        SLOTS
    }

    fn has_room(&self, bytes: usize) -> bool {
        // The rest of the ring up to its end may have to be skipped.
        let content = if bytes > INLINE { 0 } else { bytes };
        let spills = bytes > INLINE;
        self.next_number - self.oldest_number < SLOTS as u64
            && self.free() >= 2 * record_length(content)
            && !(spills && self.control.wants_to_send())
    }

    fn push(&mut self, record: Record<'_>) -> Place {
        match record {
            Record::Run { definition, items, bytes } if bytes.len() > INLINE => {
                self.control.send_frame(wire::DATA, &[bytes]);
                self.next_number += 1;
                self.put(Header { items, ..Header::new(0, definition, kind::RUN | kind::SPILLED) }, [&[], &[]])
            }
            Record::Run { definition, items, bytes } => {
                self.next_number += 1;
                self.put(Header { items, ..Header::new(bytes.len(), definition, kind::RUN) }, [bytes, &[]])
            }
            Record::Define { definition, offset, name_hash, bound } => {
                let mut function = [0; 16];
                function[..8].copy_from_slice(&offset.to_le_bytes());
                function[8..].copy_from_slice(&name_hash.to_le_bytes());
                let kind = if bound.is_some() { kind::DEFINE_BOUND } else { kind::DEFINE };
                match bound {
                    Some(bound) if bound.len() + 16 > INLINE => {
                        self.control.send_frame(wire::DATA, &[&function, bound]);
                        self.put(Header::new(0, definition, kind | kind::SPILLED), [&[], &[]])
                    }
                    _ => {
                        let bound = bound.unwrap_or_default();
                        self.put(Header::new(16 + bound.len(), definition, kind), [&function, bound])
                    }
                }
            }
        }
    }

    fn ring(&mut self, look: bool) {
        if look != self.may_look {
            self.may_look = look;
            // ORDERING: advice that stands for itself.
            self.requests.word(requests::MAY_LOOK).store(look.into(), Ordering::Relaxed);
        }
        // ORDERING: Release publishes the records. SeqCst, with the fence in the worker between `ASLEEP` and its look at
        // `PUBLISHED`: of a worker that falls asleep and a parent that publishes, one sees the other.
        self.requests.word(requests::PUBLISHED).store(self.published, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.replies.word(replies::ASLEEP).load(Ordering::Relaxed) != 0 {
            sys::wake(self.requests.word(requests::PUBLISHED));
        }
    }

    fn release(&mut self, number: u64, place: Place) {
        self.free_from = place.end;
        self.oldest_number = number + 1;
    }

    fn release_all(&mut self) {
        // Of what was revoked last, the worker may not have passed the headers yet. What it says about that concerns nobody
        // but itself: it alone would read something else.
        // ORDERING: Acquire pairs with the worker's Release: it has read what it has passed.
        if self.replies.word(replies::PASSED).load(Ordering::Acquire) == self.published {
            self.free_from = self.position;
            self.oldest_number = self.next_number;
        }
    }

    fn is_claimed(&self, number: u64) -> bool {
        // ORDERING: the answer may be late by nature.
        self.replies.long(claim_word(number)).load(Ordering::Relaxed) == claimed(number)
    }

    fn revoke(&mut self, number: u64) -> bool {
        let word = self.replies.long(claim_word(number));
        // A swap, and no loop until a comparison holds: a worker that writes to the word all the time could hold that up. What
        // a worker writes there itself takes work from nobody else.
        // ORDERING: the one word decides who has the request, and nothing else is concluded from it; its bytes are the
        // parent's own.
        if word.swap(revoked(number), Ordering::AcqRel) != claimed(number) {
            return true;
        }
        // The worker has it, and does not look here again; only this side does.
        word.store(claimed(number), Ordering::Relaxed);
        false
    }

    fn keeps(&self, bytes: usize) -> bool {
        bytes <= INLINE
    }

    fn bytes(&self, place: Place) -> Vec<u8> {
        let at = requests::RING + place.offset as usize + HEADER;
        // SAFETY: only the parent can write to this mapping, and it does not as long as the place is not released.
        unsafe { self.requests.bytes(at, place.length as usize) }.to_vec()
    }

    fn receive(&mut self, receiver: &mut dyn FnMut(Reply<'_>) -> Result<(), Malformed>) -> Result<(), Malformed> {
        // ORDERING: Acquire pairs with the worker's swap: the replies are complete. SeqCst, so that it comes after the
        // `ALERT` that this thread has set.
        let produced = self.replies.long(replies::PRODUCED).load(Ordering::SeqCst);
        if produced == self.consumed {
            return Ok(());
        }
        let available = produced.checked_sub(self.consumed).ok_or(Malformed)?;
        if available > CAPACITY as u64 || !available.is_multiple_of(HEADER as u64) {
            return Err(Malformed);
        }
        let before = self.consumed;
        let mut outcome = Ok(true);
        while outcome == Ok(true) && self.consumed < produced {
            outcome = self.receive_one((produced - self.consumed) as usize, receiver);
        }
        if self.consumed != before {
            self.drained = self.drained.wrapping_add(1);
            // ORDERING: Release: the bytes have been copied. SeqCst with the worker's `ASLEEP`, as in `ring`.
            self.requests.long(requests::CONSUMED).store(self.consumed, Ordering::Release);
            self.requests.word(requests::DRAINED).store(self.drained, Ordering::Release);
            fence(Ordering::SeqCst);
            if self.replies.word(replies::ASLEEP).load(Ordering::Relaxed) != 0 {
                sys::wake(self.requests.word(requests::DRAINED));
            }
        }
        outcome.map(drop)
    }

    fn unfinished(&mut self) -> Option<(u32, Vec<u8>)> {
        // ORDERING: Acquire pairs with the Release of each item.
        let open = self.replies.long(replies::OPEN).load(Ordering::Acquire);
        let begun_at = self.replies.long(replies::OPEN_AT).load(Ordering::Acquire);
        let (items, bytes) = ((open >> 32) as u32, open as u32 as usize);
        let start = offset(self.consumed) + HEADER;
        if begun_at != self.consumed || items == 0 || bytes.checked_add(start).is_none_or(|end| end > CAPACITY) {
            return None;
        }
        let mut copy = Vec::new();
        self.replies.copy_out(replies::RING + start, bytes, &mut copy);
        Some((items, copy))
    }

    fn set_alert(&mut self, alert: Alert) {
        if alert != self.alert {
            self.alert = alert;
            // ORDERING: SeqCst with the worker, which publishes a reply and then looks here: of a parent that wants to be
            // woken from now on and then looks for replies, and that worker, one sees the other.
            self.requests.word(requests::ALERT).store(alert as u32, Ordering::SeqCst);
        }
    }

    fn say_goodbye(&mut self) {
        if self.free() >= 2 * HEADER {
            self.put(Header::new(0, 0, kind::GOODBYE), [&[], &[]]);
            self.ring(false);
        }
    }

    fn control(&mut self) -> &mut SocketParent {
        &mut self.control
    }
}
