//! Marks the thread that all time limits rely on.

use std::cell::Cell;

thread_local! {
    static KEEPS_TIME: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is the thread that all time limits rely on.
pub(super) fn keeps_time() -> bool {
    KEEPS_TIME.get()
}

/// Marks this thread as the one that all time limits rely on.
pub(super) fn keep_time() {
    KEEPS_TIME.set(true);
}
