//! One word for each lease of a worker: how many holders the worker has, and two bits. Here are the steps on it in which parent and
//! worker could miss one another's changes; the models at the end run these very functions.

use std::sync::atomic::Ordering;

/// The bit that says that the parent waits for the count to become zero.
pub(super) const WITHDRAWN: u64 = 1 << 63;

/// The bit with which a worker says that it could not take the segment that was leased to it: it had no descriptor or no address
/// space left. It has no holder then, and what it is sent next has to bring the segment again.
pub(crate) const LOST: u64 = 1 << 62;

/// The word with the count and the bits.
pub(super) trait Count {
    fn load(&self, ordering: Ordering) -> u64;
    fn add(&self, value: u64, ordering: Ordering);
    /// These give what was there before.
    fn subtract(&self, value: u64, ordering: Ordering) -> u64;
    fn set(&self, bits: u64, ordering: Ordering) -> u64;
}

macro_rules! count {
    ($type:ty) => {
        impl Count for $type {
            fn load(&self, ordering: Ordering) -> u64 {
                <$type>::load(self, ordering)
            }

            fn add(&self, value: u64, ordering: Ordering) {
                self.fetch_add(value, ordering);
            }

            fn subtract(&self, value: u64, ordering: Ordering) -> u64 {
                self.fetch_sub(value, ordering)
            }

            fn set(&self, bits: u64, ordering: Ordering) -> u64 {
                self.fetch_or(bits, ordering)
            }
        }
    };
}

count!(std::sync::atomic::AtomicU64);

/// In the worker: one more holder, before the answer to the request that brought the reference, or that hands a hold over.
pub(super) fn hold<C: Count>(count: &C) {
    // ORDERING: published by the answer to the request, before which the parent does not read the count.
    count.add(1, Ordering::Relaxed);
}

/// In the worker: a holder is gone. Says whether the parent has to be woken.
pub(super) fn release<C: Count>(count: &C) -> bool {
    // ORDERING: Release: what was read was read before. The parent sets `WITHDRAWN` in the same word, so either it sees that no
    // holder is left, or this sees that it waits for that.
    count.subtract(1, Ordering::AcqRel) == WITHDRAWN | 1
}

/// In the parent, when it has no holder of the segment: asks to be told when the worker has none either. To be called before
/// [`is_released`].
pub(super) fn withdraw<C: Count>(count: &C) {
    // ORDERING: the count is read after this. It is the same word, so either `is_released` sees the worker's last holder go, or
    // that one sees the bit.
    count.set(WITHDRAWN, Ordering::AcqRel);
}

/// In the parent: whether the worker holds it no longer.
pub(super) fn is_released<C: Count>(count: &C) -> bool {
    // ORDERING: Acquire pairs with the Release of the worker's last holder: it reads no more. What it holds since a request was
    // counted before the answer to that request, which has been received.
    count.load(Ordering::Acquire) & !(WITHDRAWN | LOST) == 0
}

#[cfg(all(test, loom))]
mod loom_models {
    use loom::{
        cell::UnsafeCell,
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU64},
        },
        thread,
    };

    use super::*;

    count!(AtomicU64);

    /// A segment that a worker has, with two holders on two threads. loom finds it if a thread reads while the parent writes.
    #[derive(Default)]
    struct Segment {
        count: AtomicU64,
        bytes: UnsafeCell<u8>,
        kicked: AtomicBool,
    }

    #[test]
    fn loom_a_segment_is_written_again_when_it_is_free_and_then_for_sure() {
        loom::model(|| {
            let segment = Arc::new(Segment::default());
            // Both were counted before the answer that lets the parent withdraw.
            (0..2).for_each(|_| hold(&segment.count));
            let holders: Vec<_> = (0..2)
                .map(|_| {
                    let segment = Arc::clone(&segment);
                    thread::spawn(move || {
                        // SAFETY: a holder that is counted.
                        segment.bytes.with(|bytes| assert_eq!(unsafe { *bytes }, 0));
                        if release(&segment.count) {
                            segment.kicked.store(true, Ordering::Release);
                        }
                    })
                })
                .collect();
            withdraw(&segment.count);
            let at_once = is_released(&segment.count);
            // SAFETY: the segment is released, so no holder reads it. That is what is checked here; loom notices if it is not so.
            let write = || segment.bytes.with_mut(|bytes| unsafe { *bytes = 1 });
            if at_once {
                write();
            }
            holders.into_iter().for_each(|holder| holder.join().unwrap());
            // Otherwise it was woken, and finds it free.
            assert!(at_once || segment.kicked.load(Ordering::Acquire));
            if !at_once {
                assert!(is_released(&segment.count));
                write();
            }
        });
    }

    #[test]
    fn loom_a_hold_that_is_handed_over_keeps_the_segment() {
        loom::model(|| {
            let segment = Arc::new(Segment::default());
            let answered = Arc::new(AtomicBool::new(false));
            hold(&segment.count);
            let worker = {
                let (segment, answered) = (Arc::clone(&segment), Arc::clone(&answered));
                thread::spawn(move || {
                    hold(&segment.count);
                    answered.store(true, Ordering::Release);
                    release(&segment.count);
                })
            };
            withdraw(&segment.count);
            if answered.load(Ordering::Acquire) {
                // The answer says that the worker returns it: it must not look free until the parent has it.
                assert!(!is_released(&segment.count));
            }
            worker.join().unwrap();
            assert!(!is_released(&segment.count));
        });
    }
}
