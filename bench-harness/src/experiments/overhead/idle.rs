//! A pool that has worked and is idle now: how often its threads and workers wake up, how long they run, and how much
//! memory each worker takes.
//!
//! The thread that measures sleeps meanwhile, and is not counted. Context switches alone would not show a thread that spins,
//! and CPU time alone would not show one that wakes up for a moment.

use std::thread;

use executor_core::Executor;
use reports::{model::Reason, overhead::Unit};

use super::{
    contenders::LabExecutor,
    measurement::{Probe, Reading, Subject},
    throughput::submit_then_collect,
};
use crate::{
    error::chain,
    executors::{Visit, with_pool},
    runner::counters::{proportional_memory_of, scheduling_of},
    stats,
};

pub(super) const SWITCHES: &str = "context switches per second";
pub(super) const CPU: &str = "CPU time / time";
pub(super) const PSS: &str = "PSS per worker";

pub(super) fn measure(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    let Subject::Lab(kind) = probe.subject else { return Err("has no threads that can be told apart".into()) };
    with_pool(kind, probe.workers, Idle(*probe)).map_err(|error| chain(&error))?
}

struct Idle(Probe);

impl Visit for Idle {
    type Output = Result<Vec<Reading>, Reason>;

    fn visit<E: Executor + Sync>(self, executor: &E, pids: &dyn Fn() -> Vec<u32>) -> Self::Output {
        let Probe { subject, sizes, .. } = self.0;
        submit_then_collect(&LabExecutor(executor), 1000)?;
        // Workers stop spinning and sleep long before this.
        thread::sleep(sizes.idle() / 4);
        let workers = pids();
        let look = || {
            let own = scheduling_of(std::process::id(), true);
            let all = workers.iter().map(|pid| scheduling_of(*pid, false)).fold(own, |sum, one| {
                let (sum, one) = (sum?, one?);
                Some((sum.0 + one.0, sum.1 + one.1))
            });
            all.ok_or("this system does not report how its threads are scheduled: needs /proc")
        };
        let before = look()?;
        thread::sleep(sizes.idle());
        let after = look()?;
        let seconds = sizes.idle().as_secs_f64();
        let switches = after.0.saturating_sub(before.0) as f64 / seconds;
        let cpu = after.1.saturating_sub(before.1) as f64 / 1e9 / seconds;
        let mut readings = vec![
            Reading::new(subject, SWITCHES, Unit::Count, vec![switches]).with_note("all threads but the measuring one"),
            Reading::new(subject, CPU, Unit::Ratio, vec![cpu]),
        ];
        let sizes: Vec<f64> = workers.iter().filter_map(|pid| proportional_memory_of(*pid)).map(|b| b as f64).collect();
        if let Some(size) = stats::estimate(&sizes) {
            let note = "pages shared with the other processes of the lab are divided among them";
            readings.push(Reading::new(subject, PSS, Unit::Bytes, vec![size.median]).with_note(note));
        }
        Ok(readings)
    }
}
