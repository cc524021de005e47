//! The lists of the page: all cells, their resources, failed and missing cells, and the machine.

use crate::chart::median_sample;
use crate::format;
use crate::model::{Estimate, Fitness, Run, Verdict};
use crate::table::{Field, Table};

/// Every cell with its medians and its verdict.
pub(crate) fn all(run: &Run) -> Table {
    let mut table = Table::new(
        "All cells: medians with their intervals",
        &["Workload", "Executor", "Workers#", "Tasks#", "Samples#", "Makespan#", "Throughput#", "Verdict"],
    );
    for cell in &run.cells {
        table.push(vec![
            Field::text(cell.title()),
            Field::text(&cell.executor),
            Field::text(cell.workers.to_string()),
            Field::text(format::count(cell.tasks)),
            Field::text(cell.samples.len().to_string()),
            Field::estimate(cell.makespan_ns.as_ref(), format::duration),
            Field::estimate(cell.tasks_per_second.as_ref(), format::rate),
            Field::verdict(&cell.verdict),
        ]);
    }
    table
}

/// The resources that the sample with the median makespan of each cell used.
pub(crate) fn resources(run: &Run) -> Table {
    let mut table = Table::new(
        "Resources: the sample with the median makespan of each cell; peak memory from one more run",
        &[
            "Cell",
            "Makespan#",
            "Peak memory#",
            "CPU, user#",
            "CPU, kernel#",
            "Switches, waiting#",
            "Switches, preempted#",
            "Faults, minor#",
            "Faults, major#",
            "Queued for a core#",
            "Failed tasks#",
        ],
    );
    for cell in &run.cells {
        let Some(sample) = median_sample(cell) else { continue };
        let peak = cell.samples.iter().filter_map(|sample| sample.peak_pss_bytes).max();
        let count = |value: u64| Field::text(format::count(value));
        table.push(vec![
            Field::text(&cell.id),
            Field::text(format::duration(sample.makespan_ns as f64)),
            peak.map_or_else(Field::none, |size| Field::text(format::bytes(size))),
            Field::text(format::duration(sample.user_cpu_ns as f64)),
            Field::text(format::duration(sample.system_cpu_ns as f64)),
            count(sample.voluntary_switches),
            count(sample.involuntary_switches),
            count(sample.minor_faults),
            count(sample.major_faults),
            sample.run_queue_delay_ns.map_or_else(Field::none, |time| Field::text(format::duration(time as f64))),
            count(sample.failed_tasks),
        ]);
    }
    table
}

/// The cells that failed, were not measured or were left out, with the reasons; `None` when there are none.
pub(crate) fn missing(run: &Run) -> Option<Table> {
    let mut table = Table::new("Failed, not measured and skipped", &["What", "State", "Why"]);
    for cell in &run.cells {
        let why = match &cell.verdict {
            Verdict::Failed { error } => error.as_str(),
            Verdict::NotMeasured => "the run was stopped before this cell had a sample",
            Verdict::Correct | Verdict::Wrong { .. } => continue,
        };
        table.push(vec![
            Field::text(&cell.id),
            Field::verdict(&cell.verdict),
            Field { class: "prose", ..Field::text(why) },
        ]);
    }
    for skipped in &run.skipped {
        table.push(vec![
            Field::text(&skipped.what),
            Field { icon: "–", class: "muted", ..Field::text("skipped") },
            Field { class: "prose", ..Field::text(&skipped.reason) },
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// The machine and the build.
pub(crate) fn machine(run: &Run) -> Table {
    let host = &run.host;
    let mut table = Table::new("The machine and the build", &["Fact", "Value"]);
    let mut fact = |name: &str, value: Field| table.push(vec![Field::text(name), value]);
    fact("CPU", Field::text(&host.cpu_model));
    fact("Cores for this process", Field::text(host.cores.to_string()));
    fact("Memory", Field::text(format::bytes(host.memory_bytes)));
    fact("System", Field::text(&host.os));
    fact("Compiler", Field::text(&host.rustc));
    fact("Lab", Field::text(&run.tool_version));
    fact("Revision", Field::code(run.revision.as_deref().unwrap_or("unknown: not built from a checkout")));
    fact("Fingerprint", Field::code(&host.fingerprint));
    if !run.part_ns.is_empty() {
        let parts = run.part_ns.iter().map(|(name, ns)| format!("{name} {}", format::duration(*ns as f64)));
        fact("Time of each part", Field { class: "prose", ..Field::text(parts.collect::<Vec<_>>().join(", ")) });
    }
    for (name, value) in run.fitness.iter().flat_map(fitness) {
        fact(name, Field { class: "prose", ..Field::text(value) });
    }
    for (name, value) in &host.facts {
        fact(name, Field { class: "prose", ..Field::text(value) });
    }
    table
}

/// What was seen of the machine's fitness, by name.
fn fitness(seen: &Fitness) -> impl Iterator<Item = (&'static str, String)> {
    let cores = |seen: Option<Estimate>| {
        seen.map(|times| {
            format!(
                "{:.2} times the time of one alone ({:.2} to {:.2}, {} CI)",
                times.median,
                times.low,
                times.high,
                format::percent(times.confidence)
            )
        })
    };
    let facts = [
        ("A spinning thread on each core, before", cores(seen.cores_before)),
        ("A spinning thread on each core, after", cores(seen.cores_after)),
        ("Smallest change that can be told", seen.smallest_effect.map(format::percent)),
        ("Cores used by other programs", seen.others.map(|cores| format!("{cores:.2}"))),
        ("Samples taken again", Some(seen.repeated.to_string())),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?)))
}

/// The inputs of the workloads; `None` when the run had none.
pub(crate) fn inputs(run: &Run) -> Option<Table> {
    let mut table = Table::new("Inputs", &["Workload", "Input", "Fingerprint"]);
    for input in &run.inputs {
        table.push(vec![
            Field::text(&input.workload),
            Field { class: "prose", ..Field::text(&input.description) },
            Field::code(&input.fingerprint),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn nothing_is_left_out_silently() {
        let run = fixture::run();
        assert_eq!(all(&run).rows.len(), run.cells.len());
        assert_eq!(missing(&run).unwrap().rows.len(), 3);
        assert_eq!(resources(&run).rows.len(), run.cells.len() - 2);
        assert!(missing(&fixture::empty()).is_none());
        assert!(inputs(&fixture::empty()).is_none());
    }
}
