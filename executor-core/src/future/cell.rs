//! The task cell: one atomic word in which running, cancelling, completing and waiting meet. See README.md.

use std::{fmt, sync::atomic::AtomicU64, task::Waker};

use super::{
    callbacks::Callback,
    state::{Completed, STATE, State, TaskId},
    waiter::{Node, Waiter, WaiterKey, notify},
};
use crate::sync::{AtomicU32, Ordering, UnsafeCell, yield_now};

/// The list of waiters is not empty.
const WAITING: u32 = 0b0_1000;
/// A thread has the list of waiters, for a few instructions.
const LOCKED: u32 = 0b1_0000;

/// A task's state, its waiters, and the number of its holders.
pub(crate) struct Cell {
    word: AtomicU32,
    holders: AtomicU32,
    /// The waiter that was added last. Only the thread that has set `LOCKED` touches it.
    waiters: UnsafeCell<Option<Box<Node>>>,
    /// 0 until the id is first asked for.
    id: AtomicU64,
}

// SAFETY: the list is only touched under the `LOCKED` bit, and what is in it may be sent to other threads.
unsafe impl Send for Cell {}
// SAFETY: the list is only touched under the `LOCKED` bit, and what is in it may be sent to other threads.
unsafe impl Sync for Cell {}

impl Cell {
    /// Makes a pending cell with so many holders.
    #[inline]
    pub(crate) fn new(holders: u32) -> Self {
        Self {
            word: AtomicU32::new(State::Pending as u32),
            holders: AtomicU32::new(holders),
            waiters: UnsafeCell::new(None),
            id: AtomicU64::new(0),
        }
    }

    /// The task's id. It is given out when it is first asked for, because most tasks are never asked.
    pub(crate) fn id(&self) -> TaskId {
        use std::sync::atomic::Ordering::Relaxed;
        // ORDERING: the number publishes no other memory.
        if let Some(id) = TaskId::of(self.id.load(Relaxed)) {
            return id;
        }
        let fresh = TaskId::next();
        match self.id.compare_exchange(0, fresh.get(), Relaxed, Relaxed) {
            Ok(_) => fresh,
            Err(other) => TaskId::of(other).unwrap_or(fresh),
        }
    }

    #[inline]
    pub(crate) fn hold(&self) {
        // ORDERING: the calling thread is a holder, so the count cannot fall to zero meanwhile.
        let holders = self.holders.fetch_add(1, Ordering::Relaxed);
        if holders > u32::MAX / 2 {
            // Only leaked handles lead here; continuing would free memory that is in use.
            std::process::abort();
        }
    }

