//! Least squares with coefficients that cannot be negative, by normal equations.

/// The normal equations of weighted rows: they can be added, so that those of drawn blocks need no look at the rows again.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Normal {
    matrix: Vec<Vec<f64>>,
    right: Vec<f64>,
}

impl Normal {
    pub(crate) fn new(terms: usize) -> Self {
        Self { matrix: vec![vec![0.0; terms]; terms], right: vec![0.0; terms] }
    }

    /// Adds a row: amounts of the terms, the value that they should add up to, and its weight.
    pub(crate) fn add_row(&mut self, amounts: &[f64], value: f64, weight: f64) {
        // Most rows have few terms.
        let present = || amounts.iter().enumerate().filter(|(_, amount)| **amount != 0.0);
        for (i, amount) in present() {
            for (j, other) in present() {
                self.matrix[i][j] += weight * amount * other;
            }
            self.right[i] += weight * amount * value;
        }
    }

    /// Adds the rows of another one.
    pub(crate) fn add(&mut self, other: &Self) {
        for (row, others) in self.matrix.iter_mut().zip(&other.matrix) {
            row.iter_mut().zip(others).for_each(|(cell, other)| *cell += other);
        }
        self.right.iter_mut().zip(&other.right).for_each(|(cell, other)| *cell += other);
    }

    /// The coefficients, none of which is negative (the active sets of Lawson and Hanson, "Solving Least Squares Problems",
    /// 23). A term that no row has is 0.
    pub(crate) fn solve(&self) -> Vec<f64> {
        let terms = self.right.len();
        // Every term is tried first: mostly none has to leave.
        let mut free: Vec<bool> = (0..terms).map(|term| self.matrix[term][term] > 0.0).collect();
        let mut found = vec![0.0; terms];
        // Each round removes a term or ends, and one that has left comes back at most once.
        let mut returned = vec![false; terms];
        for _ in 0..4 * terms {
            found = self.solve_free(&free);
            let lowest = (0..terms)
                .filter(|term| free[*term])
                .min_by(|a, b| self.scaled(&found, *a).total_cmp(&self.scaled(&found, *b)));
            if let Some(lowest) = lowest.filter(|term| found[*term] < 0.0) {
                free[lowest] = false;
                continue;
            }
            let gain = |term: &usize| {
                let explained: f64 = self.matrix[*term].iter().zip(&found).map(|(cell, value)| cell * value).sum();
                (self.right[*term] - explained) / self.matrix[*term][*term].sqrt()
            };
            let outside = (0..terms).filter(|term| !free[*term] && !returned[*term] && self.matrix[*term][*term] > 0.0);
            match outside.max_by(|a, b| gain(a).total_cmp(&gain(b))).filter(|term| gain(term) > 1e-9) {
                Some(term) => (free[term], returned[term]) = (true, true),
                None => break,
            }
        }
        found.iter_mut().for_each(|value| *value = value.max(0.0));
        found
    }

    /// A coefficient in units in which all terms are alike.
    fn scaled(&self, found: &[f64], term: usize) -> f64 {
        found[term] * self.matrix[term][term].sqrt()
    }

    /// The coefficients of the free terms, by elimination with the largest pivot; the others are 0.
    fn solve_free(&self, free: &[bool]) -> Vec<f64> {
        let terms: Vec<usize> = (0..free.len()).filter(|term| free[*term]).collect();
        let scale = |term: usize| 1.0 / self.matrix[term][term].sqrt();
        let mut rows: Vec<Vec<f64>> = terms
            .iter()
            .map(|i| {
                let cells = terms.iter().map(|j| self.matrix[*i][*j] * scale(*i) * scale(*j));
                cells.chain([self.right[*i] * scale(*i)]).collect()
            })
            .collect();
        let size = terms.len();
        for step in 0..size {
            let pivot =
                (step..size).max_by(|a, b| rows[*a][step].abs().total_cmp(&rows[*b][step].abs())).unwrap_or(step);
            rows.swap(step, pivot);
            let (above, below) = rows.split_at_mut(step + 1);
            let lead = &above[step];
            // Terms that cannot be told from others: the later one is 0.
            if lead[step].abs() < 1e-12 {
                continue;
            }
            for row in below {
                let factor = row[step] / lead[step];
                row.iter_mut().zip(lead).skip(step).for_each(|(cell, other)| *cell -= factor * other);
            }
        }
        let mut solved = vec![0.0; size];
        for step in (0..size).rev() {
            let known: f64 = (step + 1..size).map(|later| rows[step][later] * solved[later]).sum();
            if rows[step][step].abs() >= 1e-12 {
                solved[step] = (rows[step][size] - known) / rows[step][step];
            }
        }
        let mut found = vec![0.0; free.len()];
        for (term, value) in terms.iter().zip(solved) {
            found[*term] = value * scale(*term);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exact_rows_give_their_coefficients_and_a_negative_one_is_zero() {
        let solve = |plant: [f64; 2]| {
            let mut normal = Normal::new(3);
            for x in 1..10 {
                let row = [1.0, f64::from(x), 0.0];
                normal.add_row(&row, plant[0] + plant[1] * row[1], 1.0);
            }
            normal.solve()
        };
        let found = solve([5.0, 2.0]);
        assert!((found[0] - 5.0).abs() < 1e-9 && (found[1] - 2.0).abs() < 1e-9 && found[2] == 0.0, "{found:?}");
        let found = solve([-5.0, 2.0]);
        assert!(found[0] == 0.0 && found[1] > 0.0, "{found:?}");
    }

    proptest! {
        #[test]
        fn what_was_planted_is_found(plant in prop::collection::vec(0.0..1e6_f64, 4), seed in 0..1000_u64) {
            let mut random = workloads::Random::new(seed);
            let mut normal = Normal::new(4);
            for _ in 0..20 {
                let row: Vec<f64> = (0..4).map(|_| (random.next_u64() % 1000) as f64).collect();
                normal.add_row(&row, row.iter().zip(&plant).map(|(a, b)| a * b).sum(), 1.0);
            }
            for (found, plant) in normal.solve().iter().zip(&plant) {
                prop_assert!((found - plant).abs() < 1e-3, "{} {}", found, plant);
            }
        }
    }
}
