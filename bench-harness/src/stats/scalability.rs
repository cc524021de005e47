//! Laws of how throughput grows with the number of workers.

use reports::model::{Estimate, ScalingLaw};
use workloads::Random;

use super::{Normal, bootstrap_interval, median, quantile, widening};

/// Three parameters need twice as many numbers of workers.
pub(crate) const FEWEST_WIDTHS: usize = 6;

const DRAWS: usize = 500;

/// Workers and throughput, as one block has measured them.
pub(crate) type Widths = [(f64, f64)];

/// The share of the work that behaves as if it could not be divided, for a speed-up with more than one worker (Karp and Flatt,
/// "Measuring Parallel Processor Performance", 1990).
pub(crate) fn serial_share(workers: u32, speed_up: &Estimate) -> Option<Estimate> {
    if workers < 2 {
        return None;
    }
    let each = 1.0 / f64::from(workers);
    let of = |speed_up: f64| (1.0 / speed_up - each) / (1.0 - each);
    // More speed is less of a serial share.
    Some(Estimate { median: of(speed_up.median), low: of(speed_up.high), high: of(speed_up.low), ..*speed_up })
}

/// Fits the Universal Scalability Law (Gunther, "Guerrilla Capacity Planning", 2007, chapter 4): throughput with N workers is
/// gamma N / (1 + sigma (N - 1) + kappa N (N - 1)). Returns it with the median size of its relative residuals; `None` for too
/// few numbers of workers.
///
/// N divided by throughput is linear in 1, N - 1 and N (N - 1), so that the fit is one of least squares with coefficients that
/// cannot be negative, on relative residuals. Intervals are by bootstrap over blocks.
pub(crate) fn law<B: AsRef<Widths>>(blocks: &[B], seed: u64) -> Option<(ScalingLaw, f64)> {
    let row = |workers: f64| [1.0, workers - 1.0, workers * (workers - 1.0)];
    let mut widths: Vec<f64> =
        blocks.iter().flat_map(|block| block.as_ref().iter().map(|(workers, _)| *workers)).collect();
    widths.sort_unstable_by(f64::total_cmp);
    widths.dedup();
    if widths.len() < FEWEST_WIDTHS {
        return None;
    }
    let normals: Vec<Normal> = blocks
        .iter()
        .map(|block| {
            let mut normal = Normal::new(3);
            for (workers, throughput) in block.as_ref() {
                let value = workers / throughput;
                normal.add_row(&row(*workers), value, 1.0 / (value * value));
            }
            normal
        })
        .collect();
    let solve = |chosen: &mut dyn Iterator<Item = usize>| {
        let mut all = Normal::new(3);
        chosen.for_each(|block| all.add(&normals[block]));
        let found = all.solve();
        // What one worker takes is not 0 where anything was measured.
        [found[0], found[1] / found[0], found[2] / found[0]]
    };
    let count = normals.len();
    let [alone, contention, coherency] = solve(&mut (0..count));
    let mut random = Random::new(seed);
    let draws: Vec<[f64; 3]> =
        (0..DRAWS).map(|_| solve(&mut (0..count).map(|_| (random.next_u64() % count as u64) as usize))).collect();
    let factor = widening(count);
    let interval = |middle, term: usize| {
        let of: Vec<f64> = draws.iter().map(|draw| draw[term]).collect();
        bootstrap_interval(middle, &of, factor, count)
    };
    let (sigma, kappa) = (interval(contention, 1), interval(coherency, 2));
    let residual = |(workers, throughput): &(f64, f64)| {
        let [one, pairs, all] = row(*workers);
        let expected = alone * (one + contention * pairs + coherency * all);
        (workers / throughput / expected - 1.0).abs()
    };
    let residuals: Vec<f64> = blocks.iter().flat_map(|block| block.as_ref().iter().map(residual)).collect();
    let law = ScalingLaw { contention: sigma, coherency: kappa, peak_workers: peak(&sigma, &kappa, &draws, factor) };
    Some((law, median(&residuals)))
}

