//! The few steps on shared words in which parent and worker could miss one another's changes. README.md says why they do not, and
//! the models at the end of this file check these very functions, with loom's atomics in place of the shared memory.

use std::sync::atomic::Ordering;

use super::{
    NotifyPolicy,
    layout::{claimed, revoked},
};

/// A word on which one can sleep.
pub(super) trait Word {
    fn load(&self, ordering: Ordering) -> u32;
    fn store(&self, value: u32, ordering: Ordering);
    /// Sleeps while the word has this value; may wake for no reason.
    fn sleep_while(&self, value: u32);
    /// Wakes the thread that sleeps on it.
    fn wake(&self);
    /// A fence of the strongest kind.
    fn fence();
}

/// A long word.
pub(super) trait Long {
    fn load(&self, ordering: Ordering) -> u64;
    fn store(&self, value: u64, ordering: Ordering);
    fn swap(&self, value: u64, ordering: Ordering) -> u64;
    fn compare_exchange(&self, old: u64, new: u64, ordering: Ordering) -> Result<u64, u64>;
}

/// Changes a word from `old` to `new`, and wakes the worker if it sleeps because the word was `old`. If it sleeps because of what
/// the word was before that, the earlier change has woken it, and it only does not run yet.
pub(super) fn change_and_wake<W: Word>(word: &W, [old, new]: [u32; 2], sleeps_at: &W) {
    // ORDERING: Release publishes what the word stands for. The fence, with the one in `sleep_until_changed`: of a worker that
    // falls asleep and a parent that changes the word, one sees what the other did.
    word.store(new, Ordering::Release);
    W::fence();
    if sleeps_at.load(Ordering::Relaxed) == old {
        word.wake();
    }
}

/// Sleeps while `word` is `value`. Before each sleep calls `before`, which makes sure that the other side will change the word.
pub(super) fn sleep_until_changed<W: Word>(word: &W, value: u32, sleeps_at: &W, mut before: impl FnMut()) {
    // It stays there afterwards: the word changes from this value only once.
    sleeps_at.store(value, Ordering::Relaxed);
    // ORDERING: Acquire sees what the change of the word has published. The fence, with the one in `change_and_wake`: of a worker
    // that falls asleep and a parent that changes the word, one sees what the other did.
    W::fence();
    while word.load(Ordering::Acquire) == value {
        before();
        word.sleep_while(value);
    }
}

/// In the worker: whether it gets the request, or it was revoked.
pub(super) fn claim<L: Long>(word: &L, number: u64) -> bool {
    let mut now = word.load(Ordering::Relaxed);
    while now != revoked(number) {
        // ORDERING: the one word decides which side has the request, and nothing else is concluded from it; its bytes were
        // published by another word, and are the parent's own.
        match word.compare_exchange(now, claimed(number), Ordering::AcqRel) {
            Ok(_) => return true,
            Err(other) => now = other,
        }
    }
    false
}

/// In the parent: takes a request back, unless the worker has claimed it.
///
/// A swap, and no loop until a comparison holds: a worker that writes to the word all the time could hold that up. By what it
/// writes there itself, a worker takes no work from others.
pub(super) fn revoke<L: Long>(word: &L, number: u64) -> bool {
    // ORDERING: the one word decides which side has the request, and nothing else is concluded from it.
    if word.swap(revoked(number), Ordering::AcqRel) != claimed(number) {
        return true;
    }
    // The worker has it, and does not read this word again. Only this side does, under the pool's lock.
    word.store(claimed(number), Ordering::Relaxed);
    false
}

/// In the worker: makes replies up to `position` the parent's to read. Whether the parent wants to be woken for that.
pub(super) fn publish_reply<W: Word, L: Long>(produced: &L, position: u64, notify_policy: &W) -> bool {
    // ORDERING: SeqCst, of both: a worker that publishes and then looks for the policy, and a parent that sets the policy and
    // then looks for replies: one sees what the other did. Release: the replies are complete.
    produced.swap(position, Ordering::SeqCst);
    notify_policy.load(Ordering::SeqCst) == NotifyPolicy::Always as u32
}

