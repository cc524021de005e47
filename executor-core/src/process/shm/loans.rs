//! What one worker was given of the parent's shared memory.

use std::{
    collections::HashMap,
    io::Write,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use super::{
    block::{Attached, Block, Reference},
    store::{self, BLANKS, Segment},
};
use crate::{
    cancel::Pins,
    process::{
        transport::{ParentEnd, Record},
        wire::{Malformed, Reader},
    },
    sys::{Mapping, Writable},
};

/// Pieces that can be lent to one worker at the same time. Memory that nobody touches takes no space.
pub(super) const SLOTS: u32 = 1 << 16;

/// The bit in the count of a worker's holders that says that the parent waits for it to become zero.
pub(super) const WITHDRAWN: u64 = 1 << 63;

/// What is beside a piece that is given to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::process) struct Share {
    pub(in crate::process) id: u64,
    pub(in crate::process) slot: u32,
    /// Bytes of the whole piece.
    pub(in crate::process) length: u64,
    /// The second file is that of the worker's counts.
    pub(in crate::process) has_holds: bool,
}

impl Share {
    pub(in crate::process) fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.slot.to_le_bytes());
        bytes[20] = u8::from(self.has_holds);
        bytes
    }

    pub(in crate::process) fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let (id, length) = (reader.u64()?, reader.u64()?);
        Ok(Self { id, length, slot: reader.u32()?, has_holds: reader.u8()? == 1 })
    }
}

/// Shared by a worker's [`Loans`] and the pieces that it was lent.
#[derive(Debug)]
pub(super) struct Book {
    /// Written by the worker, one for each slot: how many holders it has. It is believed as far as only this worker is
    /// concerned: with a wrong count it reads something else, or keeps memory until it dies.
    holds: Mapping,
    /// Pieces that the worker is to unmap.
    to_forget: Mutex<Vec<u64>>,
    /// Wakes the supervisor, which tells it.
    alarm: Arc<UnixStream>,
}

impl Book {
    /// Wakes the supervisor.
    pub(super) fn ring(&self) {
        // When the buffer is full the supervisor will wake up anyway.
        let _ = (&*self.alarm).write(&[1]);
    }

    pub(super) fn is_of_same_pool(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.alarm, &other.alarm)
    }
}

/// That a worker has a piece.
#[derive(Debug)]
pub(super) struct Loan {
    book: Arc<Book>,
    slot: u32,
}

impl Loan {
    fn holds(&self) -> &std::sync::atomic::AtomicU64 {
        self.book.holds.long(8 * self.slot as usize)
    }

    pub(super) fn is_of(&self, book: &Arc<Book>) -> bool {
        Arc::ptr_eq(&self.book, book)
    }

    /// Asks to be told when the worker holds it no longer; whether that is so already.
    pub(super) fn withdraw(&self) -> bool {
        // ORDERING: Acquire pairs with the Release of the worker's last holder: it reads no more. What it holds since a
        // request was counted before the answer to that request, which has been received.
        self.holds().fetch_or(WITHDRAWN, Ordering::AcqRel) & !WITHDRAWN == 0
    }

    /// Whether the worker holds it no longer.
    pub(super) fn is_released(&self) -> bool {
        // ORDERING: as in `withdraw`.
        self.holds().load(Ordering::Acquire) & !WITHDRAWN == 0
    }

    /// The worker need not tell any more.
    pub(super) fn renew(&self) {
        // ORDERING: told by a later request, or not at all.
        self.holds().fetch_and(!WITHDRAWN, Ordering::Relaxed);
    }

    /// Ends a hold that the worker has handed over.
    pub(super) fn release_one(&self) {
        // ORDERING: the parent holds it itself now.
        self.holds().fetch_sub(1, Ordering::Relaxed);
    }

    /// Has the worker unmap it.
    pub(super) fn forget(&self, id: u64) {
        self.book.to_forget.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        self.book.ring();
    }
}