/// Where the derivative is 0. Its interval is widened in logarithms, in which it is about as wide to both sides.
fn peak(contention: &Estimate, coherency: &Estimate, draws: &[[f64; 3]], factor: f64) -> Option<Estimate> {
    let of = |sigma: f64, kappa: f64| ((1.0 - sigma).max(0.0) / kappa).sqrt().max(1.0);
    if coherency.low <= 0.0 || coherency.confidence == 0.0 {
        return None;
    }
    let middle = of(contention.median, coherency.median);
    let drawn: Vec<f64> = draws.iter().map(|[_, sigma, kappa]| of(*sigma, *kappa).ln()).collect();
    let end = |share| (middle.ln() + factor * (quantile(&drawn, share) - middle.ln())).exp();
    Some(Estimate { median: middle, low: end(0.025).clamp(1.0, middle), high: end(0.975).max(middle), ..*coherency })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTHS: [f64; 8] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0];

    fn blocks(sigma: f64, kappa: f64, noise: f64, random: &mut Random) -> Vec<Vec<(f64, f64)>> {
        // Twelve uniform numbers make one that is nearly normal.
        let mut normal = || (0..12).map(|_| (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64).sum::<f64>() - 6.0;
        let at = |n: f64, noise: f64| 1000.0 * n / (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0)) * (1.0 + noise);
        (0..9).map(|_| WIDTHS.iter().map(|n| (*n, at(*n, noise * normal()))).collect()).collect()
    }

    fn exactly(value: f64) -> Estimate {
        Estimate { median: value, low: 0.9 * value, high: 1.1 * value, confidence: 0.95, n: 9 }
    }

    #[test]
    fn the_serial_share_of_amdahl_is_found_whatever_the_workers() {
        for workers in [2, 4, 16] {
            let speed_up = 1.0 / (0.1 + 0.9 / f64::from(workers));
            let share = serial_share(workers, &exactly(speed_up)).unwrap();
            assert!((share.median - 0.1).abs() < 1e-12 && share.low < 0.1 && share.high > 0.1, "{share:?}");
        }
        assert_eq!(serial_share(1, &exactly(1.0)), None);
    }

    #[test]
    fn exact_points_give_the_planted_law() {
        let (law, residual) = law(&blocks(0.04, 0.001, 0.0, &mut Random::new(1)), 1).unwrap();
        assert!((law.contention.median - 0.04).abs() < 1e-9 && (law.coherency.median - 0.001).abs() < 1e-9);
        assert!((law.peak_workers.unwrap().median - (0.96_f64 / 0.001).sqrt()).abs() < 1e-6 && residual < 1e-9);
    }

    #[test]
    fn intervals_of_planted_laws_cover_them() {
        let mut random = Random::new(5);
        let (sigma, kappa) = (0.05, 0.002_f64);
        let peak = ((1.0 - sigma) / kappa).sqrt();
        let mut covered = [0; 3];
        for draw in 0..1000 {
            let (law, _) = law(&blocks(sigma, kappa, 0.02, &mut random), draw).unwrap();
            let holds = |estimate: &Estimate, truth: f64| estimate.low <= truth && truth <= estimate.high;
            covered[0] += u32::from(holds(&law.contention, sigma));
            covered[1] += u32::from(holds(&law.coherency, kappa));
            covered[2] += u32::from(law.peak_workers.is_some_and(|found| holds(&found, peak)));
        }
        // 95% are expected, with a standard error of 0.7%.
        assert!(covered.iter().all(|count| (930..=985).contains(count)), "{covered:?}");
    }

    #[test]
    fn five_widths_have_no_law_and_one_without_coherency_has_no_peak() {
        let mut random = Random::new(2);
        let few: Vec<Vec<(f64, f64)>> =
            blocks(0.05, 0.002, 0.02, &mut random).into_iter().map(|block| block[..5].to_vec()).collect();
        assert!(law(&few, 1).is_none());
        let (law, _) = law(&blocks(0.05, 0.0, 0.02, &mut random), 1).unwrap();
        assert!(law.peak_workers.is_none() && law.coherency.low == 0.0, "{law:?}");
    }
}
