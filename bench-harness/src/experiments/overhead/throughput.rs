//! Submit many empty tasks, then collect them all.

use std::time::Instant;

use reports::{model::Reason, overhead::Unit};

use super::{
    Sizes,
    contenders::with_contender,
    measurement::{Probe, Reading, Subject},
};
use crate::contender::{Contender, ContenderVisit};
use crate::peers::{Peer, baselines::Baseline};

pub(super) const QUANTITY: &str = "tasks";

pub(super) fn measure(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    let sizes = probe.sizes;
    let reading = |values| Reading::new(probe.subject, QUANTITY, Unit::PerSecond, values);
    match probe.subject {
        Subject::Peer(Peer::Python(python)) => {
            // This takes about a tenth of a second.
            let figures = python.measure(probe.workers, "throughput", sizes.tasks / 20, sizes.rounds)?;
            Ok(vec![reading(figures.values).with_note(python.note(&figures.version))])
        }
        Subject::Baseline(Baseline::Ring) => ring(sizes).map(|values| vec![reading(values)]),
        subject => {
            let values = with_contender(subject, probe.workers, Rounds(sizes))??;
            Ok(vec![reading(values)])
        }
    }
}

#[cfg(target_os = "linux")]
fn ring(sizes: Sizes) -> Result<Vec<f64>, Reason> {
    let rings = crate::peers::baselines::ring::Rings::start()?;
    rings.rate(1000);
    Ok((0..sizes.rounds).map(|_| rings.rate(sizes.tasks * 5)).collect())
}

#[cfg(not(target_os = "linux"))]
fn ring(_: Sizes) -> Result<Vec<f64>, Reason> {
    Err("needs Linux: memfd and futex".into())
}

struct Rounds(Sizes);

impl ContenderVisit for Rounds {
    type Output = Result<Vec<f64>, Reason>;

    fn visit<C: Contender>(self, contender: &C) -> Self::Output {
        let sizes = self.0;
        let tasks = sizes.tasks(speed(contender)?);
        (0..sizes.rounds).map(|_| submit_then_collect(contender, tasks)).collect()
    }
}

/// Tasks per second, roughly, with every path taken and every thread started.
pub(super) fn speed<C: Contender>(contender: &C) -> Result<f64, Reason> {
    let first = submit_then_collect(contender, 20)?;
    // 20 tasks are enough where a task takes milliseconds, and too few to time tasks of less than a microsecond.
    if first < 5000.0 { Ok(first) } else { submit_then_collect(contender, 200) }
}

/// Tasks per second.
pub(super) fn submit_then_collect<C: Contender>(contender: &C, tasks: u32) -> Result<f64, Reason> {
    let (mut sum, mut next) = (0, 0);
    let start = Instant::now();
    while next < tasks {
        let end = tasks.min(next.saturating_add(contender.in_flight()));
        let tickets: Vec<_> = (next..end).filter_map(|number| contender.submit(number.into())).collect();
        sum += contender.wait_all(tickets);
        next = end;
    }
    let elapsed = start.elapsed();
    let expected = u64::from(tasks) * u64::from(tasks - 1) / 2;
    // A lost task must not make the others look fast.
    if sum != expected {
        return Err(Reason::wrong(format!("the answers of {tasks} tasks add up to {sum} instead of {expected}")));
    }
    Ok(f64::from(tasks) / elapsed.as_secs_f64())
}
