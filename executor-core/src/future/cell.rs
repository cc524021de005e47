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
/// Somebody has the list of waiters, for a few instructions.
const LOCKED: u32 = 0b1_0000;

/// A task's state, its waiters, and how many hold on to it.
pub(crate) struct Cell {
    word: AtomicU32,
    holders: AtomicU32,
    /// The last waiter that came; only touched by who has set `LOCKED`.
    waiters: UnsafeCell<Option<Box<Node>>>,
    /// 0 until somebody asks.
    id: AtomicU64,
}

// SAFETY: the list is only touched under the `LOCKED` bit, and what is in it may be sent to other threads.
unsafe impl Send for Cell {}
// SAFETY: as above.
unsafe impl Sync for Cell {}

impl Cell {
    /// A pending cell that so many hold on to.
    #[inline]
    pub(crate) fn new(holders: u32) -> Self {
        Self {
            word: AtomicU32::new(State::Pending as u32),
            holders: AtomicU32::new(holders),
            waiters: UnsafeCell::new(None),
            id: AtomicU64::new(0),
        }
    }

    /// The task's name; given when somebody first asks, because most tasks are never asked.
    pub(crate) fn id(&self) -> TaskId {
        use std::sync::atomic::Ordering::Relaxed;
        // ORDERING: the number stands for itself.
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
        // ORDERING: who makes a new holder is one already, so the count cannot fall to zero meanwhile.
        let holders = self.holders.fetch_add(1, Ordering::Relaxed);
        if holders > u32::MAX / 2 {
            // Only forgotten handles get here; going on would free memory that is in use.
            std::process::abort();
        }
    }

