//! Operations of process pools only: workers die, are killed, and are replaced.

use std::{sync::Arc, time::Duration};

use executor_core::{Executor, OnWorkerDeath, ProcessPoolExecutor, StartMethod, TaskError, Transport};
use rustix::process::Signal;
use workloads::Random;

use super::{
    checks::{Counted, Expect, Hazards, Plan, Round},
    draw::{below, perhaps},
    driver::{Built, Driver, StressSubject},
    host,
    signal::signal_child,
    tasks,
};
use crate::error::LabError;

#[derive(Debug, Clone, Copy)]
pub(super) enum Variant {
    SharedMemory,
    Socket,
    ForkServer,
}

type Pool = Counted<ProcessPoolExecutor>;

impl StressSubject for Pool {
    type Variant = Variant;

    fn build(variant: Variant, random: &mut Random) -> Result<Built<Self>, LabError> {
        let workers = 1 + below(random, 4) as usize;
        let capacity = perhaps(random, 3, 24);
        let tasks_per_child = perhaps(random, 4, 50);
        let idle = perhaps(random, 4, 30).map(|limit| Duration::from_millis(limit as u64));
        let retries = below(random, 8).saturating_sub(5) as u32;
        let breaks = below(random, 12) == 0;
        let socket = below(random, 2) == 0;
        let hazards = Hazards { processes: true, kills: below(random, 2) == 0, breaks };
        let mut builder = ProcessPoolExecutor::builder()
            .max_workers(workers)
            .grace(Duration::from_millis(below(random, 60)))
            .retry(retries);
        if let Some(tasks) = capacity {
            builder = builder.queue_capacity(tasks);
        }
        if let Some(tasks) = tasks_per_child {
            builder = builder.max_tasks_per_child(tasks as u32);
        }
        if let Some(limit) = idle {
            builder = builder.idle_timeout(limit);
        }
        if below(random, 3) == 0 {
            builder = builder.initializer(tasks::prepares, 1);
        }
        if breaks {
            builder = builder.on_worker_death(OnWorkerDeath::BreakPool);
        }
        let transport = match variant {
            Variant::SharedMemory => Transport::default(),
            Variant::ForkServer if !socket => Transport::default(),
            Variant::Socket | Variant::ForkServer => Transport::Socket,
        };
        builder = builder.transport(transport);
        if matches!(variant, Variant::ForkServer) {
            builder = builder.start_method(StartMethod::ForkServer);
            if below(random, 2) == 0 {
                builder = builder.preload(tasks::prepares, 2);
            }
        }
        let about = format!(
            "{variant:?}, {transport:?}, {workers} workers, capacity {capacity:?}, {tasks_per_child:?} tasks per child, \
             idle timeout {idle:?}, {retries} retries, {hazards:?}"
        );
        let round = Arc::new(Round::new(hazards));
        Ok(Built { pool: Self::new(builder.build()?, &round), round, tally: None, about })
    }

    fn special(driver: &mut Driver<'_, Self>, random: &mut Random) {
        let x = random.next_u64();
        let what = below(random, 11);
        driver.heartbeat.step(format!("special {what} of processes"));
        match what {
            0 => {
                let outcome = driver.pool.submit(tasks::aborts, x);
                driver.hold(outcome, Expect::new(Plan::Crash, x), false);
            }
            1 => {
                let outcome = driver.pool.submit(tasks::exits, x);
                driver.hold(outcome, Expect::new(Plan::Crash, x), false);
            }
            2 => kill_running(driver, random),
            3 => {
                if let Err(error) = driver.pool.inner.warm_up() {
                    let good = match error {
                        TaskError::ShutDown => driver.round.is_ending(),
                        TaskError::PoolBroken { .. } => driver.round.hazards.breaks,
                        _ => false,
                    };
                    driver.round.require(good, || format!("warm_up failed: {error:?}"));
                }
            }
            4 if driver.pool.inner.fork_server_pid().is_some() => {
                // This costs no task.
                if let Some(pid) = driver.pool.inner.fork_server_pid() {
                    signal_child(pid, Signal::KILL);
                }
            }
            5 => host::stop_worker(driver, random),
            6 if below(random, 4) == 0 => host::fork_copy(driver, random),
            7 => {
                let outcome = driver.pool.submit(host::plugs, x);
                driver.hold(outcome, Expect::new(Plan::Answer, x), false);
            }
            _ => {
                let pids = driver.pool.inner.worker_pids();
                if driver.round.hazards.kills && !pids.is_empty() {
                    signal_child(pids[below(random, pids.len() as u64) as usize], Signal::KILL);
                }
            }
        }
    }

    fn details(&self) -> String {
        format!("workers {:?}, fork server {:?}", self.inner.worker_pids(), self.inner.fork_server_pid())
    }
}

/// Kills a task that probably runs.
fn kill_running(driver: &mut Driver<'_, Pool>, random: &mut Random) {
    let x = random.next_u64();
    match driver.pool.submit(tasks::long, x) {
        Ok(future) => {
            future.wait_timeout(Duration::from_millis(below(random, 10)));
            let mut expect = Expect::new(Plan::Answer, x).cancelled_perhaps();
            expect.is_killed = future.kill();
            driver.held.push((expect, future));
            driver.settle_last();
        }
        Err(error) => driver.round.check_refusal(error, false),
    }
}
