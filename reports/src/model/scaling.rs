//! How the speed of a workload on an executor grows with the number of workers.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::Estimate;

/// One workload on one executor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// Name of the workload.
    pub workload: String,
    /// Its further parameters.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// Name of the executor.
    pub executor: String,
    /// By rising number of workers.
    pub points: Vec<ScalingPoint>,
    /// The fewest workers that tie with the fastest; `None` where the samples cannot tell.
    pub best_workers: Option<u32>,
    /// Cores x (1 + wait / compute), from the serial cell: as many workers keep the cores busy. `None` for tasks that do not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_workers: Option<Estimate>,
    /// The Universal Scalability Law, or why it was not fitted.
    pub law: Result<ScalingLaw, NoLaw>,
}

/// One number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScalingPoint {
    /// Number of workers.
    pub workers: u32,
    /// Time of the serial cell divided by that of this one, by block.
    pub speed_up: Estimate,
    /// The share of the work that behaves as if it could not be divided (Karp and Flatt, "Measuring Parallel Processor
    /// Performance", 1990); negative where more than the workers' share is gained. `None` for one worker.
    pub serial_share: Option<Estimate>,
}

impl ScalingPoint {
    /// Speed-up divided by the number of workers.
    #[must_use]
    pub fn efficiency(&self) -> Estimate {
        let of = |speed_up: f64| speed_up / f64::from(self.workers.max(1));
        let Estimate { median, low, high, .. } = self.speed_up;
        Estimate { median: of(median), low: of(low), high: of(high), ..self.speed_up }
    }
}

/// Throughput with N workers is gamma N / (1 + sigma (N - 1) + kappa N (N - 1)).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScalingLaw {
    /// Sigma: the share of a task that has to be alone.
    pub contention: Estimate,
    /// Kappa: what each pair of workers costs, as a share of a task.
    pub coherency: Estimate,
    /// The number of workers at which throughput is highest; `None` where coherency cannot be told from nothing.
    pub peak_workers: Option<Estimate>,
}

/// Why there is no [`ScalingLaw`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoLaw {
    /// Three parameters need six numbers of workers, and the law does not hold beyond the cores.
    TooFew {
        /// Numbers of workers that were measured and are no more than the cores.
        widths: u32,
        /// Cores of the machine.
        cores: u32,
    },
    /// The law is not the shape of these points: its typical residual is this share.
    Misfit(f64),
}

impl fmt::Display for NoLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFew { widths, cores } => write!(
                f,
                "it needs six numbers of workers that are no more than the cores, and of these {widths} were measured on {cores} {}",
                if *cores == 1 { "core" } else { "cores" }
            ),
            Self::Misfit(share) => {
                write!(
                    f,
                    "the points do not have its shape: half of the residuals are above {}",
                    crate::format::percent(*share)
                )
            }
        }
    }
}
