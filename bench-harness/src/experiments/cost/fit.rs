//! The fit of the cost model: robust least squares on relative residuals, and a bootstrap over blocks.
//!
//! A row is one batch in one block. Rows are weighted by the time that the model says (so that residuals are relative, and the
//! fit is not drawn to rows that happened to be short) and by Huber's weights (so that disturbed rows count for little), in
//! turns with the fit. For the bootstrap the weights stay, so that a drawn block is only added. The percentile interval is
//! widened as Hesterberg ("What Teachers Should Know About the Bootstrap", 2015, section 5.3) says: without it, that of few
//! blocks is too narrow. It is widened further, since weights that stay make the fit look stiffer than it is: by the mean weight,
//! divided by the share of rows that count in full (Salibian-Barrera and Zamar, "Bootstrapping Robust Estimates of Regression",
//! 2002, in the simplest case).

use reports::{
    cost::{Fit, Fitted, Load, Point, Term},
    model::Estimate,
};
use workloads::Random;

use crate::stats::{Normal, bootstrap_interval, estimate, median, quantile, widening};

/// Number of drawn sets of blocks.
pub(super) const DRAWS: usize = 500;
/// Residuals beyond this many deviations count less (95% efficient where there are none; Huber, "Robust Statistics", 1981).
const HUBER: f64 = 1.345;
const ROUNDS: usize = 6;

/// What is to be fitted, for one executor and number of workers.
pub(super) struct Data {
    pub(super) executor: String,
    pub(super) workers: u32,
    pub(super) width: u32,
    /// For each batch whether it is held out.
    pub(super) held_out: Vec<bool>,
    /// For each block and batch the load, with its work as this block has measured it, and the measured time.
    pub(super) blocks: Vec<Vec<(Load, f64)>>,
    pub(super) memory_per_worker: Option<u64>,
}

/// A fit with the coefficients of all draws.
pub(super) struct Drawn {
    pub(super) fit: Fit,
    pub(super) draws: Vec<Vec<f64>>,
    /// By how much the interval of the draws is too narrow.
    pub(super) factor: f64,
}

/// A row: amounts of the terms, and the measured time.
type Row = (Vec<f64>, f64);

/// `seed` draws the blocks: with the same one, the draws of two executors are those of the same blocks.
pub(super) fn fit(data: &Data, draws: usize, seed: u64) -> Option<Drawn> {
    let terms = Term::all();
    let amounts = |load: &Load| terms.iter().map(|term| load.amount(*term, data.width)).collect::<Vec<f64>>();
    let rows: Vec<Vec<Row>> = data
        .blocks
        .iter()
        .map(|block| {
            let fitted = block.iter().zip(&data.held_out).filter(|(_, held_out)| !**held_out);
            fitted.map(|((load, time), _)| (amounts(load), *time)).collect()
        })
        .collect();
    if rows.iter().map(Vec::len).sum::<usize>() < 2 * terms.len() {
        return None;
    }
    let (middle, normals, stiffness) = robust(&rows, terms.len());
    let draws = bootstrap(&normals, terms.len(), (draws, seed));
    let factor = stiffness * widening(rows.len());
    let mut fit = Fit {
        executor: data.executor.clone(),
        workers: data.workers,
        width: data.width,
        covariance: covariance(&draws, factor),
        terms: Vec::new(),
        points: Vec::new(),
        spread: 0.0,
        memory_per_worker: data.memory_per_worker,
    };
    fit.points = points(data, &middle, amounts);
    let sizes: Vec<f64> = fit.points.iter().map(|point| point.residual().abs()).collect();
    fit.spread = quantile(&sizes, 0.9);
    let typical = quantile(&sizes, 0.5);
    for (index, term) in terms.iter().enumerate() {
        let of: Vec<f64> = draws.iter().map(|draw| draw[index]).collect();
        let estimate = bootstrap_interval(middle[index], &of, factor, rows.len());
        let share = rows
            .iter()
            .flatten()
            .map(|(amounts, _)| amounts[index] * middle[index] / predicted(amounts, &middle))
            .fold(0.0, f64::max);
        fit.terms.push(Fitted { term: *term, estimate, refused: refusal(&estimate, share, typical) });
    }
    Some(Drawn { fit, draws, factor })
}

pub(super) fn predicted(amounts: &[f64], coefficients: &[f64]) -> f64 {
    let sum: f64 = amounts.iter().zip(coefficients).map(|(amount, value)| amount * value).sum();
    // A batch takes some time, whatever the model says.
    sum.max(1.0)
}

