//! Sleeping on a word of shared memory, and waking the thread that sleeps there.

use std::sync::atomic::AtomicU32;

use rustix::thread::futex::{self, Flags};

/// Sleeps while `word` is `value`, until another thread or process wakes it; may wake for no reason.
pub(crate) fn sleep_while(word: &AtomicU32, value: u32) {
    // Any error is a reason to look again: the word has changed, or a signal came.
    let _ = futex::wait(word, Flags::empty(), value, None);
}

/// Wakes the thread that sleeps on `word`.
pub(crate) fn wake(word: &AtomicU32) {
    // Cannot fail on memory that is mapped.
    let _ = futex::wake(word, Flags::empty(), u32::MAX >> 1);
}
