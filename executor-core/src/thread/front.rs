//! The front of the line: the tasks that start next, in their order, and a word that says which of them are taken.
//!
//! All workers take from here, so each take moves one cache line from the core that took before; it is the only line that is
//! written.
//!
//! | word | which thread changes it |
//! |---|---|
//! | next < length: the places from next on are full | any thread: a compare-and-swap that adds one to next takes what is there |
//! | next = length: nothing is here | the thread that may [fill](Front::fill), once the places are written; with a new generation |
//!
//! A place is read before the swap that takes it. A thread that fills has seen that all places are taken, so a thread that reads a
//! place while it is being written has read a word that has changed since, and its swap fails.

use std::{
    marker::PhantomData,
    ptr::{self, NonNull},
};

use crate::{
    future::TaskRef,
    sync::{AtomicPtr, AtomicU64, Ordering},
};

/// The number of tasks that move to the front of the line at once.
pub(super) const BATCH: usize = 32;

const NEXT: u64 = 1;
const LENGTH: u64 = 1 << 8;
const GENERATION: u64 = 1 << 16;

/// A value that is owned through one pointer.
pub(super) trait Pointer: Send {
    fn into_raw(self) -> NonNull<()>;

    /// # Safety
    ///
    /// `raw` came from [`into_raw`](Self::into_raw), and each such pointer is passed here once.
    unsafe fn from_raw(raw: NonNull<()>) -> Self;
}

impl Pointer for TaskRef {
    #[inline]
    fn into_raw(self) -> NonNull<()> {
        Self::into_raw(self)
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<()>) -> Self {
        // SAFETY: the caller passes a pointer from `into_raw`, once.
        unsafe { Self::from_raw(raw) }
    }
}

/// On cache lines of its own, since the word changes with each take.
#[repr(align(128))]
pub(super) struct Front<T: Pointer> {
    word: AtomicU64,
    places: [AtomicPtr<()>; BATCH],
    owns: PhantomData<T>,
}

// SAFETY: the content is handed from thread to thread, and the thread that takes it is the only one that has it.
unsafe impl<T: Pointer> Sync for Front<T> {}

/// How many tasks are left, and which one is first.
fn left(word: u64) -> (usize, usize) {
    let (next, length) = (word / NEXT % 256, word / LENGTH % 256);
    ((length - next) as usize, next as usize)
}

impl<T: Pointer> Front<T> {
    pub(super) fn new() -> Self {
        const { assert!(BATCH < 256, "the word has eight bits for a number of tasks") };
        let places = std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()));
        Self { word: AtomicU64::new(0), places, owns: PhantomData }
    }

    /// How many tasks are here.
    #[inline]
    pub(super) fn len(&self) -> usize {
        // ORDERING: Acquire: a thread that sees that all are taken may fill. A thread that looks for work has a fence before.
        left(self.word.load(Ordering::Acquire)).0
    }

    /// Takes the first task.
    #[inline]
    pub(super) fn pop(&self) -> Option<T> {
        // ORDERING: Acquire pairs with the Release of `fill`: the places were written before.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let (count, next) = left(word);
            if count == 0 {
                return None;
            }
            // ORDERING: Relaxed, because the swap shows whether this was the right one.
            let first = self.places[next].load(Ordering::Relaxed);
            // ORDERING: Release: a thread that fills these places comes after this read. Acquire pairs with the Release of `fill`,
            // if another thread has filled them meanwhile.
            match self.word.compare_exchange_weak(word, word + NEXT, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    let first = NonNull::new(first)?;
                    // SAFETY: the swap has given this place, and what was put there, to this thread alone.
                    return Some(unsafe { T::from_raw(first) });
                }
                Err(changed) => word = changed,
            }
        }
    }

    /// Puts up to [`BATCH`] tasks here. For the one thread that may fill, and that has seen that no task is here.
    pub(super) fn fill(&self, tasks: impl IntoIterator<Item = T>) {
        // ORDERING: Acquire pairs with the Release of `pop`: the pointers that stood there were read.
        let word = self.word.load(Ordering::Acquire);
        debug_assert_eq!(left(word).0, 0, "a thread that fills has seen that no task is here");
        let mut length = 0;
        for (place, task) in self.places.iter().zip(tasks) {
            // ORDERING: the Release store of the word below publishes it.
            place.store(task.into_raw().as_ptr(), Ordering::Relaxed);
            length += LENGTH;
        }
        let generation = (word / GENERATION).wrapping_add(1) % (u64::MAX / GENERATION);
        // ORDERING: Release pairs with the Acquire loads of `pop` and `len`: the places were written before.
        self.word.store(generation * GENERATION + length, Ordering::Release);
    }
}

impl<T: Pointer> Drop for Front<T> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

#[cfg(all(test, loom))]
#[expect(clippy::unwrap_used, reason = "a test")]
mod loom_models {
    use loom::{
        sync::{Arc, Mutex},
        thread,
    };

    use super::*;

    /// A pointer that owns nothing: the model counts what is taken.
    struct Number(usize);

    impl Pointer for Number {
        fn into_raw(self) -> NonNull<()> {
            NonNull::without_provenance(std::num::NonZero::new(self.0).unwrap())
        }

        unsafe fn from_raw(raw: NonNull<()>) -> Self {
            Self(raw.addr().get())
        }
    }

    /// Takes one number, as a worker does; a thread that finds none fills the front with the next two, if there are more.
    fn take(front: &Front<Number>, fill: &Mutex<usize>) -> Option<usize> {
        if let Some(first) = front.pop() {
            return Some(first.0);
        }
        let mut next = fill.lock().unwrap();
        if let Some(first) = front.pop() {
            return Some(first.0);
        }
        if *next > 4 {
            return None;
        }
        front.fill([Number(*next), Number(*next + 1)]);
        *next += 2;
        front.pop().map(|first| first.0)
    }

    /// Three fills of the same places, or fewer: each number is taken once, and by one thread in rising order.
    #[test]
    fn each_is_taken_once_and_in_order() {
        loom::model(|| {
            let shared = Arc::new((Front::new(), Mutex::new(1)));
            let take_two = |shared: Arc<(Front<Number>, Mutex<usize>)>| [0; 2].map(|_| take(&shared.0, &shared.1));
            let other = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || take_two(shared))
            };
            let mine = take_two(Arc::clone(&shared));
            let other = other.join().unwrap();
            let mut all = Vec::new();
            for taken in [mine, other] {
                let taken: Vec<usize> = taken.into_iter().flatten().collect();
                assert!(taken.is_sorted(), "{taken:?}");
                all.extend(taken);
            }
            all.sort_unstable();
            // No thread finds the front empty while there are numbers: with two threads that take, it is filled again at once.
            assert_eq!(all, (1..=all.len()).collect::<Vec<_>>());
            assert!(all.len() >= 3, "{all:?}");
        });
    }
}