    /// Lets go; `true` for the last one, which has the cell to itself.
    #[inline]
    pub(crate) fn release(&self) -> bool {
        // ORDERING: Acquire, as below. A sole holder stays one: a second one is only made by a first one.
        if self.holders.load(Ordering::Acquire) == 1 {
            return true;
        }
        // ORDERING: Release hands what this holder did to the last one, whose Acquire takes it.
        self.holders.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Lets go unless that would be the end of the cell; says whether it has. For who may not drop what is left there and then.
    #[inline]
    pub(crate) fn release_unless_last(&self) -> bool {
        let others = |holders| (holders > 1).then(|| holders - 1);
        // ORDERING: Release, as in `release`; who lets go last acquires it there.
        self.holders.fetch_update(Ordering::Release, Ordering::Relaxed, others).is_ok()
    }

    /// Whether the one who asks is the only holder, and will have to drop what is left.
    #[inline]
    pub(crate) fn is_held_once(&self) -> bool {
        // ORDERING: who drops it synchronises in `release`.
        self.holders.load(Ordering::Relaxed) == 1
    }

    /// For a thread that holds on to the cell twice: lets go of one, and says whether it now has the cell to itself, pending
    /// and without waiters. Then the work is the caller's as after [`claim`](Self::claim), and no outcome has to be written:
    /// nobody else can ever look.
    #[inline]
    pub(crate) fn claim_alone(&self) -> bool {
        // ORDERING: Acquire pairs with the Release of those who let go before.
        if self.holders.load(Ordering::Acquire) != 2 {
            self.holders.fetch_sub(1, Ordering::Release);
            return false;
        }
        // ORDERING: both holders are this thread, so nobody else reads or writes here any more.
        self.holders.store(1, Ordering::Relaxed);
        let alone = self.word.load(Ordering::Relaxed) == State::Pending as u32;
        if alone {
            self.word.store(State::Running as u32, Ordering::Relaxed);
        }
        alone
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        // ORDERING: Acquire pairs with the Release in `finish`: who sees a final state sees the outcome.
        State::of(self.word.load(Ordering::Acquire))
    }

    /// Pending -> Running. Who gets `true` is the only one who may run the task.
    #[inline]
    pub(crate) fn claim(&self) -> bool {
        self.change(|state| state == State::Pending, State::Running).is_ok()
    }

    /// Pending or Running -> Settling. Who gets `true` writes the outcome, and then calls [`finish`](Self::finish).
    pub(crate) fn settle(&self) -> bool {
        self.change(|state| matches!(state, State::Pending | State::Running), State::Settling).is_ok()
    }

    /// Pending -> Cancelled. `true` for the one call that did it.
    pub(crate) fn cancel(&self) -> bool {
        self.cancel_and(|| {})
    }

    /// The same; whoever has done it does something before anybody is woken.
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

    /// To a final state, by the one who has settled the cell, or who has claimed it where nobody else can settle it. The
    /// outcome has been written.
    #[inline]
    pub(crate) fn finish(&self, state: State) {
        debug_assert!(state.is_final(), "a cell ends in a final state");
        match self.change(|state| matches!(state, State::Running | State::Settling), state) {
            Ok(word) => self.notify(word, state),
            Err(word) => debug_assert!(false, "finished from the state {:?}", State::of(word)),
        }
    }

    /// To a final state, by the one who alone may end the task because of what somebody else's lock guards. Nobody is woken
    /// yet: when this returns `true` somebody waits, and [`wake`](Self::wake) is to be called, where the user's code may run.
    pub(crate) fn end(&self, state: State) -> bool {
        debug_assert!(state.is_final(), "a cell ends in a final state");
        let ended = self.change(|state| !state.is_final(), state);
        debug_assert!(ended.is_ok(), "a task ends once");
        ended.is_ok_and(|word| word & (WAITING | LOCKED) != 0)
    }

    /// Wakes all who wait for a cell that was [ended](Self::end).
    pub(crate) fn wake(&self) {
        self.notify(WAITING, self.state());
    }

    /// The same for a thread that others rely on: wakers are called by another one.
    pub(crate) fn wake_elsewhere(&self) {
        self.notify_all(self.state(), false);
    }

    /// Changes the state if `allowed`, and leaves the other bits alone; returns the word that was there.
    #[inline]
    fn change(&self, allowed: impl Fn(State) -> bool, to: State) -> Result<u32, u32> {
        // ORDERING: Acquire, to see what those did who changed the word before; a failure concludes nothing but that.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if !allowed(State::of(word)) {
                return Err(word);
            }
            // ORDERING: Release publishes what this thread did before (the outcome, above all), Acquire as above.
            let changed = word & !STATE | to as u32;
            match self.word.compare_exchange_weak(word, changed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(word) => return Ok(word),
                Err(other) => word = other,
            }
        }
    }

    /// Wakes all who wait; `word` is what the final state replaced.
    #[inline]
    fn notify(&self, word: u32, state: State) {
        // Who holds the lock now may be about to add a waiter, having seen the state before.
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

    /// Takes the list of waiters; says what the state was then.
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
                // The holder is a few instructions from letting go, unless it was preempted: let it run.
                yield_now();
                word = self.word.load(Ordering::Relaxed);
            }
        }
    }

    fn unlock(&self, empty: bool) {
        // ORDERING: Release pairs with the Acquire of `lock`. Others change the state meanwhile, but not these two bits.
        if empty {
            self.word.fetch_and(!(LOCKED | WAITING), Ordering::Release);
        } else {
            // One change, so that nobody finds the list unlocked and not marked.
            let mut word = self.word.load(Ordering::Relaxed);
            while let Err(other) =
                self.word.compare_exchange_weak(word, word & !LOCKED | WAITING, Ordering::Release, Ordering::Relaxed)
            {
                word = other;
            }
        }
    }

    /// Shows the list of waiters to `change`, unless the cell is done. Nothing foreign may be called or dropped in there.
    fn with_waiters<R>(&self, change: impl FnOnce(&mut Option<Box<Node>>) -> R) -> Option<R> {
        if self.state().is_final() {
            return None;
        }
        // The state at the moment of locking decides: who makes it final later sees the bit, and comes for the list.
        if self.lock().is_final() {
            // The one who made it final may be waiting for the lock, with the list still full.
            // SAFETY: this thread has set `LOCKED`.
            let empty = self.waiters.with(|list| unsafe { (*list).is_none() });
            self.unlock(empty);
            return None;
        }
        // SAFETY: this thread has set `LOCKED`, and lets go only below.
        let (result, empty) = self.waiters.with_mut(|list| unsafe {
            let list = &mut *list;
            (change(list), list.is_none())
        });
        self.unlock(empty);
        Some(result)
    }

    /// Registers a waiter; it comes back when the cell is already done and nobody would ever wake it.
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
        // Dropped outside the lock: a waker's destructor is somebody else's code.
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

    /// Whether there may be a waker to be removed.
    #[inline]
    pub(crate) fn may_have_waker(&self) -> bool {
        // ORDERING: the handle's own polls have set the bit, if anybody has.
        self.word.load(Ordering::Relaxed) & WAITING != 0
    }

    /// Removes the waker, if there is one.
    #[cold]
    pub(crate) fn clear_waker(&self) {
        drop(self.with_waiters(|list| Node::remove(list, Node::is_waker)));
    }

    /// Calls `callback` off this thread once the cell is done; soon, when it is.
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
