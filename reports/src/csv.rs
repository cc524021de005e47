//! The raw samples as comma-separated values (RFC 4180), one line per sample.

use std::fmt::Write as _;

use crate::model::{Cell, Run, Sample, Verdict};

/// Names of the columns, in their order.
const COLUMNS: [&str; 32] = [
    "run",
    "cell",
    "workload",
    "params",
    "executor",
    "workers",
    "tasks",
    "verdict",
    "block",
    "order",
    "makespan_ns",
    "tasks_per_second",
    "latency_p50_ns",
    "latency_p90_ns",
    "latency_p99_ns",
    "latency_p999_ns",
    "latency_max_ns",
    "user_cpu_ns",
    "system_cpu_ns",
    "voluntary_switches",
    "involuntary_switches",
    "minor_faults",
    "major_faults",
    "run_queue_delay_ns",
    "cpu_pressure_ns",
    "stolen_ns",
    "peak_pss_bytes",
    "failed_tasks",
    "digest",
    "host",
    "seed",
    "started_at",
];

/// Every sample of the run with its cell: a header line first, and each line ended by CR LF.
///
/// Every line carries the run and the machine, so that the files of several runs can be joined. A cell without
/// samples has no line.
pub fn samples(run: &Run) -> String {
    let mut text = String::new();
    record(&mut text, COLUMNS.iter().map(|name| (*name).to_owned()));
    for cell in &run.cells {
        for sample in &cell.samples {
            record(&mut text, fields(run, cell, sample));
        }
    }
    text
}

/// One sample's fields in the order of [`COLUMNS`].
fn fields(run: &Run, cell: &Cell, sample: &Sample) -> [String; COLUMNS.len()] {
    let params: Vec<String> = cell.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let optional = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let latency = |pick: fn(&crate::model::Latency) -> u64| {
        sample.latency.as_ref().map(|latency| pick(latency).to_string()).unwrap_or_default()
    };
    [
        run.id.clone(),
        cell.id.clone(),
        cell.workload.clone(),
        params.join(";"),
        cell.executor.clone(),
        cell.workers.to_string(),
        cell.tasks.to_string(),
        verdict_word(&cell.verdict).to_owned(),
        sample.block.to_string(),
        sample.order.to_string(),
        sample.makespan_ns.to_string(),
        sample.tasks_per_second.to_string(),
        latency(|latency| latency.p50_ns),
        latency(|latency| latency.p90_ns),
        latency(|latency| latency.p99_ns),
        latency(|latency| latency.p999_ns),
        latency(|latency| latency.max_ns),
        sample.user_cpu_ns.to_string(),
        sample.system_cpu_ns.to_string(),
        sample.voluntary_switches.to_string(),
        sample.involuntary_switches.to_string(),
        sample.minor_faults.to_string(),
        sample.major_faults.to_string(),
        optional(sample.run_queue_delay_ns),
        optional(sample.cpu_pressure_ns),
        optional(sample.stolen_ns),
        optional(sample.peak_pss_bytes),
        sample.failed_tasks.to_string(),
        sample.digest.clone(),
        run.host.fingerprint.clone(),
        run.seed.to_string(),
        run.started_at.clone(),
    ]
}

/// The verdict as one word, the same as in `run.json`.
fn verdict_word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Correct => "correct",
        Verdict::Wrong { .. } => "wrong",
        Verdict::Failed { .. } => "failed",
        Verdict::NotMeasured => "not_measured",
    }
}

/// Appends one line.
fn record(text: &mut String, fields: impl IntoIterator<Item = String>) {
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        quote(text, &field);
    }
    text.push_str("\r\n");
}

/// Appends one field, in quotes where its content needs them.
fn quote(text: &mut String, field: &str) {
    if field.contains(['"', ',', '\r', '\n']) || field.starts_with(' ') || field.ends_with(' ') {
        // Writing to a string cannot fail.
        let _ = write!(text, "\"{}\"", field.replace('"', "\"\""));
    } else {
        text.push_str(field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    /// Reads it back. All lines must have as many fields.
    fn parse(text: &str) -> Vec<Vec<String>> {
        assert!(text.ends_with("\r\n"), "the last line is complete");
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        reader.deserialize().map(Result::unwrap).collect()
    }

    #[test]
    fn every_sample_has_a_line_and_every_line_all_columns() {
        let run = fixture::run();
        let rows = parse(&samples(&run));
        assert_eq!(rows.len(), 1 + run.cells.iter().map(|cell| cell.samples.len()).sum::<usize>());
        assert!(rows.iter().all(|row| row.len() == COLUMNS.len()));
        assert_eq!(rows[0], COLUMNS);
        assert_eq!(rows[1][1], run.cells[0].id);
        assert_eq!(rows[1][10], run.cells[0].samples[0].makespan_ns.to_string());
    }

    #[test]
    fn commas_quotes_and_line_breaks_come_back_unchanged() {
        let mut run = fixture::run();
        let odd = "a \"quoted\", name\r\nwith <breaks> ";
        run.cells[0].executor = odd.to_owned();
        run.cells[0].params.insert("k".to_owned(), "1,2".to_owned());
        let rows = parse(&samples(&run));
        assert_eq!(rows[1][4], odd);
        assert!(rows[1][3].contains("k=1,2"));
    }

    #[test]
    fn an_empty_run_has_the_header_only() {
        assert_eq!(samples(&fixture::empty()).lines().count(), 1);
    }
}
