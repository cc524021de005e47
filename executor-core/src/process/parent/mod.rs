//! The program's side: the pool's state, its supervisor, and its workers as the program sees them.

pub(super) mod dispatch;
#[cfg(all(any(test, fuzzing), not(loom), target_os = "linux"))]
pub(super) mod hostile;
mod lanes;
pub(super) mod launch;
pub(super) mod ledger;
pub(super) mod lifecycle;
pub(super) mod lock;
pub(super) mod pool;
mod queue;
mod sleep;
mod spent;
mod staffing;
pub(super) mod state;
pub(super) mod supervisor;
pub(super) mod workers;
