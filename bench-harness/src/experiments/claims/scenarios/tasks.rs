//! Tasks of the scenarios. A cancel token is their event: it is seen in worker processes, too.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use executor_core::{CancelToken, TaskFuture};

use crate::{
    error::chain,
    executors::{AnyExecutor, Kind},
    stats::nanos,
};

/// The executors that run tasks beside the caller, and keep their workers.
pub(super) const POOLS: [Kind; 3] = [Kind::Thread, Kind::Process, Kind::Rayon];

/// No scenario waits longer than this for something that should come at once.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Runs a scenario on an executor of its own.
pub(super) fn on<T>(kind: Kind, workers: usize, scenario: impl FnOnce(&AnyExecutor) -> T) -> Result<T, String> {
    let executor = AnyExecutor::start(kind, workers).map_err(|error| chain(&error))?;
    Ok(scenario(&executor))
}

pub(super) fn square(x: u64) -> u64 {
    x * x
}

/// Nanoseconds since 1970, which all processes of the machine share.
pub(super) fn now() -> u64 {
    nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Runs until the token is cancelled; returns when it has seen that.
pub(super) fn hold(token: CancelToken) -> u64 {
    while !token.is_cancelled() {
        thread::sleep(Duration::from_micros(200));
    }
    now()
}

/// Sleeps for some milliseconds.
pub(super) fn nap(millis: u64) -> u64 {
    thread::sleep(Duration::from_millis(millis));
    millis
}

/// Leaves a file, as evidence that it has run.
pub(super) fn mark(path: String) -> bool {
    fs::write(path, "").is_ok()
}

/// Leaves a file, and then runs until the token is cancelled.
pub(super) fn mark_and_hold(path: String, token: CancelToken) -> u64 {
    mark(path);
    hold(token)
}

pub(super) fn fail(number: u64) -> u64 {
    assert!(number != 2, "number {number} is refused");
    number
}

/// Whether something becomes so before long.
pub(super) fn soon(mut is_so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > LONGEST_WAIT {
            return false;
        }
        thread::sleep(Duration::from_micros(100));
    }
    true
}

/// Whether the task begins to run before long.
pub(super) fn begins<T>(future: &TaskFuture<T>) -> bool {
    soon(|| future.running())
}

/// A folder for the files of [`mark`], which goes with the value.
pub(super) struct Marks(PathBuf);

impl Marks {
    pub(super) fn new() -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("lab-claims-{}-{}", std::process::id(), now()));
        fs::create_dir(&folder).map_err(|error| format!("failed to make {}: {error}", folder.display()))?;
        Ok(Self(folder))
    }

    pub(super) fn path(&self, number: usize) -> String {
        self.folder().join(number.to_string()).to_string_lossy().into_owned()
    }

    /// The tasks that have run.
    pub(super) fn count(&self) -> usize {
        fs::read_dir(self.folder()).map_or(0, Iterator::count)
    }

    fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
