//! The executors under test, and how each is made.

use std::time::Duration;

use executor_core::{
    Executor, InitializerResult, ProcessPoolBuilder, ProcessPoolExecutor, RayonExecutor, SerialExecutor, StartMethod,
    TaskFuture, ThreadPoolExecutor, Transport,
};

use crate::own_executor::ThreadPerTask;

/// No test waits longer than this for something that should happen at once; it then fails instead of hanging.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// One kind of executor.
pub(crate) trait Kind: Copy + Send + Sync + 'static {
    type Pool: Executor + Send + Sync + 'static;

    /// Whether a task has ended when `submit` returns.
    fn runs_in_submit(self) -> bool {
        false
    }

    /// Its name in the names of trials, which programs are told.
    fn name(self) -> &'static str;

    fn pool(self, workers: usize) -> Self::Pool;
}

/// Those with an initializer.
pub(crate) trait Initialized: Kind {
    fn pool_with<F, R>(self, workers: usize, initializer: F, argument: String) -> Self::Pool
    where
        F: Fn(String) -> R + Copy + Send + Sync + 'static,
        R: InitializerResult + 'static;
}

/// Those that run in this process and take any closure.
pub(crate) trait Spawning: Kind {
    fn spawn<R: Send + 'static>(pool: &Self::Pool, work: impl FnOnce() -> R + Send + 'static) -> TaskFuture<R>;
}

#[derive(Clone, Copy)]
pub(crate) struct Threads;

impl Kind for Threads {
    type Pool = ThreadPoolExecutor;

    fn name(self) -> &'static str {
        "thread"
    }

    fn pool(self, workers: usize) -> ThreadPoolExecutor {
        ThreadPoolExecutor::new(workers).unwrap()
    }
}

impl Initialized for Threads {
    fn pool_with<F, R>(self, workers: usize, initializer: F, argument: String) -> ThreadPoolExecutor
    where
        F: Fn(String) -> R + Copy + Send + Sync + 'static,
        R: InitializerResult + 'static,
    {
        let builder = ThreadPoolExecutor::builder().max_workers(workers);
        builder.initializer(move || initializer(argument.clone())).build().unwrap()
    }
}

impl Spawning for Threads {
    fn spawn<R: Send + 'static>(pool: &Self::Pool, work: impl FnOnce() -> R + Send + 'static) -> TaskFuture<R> {
        pool.spawn(work).unwrap()
    }
}

/// A way to run a process pool: its name, and what is set on the builder.
pub(crate) struct ProcessVariant {
    pub(crate) name: &'static str,
    pub(crate) configure: fn(ProcessPoolBuilder) -> ProcessPoolBuilder,
}

/// Every row on processes runs on each of these. A further transport or start method is one more line.
pub(crate) static PROCESS_VARIANTS: &[ProcessVariant] = &[
    ProcessVariant { name: "process", configure: |builder| builder },
    ProcessVariant { name: "socket", configure: |builder| builder.transport(Transport::Socket) },
    ProcessVariant { name: "forkserver", configure: |builder| builder.start_method(StartMethod::ForkServer) },
];

#[derive(Clone, Copy)]
pub(crate) struct Processes(pub(crate) &'static ProcessVariant);

impl Processes {
    /// With a grace time that no test notices, unless it sets its own.
    pub(crate) fn builder(self, workers: usize) -> ProcessPoolBuilder {
        (self.0.configure)(ProcessPoolExecutor::builder().max_workers(workers).grace(Duration::from_millis(200)))
    }
}

impl Kind for Processes {
    type Pool = ProcessPoolExecutor;

    fn name(self) -> &'static str {
        self.0.name
    }

    fn pool(self, workers: usize) -> ProcessPoolExecutor {
        self.builder(workers).build().unwrap()
    }
}

impl Initialized for Processes {
    fn pool_with<F, R>(self, workers: usize, initializer: F, argument: String) -> ProcessPoolExecutor
    where
        F: Fn(String) -> R + Copy + Send + Sync + 'static,
        R: InitializerResult + 'static,
    {
        self.builder(workers).initializer(initializer, argument).build().unwrap()
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Rayon;

impl Kind for Rayon {
    type Pool = RayonExecutor;

    fn name(self) -> &'static str {
        "rayon"
    }

    fn pool(self, workers: usize) -> RayonExecutor {
        RayonExecutor::builder().max_workers(workers).build().unwrap()
    }
}

impl Spawning for Rayon {
    fn spawn<R: Send + 'static>(pool: &Self::Pool, work: impl FnOnce() -> R + Send + 'static) -> TaskFuture<R> {
        pool.spawn(work).unwrap()
    }
}

/// An executor that is built outside of the crate, by what the crate gives for that: the one of the example.
#[derive(Clone, Copy)]
pub(crate) struct Own;

impl Kind for Own {
    type Pool = ThreadPerTask;

    fn name(self) -> &'static str {
        "own"
    }

    fn pool(self, workers: usize) -> ThreadPerTask {
        ThreadPerTask::new(workers)
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Serial;

impl Kind for Serial {
    type Pool = SerialExecutor;

    fn runs_in_submit(self) -> bool {
        true
    }

    fn name(self) -> &'static str {
        "serial"
    }

    fn pool(self, _: usize) -> SerialExecutor {
        SerialExecutor::new()
    }
}

impl Spawning for Serial {
    fn spawn<R: Send + 'static>(pool: &Self::Pool, work: impl FnOnce() -> R + Send + 'static) -> TaskFuture<R> {
        pool.spawn(work).unwrap()
    }
}
