//! Latency at a chosen load: requests at times of their own, whatever has become of the earlier ones.

use serde::{Deserialize, Serialize};

use super::Estimate;

/// One workload on one executor at one load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadPoint {
    /// Name of the workload.
    pub workload: String,
    /// Name of the executor.
    pub executor: String,
    /// Number of workers.
    pub workers: u32,
    /// The share of the closed loop's throughput at which requests were scheduled.
    pub load: f64,
    /// Requests per second of a closed loop: one client for each worker, who sends the next request when the last one is answered.
    pub capacity_per_s: Estimate,
    /// Requests of the open loop in the shortest block.
    pub requests: u64,
    /// From the scheduled start of a request until its end, in the open loop.
    pub open: Vec<Percentile>,
    /// From submit until its end, in the closed loop.
    pub closed: Vec<Percentile>,
    /// Requests in flight, as those that arrive find them, divided by what Little's law makes of rate and latency. It is 1 unless
    /// the load had not settled, or the samples are wrong.
    pub little: Option<Estimate>,
}

/// A percentile that the samples carry.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Percentile {
    /// 0.99 for the 99th.
    pub share: f64,
    /// The median over blocks, in nanoseconds.
    pub ns: Estimate,
}

impl LoadPoint {
    /// A percentile of each loop: open, closed.
    pub fn percentile(&self, share: f64) -> (Option<Estimate>, Option<Estimate>) {
        let of = |list: &[Percentile]| list.iter().find(|it| it.share == share).map(|it| it.ns);
        (of(&self.open), of(&self.closed))
    }
}
