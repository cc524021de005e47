//! The parent's segments of shared memory: one store for the whole program.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use super::{
    lease::{COUNTS, Lease, LenderState},
    life::{Fate, Readers, State},
    limits::{FEW_RESULTS, KEPT, MOST_FILES, MOST_FILES_OF_RESULTS, MOST_RESULTS, PREALLOCATED, PREALLOCATED_BYTES},
    segment::{Segment, Use},
};
use crate::{
    role::in_worker,
    sys::{self, Mapping, PerProcess, Writable},
    untrusted::Malformed,
    user_code::is_forbidden,
};

struct Record {
    segment: Arc<Segment>,
    /// Bytes in use.
    length: usize,
    /// Bytes that may have pages.
    capacity: usize,
    purpose: Use,
    state: State,
    /// How often this process had been copied when it was last begun.
    forks: u64,
    /// Workers that have it mapped.
    leases: Vec<Lease>,
}

impl Record {
    /// The first holder of a segment that has none, which writes to it.
    fn begin(&mut self, length: usize, purpose: Use, capacity: usize) -> Holder {
        // ORDERING: under the store's lock, under which alone it rises from zero.
        debug_assert!(self.state.may_be_written() && self.segment.holders.load(Ordering::Relaxed) == 0);
        self.length = length;
        self.capacity = capacity;
        self.purpose = purpose;
        self.state = State::Fresh;
        self.forks = sys::forks();
        self.leases.iter().for_each(Lease::renew);
        self.segment.holders.store(1, Ordering::Relaxed);
        Holder { segment: Arc::clone(&self.segment), length }
    }

    /// Which processes may read it now.
    fn readers(&self) -> Readers {
        // ORDERING: under the lock. The thread that has brought it to zero has read before (`Holder::drop`), and has the lock or
        // will have it; the thread that raises it from zero has the lock.
        let here = self.segment.holders.load(Ordering::Relaxed);
        Readers { here, there: !self.leases.iter().all(Lease::is_released) }
    }
}

#[derive(Default)]
struct Store {
    records: BTreeMap<u64, Record>,
    next_id: u64,
    /// The one used last comes last: its pages are warm.
    idle: Vec<u64>,
    idle_bytes: usize,
    /// The preallocated segments; the oldest, which most workers have, comes first.
    preallocated: VecDeque<u64>,
    /// Bytes of segments that are in use as arguments.
    argument_bytes: usize,
    /// Bytes of segments that workers have made.
    result_bytes: usize,
    /// Files that are open.
    files: usize,
    withdrawn: usize,
    /// Workers that have had a lease.
    lenders: Vec<Arc<LenderState>>,
}

/// Of each process its own: in a forked copy no segment is leased to any worker of its own, and it may write to none of them.
static STORE: PerProcess<Mutex<Store>> = PerProcess::new(Mutex::default);

fn with_store<R>(f: impl FnOnce(&mut Store) -> R) -> R {
    f(&mut STORE.get().lock().unwrap_or_else(PoisonError::into_inner))
}

/// Segments that are no longer needed, to be unmapped and closed after the lock is released.
#[must_use]
struct Freed(Vec<Record>);

/// A segment of at least `length` bytes that no other code knows of; `None` when the system has none.
pub(crate) fn make(length: usize, purpose: Use) -> Option<Fresh> {
    let capacity = length.checked_next_power_of_two()?.max(crate::shm::SHARED_FROM);
    // Where a worker could not have its counts, it could not have a lease.
    sys::may_have_file_of(COUNTS).ok()?;
    enum Found {
        Warm(Holder),
        Preallocated(Holder),
        Nothing,
    }
    let found = with_store(|store| {
        if purpose != Use::Private
            && let Some(holder) = store.reuse(length, capacity, purpose)
        {
            return Some(Found::Warm(holder));
        }
        // A sender of a vector pays for its copy anyway, and most vectors find a warm segment.
        if purpose == Use::Shared {
            let preallocated = store.take_preallocated(length, capacity);
            // Also where there was none: from now on preallocated segments are needed.
            store.ask_for_preallocated();
            if let Some(holder) = preallocated {
                return Some(Found::Preallocated(holder));
            }
        }
        let is_over = purpose == Use::Argument && store.argument_bytes + capacity > KEPT;
        if is_over || store.files >= MOST_FILES {
            return None;
        }
        // Counted from here on, so that many threads at once do not go beyond it.
        store.argument_bytes += if purpose == Use::Argument { capacity } else { 0 };
        Some(Found::Nothing)
    })?;
    // No other process may see it until it is written: see `State::Fresh`.
    let holder = match found {
        Found::Warm(holder) => holder,
        Found::Preallocated(holder) => {
            holder.segment.mapping.populate(length);
            holder
        }
        Found::Nothing => {
            let made = Mapping::create(capacity, Writable::HereOnly);
            let Ok((mapping, file)) = made else {
                with_store(|store| store.argument_bytes -= if purpose == Use::Argument { capacity } else { 0 });
                return None;
            };
            mapping.populate(length);
            let segment = |id| Segment::new(id, mapping, Some(file), false);
            with_store(|store| store.add(segment, length, purpose, capacity))
        }
    };
    Some(Fresh(holder))
}

