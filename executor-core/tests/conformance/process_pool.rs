//! test_process_pool.py: worker processes, their number, their deaths and how errors describe these.

use std::collections::HashSet;

use executor_core::{Executor, OnWorkerDeath, StartMethod, TaskError, WorkerExit};
use rustix::process::Signal;

use crate::{
    gate::{Gate, pass},
    kinds::{Kind, LONG, Processes},
    programs::Program,
    tasks::{power, signal, square, whoami},
    tracked::{self, Tracked},
};

pub(crate) fn test_killed_child(kind: Processes) {
    let pool = kind.pool(1);
    let gate = Gate::new();
    let running = pool.submit(pass, gate.key()).unwrap();
    let queued = pool.submit(square, 5).unwrap();
    let worker = gate.wait_for(1)[0];
    signal(worker, Signal::KILL);
    match running.result_timeout(LONG).unwrap() {
        Err(TaskError::WorkerDied { pid, exit }) => assert_eq!((pid, exit), (worker, WorkerExit::Signal(9))),
        other => panic!("{other:?}"),
    }
    assert_eq!(queued.result_timeout(LONG).unwrap(), Ok(25));
    assert_ne!(pool.submit(whoami, ()).unwrap().result().unwrap().0, worker, "another took its place");
    killed_child_in_strict_mode(kind);
}

/// CPython's own meaning.
fn killed_child_in_strict_mode(kind: Processes) {
    let pool = kind.builder(2).on_worker_death(OnWorkerDeath::BreakPool).build().unwrap();
    let gate = Gate::new();
    let running = [(); 2].map(|()| pool.submit(pass, gate.key()).unwrap());
    let queued = pool.submit(square, 5).unwrap();
    let worker = gate.wait_for(2)[0];
    signal(worker, Signal::KILL);
    let errors = running.map(|future| future.result_timeout(LONG).unwrap().unwrap_err());
    let killed = WorkerExit::Signal(9);
    let own =
        |error: &&TaskError| matches!(error, TaskError::WorkerDied { pid, exit } if (*pid, *exit) == (worker, killed));
    let broken =
        |error: &TaskError| matches!(error, TaskError::PoolBroken { cause } if cause.to_string().contains("signal 9"));
    let (own, others): (Vec<_>, Vec<_>) = errors.iter().partition(own);
    assert!(own.len() == 1 && others.into_iter().all(broken), "{errors:?}");
    for future in [queued, pool.submit(square, 6).unwrap()] {
        let error = future.result_timeout(LONG).unwrap().unwrap_err();
        assert!(broken(&error), "{error:?}");
    }
}

pub(crate) fn test_broken_process_pool_traceback(kind: Processes) {
    let pool = kind.pool(2);
    let gate = Gate::new();
    let futures = [(); 2].map(|()| pool.submit(pass, gate.key()).unwrap());
    let workers = HashSet::from_iter(gate.wait_for(2));
    workers.iter().for_each(|worker| signal(*worker, Signal::KILL));
    let died: HashSet<u32> = futures
        .into_iter()
        .map(|future| match future.result_timeout(LONG).unwrap() {
            Err(TaskError::WorkerDied { pid, .. }) => pid,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(died, workers, "each tells of its own worker");
}

pub(crate) fn test_map_chunksize(kind: Processes) {
    let pool = kind.pool(2);
    let input = || (0..40).map(|x| (x, 3));
    let expected: Vec<u64> = input().map(|(base, exponent)| power(base, exponent)).collect();
    for size in [6, 50, 40] {
        assert_eq!(pool.map(power, input()).chunk_size(size).into_vec().unwrap(), expected, "{size}");
    }
    let none = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(pool.map(power, input()).chunk_size(0))));
    assert!(none.is_err());
}

#[inline(never)]
fn function_that_panics() {
    panic!("some traceback");
}

