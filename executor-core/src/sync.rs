//! The synchronization types that the protocols use: std's, or loom's when the models are checked (`--cfg loom`).
//!
//! Poisoning is ignored throughout: no user code runs under any of these locks, so none of them can be left half changed.

#[cfg(not(loom))]
pub(crate) use std::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence},
    },
    thread::{Thread, current as current_thread, park, yield_now},
};

#[cfg(loom)]
pub(crate) use loom::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence},
    },
    thread::yield_now,
};
#[cfg(loom)]
pub(crate) use parking::{Thread, current_thread, park};

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

/// Locks `mutex`, even if a thread has panicked while it held the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on `condvar`. May wake spuriously, as with every condition variable.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Like [`wait`], until `deadline` at the latest; `None` waits for ever.
pub(crate) fn wait_until<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Option<Instant>,
) -> MutexGuard<'a, T> {
    match deadline {
        None => wait(condvar, guard),
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return guard;
            }
            condvar.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
        }
    }
}

/// Like [`wait_until`], for a lock that is in no loom model.
pub(crate) fn sleep_until<'a, T>(
    condvar: &std::sync::Condvar,
    guard: std::sync::MutexGuard<'a, T>,
    deadline: Option<Instant>,
) -> std::sync::MutexGuard<'a, T> {
    match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
        None => condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(Duration::ZERO) => guard,
        Some(left) => condvar.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0,
    }
}

/// Blocks until this thread is unparked, or until `deadline` at the latest. May wake spuriously.
#[cfg(not(loom))]
pub(crate) fn park_until(deadline: Option<Instant>) {
    match deadline {
        None => park(),
        Some(deadline) => std::thread::park_timeout(deadline.saturating_duration_since(Instant::now())),
    }
}

/// loom has no time: no deadline passes.
#[cfg(loom)]
pub(crate) fn park_until(_: Option<Instant>) {
    park();
}

/// Memory that a protocol hands from one thread to the next. loom checks that no two threads access it at the same time.
#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell;

/// Memory that a protocol hands from one thread to the next, with the interface of loom's type.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Shows the memory to `look`. The caller ensures that no other thread writes it meanwhile.
    pub(crate) fn with<R>(&self, look: impl FnOnce(*const T) -> R) -> R {
        look(self.0.get())
    }

    /// Shows the memory to `change`. The caller ensures that no other thread accesses it meanwhile.
    pub(crate) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
        change(self.0.get())
    }
}

/// Parking as std has it. loom's own park is woken by an unpark whatever the thread waits for, even a join.
#[cfg(loom)]
mod parking {
    use std::sync::Arc;

    use super::{Condvar, Mutex, lock, wait};

    /// A thread that can be unparked.
    #[derive(Debug, Clone)]
    pub(crate) struct Thread(Arc<(Mutex<bool>, Condvar)>);

    loom::thread_local! {
        static CURRENT: Thread = Thread(Arc::new((Mutex::new(false), Condvar::new())));
    }

    pub(crate) fn current_thread() -> Thread {
        CURRENT.with(Clone::clone)
    }

    pub(crate) fn park() {
        let Thread(parker) = current_thread();
        let mut woken = lock(&parker.0);
        while !*woken {
            woken = wait(&parker.1, woken);
        }
        *woken = false;
    }

    impl Thread {
        pub(crate) fn unpark(&self) {
            *lock(&self.0.0) = true;
            self.0.1.notify_one();
        }
    }
}
