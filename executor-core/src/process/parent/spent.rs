//! Values that may not be dropped under the pool's lock: the user's, or large ones. The thread that releases the lock drops it.

use std::sync::Arc;

use crate::{
    configuration::Bound,
    future::{TypedRef, callbacks::drop_elsewhere},
    pins::Pins,
    portable::{
        bytes::{Bytes, Long},
        job::ProcessTask,
        request::Request,
    },
};

/// A value that was taken out from under the lock, to be dropped when that is released.
#[expect(dead_code, reason = "most of it is only dropped")]
pub(in crate::process) enum Spent {
    Long(Long),
    Pins(Pins),
    Bound(Arc<Bound>),
    Bytes(Bytes),
    /// Of the queue, without any task in it.
    Pages(Box<dyn Send>),
    Task(TypedRef<ProcessTask>),
    /// One that is gone, with its rings and the configurations that it knew.
    Worker(Box<dyn Send>),
}

impl Spent {
    /// Takes out of a request what is not to be dropped under the pool's lock.
    pub(super) fn strip(request: &mut Request, spent: &mut Vec<Self>) {
        // The last one to hold it frees its memory.
        if request.bound.as_ref().is_some_and(|bound| Arc::strong_count(bound) == 1) {
            spent.extend(request.bound.take().map(Self::Bound));
        }
        if request.pins().is_some_and(|pins| !pins.is_empty()) {
            spent.push(Self::Pins(std::mem::take(&mut request.extras().pins)));
        }
        #[cfg(target_os = "linux")]
        spent.extend(request.take_large().map(|large| Self::Long(Long::Large(large))));
    }

    /// Drops the value; on another thread where its destructor is the user's code.
    pub(in crate::process) fn dispose(self) {
        match self {
            // Its owner's destructor is the user's code.
            #[cfg(target_os = "linux")]
            Self::Long(Long::Large(large)) if large.has_user_destructor() => drop_elsewhere(large),
            // This may be the last to hold on to it, and what is left of it the user's.
            Self::Task(task) => drop_elsewhere(task),
            other => drop(other),
        }
    }
}
