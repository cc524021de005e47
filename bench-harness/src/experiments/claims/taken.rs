//! The samples of the claims about time, and how an interval lies to a bound.

use std::collections::BTreeMap;

use reports::model::{ClaimFigure, ClaimVerdict, Estimate, FigureKind};

use super::cells::Key;
use crate::{experiments::cost::Costs, stats};

/// Times that differ by less are even.
pub(super) const EVEN: f64 = 1.05;

/// One sample.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Point {
    pub(super) block: u32,
    /// The makespan in nanoseconds, or what else is measured of the load.
    pub(super) value: f64,
    /// Context switches.
    pub(super) switches: f64,
}

/// Everything that was measured.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) cores: u32,
    pub(super) cells: BTreeMap<Key, Vec<Point>>,
    /// Why a cell has no samples.
    pub(super) failed: BTreeMap<Key, String>,
    pub(super) costs: Option<Costs>,
}

/// A verdict with what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judged {
    pub(super) verdict: ClaimVerdict,
    pub(super) figures: Vec<ClaimFigure>,
    pub(super) seen: String,
}

impl Judged {
    pub(super) fn new(verdict: ClaimVerdict, figures: Vec<ClaimFigure>) -> Self {
        Self { verdict, figures, seen: String::new() }
    }

    pub(super) fn untestable(why: &str) -> Self {
        Self::new(ClaimVerdict::Untestable { why: why.to_owned() }, Vec::new())
    }
}

/// The judgement, or why there are no figures for one.
pub(super) type Judgement = Result<Judged, String>;

impl Taken {
    pub(super) fn points(&self, key: Key) -> Result<&[Point], String> {
        if let Some(why) = self.failed.get(&key) {
            return Err(why.clone());
        }
        self.cells.get(&key).map(Vec::as_slice).ok_or_else(|| NOT_MEASURED.to_owned())
    }

    /// A figure of one cell.
    pub(super) fn estimate(&self, key: Key, of: impl Fn(&Point) -> f64) -> Result<Estimate, String> {
        let values: Vec<f64> = self.points(key)?.iter().map(of).collect();
        stats::estimate(&values).ok_or_else(|| NOT_MEASURED.to_owned())
    }

    /// The ratio of two cells, by block.
    pub(super) fn ratio(&self, of: Key, base: Key) -> Result<Estimate, String> {
        self.ratio_by(of, base, |point| point.value)
    }

    pub(super) fn ratio_by(&self, of: Key, base: Key, pick: fn(&Point) -> f64) -> Result<Estimate, String> {
        let rounds = |key| -> Result<Vec<(u32, Vec<f64>)>, String> {
            Ok(self.points(key)?.iter().map(|point| (point.block, vec![pick(point)])).collect())
        };
        stats::estimate(&stats::block_ratios(&rounds(of)?, &rounds(base)?)).ok_or_else(|| NOT_MEASURED.to_owned())
    }

    pub(super) fn costs(&self) -> Result<&Costs, String> {
        self.costs.as_ref().ok_or_else(|| NOT_MEASURED.to_owned())
    }
}

const NOT_MEASURED: &str = "it was not measured: the run was stopped before, or its samples have failed";

/// How an interval lies to a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Below,
    Above,
    /// It includes the bound, or has too few samples to say.
    Across,
}

pub(super) fn side(estimate: &Estimate, bound: f64) -> Side {
    match estimate {
        Estimate { confidence, .. } if *confidence < 0.9 => Side::Across,
        Estimate { high, .. } if *high <= bound => Side::Below,
        Estimate { low, .. } if *low > bound => Side::Above,
        _ => Side::Across,
    }
}

/// That an interval does not decide, and what would.
pub(super) fn undecided(what: &str, estimate: &Estimate) -> ClaimVerdict {
    let why = if estimate.confidence < 0.9 {
        format!("{what} has too few samples for an interval: take at least 6 (--reps 6)")
    } else {
        format!("the interval of {what} includes the bound: more samples (--reps 20) or a quieter machine would tell")
    };
    ClaimVerdict::Unknown { why }
}

pub(super) fn when(when: &str) -> ClaimVerdict {
    ClaimVerdict::Conditional { when: when.to_owned() }
}

pub(super) fn figure(what: impl Into<String>, kind: FigureKind, estimate: Estimate) -> ClaimFigure {
    ClaimFigure { what: what.into(), kind, estimate }
}

pub(super) fn ratio(what: impl Into<String>, estimate: Estimate) -> ClaimFigure {
    figure(what, FigureKind::Ratio, estimate)
}
