//! The program's side: the pool's state, its supervisor, and its workers as the program sees them.

mod definitions;
pub(super) mod dispatch;
mod in_flight;
pub(super) mod launch;
#[cfg(target_os = "linux")]
mod loans;
pub(super) mod lock;
pub(super) mod pool;
mod queue;
mod sleep;
mod spent;
pub(super) mod supervisor;
pub(super) mod worker_handle;

#[cfg(all(test, not(loom), target_os = "linux"))]
#[expect(clippy::unwrap_used, reason = "a test")]
mod loans_model;
