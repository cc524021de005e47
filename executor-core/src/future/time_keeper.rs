//! Which thread all time limits rely on.

use std::cell::Cell;

thread_local! {
    static KEEPS_TIME: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is the thread on which all time limits rely.
pub(super) fn keeps_time() -> bool {
    KEEPS_TIME.get()
}

/// From now on this is that thread.
pub(super) fn keep_time() {
    KEEPS_TIME.set(true);
}
