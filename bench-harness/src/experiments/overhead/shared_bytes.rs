//! `SharedBytes`: 64 MiB by reference against an argument of 64 bytes.
//!
//! On a process pool of one worker, round by round: some round trips of 64 bytes; one of a *new* value of 64 MiB whose task
//! reads a byte ([`FIRST`] is its time less that of 64 bytes); and some with the same value again ([`AGAIN`] is their time
//! divided by that of 64 bytes). The median of several round trips counts. Making the value is not measured.

use std::time::Instant;

use executor_core::{Executor, ProcessPoolExecutor, SharedBytes, TaskFuture};
use reports::{model::Reason, overhead::Unit};

use super::measurement::{Probe, Reading};
use crate::{
    error::chain,
    stats::{self, nanos},
};

pub(super) const FIRST: &str = "64 MiB, first delivery, beyond 64 bytes";
pub(super) const AGAIN: &str = "64 MiB, already there / 64 bytes";

const LARGE: usize = 64 << 20;
/// Round trips of one kind in a round.
const TRIPS: usize = 25;

fn read_small(bytes: Vec<u8>) -> u8 {
    bytes[17]
}

fn read_large(bytes: SharedBytes) -> u8 {
    bytes[LARGE / 2]
}

pub(super) fn measure(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    let pool = ProcessPoolExecutor::new(1).map_err(|error| chain(&error))?;
    pool.warm_up().map_err(|error| chain(&error))?;
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for round in 0..=probe.sizes.rounds {
        let large = SharedBytes::with_len(LARGE, |bytes| bytes[LARGE / 2] = 7);
        let small = median(|| {
            let argument = vec![7; 64];
            timed(|| pool.submit(read_small, argument).map(TaskFuture::result))
        })?;
        let delivered = timed(|| pool.submit(read_large, large.clone()).map(TaskFuture::result))?;
        let there = median(|| timed(|| pool.submit(read_large, large.clone()).map(TaskFuture::result)))?;
        // The first round warms up.
        if round > 0 {
            first.push(delivered - small);
            again.push(there / small);
        }
    }
    Ok(vec![
        Reading::new(probe.subject, FIRST, Unit::Nanoseconds, first),
        Reading::new(probe.subject, AGAIN, Unit::Ratio, again),
    ])
}

/// The time of one round trip, whose task returns 7.
fn timed<S: std::error::Error, T: std::error::Error>(
    trip: impl FnOnce() -> Result<Result<u8, T>, S>,
) -> Result<f64, Reason> {
    let start = Instant::now();
    let byte = trip().map_err(|error| chain(&error))?.map_err(|error| chain(&error))?;
    let time = nanos(start.elapsed()) as f64;
    if byte == 7 { Ok(time) } else { Err(Reason::wrong(format!("a task read {byte} where there is a 7"))) }
}

fn median(mut trip: impl FnMut() -> Result<f64, Reason>) -> Result<f64, Reason> {
    let times = (0..TRIPS).map(|_| trip()).collect::<Result<Vec<_>, _>>()?;
    Ok(stats::median(&times))
}
