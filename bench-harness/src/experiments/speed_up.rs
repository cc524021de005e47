//! How much faster a cell is than the serial one, and which number of workers is best.
//!
//! The speed-up of a cell is the median over blocks of the time of the serial cell divided by its own, both of one block. Widths
//! tie with the fastest where that ratio to it is within two percent of one, or is not told apart from it by its interval; the best
//! width is the smallest of these.

use reports::model::{Cell, Estimate, Sample};

use crate::stats;

/// Times that differ by less are as good as equal.
const TIE: f64 = 1.02;

/// Widths whose medians differ by more, and that the samples still cannot tell apart, are not known to tie.
const NOISY: f64 = 1.1;

/// The cells of one executor, by rising number of workers, as they compare.
pub(super) struct Widths<'a> {
    /// The place of the best one among them.
    pub(super) place: usize,
    pub(super) fastest: &'a Cell,
    /// Whether the samples can tell which one is best.
    pub(super) is_known: bool,
}

impl<'a> Widths<'a> {
    pub(super) fn of(serial: &Cell, cells: &[&'a Cell]) -> Option<Self> {
        let fastest = *cells.iter().min_by(|a, b| median(a).total_cmp(&median(b)))?;
        let place = cells.iter().position(|cell| ties(cell, fastest))?;
        let gain = speed_up(serial, cells[place])?;
        // One sample of each has no interval, and nothing can be told from it.
        let is_known = ratios(cells[place], fastest)?.median <= NOISY && gain.confidence > 0.0;
        Some(Self { place, fastest, is_known })
    }
}

fn median(cell: &Cell) -> f64 {
    cell.makespan_ns.map_or(f64::INFINITY, |estimate| estimate.median)
}

/// Whether `cell` is not known to be slower than the fastest.
pub(super) fn ties(cell: &Cell, fastest: &Cell) -> bool {
    ratios(cell, fastest).is_some_and(|ratio| ratio.median <= TIE || ratio.low <= 1.0)
}

/// The time of `cell` divided by that of `base`, by blocks.
fn ratios(cell: &Cell, base: &Cell) -> Option<Estimate> {
    let times = |cell: &Cell| -> Vec<(u32, Vec<f64>)> {
        cell.samples.iter().map(|sample| (sample.block, vec![sample.makespan_ns as f64])).collect()
    };
    stats::estimate(&stats::block_ratios(&times(cell), &times(base)))
}

pub(super) fn speed_up(serial: &Cell, cell: &Cell) -> Option<Estimate> {
    ratios(serial, cell)
}

/// The median over samples.
pub(super) fn typical(cell: &Cell, of: impl Fn(&Sample) -> f64) -> f64 {
    stats::median(&cell.samples.iter().map(of).collect::<Vec<_>>())
}

pub(super) fn cpu_ns(sample: &Sample) -> f64 {
    (sample.user_cpu_ns + sample.system_cpu_ns) as f64
}

/// The cores that a cell keeps busy.
pub(super) fn cores_used(cell: &Cell) -> f64 {
    typical(cell, cores_used_by)
}

pub(super) fn cores_used_by(sample: &Sample) -> f64 {
    cpu_ns(sample) / sample.makespan_ns.max(1) as f64
}
