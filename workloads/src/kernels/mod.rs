//! Kernels: tasks that use one known resource and nothing else.
//!
//! - [`spin()`]: the CPU, in iterations and not in time, so that a slower clock shows as slower.
//! - [`io_wait()`]: waiting without the CPU, like a slow disk or network.
//! - [`payload()`]: bytes in and bytes out, the cost of moving an argument and a result.

mod block;
mod io_wait;
mod payload;
mod spin;

pub use block::Block;
pub use io_wait::{IoWait, IoWaitTasks, io_wait};
pub use payload::{Payload, PayloadAnswer, PayloadTasks, payload};
pub use spin::{Spin, SpinTasks, calibrate, spin};
