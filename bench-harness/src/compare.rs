//! Two runs side by side: a plain record of what became faster or slower.

use reports::{
    comparison::{Change, Comparison, ComparisonRow},
    model::{Cell, Run, Verdict},
};

use crate::{error::LabError, stats};

/// A smaller change is not reported.
pub(crate) const EVEN: f64 = 0.03;

/// Compares `new` with `base`, cell by cell.
///
/// # Errors
///
/// [`LabError::NotComparable`] when they were measured on different hosts or inputs, since their ratio would then say nothing
/// about the code.
pub(crate) fn compare(base: &Run, new: &Run) -> Result<Comparison, LabError> {
    if base.host.fingerprint != new.host.fingerprint {
        return Err(LabError::NotComparable(format!(
            "they are from different hosts, \"{}\" and \"{}\"; measure both on one host",
            base.host.fingerprint, new.host.fingerprint
        )));
    }
    if base.quick != new.quick {
        return Err(LabError::NotComparable(
            "one is quick and the other is not; measure both with or both without --quick".to_owned(),
        ));
    }
    for input in &base.inputs {
        let other = new.inputs.iter().find(|other| other.workload == input.workload);
        if let Some(other) = other.filter(|other| other.fingerprint != input.fingerprint) {
            let how = if input.description == other.description {
                format!("both \"{}\", with other names, lengths or times of change", input.description)
            } else {
                format!("\"{}\" and \"{}\"", input.description, other.description)
            };
            return Err(LabError::NotComparable(format!(
                "{} ran on different input, {how}; use the same for both",
                input.workload
            )));
        }
    }
    let mut rows: Vec<ComparisonRow> = base
        .cells
        .iter()
        .map(|cell| row(&cell.id, Some(cell), new.cells.iter().find(|other| other.id == cell.id), base.seed ^ new.seed))
        .collect();
    let added = new.cells.iter().filter(|cell| base.cells.iter().all(|other| other.id != cell.id));
    rows.extend(added.map(|cell| row(&cell.id, None, Some(cell), 0)));
    Ok(Comparison { base: base.id.clone(), new: new.id.clone(), rows })
}

fn row(id: &str, base: Option<&Cell>, new: Option<&Cell>, seed: u64) -> ComparisonRow {
    let samples = |cell: Option<&Cell>| -> Vec<f64> {
        let samples = cell.map(|cell| &cell.samples[..]).unwrap_or_default();
        samples.iter().map(|sample| sample.makespan_ns as f64).collect()
    };
    let median = |cell: Option<&Cell>| cell.and_then(|cell| cell.makespan_ns).map(|estimate| estimate.median);
    let bad = |cell: Option<&Cell>| {
        cell.is_some_and(|cell| matches!(cell.verdict, Verdict::Wrong { .. } | Verdict::Failed { .. }))
    };
    let ratio = stats::ratio_of_medians(&samples(base), &samples(new), seed);
    let verdict = match (ratio, base, new) {
        _ if bad(new) => Change::Bad,
        // A time at which an answer was wrong cannot be compared with.
        _ if bad(base) => Change::BadBase,
        (_, None, _) => Change::Added,
        (_, _, None) => Change::Gone,
        (None, ..) => Change::NotMeasured,
        (Some((_, low, _)), ..) if low > 1.0 + EVEN => Change::Slower,
        (Some((_, _, high)), ..) if high < 1.0 - EVEN => Change::Faster,
        (Some((_, low, high)), ..) if low >= 1.0 - EVEN && high <= 1.0 + EVEN => Change::Same,
        _ => Change::Unclear,
    };
    ComparisonRow {
        cell: id.to_owned(),
        base_median_ns: median(base),
        new_median_ns: median(new),
        ratio: ratio.map(|(ratio, ..)| ratio),
        low: ratio.map(|(_, low, _)| low),
        high: ratio.map(|(.., high)| high),
        verdict,
    }
}
