//! The pool's lock, and what may not happen under it.
//!
//! The user's code (destructors of the user's values, serde, `Debug`, observers, wakers) is never called while the lock is held: it
//! may panic, take its time, and use the pool. So what is to be dropped is put aside ([`Spent`]) and dropped by the thread that
//! releases the lock, or, where it is the user's, by a thread that no other one waits for. Debug builds notice the user's code that
//! is run all the same, where this crate calls it ([`panic::contain`](crate::panic::contain) and its like).

use std::{
    ops::{Deref, DerefMut},
    os::{fd::AsFd, unix::net::UnixStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError},
    thread,
    time::Duration,
};

use super::{spent::Spent, state::State};
use crate::{sys, user_code::NoUserCode};

/// [`State`] behind its lock.
///
/// A thread that panics with the lock, which only a fault of this crate can cause, may have left the state wrong. Other threads go
/// on with it, and the supervisor is woken, breaks the pool and ends all that is in it ([`State::give_up`]).
pub(super) struct Lock {
    state: Mutex<State>,
    /// Wakes the supervisor.
    doorbell: Arc<UnixStream>,
}

impl Lock {
    pub(in crate::process) fn new(state: State, doorbell: Arc<UnixStream>) -> Self {
        Self { state: Mutex::new(state), doorbell }
    }

    /// Whether a thread has panicked with the lock.
    pub(in crate::process) fn is_poisoned(&self) -> bool {
        self.state.is_poisoned()
    }

    pub(in crate::process) fn lock(&self) -> Locked<'_> {
        Locked::of(self, self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(in crate::process) fn try_lock(&self) -> Option<Locked<'_>> {
        match self.state.try_lock() {
            Ok(guard) => Some(Locked::of(self, guard)),
            Err(TryLockError::Poisoned(poisoned)) => Some(Locked::of(self, poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// The lock is held.
pub(in crate::process) struct Locked<'a> {
    lock: &'a Lock,
    /// There until it is dropped, or waits.
    guard: Option<MutexGuard<'a, State>>,
    no_user_code: Option<NoUserCode>,
}

impl<'a> Locked<'a> {
    fn of(lock: &'a Lock, guard: MutexGuard<'a, State>) -> Self {
        Self { lock, guard: Some(guard), no_user_code: Some(NoUserCode::begin()) }
    }

    /// Releases the lock, waits until another thread notifies `condition`, for no longer than `time`, and takes it again. May
    /// return for no reason.
    pub(in crate::process) fn wait(mut self, condition: &Condvar, time: Option<Duration>) -> Self {
        let lock = self.lock;
        if self.ledger.has_spent() {
            drop(self);
            return lock.lock();
        }
        let Some(guard) = self.guard.take() else { return lock.lock() };
        self.no_user_code = None;
        let guard = match time {
            None => condition.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(time) => condition.wait_timeout(guard, time).unwrap_or_else(PoisonError::into_inner).0,
        };
        Self::of(lock, guard)
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    #[inline]
    fn deref(&self) -> &State {
        match &self.guard {
            Some(guard) => guard,
            None => unreachable!("the lock is held until this is gone"),
        }
    }
}

impl DerefMut for Locked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut State {
        match &mut self.guard {
            Some(guard) => guard,
            None => unreachable!("the lock is held until this is gone"),
        }
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(mut guard) = self.guard.take() else { return };
        let spent = guard.take_spent();
        drop(guard);
        if thread::panicking() {
            sys::send_if_room(self.lock.doorbell.as_fd(), &[1]);
        }
        self.no_user_code = None;
        if let Some(spent) = spent {
            spent.into_iter().for_each(Spent::dispose);
        }
    }
}
