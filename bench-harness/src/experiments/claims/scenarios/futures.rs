//! Claims about a single future, its callbacks and its error: 9 and 26.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use executor_core::{CancelToken, Executor, Shutdown, TaskError, TaskFuture};
use reports::model::ClaimVerdict;

use super::{
    seen::{Checks, Seen, refuted},
    tasks::{POOLS, begins, fail, hold, on, soon, square},
};
use crate::executors::{AnyExecutor, Kind};

/// 9: `done`, `cancel` and callbacks, in each state of a task.
pub(super) fn states() -> Result<Seen, String> {
    let mut checks = Checks::default();
    for kind in POOLS {
        on(kind, 1, |executor| states_on(executor, &mut checks, kind))?;
    }
    let seen = "done, cancel and callbacks did what they should for tasks that waited, ran, ended, failed and were cancelled, on 3 pools";
    Ok(checks.end(ClaimVerdict::Supported, refuted, seen))
}

/// Counts the calls of a callback.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicU32>);

impl Calls {
    fn of<T>(future: &TaskFuture<T>) -> Self {
        let calls = Self::default();
        let count = calls.clone();
        future.add_done_callback(move |_| {
            // ORDERING: a count that publishes nothing else.
            count.0.fetch_add(1, Ordering::Relaxed);
        });
        calls
    }

    fn count(&self) -> u32 {
        // ORDERING: as above.
        self.0.load(Ordering::Relaxed)
    }
}

fn states_on(executor: &AnyExecutor, checks: &mut Checks, kind: Kind) {
    let token = CancelToken::new();
    let running = executor.submit(hold, token.clone()).ok().filter(begins);
    let [waiting, other] = [1, 2].map(|number| executor.submit(square, number).ok());
    let failing = executor.submit(fail, 2).ok();
    let (Some(running), Some(waiting), Some(other), Some(failing)) = (running, waiting, other, failing) else {
        token.cancel();
        return checks.check(false, format!("{kind} takes tasks and begins them"));
    };
    let calls = [Calls::of(&running), Calls::of(&waiting), Calls::of(&other), Calls::of(&failing)];
    checks.check(
        !running.done() && !running.cancel(),
        format!("a task that runs is not done and not cancelled on {kind}"),
    );
    checks.check(!waiting.done() && waiting.cancel(), format!("a task that waits is cancelled on {kind}"));
    checks.check(waiting.done() && waiting.cancelled(), format!("a cancelled task is done on {kind}"));
    checks.check(soon(|| calls[1].count() == 1), format!("the callback of a cancelled task is called on {kind}"));
    token.cancel();
    checks.check(soon(|| running.done() && other.done() && failing.done()), format!("all tasks end on {kind}"));
    checks.check(!other.cancel() && !other.cancelled(), format!("a task that has ended is not cancelled on {kind}"));
    let late = Calls::of(&other);
    // A shutdown waits for callbacks.
    executor.shutdown(Shutdown::Drain, None);
    let once = calls.iter().chain([&late]).all(|calls| calls.count() == 1);
    checks.check(once, format!("each callback is called exactly once on {kind}"));
    checks.check(other.result() == Ok(4), format!("the result is there on {kind}"));
    checks.check(matches!(waiting.result(), Err(TaskError::Cancelled)), format!("a cancelled task says so on {kind}"));
    checks
        .check(matches!(failing.result(), Err(TaskError::Panicked { .. })), format!("a failed task says so on {kind}"));
}

/// 26: where an error is seen.
pub(super) fn errors() -> Result<Seen, String> {
    let mut checks = Checks::default();
    for kind in [Kind::Serial].into_iter().chain(POOLS) {
        on(kind, 2, |executor| errors_on(executor, &mut checks, kind))?;
    }
    let seen = "submit and map took the failing task; its error, with message, place and stack, came with its own result on 4 executors";
    Ok(checks.end(ClaimVerdict::Supported, refuted, seen))
}

fn errors_on(executor: &AnyExecutor, checks: &mut Checks, kind: Kind) {
    let submitted = executor.submit(fail, 2);
    checks.check(submitted.is_ok(), format!("submit of a failing task succeeds on {kind}"));
    let error = submitted.ok().and_then(|future| future.result().err());
    let is_told = matches!(
        &error,
        Some(TaskError::Panicked { message, location, backtrace })
            if message.contains("number 2 is refused") && location.contains("tasks.rs") && !backtrace.is_empty()
    );
    checks.check(is_told, format!("result has the message, the place and the stack on {kind}"));
    let mut mapped = executor.map(fail, 0..5).start();
    let mut failed = Vec::new();
    for index in 0..5 {
        let item = mapped.next();
        failed.push(!matches!(item, Some(Ok(number)) if number == index));
    }
    checks.check(failed == [false, false, true, false, false], format!("map fails at its third item only on {kind}"));
    let after = executor.submit(square, 3).ok().and_then(|future| future.result().ok());
    checks.check(after == Some(9), format!("later tasks run on {kind}"));
}
