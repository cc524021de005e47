//! Whether this thread may run code of the user now. Debug builds know, and notice if it is run all the same.

#[cfg(debug_assertions)]
use std::cell::Cell;

#[cfg(debug_assertions)]
thread_local! {
    static FORBIDDEN: Cell<usize> = const { Cell::new(0) };
}

/// As long as this is kept, this thread holds a lock under which no code of the user may run.
pub(crate) struct NoUserCode(());

impl NoUserCode {
    #[inline]
    pub(crate) fn begin() -> Self {
        #[cfg(debug_assertions)]
        let _ = FORBIDDEN.try_with(|forbidden| forbidden.set(forbidden.get() + 1));
        Self(())
    }
}

impl Drop for NoUserCode {
    #[inline]
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        let _ = FORBIDDEN.try_with(|forbidden| forbidden.set(forbidden.get() - 1));
    }
}

/// Whether this thread holds a lock under which no code of the user may run; release builds do not know. For tests: code that they
/// have run by the pools asks this.
#[must_use]
pub fn is_forbidden() -> bool {
    #[cfg(debug_assertions)]
    return FORBIDDEN.try_with(Cell::get).is_ok_and(|forbidden| forbidden > 0);
    #[cfg(not(debug_assertions))]
    false
}
