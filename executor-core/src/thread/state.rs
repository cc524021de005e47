//! What each worker keeps for its tasks.

use std::{any::Any, cell::RefCell, rc::Rc};

thread_local! {
    static STATE: RefCell<Option<Rc<dyn Any>>> = const { RefCell::new(None) };
}

pub(super) fn keep(state: Rc<dyn Any>) {
    STATE.set(Some(state));
}

pub(super) fn drop_it() {
    // Out of its place first: its destructor is the user's code.
    drop(STATE.take());
}

/// Shows a task what its worker keeps: see [`ThreadPoolBuilder::worker_state`](crate::ThreadPoolBuilder::worker_state). `None`
/// outside of such a worker, and where the state is of another type.
pub fn with_worker_state<T: 'static, R>(show: impl FnOnce(&T) -> R) -> Option<R> {
    // A share of its own, because `show` may wait for another task, which runs in place and asks as well.
    // In the destructor of another thread-local it may be gone.
    let state = STATE.try_with(|state| state.borrow().clone()).ok()??;
    state.downcast_ref::<T>().map(show)
}
