//! Why there is no figure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::format::duration;

/// Why something could not be measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The reason as text.
    pub text: String,
    /// Whether answers were missing or wrong.
    #[serde(default)]
    pub is_wrong: bool,
}

impl Reason {
    /// The reason that answers were missing or wrong.
    pub fn wrong(text: impl fmt::Display) -> Self {
        Self { text: format!("wrong answers: {text}"), is_wrong: true }
    }

    /// The same, with a name before it.
    #[must_use]
    pub fn of(self, name: &str) -> Self {
        Self { text: format!("{name}: {}", self.text), ..self }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self { text, is_wrong: false }
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// The beginning of a note that stands in place of a [`Reason`], in runs from before there were reasons.
const NOTE: &str = "not measured: ";
const WRONG: &str = "wrong answers: ";

/// The note of a row that has no figures.
pub fn note_of(reason: &Reason) -> String {
    format!("{NOTE}{reason}")
}

/// The reason in a note of an earlier run.
pub(crate) fn reason_of(note: &str) -> Option<Reason> {
    let text = note.strip_prefix(NOTE)?;
    Some(Reason { text: text.to_owned(), is_wrong: text.contains(WRONG) })
}

/// Why there is no figure for a crossing, in a form that can follow a colon.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoCrossing {
    /// There are no points.
    #[error("not measured")]
    NotMeasured,
    /// It is below all points.
    #[error("less than {}, the shortest that was measured", duration(*.0))]
    Below(f64),
    /// It is above all points.
    #[error("more than {}, the longest that was measured", duration(*.0))]
    Above(f64),
    /// Nowhere among the points.
    #[error("no crossing between {} and {}", duration(*.0), duration(*.1))]
    Never(f64, f64),
    /// Only the upper end of its interval is known.
    #[error("at most {} (95% CI; its lower end is shorter than all that was measured)", duration(*.0))]
    AtMost(f64),
    /// Only the lower end of its interval is known.
    #[error("at least {} (95% CI; its upper end is longer than all that was measured)", duration(*.0))]
    AtLeast(f64),
    /// Neither end is known.
    #[error("too uncertain to say")]
    Unknown,
    /// The model that it would come from does not predict what it has not seen.
    #[error("cannot be told: the cost model predicts poorly in this run")]
    PoorModel,
    /// The machine was not fit to measure it.
    #[error("the machine was not fit to measure it")]
    Unfit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_of_an_earlier_run_has_its_reason() {
        for reason in [Reason::from("there is none"), Reason::wrong("of 2 tasks").of("one way")] {
            assert_eq!(reason_of(&note_of(&reason)), Some(reason));
        }
        assert_eq!(reason_of("arguments are moved"), None);
    }
}
