//! The threads of this crate that belong to no pool, where a process has to be without threads for a moment: a fork server, before
//! it forks. They keep time limits and call callbacks, and stay for a while when there are none. So the user's code, which has ended
//! whatever it has built, cannot end them.

use super::{callbacks, deadline};

/// As long as this is kept, threads that keep time limits or run callbacks leave when there is nothing left for them to do. Where
/// there is something to do later, they are started again.
#[must_use]
pub(crate) struct Dismissed(());

impl Dismissed {
    pub(crate) fn begin() -> Self {
        callbacks::dismiss(true);
        deadline::dismiss(true);
        Self(())
    }
}

impl Drop for Dismissed {
    fn drop(&mut self) {
        deadline::dismiss(false);
        callbacks::dismiss(false);
    }
}
