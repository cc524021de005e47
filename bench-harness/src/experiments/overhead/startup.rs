//! The time until the first result of a new pool, and of a pool whose worker was killed.

use std::time::{Duration, Instant};

use executor_core::{Executor, ProcessPoolExecutor, RayonExecutor, ThreadPoolExecutor};
use reports::{model::Reason, overhead::Unit};
use rustix::process::{Pid, Signal, kill_process};

use super::measurement::Subject;
use super::{
    contenders::{echo, with_contender},
    measurement::{Probe, Reading},
};
use crate::contender::{Contender, ContenderVisit};
use crate::{error::chain, executors::Kind, peers::Peer, stats::nanos};

pub(super) const FIRST: &str = "build to first result";
pub(super) const ALL: &str = "build to all workers ready";
pub(super) const REPLACED: &str = "kill -9 to replacement's first result";

/// A worker that is not replaced within this time will not be.
const LONGEST: Duration = Duration::from_secs(10);

pub(super) fn measure(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    let workers = probe.workers;
    let rounds = probe.sizes.rounds;
    let reading = |name, values| Reading::new(probe.subject, name, Unit::Nanoseconds, values);
    let times = |first: &dyn Fn() -> Result<f64, Reason>| (0..rounds).map(|_| first()).collect::<Result<Vec<_>, _>>();
    match probe.subject {
        Subject::Lab(Kind::Process) => {
            let build = || ProcessPoolExecutor::new(workers).map_err(|error| chain(&error));
            let first = times(&|| first_result(build))?;
            let all = times(&|| {
                let start = Instant::now();
                let pool = build()?;
                pool.warm_up().map_err(|error| chain(&error))?;
                Ok(nanos(start.elapsed()) as f64)
            })?;
            Ok(vec![reading(FIRST, first), reading(ALL, all)])
        }
        Subject::Lab(Kind::Rayon) => {
            let build = || RayonExecutor::builder().max_workers(workers).build().map_err(|error| chain(&error));
            Ok(vec![reading(FIRST, times(&|| first_result(build))?)])
        }
        Subject::Lab(_) => {
            let build = || ThreadPoolExecutor::new(workers).map_err(|error| chain(&error));
            Ok(vec![reading(FIRST, times(&|| first_result(build))?)])
        }
        Subject::Peer(Peer::Python(python)) => {
            let figures = python.measure(workers, "startup", 1, rounds)?;
            let note = format!("Python {}, by its own clock; without starting Python", figures.version);
            Ok(vec![reading(FIRST, figures.values).with_note(note)])
        }
        subject => {
            let first = || with_contender(subject, workers, FirstAnswer(Instant::now()))?;
            Ok(vec![reading(FIRST, times(&first)?)])
        }
    }
}

fn first_result<E: Executor>(build: impl FnOnce() -> Result<E, String>) -> Result<f64, Reason> {
    let start = Instant::now();
    let pool = build()?;
    let future = pool.submit(echo, 1).map_err(|error| chain(&error))?;
    future.result().map_err(|error| chain(&error))?;
    // The shutdown of the pool does not belong to its start.
    Ok(nanos(start.elapsed()) as f64)
}

/// Holds the time from before the contender is built.
struct FirstAnswer(Instant);

impl ContenderVisit for FirstAnswer {
    type Output = Result<f64, Reason>;

    fn visit<C: Contender>(self, contender: &C) -> Self::Output {
        let answer = contender.submit(1).and_then(|ticket| contender.wait(ticket));
        let time = nanos(self.0.elapsed()) as f64;
        if answer == Some(1) { Ok(time) } else { Err(Reason::wrong("the first task gave none")) }
    }
}

fn own_pid() -> u32 {
    std::process::id()
}

/// A pool of one worker, so that no other worker can answer in its place.
pub(super) fn measure_recovery(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    let pool = ProcessPoolExecutor::new(1).map_err(|error| chain(&error))?;
    let ask = || pool.submit(own_pid, ()).ok()?.result().ok();
    let mut times = Vec::new();
    for _ in 0..probe.sizes.rounds * 3 {
        // The worker before it may have been killed a moment ago.
        let worker = ask().or_else(ask).ok_or("the worker does not answer")?;
        let pid = i32::try_from(worker).ok().and_then(Pid::from_raw).ok_or("a worker without a process id")?;
        let start = Instant::now();
        kill_process(pid, Signal::KILL).map_err(|error| format!("the worker cannot be killed: {error}"))?;
        // A task may reach the worker before the signal does, and dies with it then: it fails, and the next one is tried.
        while ask().is_none_or(|pid| pid == worker) {
            if start.elapsed() > LONGEST {
                return Err(format!("no worker took the killed one's place within {} s", LONGEST.as_secs()).into());
            }
        }
        times.push(nanos(start.elapsed()) as f64);
    }
    let note = "a pool of one worker, so that no other worker can answer";
    Ok(vec![Reading::new(probe.subject, REPLACED, Unit::Nanoseconds, times).with_note(note)])
}
