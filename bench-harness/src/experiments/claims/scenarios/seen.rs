//! What a scenario has shown.

use reports::model::{ClaimVerdict, FigureKind};
use serde::{Deserialize, Serialize};

/// The outcome of one scenario in its process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) verdict: ClaimVerdict,
    pub(crate) seen: String,
    pub(crate) values: Vec<Value>,
}

/// One value of a figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Value {
    pub(crate) what: String,
    pub(crate) kind: FigureKind,
    pub(crate) value: f64,
}

/// The checks of a scenario.
#[derive(Debug, Default)]
pub(super) struct Checks {
    passed: u32,
    failed: Vec<String>,
    values: Vec<Value>,
}

impl Checks {
    /// Notes whether something is as expected; `what` says what, as a statement.
    pub(super) fn check(&mut self, is_so: bool, what: impl Into<String>) {
        if is_so { self.passed += 1 } else { self.failed.push(what.into()) }
    }

    pub(super) fn value(&mut self, what: impl Into<String>, kind: FigureKind, value: f64) {
        self.values.push(Value { what: what.into(), kind, value });
    }

    /// The verdict where every check has passed is `passed`. Otherwise it is `otherwise` of what is not so.
    pub(super) fn end(self, passed: ClaimVerdict, otherwise: fn(String) -> ClaimVerdict, seen: &str) -> Seen {
        let Self { passed: count, failed, values } = self;
        if failed.is_empty() {
            return Seen { verdict: passed, seen: format!("{seen} ({count} checks)"), values };
        }
        let not_so = format!("not so: {}", failed.join("; "));
        Seen { verdict: otherwise(not_so.clone()), seen: format!("{not_so} ({count} other checks passed)"), values }
    }
}

/// What is expected is the claim itself.
pub(super) fn refuted(_: String) -> ClaimVerdict {
    ClaimVerdict::Refuted
}

/// What is expected is the opposite of the claim.
pub(super) fn supported(_: String) -> ClaimVerdict {
    ClaimVerdict::Supported
}

/// What is expected is neither.
pub(super) fn unknown(why: String) -> ClaimVerdict {
    ClaimVerdict::Unknown { why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_check_that_fails_turns_the_verdict_and_is_named() {
        let of = |second: bool| {
            let mut checks = Checks::default();
            checks.check(true, "one");
            checks.check(second, "two is two");
            checks.end(ClaimVerdict::Supported, refuted, "both are seen")
        };
        assert_eq!((of(true).verdict, of(true).seen.as_str()), (ClaimVerdict::Supported, "both are seen (2 checks)"));
        assert_eq!(of(false).verdict, ClaimVerdict::Refuted);
        assert_eq!(of(false).seen, "not so: two is two (1 other checks passed)");
        assert_eq!(supported(String::new()), ClaimVerdict::Supported);
        assert!(matches!(unknown("why".to_owned()), ClaimVerdict::Unknown { why } if why == "why"));
    }
}