pub(crate) fn test_traceback(kind: Processes) {
    let pool = kind.builder(1).env("RUST_BACKTRACE", "1").build().unwrap();
    let error = pool.submit(function_that_panics, ()).unwrap().result().unwrap_err();
    let TaskError::Panicked { message, location, backtrace } = &error else { panic!("{error}") };
    assert_eq!(message, "some traceback");
    assert!(location.contains("process_pool.rs:"), "{location}");
    assert!(backtrace.contains("function_that_panics"), "{backtrace}");
    let printed = error.to_string();
    assert!(printed.contains(message) && printed.contains(location), "{printed}");
}

pub(crate) fn test_traceback_when_child_process_terminates_abruptly(kind: Processes) {
    let pool = kind.pool(1);
    let exits = pool.submit(|| -> () { std::process::exit(99) }, ()).unwrap().result().unwrap_err();
    assert!(exits.to_string().ends_with("exit code 99"), "{exits}");
    let aborts = pool.submit(|| -> () { std::process::abort() }, ()).unwrap().result().unwrap_err();
    assert!(aborts.to_string().ends_with("signal 6, SIGABRT"), "{aborts}");
}

pub(crate) fn test_ressources_gced_in_workers(kind: Processes) {
    let pool = kind.pool(1);
    let key = tracked::new_key();
    let look = |value: Tracked| (value.key(), tracked::alive(value.key()));
    assert_eq!(pool.submit(look, Tracked::new(key)).unwrap().result(), Ok((key, 1)));
    assert_eq!(pool.submit(tracked::alive, key).unwrap().result(), Ok(0));
}

pub(crate) fn test_saturation(kind: Processes) {
    let pool = kind.pool(3);
    let gate = Gate::new();
    let futures: Vec<_> = (0..45).map(|_| pool.submit(pass, gate.key()).unwrap()).collect();
    gate.wait_for(3);
    let stats = pool.stats();
    assert_eq!((stats.workers, stats.running, stats.queued), (3, 3, 42));
    gate.open();
    assert!(futures.into_iter().all(|future| future.result_timeout(LONG).unwrap().is_ok()));
    assert_eq!(gate.visitors().into_iter().collect::<HashSet<_>>().len(), 3);
}

pub(crate) fn test_idle_process_reuse_one(kind: Processes) {
    let pool = kind.pool(4);
    let workers: HashSet<_> = (0..3).map(|_| pool.submit(whoami, ()).unwrap().result().unwrap()).collect();
    assert_eq!((workers.len(), pool.worker_pids().len()), (1, 1));
}

pub(crate) fn test_idle_process_reuse_multiple(kind: Processes) {
    let pool = kind.pool(5);
    let submit = || pool.submit(whoami, ()).unwrap();
    submit().result().unwrap();
    let first = submit();
    submit().result().unwrap();
    let second = submit();
    submit().result().unwrap();
    let third = submit();
    // Never were more than three under way.
    assert!(pool.worker_pids().len() <= 3, "{:?}", pool.worker_pids());
    assert!([first, second, third].into_iter().all(|future| future.result_timeout(LONG).unwrap().is_ok()));
    assert!(pool.worker_pids().len() <= 3, "{:?}", pool.worker_pids());
}

pub(crate) fn test_failed_worker_replacement_breaks_pool(kind: Processes) {
    let program = Program::start("no_replacement", kind, None, &[]);
    assert_eq!(program.finish(), (true, "broken\n".to_owned()));
}

/// More than an address space: with a stack of this size no thread can be started.
pub(crate) const NO_STACK: &str = "1152921504606846976";

pub(crate) fn test_python_finalization_error(kind: Processes) {
    // A spawned worker needs a thread; without it, it gives up, and after some of them so does the pool.
    let builder = kind.builder(2).start_method(StartMethod::Spawn).env("RUST_MIN_STACK", NO_STACK);
    let pool = builder.build().unwrap();
    for future in [(); 4].map(|()| pool.submit(square, 2).unwrap()) {
        let result = future.result_timeout(LONG).unwrap();
        assert!(matches!(result, Err(TaskError::NoWorker { .. })), "{result:?}");
    }
    let program = Program::start("no_threads", kind, None, &[("RUST_MIN_STACK", NO_STACK)]);
    assert_eq!(program.finish(), (true, "refused\n".to_owned()));
}
