//! Several ways to do the same, in turns.

use std::time::{Duration, Instant};

use reports::model::Reason;

use crate::runner::schedule::interleave;

/// Rounds end after this: the figures of slow executors need no precision.
const PATIENCE: Duration = Duration::from_secs(4);

/// One way: its name, for errors, and what gives one figure.
pub(super) type Way<'a> = (&'a str, &'a mut dyn FnMut() -> Result<f64, Reason>);

/// Each way once per round, in an order of its own; the figures of each. All have equally many, and those at the same
/// position belong together. Before the first round each way is taken once, so that threads and memory are there.
pub(super) fn alternate(rounds: u32, seed: u64, ways: &mut [Way<'_>]) -> Result<Vec<Vec<f64>>, Reason> {
    let mut figures: Vec<Vec<f64>> = ways.iter().map(|_| Vec::new()).collect();
    let count = ways.len();
    let mut take = |index: usize| {
        let (name, way) = &mut ways[index];
        way().map_err(|reason| reason.of(name))
    };
    for index in 0..count {
        take(index)?;
    }
    let start = Instant::now();
    for round in interleave(count, rounds, seed).chunks(count) {
        for slot in round {
            figures[slot.cell].push(take(slot.cell)?);
        }
        if start.elapsed() > PATIENCE {
            break;
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_has_a_figure_per_round_and_an_error_names_its_way() {
        let mut calls = 0.0;
        let mut count = || {
            calls += 1.0;
            Ok(calls)
        };
        let mut constant = || Ok(7.0);
        let figures = alternate(3, 1, &mut [("count", &mut count), ("constant", &mut constant)]).unwrap();
        assert_eq!(figures, [vec![2.0, 3.0, 4.0], vec![7.0; 3]]);
        let mut bad = || Err(Reason::from("lost"));
        assert_eq!(alternate(1, 1, &mut [("bad", &mut bad)]), Err("bad: lost".into()));
    }
}
