//! Exit codes and seeds that several commands share.

use std::time::{SystemTime, UNIX_EPOCH};

use reports::model::{OverheadGroup, Reason};

/// Whether an executor of executor-core gave wrong answers; those of a peer or a baseline say nothing about it.
pub(super) fn gave_wrong_answers(group: OverheadGroup, missing: Option<&Reason>) -> bool {
    group == OverheadGroup::Lab && missing.is_some_and(|reason| reason.is_wrong)
}

/// A seed from the clock: it differs from run to run, and is recorded with each.
pub(super) fn fresh_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_answers_of_ours_are_told_from_figures_that_cannot_be_had() {
        let reason = Reason::wrong("the answers of 2 tasks add up to 0 instead of 1");
        assert!(gave_wrong_answers(OverheadGroup::Lab, Some(&reason)));
        assert!(gave_wrong_answers(OverheadGroup::Lab, Some(&reason.clone().of("one of several"))));
        assert!(!gave_wrong_answers(OverheadGroup::Peer, Some(&reason)));
        assert!(!gave_wrong_answers(OverheadGroup::Lab, Some(&"needs two cores".into())));
        assert!(!gave_wrong_answers(OverheadGroup::Lab, None));
    }
}
