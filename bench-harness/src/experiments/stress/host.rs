//! Ordinary events around a process pool: workers that are stopped for a while, descriptors that run out for a moment, and
//! forked copies of the program that still have its pools in their memory.

use std::{
    fs::File,
    iter,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use executor_core::{Executor, ProcessPoolExecutor, TaskOptions};
use nix::{
    sys::{
        signal::{Signal as Number, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, fork},
};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use workloads::Random;

use super::{
    checks::{Counted, Expect, Plan},
    draw::below,
    driver::Driver,
    signal::signal_child,
    tasks::{self, answer},
};

type Pool = Counted<ProcessPoolExecutor>;

/// A task during which its worker has no descriptor left for a moment.
pub(super) fn plugs(x: u64) -> u64 {
    let before = getrlimit(Resource::Nofile);
    let opened = || File::open("/dev/null").ok();
    // Few descriptors, so that opening them is soon over.
    let most = before.current.unwrap_or(4096).min(256);
    let lowered = setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..before });
    if lowered.is_ok() {
        let files: Vec<File> = iter::from_fn(opened).take(most as usize).collect();
        // Descriptors that the parent sends meanwhile cannot be received: that is the scenario.
        thread::sleep(Duration::from_millis(x % 4));
        drop(files);
        // The limit may be raised to its old value.
        let _ = setrlimit(Resource::Nofile, before);
    }
    answer(x)
}

/// Stops a worker for a moment, while there is work for it, and lets it continue.
pub(super) fn stop_worker(driver: &mut Driver<'_, Pool>, random: &mut Random) {
    let pids = driver.pool.inner.worker_pids();
    if pids.is_empty() {
        return;
    }
    let pid = pids[below(random, pids.len() as u64) as usize];
    let Some(handle) = signal_child(pid, Signal::STOP) else { return };
    let (x, pause) = (random.next_u64(), Duration::from_millis(below(random, 40)));
    let options = TaskOptions::new().timeout(Duration::from_millis(1 + below(random, 30)));
    thread::scope(|scope| {
        // Another thread lets it continue: where it is the only worker and the queue is full, a submit waits for just that.
        scope.spawn(|| {
            // That is the scenario.
            thread::sleep(pause);
            // The worker may have been killed and replaced meanwhile.
            let _ = rustix::process::pidfd_send_signal(&handle, Signal::CONT);
        });
        let limited = driver.pool.submit_with(tasks::busy, x, options);
        driver.hold(limited, Expect::new(Plan::Answer, x).timing_out(), false);
        let free = driver.pool.submit(tasks::quick, x);
        driver.hold(free, Expect::new(Plan::Answer, x), false);
    });
}

/// How long a forked copy may take before it is a hang.
const COPY_TAKES: Duration = Duration::from_secs(20);

/// Has a forked copy of the program use the pool that it finds in its memory. The copy must soon get an error, and this process
/// must notice nothing of it.
pub(super) fn fork_copy(driver: &mut Driver<'_, Pool>, random: &mut Random) {
    let x = random.next_u64();
    let ends_by_drop = below(random, 2) == 0;
    // SAFETY: the copy calls only the pool, which promises that a forked copy may call it, and leaves by `_exit`.
    #[expect(unsafe_code, reason = "a forked copy is the scenario")]
    let copy = unsafe { fork() };
    match copy {
        Ok(ForkResult::Child) => {
            let pool = Arc::clone(driver.pool);
            let code = match pool.inner.submit(tasks::quick, x).map(|future| future.result()) {
                Ok(Ok(_)) => 3,
                Ok(Err(_)) | Err(_) => 0,
            };
            if ends_by_drop {
                pool.inner.shutdown(executor_core::Shutdown::Kill, None);
            }
            // SAFETY: `_exit` ends this process and runs no more of its code.
            #[expect(unsafe_code, reason = "exit handlers belong to the program, not to its copy")]
            unsafe {
                nix::libc::_exit(code)
            }
        }
        Ok(ForkResult::Parent { child }) => {
            let end = Instant::now() + COPY_TAKES;
            let status = loop {
                match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
                    Ok(WaitStatus::StillAlive) if Instant::now() < end => thread::sleep(Duration::from_millis(1)),
                    other => break other,
                }
            };
            if status == Ok(WaitStatus::StillAlive) {
                // The copy has hung; its status says no more.
                let _ = (kill(child, Number::SIGKILL), waitpid(child, None));
            }
            driver.round.require(matches!(status, Ok(WaitStatus::Exited(_, 0))), || {
                format!("a forked copy of the program ended with {status:?}; 3: its pool ran a task")
            });
            let outcome = driver.pool.submit(tasks::quick, x);
            driver.hold(outcome, Expect::new(Plan::Answer, x), false);
        }
        // For a moment there was no memory or no process left.
        Err(_) => {}
    }
}