/// The preallocated segments, for workers to be given before a request needs them; makes those that are missing, if some worker has
/// had a lease. Takes system calls, so no lock may be held.
pub(crate) fn preallocated() -> Vec<Arc<Segment>> {
    while with_store(|store| store.wants_preallocated()) && sys::may_have_long_files() {
        // Without preallocated segments the next value is only handed over later than it could be.
        let Ok((mapping, file)) = Mapping::create(PREALLOCATED_BYTES, Writable::HereOnly) else { break };
        mapping.leave_out_of_dumps();
        let unneeded = with_store(|store| {
            if !store.wants_preallocated() {
                // Another pool's supervisor was faster.
                return Some((mapping, file));
            }
            let id = store.insert(|id| Segment::new(id, mapping, Some(file), false)).segment.id;
            store.preallocated.push_back(id);
            None
        });
        drop(unneeded);
    }
    with_store(|store| {
        let segment = |id| store.records.get(id).map(|record| Arc::clone(&record.segment));
        store.preallocated.iter().filter_map(segment).collect()
    })
}

/// Memory that a worker made, if it is what it should be: long enough, there, and unchangeable. Or why it could not be
/// received, which is not the worker's fault.
pub(crate) fn receive(file: OwnedFd, length: usize) -> Result<Result<Holder, &'static str>, Malformed> {
    let mapping = match Mapping::open_sealed(file.as_fd(), length) {
        Ok(mapping) => mapping,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(Malformed),
        Err(_) => return Ok(Err("its shared memory could not be mapped: the system has no address space left")),
    };
    let mut file = Some(file);
    let holder = with_store(|store| {
        let total = store.result_bytes.saturating_add(length);
        if total > FEW_RESULTS && total as u64 > MOST_RESULTS.saturating_mul(sys::total_memory()) {
            return Err("its shared memory could not be mapped: there is more of it than memory in this machine");
        }
        let kept = file.take_if(|_| store.files < MOST_FILES_OF_RESULTS);
        let holder = store.add(|id| Segment::new(id, mapping, kept, true), length, Use::Shared, length);
        store.publish(&holder);
        store.result_bytes = total;
        Ok(holder)
    });
    // Those that are not kept are closed here, without the lock.
    drop(file);
    Ok(holder)
}

/// One more holder of a segment that a worker has made, if it still has a holder.
pub(crate) fn receive_again(id: u64, length: usize) -> Option<Holder> {
    with_store(|store| store.hold_again(id, length))
}

/// Whether there is such a segment.
pub(crate) fn has(id: u64) -> bool {
    with_store(|store| store.records.contains_key(&id))
}

/// A segment that the worker of this lender says it has: only if it was leased to it and never taken back, is not being written to,
/// and the worker counts a holder. Ends the holder that the worker has handed over.
pub(crate) fn take_over(id: u64, length: usize, lender: &Arc<LenderState>) -> Option<Holder> {
    with_store(|store| {
        let lease = store.records.get(&id)?.leases.iter().find(|lease| lease.is_of(lender))?.clone();
        if lease.is_released() {
            return None;
        }
        let holder = store.hold_again(id, length)?;
        lease.release_one();
        Some(holder)
    })
}

/// Notes that a worker is given this segment; `false` when the segment is gone, or is being written to, which it cannot be while
/// a request refers to it.
pub(crate) fn grant(segment: &Segment, lease: Lease) -> bool {
    with_store(|store| match store.records.get_mut(&segment.id) {
        Some(record) if record.state.may_be_leased() => {
            record.leases.push(lease);
            true
        }
        _ => false,
    })
}

/// A worker has got its first lease.
pub(crate) fn attach(lender: Arc<LenderState>) {
    with_store(|store| store.lenders.push(lender));
}

