//! Claims about the end of a pool, and what it leaves behind: 5, 31 and 32.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use executor_core::{Executor, ProcessPoolExecutor, Shutdown, TaskFuture};
use reports::model::{ClaimVerdict, FigureKind};

use super::{
    probe::{ClaimProbe, Forgets},
    seen::{Checks, Seen, refuted, supported},
    tasks::{Marks, POOLS, fail, hold, mark, nap, on, square},
};
use crate::{
    error::chain,
    executors::{AnyExecutor, Kind},
    experiments::stress::leaks::Inventory,
    runner::process_tree,
    stats::nanos,
};

/// What ends the scope that owns a pool.
#[derive(Debug, Clone, Copy)]
enum Exit {
    Return,
    Error,
    Panic,
}

/// 5: whatever ends the scope, the pool is gone.
pub(super) fn scope() -> Result<Seen, String> {
    let mut checks = Checks::default();
    // What exists once for the whole program comes with the first pool.
    let mut before = Inventory::take();
    POOLS.into_iter().try_for_each(|kind| on(kind, 2, |executor| body_on(executor, Exit::Return)).map(drop))?;
    before.accept_files();
    for kind in POOLS {
        for exit in [Exit::Return, Exit::Error, Exit::Panic] {
            let ended = catch_unwind(AssertUnwindSafe(|| on(kind, 2, |executor| body_on(executor, exit))));
            let as_told = match exit {
                Exit::Return => matches!(ended, Ok(Ok(Ok(())))),
                Exit::Error => matches!(ended, Ok(Ok(Err(())))),
                Exit::Panic => ended.is_err(),
            };
            checks.check(as_told, format!("the scope ends by {exit:?} on {kind}"));
            let left = before.left();
            checks.check(left.is_empty(), format!("nothing is left of {kind} after {exit:?} ({})", left.join(", ")));
        }
    }
    let seen = "no thread, process or file was left after a scope that returned, failed or panicked, with failing tasks, on 3 pools";
    Ok(checks.end(ClaimVerdict::Supported, refuted, seen))
}

/// Some tasks, of which some fail, and an end.
fn body_on(executor: &AnyExecutor, exit: Exit) -> Result<(), ()> {
    let futures: Vec<TaskFuture<u64>> = (0..20).filter_map(|n| executor.submit(fail, n % 4).ok()).collect();
    let first = futures.into_iter().next().map(TaskFuture::result);
    match exit {
        Exit::Return => Ok(()),
        Exit::Error => Err(()),
        Exit::Panic => panic!("the body of the scope fails after {first:?}"),
    }
}

/// 31: a shutdown that waits.
pub(super) fn shutdown() -> Result<Seen, String> {
    let mut checks = Checks::default();
    let mut before = Inventory::take();
    for kind in POOLS {
        let marks = Marks::new()?;
        on(kind, 2, |executor| ended_on(executor, &mut checks, kind, &marks))?;
        before.accept_files();
        let left = before.left();
        checks.check(left.is_empty(), format!("nothing is left of {kind} ({})", left.join(", ")));
    }
    let seen = format!(
        "all of {ENDED} tasks had run when the shutdown of 3 pools returned, and nothing was left; none was taken after it"
    );
    Ok(checks.end(ClaimVerdict::Supported, refuted, &seen))
}

const ENDED: usize = 50;

fn ended_on(executor: &AnyExecutor, checks: &mut Checks, kind: Kind, marks: &Marks) {
    // Both workers are busy when the shutdown begins.
    let busy: Vec<TaskFuture<u64>> = (0..2).filter_map(|_| executor.submit(nap, 5).ok()).collect();
    let futures: Vec<TaskFuture<bool>> =
        (0..ENDED).filter_map(|number| executor.submit(mark, marks.path(number)).ok()).collect();
    let report = executor.shutdown(Shutdown::Drain, None);
    checks.check(report.is_complete(), format!("the shutdown leaves no task on {kind}"));
    checks.check(marks.count() == ENDED, format!("all tasks have run on {kind}"));
    checks.check(busy.iter().all(TaskFuture::done), format!("the tasks that ran have ended on {kind}"));
    let ended = futures.into_iter().filter(TaskFuture::done);
    let right = ended.map(TaskFuture::result).filter(|result| *result == Ok(true)).count();
    checks.check(right == ENDED, format!("all results are there on {kind}"));
    checks.check(executor.submit(square, 1).is_err(), format!("no task is taken after it on {kind}"));
}

