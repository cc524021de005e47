//! Claims about what can be sent to a worker process: 24 and 25.

use std::sync::atomic::{AtomicU64, Ordering};

use executor_core::{Executor, ProcessPoolExecutor, TaskError, ThreadPoolExecutor, partial};
use reports::model::{ClaimVerdict, FigureKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error as _};

use super::{
    seen::{Checks, Seen, refuted, unknown},
    tasks::{POOLS, on, square},
};
use crate::{
    error::chain,
    executors::{AnyExecutor, Kind},
};

/// A value that serde refuses to write.
#[derive(Deserialize)]
struct Refused;

impl Serialize for Refused {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("it holds an open file"))
    }
}

fn take(_: Refused) -> u64 {
    1
}

fn give(_: u64) -> Refused {
    Refused
}

/// 24: values must be written and read, and closures that capture cannot be sent.
pub(super) fn portable() -> Result<Seen, String> {
    let mut checks = Checks::default();
    fn local(x: u64) -> u64 {
        x + 2
    }
    let processes = ProcessPoolExecutor::new(1).map_err(|error| chain(&error))?;
    let answer = |result: Result<executor_core::TaskFuture<u64>, executor_core::SubmitError>| {
        result.ok().and_then(|future| future.result().ok())
    };
    checks.check(answer(processes.submit(|x: u64| x + 1, 1)) == Some(2), "a closure that captures nothing is sent");
    checks.check(answer(processes.submit(local, 1)) == Some(3), "a function inside of a function is sent");
    let refused = processes.submit(take, Refused).ok().and_then(|future| future.result().err());
    checks.check(
        matches!(&refused, Some(TaskError::Encode { cause, .. }) if cause.to_string().contains("open file")),
        "an argument that cannot be written is the task's error",
    );
    let refused = processes.submit(give, 1).ok().map(|future| future.result().is_err());
    checks.check(refused == Some(true), "so is a result");
    checks.check(answer(processes.submit(square, 3)) == Some(9), "the pool goes on");
    let factor = std::hint::black_box(3);
    let threads = ThreadPoolExecutor::new(1).map_err(|error| chain(&error))?;
    let captured = threads.spawn(move || 14 * factor).ok().and_then(|future| future.result().ok());
    checks.check(captured == Some(42), "a thread takes a closure that captures");
    let verdict = ClaimVerdict::Conditional {
        when: "a closure captures something, or serde cannot write a value; closures and local functions that capture nothing are sent"
            .to_owned(),
    };
    let seen = "a capturing closure, a function pointer and a type without serde do not build (executor-core/compile_fail/cases, \
                and the example of `Task`); what fails only when it is written is the error of its task";
    Ok(checks.end(verdict, unknown, seen))
}

/// How often this process has read a configuration.
static READ: AtomicU64 = AtomicU64::new(0);

/// A configuration that counts how often it is read.
#[derive(Serialize)]
struct Config {
    factor: u64,
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // ORDERING: a count that publishes nothing else.
        READ.fetch_add(1, Ordering::Relaxed);
        u64::deserialize(deserializer).map(|factor| Self { factor })
    }
}

/// The product, this process, and how often it has read a configuration.
fn scale(x: u64, config: &Config) -> (u64, u32, u64) {
    // ORDERING: as above.
    (x * config.factor, std::process::id(), READ.load(Ordering::Relaxed))
}

/// 25: a configuration that is bound to a function.
pub(super) fn bound() -> Result<Seen, String> {
    let mut checks = Checks::default();
    for kind in [Kind::Serial].into_iter().chain(POOLS) {
        let answers = on(kind, 2, bound_on)?;
        let products = answers.iter().map(|(product, ..)| *product);
        checks.check(products.eq((0..BOUND).map(|x| 3 * x)), format!("each task has its configuration on {kind}"));
        if kind == Kind::Process {
            let most = answers.iter().map(|(_, _, read)| *read).max().unwrap_or(0);
            checks.check(most == 1, format!("a worker reads the configuration once, and not {most} times"));
            checks.value("configurations read by a worker", FigureKind::Count, most as f64);
        }
    }
    let seen = format!(
        "{BOUND} tasks with one bound configuration gave the right answers on 4 executors; a worker process read it once"
    );
    Ok(checks.end(ClaimVerdict::Supported, refuted, &seen))
}

const BOUND: u64 = 100;

fn bound_on(executor: &AnyExecutor) -> Vec<(u64, u32, u64)> {
    let task = partial(scale, Config { factor: 3 });
    let futures: Vec<_> = (0..BOUND).filter_map(|x| executor.submit(task.clone(), x).ok()).collect();
    futures.into_iter().filter_map(|future| future.result().ok()).collect()
}