/// The worker of this lender is dead.
pub(crate) fn detach(lender: &Arc<LenderState>) {
    let freed = with_store(|store| {
        store.lenders.retain(|other| !Arc::ptr_eq(other, lender));
        for record in store.records.values_mut() {
            record.leases.retain(|lease| !lease.is_of(lender));
        }
        let mut freed = store.sweep();
        // Without workers they are not needed soon.
        if store.lenders.is_empty() {
            let preallocated = std::mem::take(&mut store.preallocated);
            for id in std::mem::take(&mut store.idle).into_iter().chain(preallocated) {
                freed.0.extend(store.remove(id));
            }
            store.idle_bytes = 0;
        }
        freed
    });
    drop(freed);
}

/// The step of a thread that was the last holder, and comes late to the lock.
#[cfg(all(test, not(loom)))]
pub(crate) fn come_late(id: u64) {
    let freed = with_store(|store| store.withdraw(id));
    drop(freed);
}

/// Whether it has no holder, or is gone.
#[cfg(all(test, not(loom)))]
pub(crate) fn is_free(id: u64) -> bool {
    with_store(|store| store.records.get(&id).is_none_or(|record| record.state.may_be_written()))
}

/// Looks whether workers have dropped their last holders of segments that are withdrawn, and frees these: to unmap much memory takes
/// long, so no lock may be held.
pub(crate) fn sweep() {
    debug_assert!(!is_forbidden(), "memory is not unmapped under a pool's lock");
    let freed = with_store(|store| if store.withdrawn > 0 { store.sweep() } else { Freed(Vec::new()) });
    drop(freed);
}

impl Store {
    fn add(&mut self, segment: impl FnOnce(u64) -> Segment, length: usize, purpose: Use, capacity: usize) -> Holder {
        let record = self.insert(segment);
        record.begin(length, purpose, capacity)
    }

    /// One more holder of a segment that has one, here or in a worker.
    fn hold_again(&mut self, id: u64, length: usize) -> Option<Holder> {
        let record = self.records.get_mut(&id)?;
        if record.length != length || !record.state.may_be_returned() {
            return None;
        }
        // It was counted as an argument as long as a task had it, and is none any more.
        if record.state == State::Held && record.purpose == Use::Argument {
            self.argument_bytes -= record.capacity;
        }
        if record.purpose == Use::Argument {
            record.purpose = Use::Shared;
        }
        if record.state == State::Withdrawn {
            self.withdrawn -= 1;
            record.state = State::Held;
            record.leases.iter().for_each(Lease::renew);
        }
        // ORDERING: under the lock that each thread takes that finds that it was the last holder.
        record.segment.holders.fetch_add(1, Ordering::Relaxed);
        Some(Holder { segment: Arc::clone(&record.segment), length })
    }

    /// Takes it out, to be unmapped and closed without the lock.
    fn remove(&mut self, id: u64) -> Option<Record> {
        let record = self.records.remove(&id)?;
        self.files -= usize::from(record.segment.file.is_some());
        if record.segment.is_sealed {
            self.result_bytes -= record.length;
        }
        Some(record)
    }

    /// From now on no code writes to it.
    fn publish(&mut self, holder: &Holder) {
        if let Some(record) = self.records.get_mut(&holder.segment.id) {
            debug_assert!(record.state == State::Fresh, "it was being written to");
            record.state = State::Held;
        }
    }

    /// A preallocated segment, which has had no holder yet.
    fn insert(&mut self, segment: impl FnOnce(u64) -> Segment) -> &mut Record {
        self.next_id += 1;
        let segment = Arc::new(segment(self.next_id));
        self.files += usize::from(segment.file.is_some());
        let (purpose, state) = (Use::Shared, State::Preallocated);
        let record = Record { segment, length: 0, capacity: 0, purpose, state, forks: 0, leases: Vec::new() };
        self.records.entry(self.next_id).insert_entry(record).into_mut()
    }

    fn wants_preallocated(&self) -> bool {
        !self.lenders.is_empty() && self.preallocated.len() < PREALLOCATED && self.files < MOST_FILES
    }

    /// Has the supervisors make preallocated segments, and give them to their workers.
    fn ask_for_preallocated(&self) {
        let mut asked: Vec<&LenderState> = Vec::new();
        for lender in &self.lenders {
            if !asked.iter().any(|other| other.is_of_same_pool(lender)) {
                lender.ring();
                asked.push(lender);
            }
        }
    }

    fn take_preallocated(&mut self, length: usize, capacity: usize) -> Option<Holder> {
        if length > PREALLOCATED_BYTES {
            return None;
        }
        let id = self.preallocated.pop_front()?;
        Some(self.records.get_mut(&id)?.begin(length, Use::Shared, capacity))
    }

