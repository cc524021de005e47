//! The claims of a document about such executors, judged on this machine.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Estimate;

/// One claim with its verdict.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Its number in the document, from 1 on.
    pub number: u32,
    /// The claim.
    pub text: String,
    /// What was done to judge it.
    pub experiment: String,
    /// From which result each verdict follows.
    pub rule: String,
    /// Whether the verdict depends on times, which an unfit machine does not tell.
    pub timed: bool,
    /// The verdict.
    pub verdict: ClaimVerdict,
    /// The key figure, and others beside it.
    pub figures: Vec<ClaimFigure>,
    /// What was seen, in words; empty where the figures say it.
    pub seen: String,
    /// The command that judges this claim again.
    pub command: String,
}

impl Claim {
    /// Whether the claim is supported, refuted, or both under a condition.
    pub fn is_decided(&self) -> bool {
        use ClaimVerdict::{Conditional, Refuted, Supported};
        matches!(self.verdict, Supported | Refuted | Conditional { .. })
    }

    /// Takes the figures and the verdict out if these depend on times.
    pub fn withhold_times(&mut self) {
        if self.timed && !matches!(self.verdict, ClaimVerdict::NotJudged | ClaimVerdict::Untestable { .. }) {
            self.verdict = ClaimVerdict::Unknown { why: "the machine was not fit".to_owned() };
            self.figures.clear();
            self.seen.clear();
        }
    }
}

/// What the result says of a claim.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ClaimVerdict {
    /// It is so.
    Supported,
    /// It is not so.
    Refuted,
    /// It is so in some cases only.
    Conditional {
        /// The end of the sentence "It holds only when".
        when: String,
    },
    /// The samples do not tell.
    Unknown {
        /// Why, and what would.
        why: String,
    },
    /// This machine cannot show it.
    Untestable {
        /// Why.
        why: String,
    },
    /// The run was stopped before.
    #[default]
    NotJudged,
}

impl fmt::Display for ClaimVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supported => f.write_str("supported"),
            Self::Refuted => f.write_str("refuted"),
            Self::Conditional { when } => write!(f, "holds only when {when}"),
            Self::Unknown { why } => write!(f, "cannot be told: {why}"),
            Self::Untestable { why } => write!(f, "cannot be tested here: {why}"),
            Self::NotJudged => f.write_str("not judged"),
        }
    }
}

/// A figure of a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClaimFigure {
    /// What it is of.
    pub what: String,
    /// Its unit.
    pub kind: FigureKind,
    /// The figure.
    pub estimate: Estimate,
}

/// The unit of a [`ClaimFigure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FigureKind {
    /// One divided by another.
    Ratio,
    /// Nanoseconds.
    Duration,
    /// Bytes.
    Bytes,
    /// A number of something.
    Count,
    /// A share of a whole.
    Share,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfit_machine_says_nothing_of_times_and_all_the_rest() {
        let estimate = Estimate { median: 1.0, low: 1.0, high: 1.0, confidence: 0.97, n: 6 };
        let figures = vec![ClaimFigure { what: "ratio".to_owned(), kind: FigureKind::Ratio, estimate }];
        let claim =
            |timed| Claim { timed, verdict: ClaimVerdict::Supported, figures: figures.clone(), ..Claim::default() };
        let (mut timed, mut exact) = (claim(true), claim(false));
        timed.withhold_times();
        exact.withhold_times();
        assert!(!timed.is_decided() && timed.figures.is_empty(), "{timed:?}");
        assert_eq!(timed.verdict.to_string(), "cannot be told: the machine was not fit");
        assert_eq!(exact, claim(false));
    }
}
