//! Futures: the task cell, its reading side ([`TaskFuture`]), its writing side ([`Promise`]), and where callbacks run.
//!
//! The protocol of the cell is in this folder's `README.md`.

pub(crate) mod callbacks;
#[expect(unsafe_code, reason = "guards the list of waiters by a bit of the cell's word")]
mod cell;
mod completion_set;
pub(crate) mod deadline;
#[cfg(target_os = "linux")]
mod dismissed;
#[expect(unsafe_code, reason = "takes work and writes outcomes by the protocol of the cell")]
mod in_process;
#[expect(unsafe_code, reason = "keeps work and outcome in one place, by the state of the cell")]
mod outcome;
mod pool_context;
#[expect(unsafe_code, reason = "writes outcomes by the protocol of the cell")]
mod promise;
mod shortage;
mod spin;
mod state;
#[expect(unsafe_code, reason = "one thin pointer to a task of any type")]
mod task;
mod task_future;
mod time_keeper;
mod waiter;

pub(crate) use cell::Cell;
pub(crate) use completion_set::CompletionSet;
#[cfg(target_os = "linux")]
pub(crate) use dismissed::Dismissed;
pub(crate) use in_process::{InProcess, Owner};
pub(crate) use outcome::{Slot, Stored};
pub(crate) use pool_context::{
    BlockingGuard, PoolContext, current_pool, end_if_elsewhere, enter_pool, is_elsewhere, leave_pool, may_run_here,
    new_pool_id,
};
pub use promise::{CancelHook, Promise, Promises};
pub(crate) use shortage::note as note_shortage;
#[cfg(unix)]
pub(crate) use spin::{has_time, spin};
pub(crate) use spin::{note_asleep, note_awake, spin_for_work};
pub(crate) use state::State;
pub use state::{Completed, TaskId};
pub(crate) use task::{Body, Task, TaskRef, TypedRef};
pub use task_future::{TaskFuture, TaskState};
pub(crate) use waiter::{Waiter, WaiterKey};
