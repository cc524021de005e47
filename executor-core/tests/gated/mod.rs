//! Tasks that run until they are told to end, and pools that have measured that other tasks are short.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use executor_core::{Executor, ProcessPoolBuilder, ProcessPoolExecutor, TaskError, TaskFuture};

/// For what must happen: a test that waits longer has failed.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn square(x: u64) -> u64 {
    x * x
}

/// Says that it runs by making a file, and ends when there is another one.
pub(crate) fn run_until(files: (String, String)) -> u64 {
    fs::write(files.0, "").unwrap();
    while !Path::new(&files.1).exists() {
        thread::yield_now();
    }
    7
}

/// A task that runs until it is told to end.
pub(crate) struct Gate {
    folder: Option<tempfile::TempDir>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { folder: Some(tempfile::tempdir().unwrap()) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.as_ref().unwrap().path().join(name)
    }

    pub(crate) fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn submit(&self, pool: &ProcessPoolExecutor, number: usize) -> TaskFuture<u64> {
        let files = (self.name(&format!("started{number}")), self.name("open"));
        pool.submit(run_until, files).unwrap()
    }

    /// Submits the task, and waits until it runs.
    pub(crate) fn close(&self, pool: &ProcessPoolExecutor) -> TaskFuture<u64> {
        let future = self.submit(pool, 0);
        self.wait_until_it_runs(0);
        future
    }

    pub(crate) fn wait_until_it_runs(&self, number: usize) {
        until("the task has not started", || self.path(&format!("started{number}")).exists());
    }

    pub(crate) fn open(&self) {
        fs::write(self.path("open"), "").unwrap();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if thread::panicking() {
            // A pool that is dropped waits for the task.
            self.open();
            self.folder.take().map(tempfile::TempDir::keep);
        }
    }
}

/// Waits for something that has no event of its own.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "{what}");
        thread::yield_now();
    }
}

/// A pool that has measured that its tasks are short, and therefore has several of them in flight at a worker.
pub(crate) fn quick_pool(builder: ProcessPoolBuilder, workers: usize) -> ProcessPoolExecutor {
    let pool = builder.max_workers(workers).grace(Duration::from_millis(200)).build().unwrap();
    pool.warm_up().unwrap();
    for round in 0..10 {
        let futures: Vec<_> = (0..20).map(|x| pool.submit(square, x + round).unwrap()).collect();
        futures.into_iter().for_each(|future| assert!(future.result().is_ok()));
    }
    pool
}

pub(crate) fn result<T: Send + 'static>(future: TaskFuture<T>) -> Result<T, TaskError> {
    match future.result_timeout(LONG) {
        Ok(result) => result,
        Err(future) => panic!("no result: {future:?}"),
    }
}

pub(crate) fn squares(pool: &ProcessPoolExecutor, count: u64) -> Vec<TaskFuture<u64>> {
    (0..count).map(|x| pool.submit(square, x).unwrap()).collect()
}

pub(crate) fn assert_squares(futures: Vec<TaskFuture<u64>>) {
    for (x, future) in futures.into_iter().enumerate() {
        assert_eq!(result(future), Ok(square(x as u64)));
    }
}
