//! One word of a task: where its pool has it, and once it has ended, what was kept of its result. A pool may have millions of
//! tasks, and needs never both.
//!
//! | the word | means | which code writes it |
//! |---|---|---|
//! | 0 | it is in no place yet, or it has ended | the code that ends it, under the pool's lock |
//! | even | flags and a [`Location`] | under the pool's lock, until it has ended |
//! | odd | the address of a `K`, one more | once, with a compare-and-swap from 0, by the thread that has seen the end |

use std::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

/// Where the pool has a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Location {
    /// It is done.
    Nowhere,
    /// In the queue, at this place.
    Queue(u32),
    /// With this worker, as the request whose number ends with these bits.
    Worker(u32, u32),
}

impl Location {
    /// Workers' numbers are below this: the bits above are those that follow here.
    pub(crate) const WORKERS: u32 = (1 << 28) - 1;
}

/// The bit that says that the rest is the address of what is kept.
const KEPT: u64 = 1;
/// The lowest bit of a request's number or a place in the queue; those of a worker's number are above.
const NUMBER: u32 = 1;
const WORKER: u32 = NUMBER + 32;
/// The bit that says that an observer was told of its start.
const STARTED: u64 = 1 << 61;
/// The bit that says that the task has been running and is to go on, or to be run again: then it can neither be cancelled nor
/// expire.
const BEGUN: u64 = 1 << 62;
/// The bit that says that a thread may sleep until the task is done.
const WANTED: u64 = 1 << 63;
const FLAGS: u64 = WANTED | BEGUN | STARTED;

/// The word, with what may be kept of a task that has ended.
pub(crate) struct LocationWord<K>(AtomicU64, PhantomData<Box<K>>);

impl<K> LocationWord<K> {
    pub(crate) const fn new() -> Self {
        // An address of one is even, so that there is a bit to tell it by.
        const { assert!(align_of::<K>() > 1) };
        Self(AtomicU64::new(0), PhantomData)
    }

    /// The word of a task that may not have ended; 0 of one that has.
    ///
    /// ORDERING, of this and all that uses it: under the pool's lock.
    fn bits(&self) -> u64 {
        match self.0.load(Ordering::Relaxed) {
            kept if kept & KEPT != 0 => 0,
            bits => bits,
        }
    }

    fn add(&self, flag: u64) {
        let bits = self.0.load(Ordering::Relaxed);
        debug_assert!(bits & KEPT == 0, "the task has not ended");
        self.0.store(bits | flag, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Location {
        let bits = self.bits() & !FLAGS;
        let number = (bits >> NUMBER) as u32;
        match (bits >> WORKER) as u32 {
            0 if number == 0 => Location::Nowhere,
            0 => Location::Queue(number - 1),
            worker => Location::Worker(worker - 1, number),
        }
    }

    pub(crate) fn set(&self, location: Location) {
        let bits = match location {
            Location::Nowhere => 0,
            Location::Queue(place) => u64::from(place + 1) << NUMBER,
            Location::Worker(worker, number) => u64::from(worker + 1) << WORKER | u64::from(number) << NUMBER,
        };
        debug_assert!(bits & FLAGS == 0, "there are fewer workers");
        self.0.store(bits | self.bits() & FLAGS, Ordering::Relaxed);
    }

    /// The task is about to end: from now on only [`keep`](Self::keep) writes.
    pub(crate) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Notes that a thread may sleep until the task is done; `false` when it was known, or the task is done.
    pub(crate) fn want(&self) -> bool {
        let bits = self.bits();
        let is_new = bits != 0 && bits & WANTED == 0;
        if is_new {
            self.add(WANTED);
        }
        is_new
    }

    /// The same of a new task, which is nowhere yet.
    pub(crate) fn begin_wanted(&self) {
        self.add(WANTED);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.bits() & WANTED != 0
    }

    pub(crate) fn set_begun(&self) {
        self.add(BEGUN);
    }

    pub(crate) fn is_begun(&self) -> bool {
        self.bits() & BEGUN != 0
    }

    /// Notes that the task was started; `false` when it was known.
    pub(crate) fn note_started(&self) -> bool {
        let is_new = self.bits() & STARTED == 0;
        self.add(STARTED);
        is_new
    }

    /// The value that was kept of a task that has ended.
    pub(crate) fn kept(&self) -> Option<&K> {
        // ORDERING: pairs with the Release of the thread that kept it.
        let word = self.0.load(Ordering::Acquire);
        // SAFETY: it came from a box, which is dropped only with this word, and never changed.
        (word & KEPT != 0).then(|| unsafe { &*kept_at::<K>(word) })
    }

    /// Keeps something of a task that has ended, unless another thread was faster: then it comes back.
    pub(crate) fn keep(&self, kept: Box<K>) -> Option<Box<K>> {
        let kept = ManuallyDrop::new(kept);
        let word = ptr::from_ref::<K>(&kept).expose_provenance() as u64 | KEPT;
        // ORDERING: Release for the thread that reads what is kept. The end was seen, which the 0 came before.
        match self.0.compare_exchange(0, word, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => None,
            Err(_) => Some(ManuallyDrop::into_inner(kept)),
        }
    }
}

/// Of an odd word.
fn kept_at<K>(word: u64) -> *mut K {
    // It was an address of this machine, and fits.
    ptr::with_exposed_provenance_mut((word & !KEPT) as usize)
}

impl<K> Drop for LocationWord<K> {
    fn drop(&mut self) {
        let word = *self.0.get_mut();
        if word & KEPT != 0 {
            // SAFETY: it came from a box, and this word was the only one to have it.
            drop(unsafe { Box::from_raw(kept_at::<K>(word)) });
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_location_comes_back_with_its_flags_and_what_is_kept_of_the_end_is_none() {
        let word = LocationWord::<u64>::new();
        assert_eq!(word.get(), Location::Nowhere);
        assert!(!word.want(), "a task that is nowhere is done");
        let last = Location::Worker(Location::WORKERS - 1, u32::MAX);
        let places = [Location::Queue(0), Location::Queue(u32::MAX - 1), Location::Worker(0, 0), last];
        for location in places {
            word.set(location);
            assert_eq!(word.get(), location);
            assert!(!word.is_wanted() && !word.is_begun());
        }
        assert!(word.want() && !word.want() && word.note_started() && !word.note_started());
        word.set_begun();
        for location in places {
            word.set(location);
            assert_eq!((word.get(), word.is_wanted(), word.is_begun()), (location, true, true));
        }
        assert!(word.keep(Box::new(1)).is_some(), "it has not ended");
        word.end();
        assert!(word.kept().is_none() && word.keep(Box::new(2)).is_none());
        assert_eq!((word.keep(Box::new(3)), word.kept()), (Some(Box::new(3)), Some(&2)));
        assert_eq!(
            (word.get(), word.is_wanted(), word.is_begun(), word.want()),
            (Location::Nowhere, false, false, false)
        );
    }

    #[test]
    fn what_is_kept_goes_with_the_word() {
        let kept = std::sync::Arc::new(());
        let word = LocationWord::new();
        assert!(word.keep(Box::new(std::sync::Arc::clone(&kept))).is_none());
        drop(word);
        assert_eq!(std::sync::Arc::strong_count(&kept), 1);
    }
}