    /// Lets go of the cell; `true` for the last holder, which has the cell to itself.
    #[inline]
    pub(crate) fn release(&self) -> bool {
        // ORDERING: Acquire pairs with the Release of the holders that have let go. A sole holder stays the only one, since only a
        // holder makes another one.
        if self.holders.load(Ordering::Acquire) == 1 {
            return true;
        }
        // ORDERING: Release hands what this holder did to the last one, whose Acquire takes it.
        self.holders.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Lets go unless this is the last holder; returns whether it has. For callers that may not drop what is left in the cell.
    #[inline]
    pub(crate) fn release_unless_last(&self) -> bool {
        let others = |holders| (holders > 1).then(|| holders - 1);
        // ORDERING: Release pairs with the Acquire of the last holder in `release`.
        self.holders.fetch_update(Ordering::Release, Ordering::Relaxed, others).is_ok()
    }

    /// Whether the caller is the only holder, which will have to drop what is left.
    #[inline]
    pub(crate) fn is_held_once(&self) -> bool {
        // ORDERING: the thread that drops it synchronizes in `release`.
        self.holders.load(Ordering::Relaxed) == 1
    }

    /// For a thread that holds two references to the cell: lets go of one, and returns whether it now has the cell to itself,
    /// pending and without waiters. In that case the caller has the work, as after [`claim`](Self::claim), and need not write an
    /// outcome: no other thread can ever look at it.
    #[inline]
    pub(crate) fn claim_alone(&self) -> bool {
        // ORDERING: Acquire pairs with the Release of the holders that let go before.
        if self.holders.load(Ordering::Acquire) != 2 {
            self.holders.fetch_sub(1, Ordering::Release);
            return false;
        }
        // ORDERING: both references are this thread's, so no other thread reads or writes here any more.
        self.holders.store(1, Ordering::Relaxed);
        let alone = self.word.load(Ordering::Relaxed) == State::Pending as u32;
        if alone {
            self.word.store(State::Running as u32, Ordering::Relaxed);
        }
        alone
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        // ORDERING: Acquire pairs with the Release in `finish`: a thread that sees a final state sees the outcome.
        State::of(self.word.load(Ordering::Acquire))
    }

    /// Pending -> Running. Only the caller that gets `true` may run the task.
    #[inline]
    pub(crate) fn claim(&self) -> bool {
        self.change(|state| state == State::Pending, State::Running).is_ok()
    }

    /// Pending or Running -> Settling. The caller that gets `true` writes the outcome, and then calls [`finish`](Self::finish).
    pub(crate) fn settle(&self) -> bool {
        self.change(|state| matches!(state, State::Pending | State::Running), State::Settling).is_ok()
    }

    /// Pending -> Cancelled. `true` for the one call that did it.
    pub(crate) fn cancel(&self) -> bool {
        self.cancel_and(|| {})
    }

    /// Like [`cancel`](Self::cancel); the call that cancels runs `first` before any waiter is woken.
    pub(crate) fn cancel_and(&self, first: impl FnOnce()) -> bool {
        match self.change(|state| state == State::Pending, State::Cancelled) {
            Ok(word) => {
                first();
                self.notify(word, State::Cancelled);
                true
            }
            Err(_) => false,
        }
    }

    /// Changes to a final state. Called by the thread that has settled the cell, or that has claimed it where no other thread can
    /// settle it. The outcome has been written.
    #[inline]
    pub(crate) fn finish(&self, state: State) {
        debug_assert!(state.is_final(), "a cell ends in a final state");
        match self.change(|state| matches!(state, State::Running | State::Settling), state) {
            Ok(word) => self.notify(word, state),
            Err(word) => debug_assert!(false, "finished from the state {:?}", State::of(word)),
        }
    }

    /// Changes to a final state. Called by a thread that alone may end the task, because of another structure's lock. No waiter is
    /// woken yet: when this returns `true` there are waiters, and the caller calls [`wake`](Self::wake) where the user's code may
    /// run.
    pub(crate) fn end(&self, state: State) -> bool {
        debug_assert!(state.is_final(), "a cell ends in a final state");
        let ended = self.change(|state| !state.is_final(), state);
        debug_assert!(ended.is_ok(), "a task ends once");
        ended.is_ok_and(|word| word & (WAITING | LOCKED) != 0)
    }

    /// Wakes all waiters of a cell that was [ended](Self::end).
    pub(crate) fn wake(&self) {
        self.notify(WAITING, self.state());
    }

    /// Like [`wake`](Self::wake), for a thread that other threads rely on: another thread calls the wakers.
    pub(crate) fn wake_elsewhere(&self) {
        self.notify_all(self.state(), false);
    }

    /// Changes the state if `allowed`, and leaves the other bits alone; returns the word that was there.
    #[inline]
    fn change(&self, allowed: impl Fn(State) -> bool, to: State) -> Result<u32, u32> {
        // ORDERING: Acquire, to see what the threads did that changed the word before; a failure concludes nothing but that.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if !allowed(State::of(word)) {
                return Err(word);
            }
            // ORDERING: Release publishes what this thread did before (the outcome, above all); Acquire takes what the threads did
            // that changed the word before.
            let changed = word & !STATE | to as u32;
            match self.word.compare_exchange_weak(word, changed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(word) => return Ok(word),
                Err(other) => word = other,
            }
        }
    }

    /// Wakes all waiters; `word` is what the final state replaced.
    #[inline]
    fn notify(&self, word: u32, state: State) {
        // A thread that holds the lock now may be about to add a waiter, because it has seen the state before this one.
        if word & (WAITING | LOCKED) != 0 {
            self.notify_all(state, true);
        }
    }

    #[cold]
    fn notify_all(&self, state: State, here: bool) {
        self.lock();
        // SAFETY: this thread has set `LOCKED`.
        let list = self.waiters.with_mut(|list| unsafe { (*list).take() });
        self.unlock(true);
        if let Some(list) = list {
            notify(list, Completed::new(self.id(), state), here);
        }
    }

    /// Locks the list of waiters; returns the state at that moment.
    fn lock(&self) -> State {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & LOCKED == 0 {
                // ORDERING: Acquire pairs with the Release of `unlock`.
                match self.word.compare_exchange_weak(word, word | LOCKED, Ordering::Acquire, Ordering::Relaxed) {
                    Ok(word) => return State::of(word),
                    Err(other) => word = other,
                }
            } else {
                // The holder is a few instructions from unlocking, unless it was preempted: let it run.
                yield_now();
                word = self.word.load(Ordering::Relaxed);
            }
        }
    }

    fn unlock(&self, empty: bool) {
        // ORDERING: Release pairs with the Acquire of `lock`. Other threads change the state meanwhile, but not these two bits.
        if empty {
            self.word.fetch_and(!(LOCKED | WAITING), Ordering::Release);
        } else {
            // One change of the word, so that no thread sees the list unlocked and not marked.
            let mut word = self.word.load(Ordering::Relaxed);
            while let Err(other) =
                self.word.compare_exchange_weak(word, word & !LOCKED | WAITING, Ordering::Release, Ordering::Relaxed)
            {
                word = other;
            }
        }
    }

    /// Shows the list of waiters to `change`, unless the cell is done. `change` must not call or drop the user's code.
    fn with_waiters<R>(&self, change: impl FnOnce(&mut Option<Box<Node>>) -> R) -> Option<R> {
        if self.state().is_final() {
            return None;
        }
        // The state at the moment of locking decides: a thread that makes it final later sees the bit, and takes the list.
        if self.lock().is_final() {
            // The thread that made the state final may be waiting for the lock, with the list still full.
            // SAFETY: this thread has set `LOCKED`.
            let empty = self.waiters.with(|list| unsafe { (*list).is_none() });
            self.unlock(empty);
            return None;
        }
        // SAFETY: this thread has set `LOCKED`, and unlocks only below.
        let (result, empty) = self.waiters.with_mut(|list| unsafe {
            let list = &mut *list;
            (change(list), list.is_none())
        });
        self.unlock(empty);
        Some(result)
    }

    /// Registers a waiter. Gives it back when the cell is already done, because no thread would wake it any more.
    pub(crate) fn subscribe(&self, waiter: Waiter) -> Result<WaiterKey, Waiter> {
        // Allocated before the lock is taken.
        let mut node = Some(Node::new(waiter));
        let key = self.with_waiters(|list| {
            let mut node = node.take()?;
            let key = node.key();
            node.next = list.take();
            *list = Some(node);
            Some(key)
        });
        match (key.flatten(), node) {
            (Some(key), _) => Ok(key),
            (None, Some(node)) => Err(node.waiter),
            (None, None) => unreachable!("a node is in the list or here"),
        }
    }

    /// Removes a waiter that is still registered.
    pub(crate) fn unsubscribe(&self, key: WaiterKey) {
        // Dropped outside the lock: a waker's destructor is the user's code.
        drop(self.with_waiters(|list| Node::remove(list, |node| node.key() == key)));
    }

    /// Registers the waker of the handle's last poll, in the place of the one before; `false` when the cell is done.
    pub(crate) fn set_waker(&self, waker: &Waker) -> bool {
        let mut fresh = Some(Node::new(Waiter::Waker(waker.clone())));
        let old = self.with_waiters(|list| {
            let old = Node::remove(list, Node::is_waker);
            if let Some(mut node) = fresh.take() {
                node.next = list.take();
                *list = Some(node);
            }
            old
        });
        old.is_some()
    }

    /// Whether there may be a waker that has to be removed.
    #[inline]
    pub(crate) fn may_have_waker(&self) -> bool {
        // ORDERING: only polls of this handle register a waker, so this thread has set the bit, if it is set.
        self.word.load(Ordering::Relaxed) & WAITING != 0
    }

    /// Removes the waker, if there is one.
    #[cold]
    pub(crate) fn clear_waker(&self) {
        drop(self.with_waiters(|list| Node::remove(list, Node::is_waker)));
    }

    /// Calls `callback` on another thread once the cell is done; soon, if it is done already.
    pub(crate) fn add_callback(&self, callback: Callback) {
        if let Err(Waiter::Callback(callback)) = self.subscribe(Waiter::Callback(callback)) {
            super::callbacks::dispatch(vec![callback], Completed::new(self.id(), self.state()));
        }
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("id", &self.id()).field("state", &self.state()).finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
mod loom_models;