/// What one worker was given.
pub(in crate::process) struct Loans {
    alarm: Arc<UnixStream>,
    book: Option<Arc<Book>>,
    /// The slots of what it knows.
    slots: HashMap<u64, u32>,
    free: Vec<u32>,
    next: u32,
    /// What its next request was when it was last given blanks, and how many since then.
    offered: (u64, usize),
}

impl Loans {
    pub(in crate::process) fn new(alarm: Arc<UnixStream>) -> Self {
        Self { alarm, book: None, slots: HashMap::new(), free: Vec::new(), next: 0, offered: (0, 0) }
    }

    /// Bytes of a request's room in the transport for telling the worker of all that it refers to.
    pub(in crate::process) fn room_for(pins: &Pins) -> usize {
        16 * pins.blocks().len()
    }

    /// Gives the worker what it needs for a request and has not got. Comes before the request itself.
    pub(in crate::process) fn share(&mut self, pins: &Pins, channel: &mut dyn ParentEnd) -> Result<(), String> {
        for block in pins.blocks() {
            if let Block::Held(holder) = block {
                self.lend(holder.segment(), channel)?;
            }
        }
        Ok(())
    }

    /// Gives a worker that has been lent something pieces that nobody has filled yet, so that the first request that refers
    /// to one of them has nothing to bring; `true` when it was given some. `number` is that of its next request.
    pub(in crate::process) fn offer(
        &mut self,
        blanks: &[Arc<Segment>],
        number: u64,
        channel: &mut dyn ParentEnd,
    ) -> bool {
        if self.offered.0 != number {
            self.offered = (number, 0);
        }
        let mut told = false;
        for blank in blanks {
            let is_needed = self.book.is_some() && !self.slots.contains_key(&blank.id());
            // A worker that does not take what is sent to it gets no more: files on their way count for all of this user's
            // processes.
            let may = self.offered.1 < BLANKS && channel.has_room(16) && !channel.control().wants_to_send();
            if is_needed && may && self.lend(blank, channel).is_ok() {
                self.offered.1 += 1;
                told = true;
            }
        }
        told
    }

    fn lend(&mut self, segment: &Segment, channel: &mut dyn ParentEnd) -> Result<(), String> {
        if self.slots.contains_key(&segment.id()) {
            return Ok(());
        }
        let mut holds = None;
        let book = match &self.book {
            Some(book) => Arc::clone(book),
            None => {
                let made = Mapping::create(8 * SLOTS as usize, Writable::Everywhere);
                let (mapping, file) = made.map_err(|error| format!("no shared memory: {error}"))?;
                holds = Some(file);
                let book = Book { holds: mapping, to_forget: Mutex::default(), alarm: Arc::clone(&self.alarm) };
                let book = Arc::clone(self.book.insert(Arc::new(book)));
                store::open_book(Arc::clone(&book));
                book
            }
        };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.next < SLOTS => {
                self.next += 1;
                self.next - 1
            }
            None => return Err("the worker has too many pieces of shared memory".to_owned()),
        };
        // ORDERING: told by the record; the slot's last piece was forgotten.
        book.holds.long(8 * slot as usize).store(0, Ordering::Relaxed);
        if !store::lend(segment, Loan { book, slot }) {
            self.free.push(slot);
            return Err("the piece of shared memory is gone".to_owned());
        }
        self.slots.insert(segment.id(), slot);
        let share = Share { id: segment.id(), slot, length: segment.length() as u64, has_holds: holds.is_some() };
        let files: Vec<BorrowedFd<'_>> =
            [Some(segment.file()), holds.as_ref()].into_iter().flatten().map(OwnedFd::as_fd).collect();
        channel.push(Record::Share { share, files: &files });
        Ok(())
    }

    /// Tells the worker what to unmap, as far as the transport has room; `true` when it was told something.
    pub(in crate::process) fn tell_to_forget(&mut self, channel: &mut dyn ParentEnd) -> bool {
        let Some(book) = &self.book else { return false };
        let mut told = false;
        let mut to_forget = book.to_forget.lock().unwrap_or_else(PoisonError::into_inner);
        while channel.has_room(16)
            && let Some(id) = to_forget.pop()
        {
            channel.push(Record::Forget { id });
            self.free.extend(self.slots.remove(&id));
            told = true;
        }
        told
    }

    /// Takes what a worker says that its result refers to. It is not trusted. `file` is of what it has made; without it the
    /// result cannot be decoded, and says so.
    pub(in crate::process) fn attach(
        &self,
        attached: &mut Attached,
        reference: Reference,
        file: Option<OwnedFd>,
    ) -> Result<(), Malformed> {
        let length = usize::try_from(reference.length).map_err(|_| Malformed)?;
        let holder = if reference.from_worker {
            let Some(file) = file else {
                attached.push((reference, None));
                return Ok(());
            };
            store::receive(file, length)
        } else {
            self.book.as_ref().and_then(|book| store::take_over(reference.id, length, book))
        };
        attached.push((reference, Some(Block::Held(holder.ok_or(Malformed)?))));
        Ok(())
    }
}

