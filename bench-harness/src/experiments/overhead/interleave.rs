//! Several variants of one job, measured in turns.

use std::time::{Duration, Instant};

use reports::model::Reason;

use crate::runner::schedule::interleave;

/// Rounds end after this time: the figures of slow executors need no precision.
const LONGEST: Duration = Duration::from_secs(4);

/// One variant: its name, for errors, and the function that measures one figure.
pub(super) type Variant<'a> = (&'a str, &'a mut dyn FnMut() -> Result<f64, Reason>);

/// Measures each variant once per round, in an order drawn for the round, and returns the figures of each. All variants have
/// equally many figures, and figures at the same position were measured in the same round. Before the first round each
/// variant runs once, so that its threads and memory are there.
pub(super) fn measure_interleaved(
    rounds: u32,
    seed: u64,
    variants: &mut [Variant<'_>],
) -> Result<Vec<Vec<f64>>, Reason> {
    let mut figures: Vec<Vec<f64>> = variants.iter().map(|_| Vec::new()).collect();
    let count = variants.len();
    let mut take = |index: usize| {
        let (name, variant) = &mut variants[index];
        variant().map_err(|reason| reason.of(name))
    };
    for index in 0..count {
        take(index)?;
    }
    let start = Instant::now();
    for round in interleave(count, rounds, seed).chunks(count) {
        for slot in round {
            figures[slot.cell].push(take(slot.cell)?);
        }
        if start.elapsed() > LONGEST {
            break;
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_has_a_figure_per_round_and_an_error_names_its_variant() {
        let mut calls = 0.0;
        let mut count = || {
            calls += 1.0;
            Ok(calls)
        };
        let mut constant = || Ok(7.0);
        let figures = measure_interleaved(3, 1, &mut [("count", &mut count), ("constant", &mut constant)]).unwrap();
        assert_eq!(figures, [vec![2.0, 3.0, 4.0], vec![7.0; 3]]);
        let mut bad = || Err(Reason::from("lost"));
        assert_eq!(measure_interleaved(1, 1, &mut [("bad", &mut bad)]), Err("bad: lost".into()));
    }
}
