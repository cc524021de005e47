//! Futures: the task cell, its reading side ([`TaskFuture`]), its writing side ([`Promise`]), and where callbacks run.
//!
//! The protocol of the cell is in this folder's `README.md`.

pub(crate) mod callbacks;
#[expect(unsafe_code, reason = "guards the list of waiters by a bit of the cell's word")]
mod cell;
mod completion_set;
pub(crate) mod deadline;
mod host;
#[expect(unsafe_code, reason = "takes work and writes outcomes by the protocol of the cell")]
mod in_process;
mod look;
#[expect(unsafe_code, reason = "keeps work and outcome in one place, by the state of the cell")]
mod outcome;
#[expect(unsafe_code, reason = "writes outcomes by the protocol of the cell")]
mod promise;
mod state;
#[expect(unsafe_code, reason = "one thin pointer to a task of any type")]
mod task;
mod task_future;
mod time_keeper;
mod waiter;

pub(crate) use cell::Cell;
pub(crate) use completion_set::CompletionSet;
pub(crate) use host::{
    Host, WaitingHere, current_pool, end_if_elsewhere, enter_pool, is_elsewhere, leave_pool, may_run_here, new_pool_id,
};
pub(crate) use in_process::{InProcess, Owner};
#[cfg(unix)]
pub(crate) use look::{has_time, look};
pub(crate) use look::{look_for_work, note_asleep, note_awake};
pub(crate) use outcome::{Slot, Stored};
pub use promise::{CancelHook, Promise, Promises};
pub(crate) use state::State;
pub use state::{Completed, TaskId};
pub(crate) use task::{Body, Task, TaskRef, TypedRef};
pub use task_future::{TaskFuture, TaskState};
pub(crate) use waiter::{Waiter, WaiterKey};