impl Drop for Loans {
    /// The worker is dead, and reaped: it reads nothing any more.
    fn drop(&mut self) {
        if let Some(book) = &self.book {
            store::close_book(book);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::process::shm::{Made, make};

    fn attach(loans: &Loans, from_worker: bool, id: u64, length: u64, file: Option<OwnedFd>) -> Result<(), Malformed> {
        loans.attach(&mut Vec::new(), Reference { from_worker, id, length }, file)
    }

    #[test]
    fn only_sealed_memory_that_is_long_enough_is_taken_from_a_worker() {
        let loans = Loans::new(Arc::new(UnixStream::pair().unwrap().0));
        let sealed = |length| Some(Mapping::create_sealed(length, |bytes| bytes.fill(1)).unwrap().1);
        assert_eq!(attach(&loans, true, 1, 100, sealed(100)), Ok(()));
        assert_eq!(attach(&loans, true, 1, 101, sealed(100)), Err(Malformed));
        assert_eq!(attach(&loans, true, 1, u64::MAX, sealed(100)), Err(Malformed));
        assert_eq!(attach(&loans, true, 1, 0, sealed(100)), Err(Malformed));
        for writable in [Writable::Everywhere, Writable::HereOnly] {
            let file = Mapping::create(100, writable).unwrap().1;
            assert_eq!(attach(&loans, true, 1, 100, Some(file)), Err(Malformed));
        }
        let socket = OwnedFd::from(UnixStream::pair().unwrap().0);
        assert_eq!(attach(&loans, true, 1, 100, Some(socket)), Err(Malformed));
    }

    #[test]
    fn a_worker_cannot_return_what_it_was_not_lent() {
        let loans = Loans::new(Arc::new(UnixStream::pair().unwrap().0));
        let Made::Shared(block) = make(1 << 16, |bytes| bytes.fill(1)) else { panic!("there is shared memory") };
        let Reference { id, length, .. } = block.reference();
        assert_eq!(attach(&loans, false, id, length, None), Err(Malformed));
        assert_eq!(attach(&loans, false, u64::MAX, 1, None), Err(Malformed));
    }

    #[test]
    fn what_is_attached_survives_its_bytes() {
        let reference = Reference { from_worker: true, id: 7, length: u64::MAX };
        assert_eq!(Reference::from_bytes(&reference.to_bytes()), Some(reference));
        assert_eq!(Reference::from_bytes(&[2; Reference::LENGTH]), None);
        assert_eq!(Reference::from_bytes(&[0; 3]), None);
        let share = Share { id: 1, slot: 2, length: 3, has_holds: true };
        assert_eq!(Share::from_bytes(&share.to_bytes()), Ok(share));
    }
}
