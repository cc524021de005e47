//! The leases of one worker: which segments of the parent it has, and which of its own it has sent.

use std::{
    collections::BTreeMap,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, atomic::Ordering},
};

use crate::{
    pins::Pins,
    process::transport::{Load, ParentEnd, Record},
    shm::{
        Attached, Block, NO_DESCRIPTOR, Reference, Segment,
        counts::LOST,
        lease::{Lease, LenderState, SLOTS, Share},
        limits::PREALLOCATED,
        store::{self, Holder},
    },
    untrusted::Malformed,
};

/// The leases of one worker.
pub(in crate::process) struct Leases {
    /// `None` when the system had no shared memory for it: then the worker gets no leases.
    lender: Option<Arc<LenderState>>,
    /// Whether it has ever got a lease.
    is_open: bool,
    /// The slots of what it knows.
    slots: BTreeMap<u64, u32>,
    free: Vec<u32>,
    next: u32,
    /// The number of its next request when it was last given preallocated segments, and how many of them since then.
    offered: (u64, usize),
    /// The segments that it has made, by its own numbers; among them those that are gone since, until there are too many of these.
    received: BTreeMap<u64, u64>,
    prune_at: usize,
}

impl Leases {
    /// The account of a new worker, and the file of its counts, which comes to it with the first message. So a worker that
    /// knows of any segment counts what it holds.
    pub(in crate::process) fn new(doorbell: Arc<UnixStream>) -> io::Result<(Self, OwnedFd)> {
        let (lender, file) = LenderState::new(doorbell)?;
        let mut leases = Self::nothing();
        leases.lender = Some(Arc::new(lender));
        Ok((leases, file))
    }

    /// The account of a worker that cannot get a lease.
    pub(in crate::process) fn nothing() -> Self {
        Self {
            lender: None,
            is_open: false,
            slots: BTreeMap::new(),
            free: Vec::new(),
            next: 0,
            offered: (0, 0),
            received: BTreeMap::new(),
            prune_at: 64,
        }
    }

    /// How many records tell the worker of all that a request refers to, at most. None of them has content.
    pub(super) fn records_for(pins: &Pins) -> usize {
        pins.blocks().count()
    }

    /// Gives the worker what it needs for a request and has not got. Comes before the request itself.
    pub(in crate::process) fn share(&mut self, pins: &Pins, channel: &mut dyn ParentEnd) -> Result<(), String> {
        for block in pins.blocks() {
            if let Block::Held(holder) = block {
                self.grant(holder.segment(), channel)?;
            }
        }
        Ok(())
    }

    /// Gives a worker that has got leases preallocated segments, which are not filled yet, so that the first request that refers to
    /// one of them has no segment to bring; `true` when it was given some. `number` is that of its next request.
    pub(in crate::process) fn offer(
        &mut self,
        preallocated: &[Arc<Segment>],
        number: u64,
        channel: &mut dyn ParentEnd,
    ) -> bool {
        if self.offered.0 != number {
            self.offered = (number, 0);
        }
        let mut told = false;
        for segment in preallocated {
            let is_needed = self.is_open && !self.slots.contains_key(&segment.id());
            // A worker that does not take what is sent to it gets no more: files on their way count for all of this user's
            // processes.
            let may =
                self.offered.1 < PREALLOCATED && channel.has_room(Load::one(0)) && !channel.control().wants_to_send();
            if is_needed && may && self.grant(segment, channel).is_ok() {
                self.offered.1 += 1;
                told = true;
            }
        }
        told
    }

    /// Whether the worker has all that these refer to, as far as it was sent to it: it may have said that it could not take
    /// something.
    pub(super) fn has_all(&self, pins: &Pins) -> bool {
        pins.blocks().all(|block| match block {
            Block::Held(holder) => self.slots.get(&holder.id()).is_some_and(|slot| !self.is_lost(*slot)),
            _ => true,
        })
    }

    /// Writes to all counts what a malicious worker might write.
    #[cfg(all(test, not(loom)))]
    pub(super) fn forge_counts(&self, count: u64) {
        for slot in 0..self.next {
            // ORDERING: one thread.
            self.lender.iter().for_each(|lender| lender.count(slot).store(count, Ordering::Relaxed));
        }
    }

    fn is_lost(&self, slot: u32) -> bool {
        // ORDERING: said before the worker answered the request that it could not understand for that. What it says about segments
        // of its own concerns no other worker: at most it is sent something again.
        self.lender.as_ref().is_some_and(|lender| lender.count(slot).load(Ordering::Relaxed) & LOST != 0)
    }

    fn grant(&mut self, segment: &Segment, channel: &mut dyn ParentEnd) -> Result<(), String> {
        let Some(lender) = self.lender.clone() else { return Err("the worker has no shared memory".to_owned()) };
        let slot = match self.slots.get(&segment.id()) {
            Some(slot) if self.is_lost(*slot) => *slot,
            Some(_) => return Ok(()),
            None => self.open_slot(segment, &lender)?,
        };
        // ORDERING: told by the record. The slot's last segment was forgotten, or this one was lost, so nothing is counted there.
        lender.count(slot).store(0, Ordering::Relaxed);
        let share = Share { id: segment.id(), slot, length: segment.length() as u64 };
        // No value that travels refers to a segment without a file.
        let file = segment.file().ok_or("the file of the shared memory is closed")?;
        channel.push(Record::Share { share, file: file.as_fd() });
        Ok(())
    }