/// The coefficients, the weighted normal equations of each block, and how much stiffer these are than the fit.
fn robust(rows: &[Vec<Row>], terms: usize) -> (Vec<f64>, Vec<Normal>, f64) {
    let normals = |weight: &dyn Fn(&Row) -> f64| -> Vec<Normal> {
        rows.iter()
            .map(|block| {
                let mut normal = Normal::new(terms);
                block.iter().for_each(|row| normal.add_row(&row.0, row.1, weight(row)));
                normal
            })
            .collect()
    };
    let mut each = normals(&|(_, time)| 1.0 / (time * time).max(1.0));
    let mut found = sum(&each, 0..each.len(), terms).solve();
    let mut stiffness = 1.0;
    for _ in 0..ROUNDS {
        let residual = |(amounts, time): &Row| time / predicted(amounts, &found) - 1.0;
        let sizes: Vec<f64> = rows.iter().flatten().map(|row| residual(row).abs()).collect();
        // The median size of normal residuals is 0.6745 deviations.
        let deviation = (median(&sizes) / 0.6745).max(1e-6);
        let huber = |row: &Row| (HUBER * deviation / residual(row).abs()).min(1.0);
        let weight = |row: &Row| huber(row) / predicted(&row.0, &found).powi(2);
        let all = || rows.iter().flatten().map(huber);
        let whole = all().filter(|weight| *weight >= 1.0).count().max(1);
        stiffness = all().sum::<f64>() / whole as f64;
        each = normals(&weight);
        found = sum(&each, 0..each.len(), terms).solve();
    }
    (found, each, stiffness)
}

fn sum(normals: &[Normal], blocks: impl Iterator<Item = usize>, terms: usize) -> Normal {
    let mut all = Normal::new(terms);
    blocks.for_each(|block| all.add(&normals[block]));
    all
}

fn bootstrap(normals: &[Normal], terms: usize, (draws, seed): (usize, u64)) -> Vec<Vec<f64>> {
    let mut random = Random::new(seed);
    let count = normals.len() as u64;
    let draw = |_| sum(normals, (0..count).map(|_| (random.next_u64() % count) as usize), terms).solve();
    (0..draws).map(draw).collect()
}

fn covariance(draws: &[Vec<f64>], factor: f64) -> Vec<Vec<f64>> {
    let terms = draws.first().map_or(0, Vec::len);
    let count = draws.len() as f64;
    let mean: Vec<f64> = (0..terms).map(|term| draws.iter().map(|draw| draw[term]).sum::<f64>() / count).collect();
    let of = |a: usize, b: usize| {
        let products = draws.iter().map(|draw| (draw[a] - mean[a]) * (draw[b] - mean[b]));
        products.sum::<f64>() / count * factor * factor
    };
    (0..terms).map(|a| (0..terms).map(|b| of(a, b)).collect()).collect()
}

/// Every batch: the median of the blocks beside what the model says.
fn points(data: &Data, middle: &[f64], amounts: impl Fn(&Load) -> Vec<f64>) -> Vec<Point> {
    let point = |index: usize, held_out: bool| {
        let of =
            |pick: fn(&(Load, f64)) -> f64| data.blocks.iter().map(|block| pick(&block[index])).collect::<Vec<_>>();
        let work_ns = median(&of(|(load, _)| load.work_ns));
        let load = Load { work_ns, ..data.blocks.first()?[index].0 };
        let measured_ns = estimate(&of(|(_, time)| *time))?;
        Some(Point { load, held_out, measured_ns, predicted_ns: predicted(&amounts(&load), middle) })
    };
    data.held_out.iter().enumerate().filter_map(|(index, held_out)| point(index, *held_out)).collect()
}

/// Why a term cannot be told from nothing. `share` is the largest part of a batch's time that it accounts for.
fn refusal(estimate: &Estimate, share: f64, typical: f64) -> Option<String> {
    use reports::format::percent;
    if estimate.low <= 0.0 {
        Some(format!(
            "cannot tell: its interval reaches 0; it is at most {} of the time of a batch that was measured",
            percent(share)
        ))
    } else if share < typical {
        Some(format!(
            "cannot tell: it is at most {} of the time of a batch, and the residuals are {}",
            percent(share),
            percent(typical)
        ))
    } else {
        None
    }
}