/// 32: what is left of a pool that was not shut down.
pub(super) fn forget() -> Result<Seen, String> {
    if !cfg!(target_os = "linux") {
        let why = "whether a process lives is read from /proc, which this system does not have".to_owned();
        return Ok(Seen { verdict: ClaimVerdict::Untestable { why }, seen: String::new(), values: Vec::new() });
    }
    let mut checks = Checks::default();
    let mut before = Inventory::take();
    for kind in POOLS {
        on(kind, 2, |executor| body_on(executor, Exit::Return))?.unwrap_or_default();
        before.accept_files();
        let left = before.left();
        checks.check(left.is_empty(), format!("nothing is left of {kind} that is dropped ({})", left.join(", ")));
    }
    for how in [Forgets::AndEnds, Forgets::AndIsKilled] {
        let gone = survivors(how)?;
        let what = match how {
            Forgets::AndEnds => "its program ends",
            Forgets::AndIsKilled => "its program is killed",
        };
        checks.check(gone.is_some(), format!("its worker processes end within {MOST:?} when {what}"));
        if let Some(time) = gone {
            checks.value(format!("until the workers are gone when {what}"), FigureKind::Duration, time);
        }
    }
    let seen = "dropping a pool ends it; workers of a pool that was never dropped ended with their program, also when that was killed";
    Ok(checks.end(ClaimVerdict::Refuted, supported, seen))
}

/// The longest that a worker process may survive its program.
const MOST: Duration = Duration::from_secs(2);

/// Starts a program that forgets its pool; the time from its end until its workers have ended, if they do.
fn survivors(how: Forgets) -> Result<Option<f64>, String> {
    let failed = |error: std::io::Error| format!("failed to start a program that forgets its pool: {error}");
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.arg("claim-sample").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut program = Ending(command.spawn().map_err(failed)?);
    let input = serde_json::to_vec(&ClaimProbe::Forget(how)).map_err(|error| error.to_string())?;
    program.0.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(&input)).map_err(failed)?;
    let mut line = String::new();
    program.0.stdout.take().map_or(Ok(0), |stdout| BufReader::new(stdout).read_line(&mut line)).map_err(failed)?;
    let workers: Vec<u32> = serde_json::from_str(&line).map_err(|error| format!("no worker processes: {error}"))?;
    if let Forgets::AndIsKilled = how {
        program.0.kill().map_err(failed)?;
    }
    program.0.wait().map_err(failed)?;
    let start = Instant::now();
    while workers.iter().any(|pid| lives(*pid)) {
        if start.elapsed() > MOST {
            return Ok(None);
        }
        thread::sleep(Duration::from_micros(200));
    }
    Ok((!workers.is_empty()).then(|| nanos(start.elapsed()) as f64))
}

/// A child that does not outlive the value.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        // This fails only where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a process has not ended. One that only waits to be reaped has.
fn lives(pid: u32) -> bool {
    let folder = format!("/proc/{pid}");
    process_tree::parent_of(Path::new(&folder)).is_some_and(|(state, _)| state != "Z") && fs::metadata(folder).is_ok()
}

/// The program that forgets: prints its workers, and ends or goes on as it is told.
pub(super) fn forgetful(how: Forgets) -> Result<(), String> {
    let pool = ProcessPoolExecutor::new(2).map_err(|error| chain(&error))?;
    pool.warm_up().map_err(|error| chain(&error))?;
    let workers = pool.worker_pids();
    // Both workers have a task that does not end.
    for _ in 0..2 {
        let future = pool.submit(hold, executor_core::CancelToken::new()).map_err(|error| chain(&error))?;
        std::mem::forget(future);
    }
    std::mem::forget(pool);
    let mut out = std::io::stdout();
    let line = serde_json::to_string(&workers).map_err(|error| error.to_string())?;
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| error.to_string())?;
    if how == Forgets::AndEnds {
        return Ok(());
    }
    loop {
        thread::park();
    }
}
