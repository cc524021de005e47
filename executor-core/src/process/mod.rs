//! [`ProcessPoolExecutor`]: tasks in worker processes that can be killed and may crash. See README.md for which part owns what, and
//! why no task is lost.
//!
//! The folder says which process runs a file: [`parent`] the program that has the pool, [`worker`] its children. What both mean by
//! a task is in [`portable`](crate::portable), what they say to one another in [`wire`], and how it travels in [`transport`].

mod builder;
mod config;
mod executor;
#[cfg(all(any(test, fuzzing), not(loom), target_os = "linux"))]
pub mod fuzzing;
mod handle;
mod parent;
mod setup;
#[cfg_attr(target_os = "linux", expect(unsafe_code, reason = "shares memory with another process"))]
mod transport;
mod wire;
mod worker;

pub use builder::ProcessPoolBuilder;
pub use config::{OnWorkerDeath, StartMethod, Transport};
pub use executor::ProcessPoolExecutor;
pub use handle::ProcessPoolHandle;
pub use worker::init;

/// Makes process pools work in a test binary, where the test harness owns `main`: put it once at the top level of the
/// binary (`tests/name.rs`, or `lib.rs` for unit tests under `#[cfg(test)]`).
///
/// It adds a test named `executor_core_worker`, which passes, and in a worker process is where the worker runs its tasks. In worker
/// processes of a test binary standard output goes to `/dev/null`, because the harness writes to it.
///
/// Binaries with `harness = false`, examples and doc tests have a `main` of their own, and call [`init`] there.
///
/// # Examples
///
/// ```
/// // tests/name.rs
/// executor_core::test_worker!();
/// # executor_core::init();
///
/// // ... and in any test of this file:
/// use executor_core::{Executor, ProcessPoolExecutor};
/// let pool = ProcessPoolExecutor::builder().max_workers(1).build()?;
/// assert_eq!(pool.submit(|x: u64| x * x, 12)?.result(), Ok(144));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! test_worker {
    () => {
        /// Where worker processes of this test binary live.
        #[test]
        fn executor_core_worker() {
            $crate::init();
        }

        const _: () = {
            extern "C" fn register() {
                $crate::register_test_worker(::core::module_path!());
            }

            // Runs before `main`, and does nothing but note a name.
            #[used]
            #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
            static REGISTER: extern "C" fn() = register;
        };
    };
}