/// In the parent: says when it has to be woken. Only replies that it looks for after this can be relied on.
pub(super) fn set_notify_policy<W: Word>(word: &W, notify_policy: NotifyPolicy) {
    // ORDERING: SeqCst, as the accesses of the worker that publishes: of a worker that publishes and then looks for the policy, and
    // a parent that sets it and then looks for replies, one sees what the other did.
    word.store(notify_policy as u32, Ordering::SeqCst);
}

/// In the parent: up to where there are replies.
pub(super) fn arrived<L: Long>(produced: &L) -> u64 {
    // ORDERING: SeqCst, so that a reply that was published before the worker saw the new policy is found here. Acquire pairs with
    // the Release of `publish_reply`: the replies are complete.
    produced.load(Ordering::SeqCst)
}

/// So often the parent looks for replies because it has read from the socket: a worker that sends all the time must not keep the
/// parent there.
const MOST_RECEIVES: usize = 16;

/// In the parent: has `take` take the replies up to where there are some. It may read the socket for that, and says whether it has:
/// then there may have been a kick among it, of a reply that was not there yet when this looked. So the last look comes after the
/// last reading. `false` when that is not so: a thread has to come again.
pub(super) fn receive<C, E>(
    context: &mut C,
    arrived: impl Fn(&C) -> u64,
    mut take: impl FnMut(&mut C, u64) -> Result<bool, E>,
) -> Result<bool, E> {
    for _ in 0..MOST_RECEIVES {
        let position = arrived(context);
        if !take(context, position)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// In the worker: says that it has passed so many records, which is all. Whether the parent wants to be woken for that.
pub(super) fn pass_all<W: Word>(word: &W, passed: u32, notify_policy: &W) -> bool {
    // ORDERING: SeqCst, of all four: a worker that passes and then looks for the policy, and a parent that sets the policy and then
    // looks for what was passed: one sees what the other did. Release: nothing before is read any more.
    word.store(passed, Ordering::SeqCst);
    notify_policy.load(Ordering::SeqCst) >= NotifyPolicy::WhenEmpty as u32
}

/// In the parent: how many records the worker had passed when it had last passed all.
pub(super) fn passed<W: Word>(word: &W) -> u32 {
    // ORDERING: SeqCst, so that a worker that has passed all before it saw the new policy is found here. Acquire pairs with the
    // Release of `pass_all`: it reads nothing before this any more.
    word.load(Ordering::SeqCst)
}

/// In the parent: gives the memory of replies back that it has read, and wakes a worker that waits for it.
pub(super) fn give_back<W: Word, L: Long>(consumed: &L, position: u64, drained: &W, counts: [u32; 2], sleeps_at: &W) {
    // ORDERING: Release: the bytes have been copied. Before `drained`, which a worker reads before it reads this.
    consumed.store(position, Ordering::Release);
    change_and_wake(drained, counts, sleeps_at);
}

mod shared {
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    use super::{Long, Word};
    use crate::sys;

    impl Word for AtomicU32 {
        fn load(&self, ordering: Ordering) -> u32 {
            Self::load(self, ordering)
        }

        fn store(&self, value: u32, ordering: Ordering) {
            Self::store(self, value, ordering);
        }

        fn sleep_while(&self, value: u32) {
            sys::sleep_while(self, value);
        }

        fn wake(&self) {
            sys::wake(self);
        }

        fn fence() {
            fence(Ordering::SeqCst);
        }
    }

    impl Long for AtomicU64 {
        fn load(&self, ordering: Ordering) -> u64 {
            Self::load(self, ordering)
        }

        fn store(&self, value: u64, ordering: Ordering) {
            Self::store(self, value, ordering);
        }

        fn swap(&self, value: u64, ordering: Ordering) -> u64 {
            Self::swap(self, value, ordering)
        }

        fn compare_exchange(&self, old: u64, new: u64, ordering: Ordering) -> Result<u64, u64> {
            Self::compare_exchange_weak(self, old, new, ordering, Ordering::Relaxed)
        }
    }
}

#[cfg(all(test, loom))]
mod loom_models;
