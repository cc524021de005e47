//! Futures: the task cell, its reading side ([`TaskFuture`]), its writing side ([`Promise`]), and where callbacks run.
//!
//! The protocol of the cell is in this folder's `README.md`.

mod callbacks;
mod cell;
mod host;
mod promise;
mod task_future;

pub(crate) use cell::{Cell, Outcome, Shared, State, Waiter, WaiterKey};
pub use cell::{Completed, TaskId};
pub(crate) use host::{Host, WaitingHere, current_pool, enter_pool, may_run_here, new_pool_id};
pub use promise::Promise;
pub use task_future::TaskFuture;