    fn open_slot(&mut self, segment: &Segment, lender: &Arc<LenderState>) -> Result<u32, String> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.next < SLOTS => {
                self.next += 1;
                self.next - 1
            }
            None => return Err("the worker has leases of too many segments of shared memory".to_owned()),
        };
        // ORDERING: told by the record. The count that is there must not count for the new segment.
        lender.count(slot).store(0, Ordering::Relaxed);
        if !self.is_open {
            self.is_open = true;
            store::attach(Arc::clone(lender));
        }
        if !store::grant(segment, Lease::new(Arc::clone(lender), slot)) {
            self.free.push(slot);
            return Err("the segment of shared memory is gone".to_owned());
        }
        self.slots.insert(segment.id(), slot);
        Ok(slot)
    }

    /// Tells the worker what to unmap, as far as the transport has room; `true` when it was told something.
    pub(super) fn tell_to_forget(&mut self, channel: &mut dyn ParentEnd) -> bool {
        let Some(lender) = &self.lender else { return false };
        let mut told = false;
        let mut to_forget = lender.to_forget();
        while channel.has_room(Load::one(size_of::<u64>()))
            && let Some(id) = to_forget.pop()
        {
            channel.push(Record::Forget { id });
            self.free.extend(self.slots.remove(&id));
            told = true;
        }
        told
    }

    /// The segment that the worker has made, under this number of its own. What it sends once more is not mapped once more; should
    /// it be something else under the same number, that is a matter of its own results.
    fn receive(&mut self, id: u64, file: OwnedFd, length: usize) -> Result<Result<Holder, &'static str>, Malformed> {
        if let Some(holder) = self.received.get(&id).and_then(|piece| store::receive_again(*piece, length)) {
            return Ok(Ok(holder));
        }
        let holder = store::receive(file, length)?;
        if let Ok(holder) = &holder {
            if self.received.len() >= self.prune_at {
                self.received.retain(|_, piece| store::has(*piece));
                self.prune_at = 2 * self.received.len() + 64;
            }
            self.received.insert(id, holder.id());
        }
        Ok(holder)
    }

    /// Takes what a worker says that its result refers to. It is not trusted. `file` is of what it has made; without it the
    /// result cannot be decoded, and says so.
    pub(in crate::process::parent) fn attach(
        &mut self,
        attached: &mut Attached,
        reference: Reference,
        file: Option<OwnedFd>,
    ) -> Result<(), Malformed> {
        let length = usize::try_from(reference.length).map_err(|_| Malformed)?;
        let holder = if reference.from_worker {
            match file {
                Some(file) => self.receive(reference.id, file, length)?,
                None => Err(NO_DESCRIPTOR),
            }
        } else {
            let holder = self.lender.as_ref().and_then(|lender| store::take_over(reference.id, length, lender));
            Ok(holder.ok_or(Malformed)?)
        };
        attached.push((reference, holder.map(Block::Held)));
        Ok(())
    }
}

impl Drop for Leases {
    /// The worker is dead and reaped: it reads no segment any more.
    fn drop(&mut self) {
        if let Some(lender) = self.lender.as_ref().filter(|_| self.is_open) {
            store::detach(lender);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::shm::{Made, Use, make};
    use crate::sys::{Mapping, Writable};

    fn attach(
        leases: &mut Leases,
        from_worker: bool,
        id: u64,
        length: u64,
        file: Option<OwnedFd>,
    ) -> Result<(), Malformed> {
        leases.attach(&mut Vec::new(), Reference { from_worker, id, length }, file)
    }

    #[test]
    fn only_sealed_memory_that_is_long_enough_is_taken_from_a_worker() {
        let mut leases = Leases::new(Arc::new(UnixStream::pair().unwrap().0)).unwrap().0;
        let sparse = |length| Some(Mapping::create_hollow(length).unwrap());
        let sealed = |length| Some(Mapping::create_sealed(length, |bytes| bytes.fill(1)).unwrap().1);
        assert_eq!(attach(&mut leases, true, 1, 100, sealed(100)), Ok(()));
        assert_eq!(attach(&mut leases, true, 1, 1 << 40, sparse(1 << 40)), Err(Malformed));
        assert_eq!(attach(&mut leases, true, 1, 101, sealed(100)), Err(Malformed));
        assert_eq!(attach(&mut leases, true, 1, u64::MAX, sealed(100)), Err(Malformed));
        assert_eq!(attach(&mut leases, true, 1, 0, sealed(100)), Err(Malformed));
        for writable in [Writable::Everywhere, Writable::HereOnly] {
            let file = Mapping::create(100, writable).unwrap().1;
            assert_eq!(attach(&mut leases, true, 1, 100, Some(file)), Err(Malformed));
        }
        let socket = OwnedFd::from(UnixStream::pair().unwrap().0);
        assert_eq!(attach(&mut leases, true, 1, 100, Some(socket)), Err(Malformed));
    }

    #[test]
    fn a_worker_cannot_return_what_it_was_not_leased() {
        let mut leases = Leases::new(Arc::new(UnixStream::pair().unwrap().0)).unwrap().0;
        let Made::Shared(block) = make(1 << 16, Use::Shared, |bytes| bytes.fill(1)) else {
            panic!("there is shared memory")
        };
        let Reference { id, length, .. } = block.reference();
        assert_eq!(attach(&mut leases, false, id, length, None), Err(Malformed));
        assert_eq!(attach(&mut leases, false, u64::MAX, 1, None), Err(Malformed));
    }

    #[test]
    fn what_is_attached_survives_its_bytes() {
        let reference = Reference { from_worker: true, id: 7, length: u64::MAX };
        assert_eq!(Reference::from_bytes(&reference.to_bytes()), Some(reference));
        assert_eq!(Reference::from_bytes(&[2; Reference::LENGTH]), None);
        assert_eq!(Reference::from_bytes(&[0; 3]), None);
        let share = Share { id: 1, slot: 2, length: 3 };
        for has_file in [false, true] {
            assert_eq!(Share::from_bytes(&share.to_bytes(has_file)), Ok((share, has_file)));
        }
    }
}
