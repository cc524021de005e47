//! What may not be dropped under the pool's lock: the user's, or large. Whoever releases the lock drops it.

use std::sync::Arc;

use super::{
    bytes::{Bytes, Long},
    job::ProcessTask,
};
use crate::{
    configuration::Bound,
    future::{TypedRef, callbacks::drop_elsewhere},
    pins::Pins,
};

/// What was taken out from under the lock, to be dropped when that is released.
#[expect(dead_code, reason = "most of it is only dropped")]
pub(super) enum Spent {
    Long(Long),
    Pins(Pins),
    Bound(Arc<Bound>),
    Bytes(Bytes),
    /// Of the queue, without any task in it.
    Pages(Box<dyn Send>),
    Task(TypedRef<ProcessTask>),
}

impl Spent {
    pub(super) fn let_go(self) {
        match self {
            // Its owner's destructor is the user's code.
            #[cfg(target_os = "linux")]
            Self::Long(Long::Large(large)) if large.is_foreign() => drop_elsewhere(large),
            // This may be the last to hold on to it, and what is left of it the user's.
            Self::Task(task) => drop_elsewhere(task),
            other => drop(other),
        }
    }
}
