//! What each worker keeps for its tasks.

use std::{any::Any, cell::RefCell, rc::Rc};

thread_local! {
    static STATE: RefCell<Option<Rc<dyn Any>>> = const { RefCell::new(None) };
}

pub(super) fn keep(state: Rc<dyn Any>) {
    STATE.set(Some(state));
}

pub(super) fn drop_it() {
    // Taken out of its place first: its destructor is the user's code.
    drop(STATE.take());
}

/// Calls `show` with the value that this worker keeps for its tasks; see
/// [`ThreadPoolBuilder::worker_state`](crate::ThreadPoolBuilder::worker_state). Returns `None` if this thread is no such worker, or
/// if the value has another type.
pub fn with_worker_state<T: 'static, R>(show: impl FnOnce(&T) -> R) -> Option<R> {
    // A reference of its own, because `show` may wait for another task, which runs in place and makes this call as well.
    // In the destructor of another thread-local the state may be gone.
    let state = STATE.try_with(|state| state.borrow().clone()).ok()??;
    state.downcast_ref::<T>().map(show)
}
