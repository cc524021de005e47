//! Parts of findings.

use reports::model::{Estimate, Evidence, Finding, Tone};

/// A finding without a note.
pub(super) fn finding(text: String, evidence: Evidence, tone: Tone) -> Finding {
    Finding { text, evidence, note: String::new(), tone }
}

pub(super) fn workers(count: u32) -> String {
    if count == 1 { "1 worker".to_owned() } else { format!("{count} workers") }
}

/// A duration in the words of the report's tables.
pub(super) fn interval(estimate: &Estimate) -> String {
    use reports::format::{duration, percent};
    if estimate.confidence == 0.0 {
        return format!("{} (too few samples for an interval)", duration(estimate.median));
    }
    let range = format!("{} to {}", duration(estimate.low), duration(estimate.high));
    format!("{} ({} CI {range})", duration(estimate.median), percent(estimate.confidence))
}