    /// Takes an idle segment that is not too long for the purpose.
    fn reuse(&mut self, length: usize, capacity: usize, purpose: Use) -> Option<Holder> {
        let fits = |id: &&u64| self.records.get(id).is_some_and(|record| record.capacity == capacity);
        let id = *self.idle.iter().rev().find(fits)?;
        self.idle.retain(|other| *other != id);
        self.idle_bytes -= capacity;
        self.argument_bytes += if purpose == Use::Argument { capacity } else { 0 };
        Some(self.records.get_mut(&id)?.begin(length, purpose, capacity))
    }

    /// The last holder here may be gone.
    fn withdraw(&mut self, id: u64) -> Freed {
        let Some(record) = self.records.get_mut(&id) else { return Freed(Vec::new()) };
        // The thread that was the last holder may come late: another one may hold it again, or may have been here before.
        let is_held = matches!(record.state, State::Fresh | State::Held);
        if !is_held || record.state.fate(record.readers()) == Fate::Stays {
            return Freed(Vec::new());
        }
        if record.purpose == Use::Argument {
            self.argument_bytes -= record.capacity;
        }
        // All of them, so that each worker that still holds it will say when it does not.
        record.leases.iter().for_each(Lease::withdraw);
        match record.state.fate(record.readers()) {
            Fate::Stays => Freed(Vec::new()),
            Fate::Waits => {
                record.state = State::Withdrawn;
                self.withdrawn += 1;
                Freed(Vec::new())
            }
            Fate::Free => self.settle(id),
        }
    }

    /// It has no holder any more: keeps it for the next use, or frees it.
    fn settle(&mut self, id: u64) -> Freed {
        let Some(record) = self.records.get_mut(&id) else { return Freed(Vec::new()) };
        let capacity = record.capacity;
        // A copy of this process that was made meanwhile may read it for as long as it lives.
        let is_ours = record.forks == sys::forks();
        let may_be_kept = is_ours && !record.segment.is_sealed && record.purpose != Use::Private;
        if may_be_kept && !self.lenders.is_empty() && self.idle_bytes + capacity <= KEPT {
            record.state = State::Idle;
            self.idle.push(id);
            self.idle_bytes += capacity;
            return Freed(Vec::new());
        }
        let record = self.remove(id);
        for lease in record.iter().flat_map(|record| &record.leases) {
            lease.forget(id);
        }
        Freed(record.into_iter().collect())
    }

    fn sweep(&mut self) -> Freed {
        let released =
            |record: &Record| record.state == State::Withdrawn && record.state.fate(record.readers()) == Fate::Free;
        let ids: Vec<u64> = self.records.iter().filter(|(_, record)| released(record)).map(|(id, _)| *id).collect();
        let mut freed = Freed(Vec::new());
        for id in ids {
            self.withdrawn -= 1;
            freed.0.append(&mut self.settle(id).0);
        }
        freed
    }
}

/// A holder of a segment in this process, which reads it.
#[derive(Debug)]
pub(crate) struct Holder {
    segment: Arc<Segment>,
    length: usize,
}

impl Holder {
    pub(crate) fn id(&self) -> u64 {
        self.segment.id
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: it is written to only by the one holder that a fresh segment has; workers cannot write to what this process
        // made, and what a worker made is sealed.
        unsafe { self.segment.mapping.bytes(0, self.length) }
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Whether a worker can be given it. Not what a worker has made for itself, when it did not know yet that it is one: its number
    /// would be taken for that of a segment which the program has leased to it.
    pub(super) fn can_be_leased(&self) -> bool {
        self.segment.file.is_some() && !self.segment.is_elsewhere() && !in_worker()
    }
}

impl Clone for Holder {
    fn clone(&self) -> Self {
        // ORDERING: there is one already, so it is not gone.
        self.segment.holders.fetch_add(1, Ordering::Relaxed);
        Self { segment: Arc::clone(&self.segment), length: self.length }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // ORDERING: Release: this holder has read what it read before; Acquire: so has every other one.
        if self.segment.holders.fetch_sub(1, Ordering::AcqRel) == 1 && !self.segment.is_elsewhere() {
            let freed = with_store(|store| store.withdraw(self.segment.id));
            drop(freed);
        }
    }
}

/// A segment with one holder, which may still write to it.
#[derive(Debug)]
pub(crate) struct Fresh(Holder);

impl Fresh {
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: this is the only holder: the segment is `State::Fresh`, so no worker was told of this use of it, and none can
        // return it. Those that had it before hold nothing of it any more. The parent can write to what it made.
        unsafe { self.0.segment.mapping.bytes_mut(0, self.0.length) }
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn id(&self) -> u64 {
        self.0.id()
    }

    /// It is written. From here on other processes may be told of it.
    pub(crate) fn into_holder(self) -> Holder {
        with_store(|store| store.publish(&self.0));
        self.0
    }
}
