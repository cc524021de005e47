//! The parent's pieces of shared memory: one store for the whole program.

use std::{
    collections::{HashMap, VecDeque},
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::loans::{Book, Loan};
use crate::sys::{self, Mapping, Writable};

/// Bytes that are kept for the next use, and bytes that arguments may take which were not made in shared memory.
const KEPT: usize = 32 << 20;

/// Files at most: the usual limit for a process is 1024, and the program needs some itself.
const MOST_FILES: usize = 256;

/// Blanks that there are while workers are lent something.
pub(super) const BLANKS: usize = 4;
/// Bytes of a blank, all of them holes. A value that is longer gets a piece of its own.
const BLANK: usize = 256 << 20;

/// What a piece is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// For as long as somebody holds it.
    Shared,
    /// For one task, which could have its argument in another way.
    Argument,
}

/// A piece of shared memory.
#[derive(Debug)]
pub(in crate::process) struct Segment {
    id: u64,
    mapping: Mapping,
    file: OwnedFd,
    /// Made by a worker: it never changes, and cannot be used again.
    is_sealed: bool,
    /// Holders in this process. It falls without the store's lock and rises from zero only under it.
    holders: AtomicUsize,
}

impl Segment {
    fn new(id: u64, mapping: Mapping, file: OwnedFd, is_sealed: bool) -> Self {
        Self { id, mapping, file, is_sealed, holders: AtomicUsize::new(0) }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Bytes of all of it.
    pub(super) fn length(&self) -> usize {
        self.mapping.length()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Held,
    /// Nobody here holds it, but some worker does.
    Withdrawn,
    /// Nobody holds it; it can be written to.
    Idle,
    /// Nobody has held it yet, and it has no pages.
    Blank,
}

struct Record {
    segment: Arc<Segment>,
    /// Bytes in use.
    length: usize,
    /// Bytes that may have pages.
    capacity: usize,
    purpose: Use,
    state: State,
    /// Workers that have it mapped.
    loans: Vec<Loan>,
}

impl Record {
    /// The first holder of a piece that has none.
    fn hold(&mut self, length: usize, purpose: Use, capacity: usize) -> Holder {
        self.length = length;
        self.capacity = capacity;
        self.purpose = purpose;
        self.state = State::Held;
        self.loans.iter().for_each(Loan::renew);
        // ORDERING: under the lock.
        self.segment.holders.store(1, Ordering::Relaxed);
        Holder { segment: Arc::clone(&self.segment), length }
    }
}

#[derive(Default)]
struct Store {
    records: HashMap<u64, Record>,
    next_id: u64,
    /// The one used last comes last: its pages are warm.
    idle: Vec<u64>,
    idle_bytes: usize,
    /// The oldest, which most workers have, comes first.
    blanks: VecDeque<u64>,
    /// Bytes of pieces that are in use as arguments.
    argument_bytes: usize,
    withdrawn: usize,
    /// Workers that were lent something.
    books: Vec<Arc<Book>>,
}

static STORE: Mutex<Option<Store>> = Mutex::new(None);

fn with_store<R>(f: impl FnOnce(&mut Store) -> R) -> R {
    f(STORE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// What is no longer needed, to be unmapped and closed after the lock is released.
#[must_use]
struct Freed(Vec<Record>);

/// A piece of at least `length` bytes that nobody else knows of; `None` when there is none to be had.
pub(super) fn make(length: usize, purpose: Use) -> Option<Fresh> {
    let capacity = length.checked_next_power_of_two()?.max(super::SHARED_FROM);
    enum Found {
        Warm(Holder),
        Blank(Holder),
        Nothing,
    }
    let found = with_store(|store| {
        if let Some(holder) = store.reuse(length, capacity, purpose) {
            return Some(Found::Warm(holder));
        }
        // Whoever sends a vector pays for its copy anyway, and most vectors find a warm piece.
        if purpose == Use::Shared {
            let blank = store.take_blank(length, capacity);
            // Also where there was none: from now on somebody needs them.
            store.ask_for_blanks();
            if let Some(holder) = blank {
                return Some(Found::Blank(holder));
            }
        }
        let is_over = purpose == Use::Argument && store.argument_bytes + capacity > KEPT;
        if is_over || store.records.len() >= MOST_FILES {
            return None;
        }
        // Counted from here on, so that many threads at once do not go beyond it.
        store.argument_bytes += if purpose == Use::Argument { capacity } else { 0 };
        Some(Found::Nothing)
    })?;
    let holder = match found {
        Found::Warm(holder) => holder,
        Found::Blank(holder) => {
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
            let segment = |id| Segment::new(id, mapping, file, false);
            with_store(|store| store.add(segment, length, purpose, capacity))
        }
    };
    Some(Fresh(holder))
}

/// The blanks, for workers to be given before anybody needs them; makes those that are missing, if some worker was lent
/// something. Takes system calls, so no lock may be held.
pub(in crate::process) fn blanks() -> Vec<Arc<Segment>> {
    while with_store(|store| store.wants_blank()) && sys::may_have_long_files() {
        // Without blanks the next value is only handed over later than it could be.
        let Ok((mapping, file)) = Mapping::create(BLANK, Writable::HereOnly) else { break };
        mapping.leave_out_of_dumps();
        let unneeded = with_store(|store| {
            if !store.wants_blank() {
                // Another pool's supervisor was faster.
                return Some((mapping, file));
            }
            let id = store.insert(|id| Segment::new(id, mapping, file, false)).segment.id;
            store.blanks.push_back(id);
            None
        });
        drop(unneeded);
    }
    with_store(|store| {
        let segment = |id| store.records.get(id).map(|record| Arc::clone(&record.segment));
        store.blanks.iter().filter_map(segment).collect()
    })
}

/// Memory that a worker made, if it is what it should be: long enough, and unchangeable.
pub(super) fn receive(file: OwnedFd, length: usize) -> Option<Holder> {
    let mapping = Mapping::open_sealed(file.as_fd(), length).ok()?;
    let segment = |id| Segment::new(id, mapping, file, true);
    Some(with_store(|store| store.add(segment, length, Use::Shared, length)))
}

/// A piece that the worker of this book says it has: only if it was lent to it and never taken back. Ends the hold that the
/// worker has handed over.
pub(super) fn take_over(id: u64, length: usize, book: &Arc<Book>) -> Option<Holder> {
    with_store(|store| {
        let record = store.records.get_mut(&id)?;
        let loan = record.loans.iter().find(|loan| loan.is_of(book))?;
        if record.length != length || !matches!(record.state, State::Held | State::Withdrawn) {
            return None;
        }
        if record.state == State::Withdrawn {
            store.withdrawn -= 1;
            record.state = State::Held;
            record.loans.iter().for_each(Loan::renew);
        }
        // ORDERING: under the lock that everybody takes who finds that he was the last one.
        record.segment.holders.fetch_add(1, Ordering::Relaxed);
        loan.release_one();
        Some(Holder { segment: Arc::clone(&record.segment), length })
    })
}

/// Notes that a worker is given this piece; `false` when the piece is gone, which it cannot be while somebody holds it.
pub(super) fn lend(segment: &Segment, loan: Loan) -> bool {
    with_store(|store| match store.records.get_mut(&segment.id) {
        Some(record) => {
            record.loans.push(loan);
            true
        }
        None => false,
    })
}

/// A worker was lent something for the first time.
pub(super) fn open_book(book: Arc<Book>) {
    with_store(|store| store.books.push(book));
}

/// The worker of this book is dead.
pub(super) fn close_book(book: &Arc<Book>) {
    let freed = with_store(|store| {
        store.books.retain(|other| !Arc::ptr_eq(other, book));
        for record in store.records.values_mut() {
            record.loans.retain(|loan| !loan.is_of(book));
        }
        let mut freed = store.sweep();
        // Without workers nobody needs them soon.
        if store.books.is_empty() {
            let blanks = std::mem::take(&mut store.blanks);
            for id in std::mem::take(&mut store.idle).into_iter().chain(blanks) {
                freed.0.extend(store.records.remove(&id));
            }
            store.idle_bytes = 0;
        }
        freed
    });
    drop(freed);
}

/// Looks whether workers have let go of what they were to let go of.
pub(in crate::process) fn sweep() {
    let freed = with_store(|store| if store.withdrawn > 0 { store.sweep() } else { Freed(Vec::new()) });
    drop(freed);
}

impl Store {
    fn add(&mut self, segment: impl FnOnce(u64) -> Segment, length: usize, purpose: Use, capacity: usize) -> Holder {
        let record = self.insert(segment);
        record.hold(length, purpose, capacity)
    }

    /// A piece that nobody has held yet.
    fn insert(&mut self, segment: impl FnOnce(u64) -> Segment) -> &mut Record {
        self.next_id += 1;
        let segment = Arc::new(segment(self.next_id));
        let (purpose, state) = (Use::Shared, State::Blank);
        let record = Record { segment, length: 0, capacity: 0, purpose, state, loans: Vec::new() };
        self.records.entry(self.next_id).insert_entry(record).into_mut()
    }

    fn wants_blank(&self) -> bool {
        !self.books.is_empty() && self.blanks.len() < BLANKS && self.records.len() < MOST_FILES
    }

    /// Has the supervisors make blanks, and give them to their workers.
    fn ask_for_blanks(&self) {
        let mut asked: Vec<&Book> = Vec::new();
        for book in &self.books {
            if !asked.iter().any(|other| other.is_of_same_pool(book)) {
                book.ring();
                asked.push(book);
            }
        }
    }

    fn take_blank(&mut self, length: usize, capacity: usize) -> Option<Holder> {
        if length > BLANK {
            return None;
        }
        let id = self.blanks.pop_front()?;
        Some(self.records.get_mut(&id)?.hold(length, Use::Shared, capacity))
    }

    /// Takes an idle piece that is not too long for the purpose.
    fn reuse(&mut self, length: usize, capacity: usize, purpose: Use) -> Option<Holder> {
        let fits = |id: &&u64| self.records.get(id).is_some_and(|record| record.capacity == capacity);
        let id = *self.idle.iter().rev().find(fits)?;
        self.idle.retain(|other| *other != id);
        self.idle_bytes -= capacity;
        self.argument_bytes += if purpose == Use::Argument { capacity } else { 0 };
        Some(self.records.get_mut(&id)?.hold(length, purpose, capacity))
    }

    /// The last holder here may be gone.
    fn withdraw(&mut self, id: u64) -> Freed {
        let Some(record) = self.records.get_mut(&id) else { return Freed(Vec::new()) };
        // ORDERING: under the lock; the Acquire of who was the last one came before.
        if record.state != State::Held || record.segment.holders.load(Ordering::Relaxed) > 0 {
            return Freed(Vec::new());
        }
        if record.purpose == Use::Argument {
            self.argument_bytes -= record.capacity;
        }
        // All of them, so that each worker that still holds it will say when it does not.
        let held = record.loans.iter().filter(|loan| !loan.withdraw()).count() > 0;
        if held {
            record.state = State::Withdrawn;
            self.withdrawn += 1;
            return Freed(Vec::new());
        }
        self.settle(id)
    }

    /// Nobody holds it any more: keeps it for the next use, or lets it go.
    fn settle(&mut self, id: u64) -> Freed {
        let Some(record) = self.records.get_mut(&id) else { return Freed(Vec::new()) };
        let capacity = record.capacity;
        if !record.segment.is_sealed && !self.books.is_empty() && self.idle_bytes + capacity <= KEPT {
            record.state = State::Idle;
            self.idle.push(id);
            self.idle_bytes += capacity;
            return Freed(Vec::new());
        }
        let record = self.records.remove(&id);
        for loan in record.iter().flat_map(|record| &record.loans) {
            loan.forget(id);
        }
        Freed(record.into_iter().collect())
    }

    fn sweep(&mut self) -> Freed {
        let released = |record: &Record| record.state == State::Withdrawn && record.loans.iter().all(Loan::is_released);
        let ids: Vec<u64> = self.records.iter().filter(|(_, record)| released(record)).map(|(id, _)| *id).collect();
        let mut freed = Freed(Vec::new());
        for id in ids {
            self.withdrawn -= 1;
            freed.0.append(&mut self.settle(id).0);
        }
        freed
    }
}

/// Somebody in this process who reads a piece.
#[derive(Debug)]
pub(crate) struct Holder {
    segment: Arc<Segment>,
    length: usize,
}

impl Holder {
    pub(super) fn id(&self) -> u64 {
        self.segment.id
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: it is written to only by the one holder that a fresh piece has; workers cannot write to what this process
        // made, and what a worker made is sealed.
        unsafe { self.segment.mapping.bytes(0, self.length) }
    }

    pub(super) fn segment(&self) -> &Segment {
        &self.segment
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
        if self.segment.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            let freed = with_store(|store| store.withdraw(self.segment.id));
            drop(freed);
        }
    }
}

/// A piece with one holder, who may still write to it.
#[derive(Debug)]
pub(super) struct Fresh(Holder);

impl Fresh {
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: this is the only holder, no worker was told of this use of the piece, and those that had it before hold
        // nothing of it any more. The parent can write to what it made.
        unsafe { self.0.segment.mapping.bytes_mut(0, self.0.length) }
    }

    pub(super) fn into_holder(self) -> Holder {
        self.0
    }
}
