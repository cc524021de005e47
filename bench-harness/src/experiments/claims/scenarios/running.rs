//! Claims about tasks that hang, run, or wait, and how they are stopped: 27 to 30.

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use executor_core::{
    CancelToken, Executor, ProcessPoolExecutor, Shutdown, TaskError, TaskFuture, TaskOptions, ThreadPoolExecutor,
};
use reports::model::{ClaimVerdict, FigureKind};

use super::{
    seen::{Checks, Seen, refuted, supported, unknown},
    tasks::{LONGEST_WAIT, Marks, POOLS, begins, hold, mark, nap, now, on, soon},
};
use crate::{
    error::chain,
    executors::{AnyExecutor, Kind},
    stats::nanos,
};

/// 27: without a time limit a wait does not end, and with one it does.
pub(super) fn hang() -> Result<Seen, String> {
    let mut checks = Checks::default();
    checks.check(TaskOptions::new().time_limit().is_none(), "a task has no time limit by default");
    for kind in POOLS {
        let overshoot = on(kind, 1, |executor| hang_on(executor, &mut checks, kind))?;
        checks.value(format!("a wait of 50 ms ends late by, {kind}"), FigureKind::Duration, overshoot);
    }
    let seen =
        "a task that hung was waited for until it was let go; a wait with a limit gave the future back, still usable";
    Ok(checks.end(ClaimVerdict::Supported, refuted, seen))
}

const LIMIT: Duration = Duration::from_millis(50);

fn hang_on(executor: &AnyExecutor, checks: &mut Checks, kind: Kind) -> f64 {
    let token = CancelToken::new();
    let Some(future) = executor.submit(hold, token.clone()).ok().filter(begins) else {
        token.cancel();
        checks.check(false, format!("the task begins on {kind}"));
        return 0.0;
    };
    let start = Instant::now();
    let returned = future.result_timeout(LIMIT);
    let overshoot = nanos(start.elapsed().saturating_sub(LIMIT)) as f64;
    checks.check(start.elapsed() >= LIMIT, format!("a wait with a limit does not end before it on {kind}"));
    let Err(future) = returned else {
        checks.check(false, format!("a task that hangs has no result on {kind}"));
        return overshoot;
    };
    // A wait without a limit, on a thread of its own, until the task is let go.
    let (sender, ended) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || sender.send(future.result().is_ok()));
        checks.check(ended.recv_timeout(4 * LIMIT).is_err(), format!("a wait without a limit goes on on {kind}"));
        token.cancel();
        checks
            .check(ended.recv_timeout(LONGEST_WAIT) == Ok(true), format!("the task still gives its result on {kind}"));
    });
    overshoot
}

/// 28: what stops a task that runs.
pub(super) fn stop_running() -> Result<Seen, String> {
    let mut checks = Checks::default();
    for kind in POOLS {
        on(kind, 1, |executor| running_on(executor, &mut checks, kind))?;
    }
    let by_limit = |options: TaskOptions| {
        let pool = ThreadPoolExecutor::new(1).map_err(|error| chain(&error))?;
        let token = CancelToken::new();
        let future = pool.submit_with(hold, token.clone(), options).map_err(|error| chain(&error))?;
        let is_stopped = soon(|| future.done()) && pool.stats().running == 0;
        token.cancel();
        Ok::<bool, String>(is_stopped)
    };
    checks.check(!by_limit(TaskOptions::new().timeout(LIMIT))?, "a time limit does not stop a task on a thread");
    kill(&mut checks)?;
    let verdict = ClaimVerdict::Conditional {
        when: "the task runs on a thread: in a worker process, kill and time limits stop it".to_owned(),
    };
    let seen = "cancel stopped no running task on 3 pools, nor did a time limit on a thread; kill and a time limit did in a worker process";
    Ok(checks.end(verdict, supported, seen))
}

fn running_on(executor: &AnyExecutor, checks: &mut Checks, kind: Kind) {
    let token = CancelToken::new();
    let future = executor.submit(hold, token.clone()).ok().filter(begins);
    let refused = future.as_ref().is_some_and(|future| !future.cancel() && future.running());
    checks.check(refused, format!("cancel leaves a running task alone on {kind}"));
    token.cancel();
    let result = future.map(TaskFuture::result);
    checks.check(matches!(result, Some(Ok(_))), format!("the task then gives its result on {kind}"));
}

