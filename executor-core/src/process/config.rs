//! The configuration of a process pool.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{portable::call::Call, role::LaunchArguments, stats::Observer};

/// How tasks and results travel between the pool and its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Transport {
    /// A Unix socket for each worker: works on every Unix, and costs about ten times as much for a small task. Needs no shared
    /// memory; where there is none, a task that is given a [`CancelToken`](crate::CancelToken) fails with
    /// [`TaskError::Encode`](crate::TaskError::Encode), and [`SharedBytes`](crate::SharedBytes) are copied.
    ///
    /// A task that was sent to a worker cannot be taken back from it, also before the worker has read it: the program has only its own
    /// end of the socket. So it counts as started, for [`cancel`](crate::TaskFuture::cancel) and
    /// [`Shutdown::CancelQueued`](crate::Shutdown::CancelQueued). If the worker is stopped by a signal, or dies, it goes to another
    /// one; if the worker hangs in code that belongs to no task, it waits there until its time limit is over.
    Socket,
    /// Rings in shared memory for each worker, which sleep and wake by futex. Linux only. Where the system refuses shared
    /// memory, because of a sandbox or a limit on the size of files (`RLIMIT_FSIZE`) below half a megabyte, workers are reached
    /// over sockets.
    #[cfg(target_os = "linux")]
    SharedMemory,
}

impl Default for Transport {
    #[cfg(target_os = "linux")]
    fn default() -> Self {
        Self::SharedMemory
    }

    #[cfg(not(target_os = "linux"))]
    fn default() -> Self {
        Self::Socket
    }
}

/// How a pool starts its worker processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartMethod {
    /// The program is started again for each worker, which inherits no state: its statics are as at any start of the program.
    #[default]
    Spawn,
    /// The program is started again once, as a helper that runs the pool's [`preload`](super::ProcessPoolBuilder::preload) and
    /// from which workers are forked then. They share its memory until they write to it, and are there sooner. Right where
    /// workers need much that is the same for all of them, where the code before [`init`](crate::init) is slow, or where
    /// workers are replaced all the time.
    ///
    /// - When the preload returns, the threads that it has started must have ended: a process with threads cannot be forked. A pool
    ///   that it has built has to be dropped; threads of this crate that keep time limits or run callbacks end by themselves.
    /// - What it leaves in statics is there in the workers; what it leaves in thread-locals is not, because tasks run on a
    ///   thread of their own.
    /// - A generator of random numbers that it has seeded goes on with the same numbers in every worker.
    /// - Handlers of `pthread_atfork` do not run.
    ///
    /// The helper may be killed at any time. That costs no task; it is started again when it is needed next, and runs the
    /// preload again.
    ///
    /// Linux only: elsewhere [`build`](super::ProcessPoolBuilder::build) says
    /// [`BuildError::Unsupported`](crate::BuildError::Unsupported). Where a sandbox refuses the system call `clone` with the
    /// flag `CLONE_PARENT`, workers are spawned instead, and each runs the preload by itself.
    ForkServer,
}

/// Which tasks fail when a worker dies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnWorkerDeath {
    /// The task that it was running; another worker takes its place.
    #[default]
    FailTask,
    /// The pool, as in Python: all tasks that are not done end with
    /// [`TaskError::PoolBroken`](crate::TaskError::PoolBroken).
    BreakPool,
}

/// No program means more workers than this.
pub(super) const MOST_WORKERS: usize = 1 << 20;

pub(super) struct Config {
    pub(super) max_workers: usize,
    pub(super) start_method: StartMethod,
    pub(super) preload: Option<Call>,
    pub(super) initializer: Option<Call>,
    pub(super) memory_limit: Option<u64>,
    pub(super) recycle_above: Option<u64>,
    pub(super) transport: Transport,
    pub(super) on_worker_death: OnWorkerDeath,
    pub(super) max_tasks_per_child: Option<u32>,
    pub(super) retries: u32,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) queue_capacity: usize,
    pub(super) task_timeout: Option<Duration>,
    pub(super) grace: Duration,
    pub(super) startup_timeout: Duration,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) directory: Option<PathBuf>,
    /// Whether what a worker has started ends with it.
    pub(super) kill_process_group: bool,
    pub(super) observer: Option<Box<dyn Observer>>,
    pub(super) launch_arguments: LaunchArguments,
}
