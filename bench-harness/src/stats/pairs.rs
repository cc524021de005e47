//! Figures that were taken in blocks of rounds, and ratios of two of them.
//!
//! The block is the unit: rounds of one block share a process, its layout in memory and the state of the machine, so they are
//! not independent samples. Each block gives one value, the median of its rounds, and intervals are taken over blocks.

use super::order::median;

/// Values by number of block.
type Rounds = [(u32, Vec<f64>)];

/// One value per block: the median of its rounds.
pub(crate) fn block_medians(figure: &Rounds) -> Vec<f64> {
    figure.iter().map(|(_, rounds)| median(rounds)).filter(|value| value.is_finite()).collect()
}

/// One ratio per block in which both have values. Where both have as many rounds, those at the same position were measured
/// next to each other and are divided by each other, and the median of these ratios is taken; else that of the medians.
pub(crate) fn block_ratios(figure: &Rounds, base: &Rounds) -> Vec<f64> {
    let ratios = figure.iter().filter_map(|(block, rounds)| {
        let (_, others) = base.iter().find(|(other, _)| other == block)?;
        if rounds.len() == others.len() {
            let pairs: Vec<f64> = rounds.iter().zip(others).map(|(value, base)| value / base).collect();
            return Some(median(&pairs));
        }
        Some(median(rounds) / median(others))
    });
    ratios.filter(|ratio| ratio.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rounds_are_paired_within_their_block_only() {
        let figure = [(0, vec![2.0, 40.0, 6.0]), (1, vec![9.0]), (3, vec![1.0])];
        let base = [(0, vec![1.0, 10.0, 2.0]), (1, vec![2.0, 3.0, 4.0]), (2, vec![5.0])];
        assert_eq!(block_ratios(&figure, &base), [3.0, 3.0]);
        assert_eq!(block_medians(&figure), [6.0, 9.0, 1.0]);
    }

    #[test]
    fn nothing_and_a_division_by_zero_give_no_ratio() {
        assert!(block_ratios(&[(0, vec![1.0])], &[(0, vec![0.0])]).is_empty());
        assert!(block_ratios(&[(0, Vec::new())], &[(0, Vec::new())]).is_empty());
        assert!(block_medians(&[(0, Vec::new())]).is_empty());
    }

    proptest! {
        #[test]
        fn a_drift_that_meets_both_cancels_out(
            speeds in prop::collection::vec(0.1..10.0_f64, 1..20),
            factor in 0.1..10.0_f64,
        ) {
            let of = |factor: f64| {
                let blocks = speeds.chunks(3).enumerate();
                blocks
                    .map(|(block, rounds)| (block as u32, rounds.iter().map(|speed| speed * factor).collect()))
                    .collect::<Vec<(u32, Vec<f64>)>>()
            };
            for ratio in block_ratios(&of(factor), &of(1.0)) {
                prop_assert!((ratio / factor - 1.0).abs() < 1e-9);
            }
        }
    }
}