/// `kill` and a time limit in a worker process, of a task that nothing else ends.
fn kill(checks: &mut Checks) -> Result<(), String> {
    let pool = ProcessPoolExecutor::builder().max_workers(1).grace(Duration::ZERO).build();
    let pool = pool.map_err(|error| chain(&error))?;
    // It is never cancelled.
    let never = CancelToken::new();
    let future = pool.submit(hold, never.clone()).map_err(|error| chain(&error))?;
    checks.check(begins(&future), "the task begins in a worker process");
    let start = Instant::now();
    checks.check(future.kill(), "kill takes a task in a worker process");
    checks.check(future.result() == Err(TaskError::Cancelled), "a killed task is cancelled");
    checks.value("from kill to its end", FigureKind::Duration, nanos(start.elapsed()) as f64);
    let limited = pool.submit_with(hold, never, TaskOptions::new().timeout(LIMIT)).map_err(|error| chain(&error))?;
    checks.check(
        matches!(limited.result(), Err(TaskError::TimedOut { .. })),
        "a time limit stops a task in a worker process",
    );
    let after = pool.submit(nap, 1).map_err(|error| chain(&error))?;
    checks.check(after.result() == Ok(1), "the pool goes on");
    Ok(())
}

/// 29: tasks that wait are cancelled, and never run.
pub(super) fn cancel_waiting() -> Result<Seen, String> {
    let mut checks = Checks::default();
    for kind in POOLS {
        let marks = Marks::new()?;
        on(kind, 1, |executor| waiting_on(executor, &mut checks, kind, &marks))?;
    }
    let seen = format!("{QUEUED} tasks behind one that ran were cancelled on each of 3 pools; none of them ran");
    Ok(checks.end(ClaimVerdict::Supported, refuted, &seen))
}

const QUEUED: usize = 100;

fn waiting_on(executor: &AnyExecutor, checks: &mut Checks, kind: Kind, marks: &Marks) {
    let token = CancelToken::new();
    let running = executor.submit(hold, token.clone()).ok().filter(begins);
    let queued: Vec<TaskFuture<bool>> =
        (0..QUEUED).filter_map(|number| executor.submit(mark, marks.path(number)).ok()).collect();
    let cancelled = queued.iter().filter(|future| future.cancel()).count();
    let not_running = running.as_ref().is_some_and(|future| !future.cancel());
    token.cancel();
    executor.shutdown(Shutdown::Drain, None);
    checks.check(cancelled == QUEUED, format!("all tasks that wait are cancelled on {kind}"));
    checks.check(not_running, format!("the one that runs is not on {kind}"));
    checks.check(marks.count() == 0, format!("none of them has run on {kind}"));
}

/// 30: an event that a task looks at.
pub(super) fn cooperate() -> Result<Seen, String> {
    let mut checks = Checks::default();
    for kind in POOLS {
        on(kind, 1, |executor| token_on(executor, &mut checks, kind))?;
    }
    let deaf = ThreadPoolExecutor::new(1).map_err(|error| chain(&error))?;
    let future = deaf.submit(nap, 100).map_err(|error| chain(&error))?;
    checks.check(begins(&future), "the task begins");
    checks.check(
        !future.kill() && future.result() == Ok(100),
        "a thread's task that looks at no event goes on to its end",
    );
    kill(&mut checks)?;
    let verdict = ClaimVerdict::Conditional {
        when: "the task runs on a thread: one in a worker process can be killed without its help".to_owned(),
    };
    let seen = "a cancel token was seen by running tasks on 3 pools; a task on a thread that looked at none could not be stopped";
    Ok(checks.end(verdict, unknown, seen))
}

/// The time of one look at a token that is not cancelled, in nanoseconds.
fn cost_of_looking(token: CancelToken) -> f64 {
    const LOOKS: u32 = 200_000;
    let start = Instant::now();
    for _ in 0..LOOKS {
        black_box(token.is_cancelled());
    }
    nanos(start.elapsed()) as f64 / f64::from(LOOKS)
}

fn token_on(executor: &AnyExecutor, checks: &mut Checks, kind: Kind) {
    let token = CancelToken::new();
    let future = executor.submit(hold, token.clone()).ok().filter(begins);
    let start = now();
    token.cancel();
    let seen = future.and_then(|future| future.result().ok());
    checks.check(seen.is_some_and(|seen| seen >= start), format!("a running task sees its token on {kind}"));
    let cost = executor.submit(cost_of_looking, CancelToken::new()).ok().and_then(|future| future.result().ok());
    if let Some(cost) = cost {
        checks.value(format!("one look at a token, {kind}"), FigureKind::Duration, cost);
    }
}
