//! Threads of this crate that the system has refused for the moment: those that belong to no pool, and workers of thread pools. The next
//! call that needs such a thread tries again, and until then each thread that waits does, some times in a second: it may be waiting for
//! what that thread would do.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::sys::PerProcess;

#[derive(Default)]
struct Shortage {
    is_there: AtomicBool,
    attempts: Mutex<Vec<fn()>>,
    /// Held by the one thread that makes the attempts.
    turn: Mutex<()>,
}

/// Each process has its own, as with the threads.
static SHORTAGE: PerProcess<Shortage> = PerProcess::new(Shortage::default);

impl Shortage {
    fn attempts(&self) -> MutexGuard<'_, Vec<fn()>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From now on threads that wait call `attempt`, which calls this again if it is in vain. An attempt runs none of the user's code:
/// threads that wait may have locks.
pub(crate) fn note(attempt: fn()) {
    let shortage = SHORTAGE.get();
    let mut attempts = shortage.attempts();
    if !attempts.iter().any(|other| std::ptr::fn_addr_eq(*other, attempt)) {
        attempts.push(attempt);
    }
    // ORDERING: a thread that misses it does not know of the shortage yet.
    shortage.is_there.store(true, Ordering::Relaxed);
}

/// To be called before each sleep of a thread that waits. `true` if threads are missing: then it is to be called again soon.
pub(super) fn try_again() -> bool {
    let shortage = SHORTAGE.get();
    // ORDERING: a thread that misses it does not know of the shortage yet.
    if !shortage.is_there.load(Ordering::Relaxed) {
        return false;
    }
    let Ok(_turn) = shortage.turn.try_lock() else { return true };
    let attempts = std::mem::take(&mut *shortage.attempts());
    attempts.into_iter().for_each(|attempt| attempt());
    let attempts = shortage.attempts();
    // ORDERING: changed under the lock, and set back by nothing else.
    shortage.is_there.store(!attempts.is_empty(), Ordering::Relaxed);
    !attempts.is_empty()
}
