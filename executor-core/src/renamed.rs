//! Former names of what is public.

use std::time::Duration;

use crate::wait::{Waitable, Waited};

/// The former name of [`ThreadPoolHandle`](crate::ThreadPoolHandle).
#[deprecated(note = "use `ThreadPoolHandle`")]
pub type ThreadPoolCore = crate::thread::ThreadPoolHandle;

/// The former name of [`SerialHandle`](crate::SerialHandle).
#[deprecated(note = "use `SerialHandle`")]
pub type SerialCore = crate::serial::SerialHandle;

#[cfg(unix)]
/// The former name of [`ProcessPoolHandle`](crate::ProcessPoolHandle).
#[deprecated(note = "use `ProcessPoolHandle`")]
pub type ProcessPoolCore = crate::process::ProcessPoolHandle;

#[cfg(feature = "rayon")]
/// The former name of [`RayonHandle`](crate::RayonHandle).
#[deprecated(note = "use `RayonHandle`")]
pub type RayonCore = crate::rayon::RayonHandle;

pub use crate::wait::Waitable as Completion;

/// The former name of [`wait_until`](crate::wait_until).
#[deprecated(note = "use `wait_until`")]
pub fn wait_until_any<F: Waitable>(
    futures: impl IntoIterator<Item = F>,
    timeout: Option<Duration>,
    stop: impl FnMut(&F) -> bool,
) -> Waited<F> {
    crate::wait::wait_until(futures, timeout, stop)
}
