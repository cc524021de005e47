//! `lab advise`: which executor, by the cost model of this machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::ValueEnum;
use reports::{
    advice::{Question, advise},
    cost::{CostModel, Lane},
    model::Run,
};

use super::output::{Format, print, print_json};
use crate::{error::LabError, machine, place, stats::nanos};

/// The arguments of the command.
#[derive(Debug, clap::Args)]
pub(super) struct Ask {
    /// How long a task takes when it runs alone, such as 1ms or 250us.
    #[arg(long, value_parser = task_time)]
    task: Duration,
    /// Number of tasks.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    tasks: u64,
    /// Size of each argument, such as 64KiB.
    #[arg(long, default_value = "0", value_parser = size)]
    payload: u64,
    /// Size of each result.
    #[arg(long, default_value = "0", value_parser = size)]
    result: u64,
    /// The type that the bytes are in.
    #[arg(long, value_enum, default_value_t = BytesIn::Nested)]
    bytes_in: BytesIn,
    /// The share of a task's time in which it waits and needs no core: 0.9 for nine tenths.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    waits: f64,
    /// A task may crash, leak, or have to be stopped.
    #[arg(long)]
    crashes: bool,
    /// The pool is built for these tasks, and its start counts.
    #[arg(long)]
    cold: bool,
    /// The run to answer from: run.json or its folder [default: the newest in reports/out with a cost model of this machine].
    #[arg(long, value_name = "FILE")]
    run: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The way in which bytes travel.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum BytesIn {
    /// A struct, a tuple or another type that has a `Vec<u8>` in it.
    Nested,
    /// A `Vec<u8>` that is the whole argument or result.
    Vec,
    /// `SharedBytes`.
    Shared,
}

/// A time with its unit.
fn task_time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; a time is written as 1ms, 250us or 2s"))
}

/// A number of bytes, with a unit of 1024 or without one.
fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 =
        text[..digits].parse().map_err(|_| "a size is a number of bytes, such as 4096 or 64KiB".to_owned())?;
    let shift = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        unit => return Err(format!("{unit} is no unit of a size: use B, KiB, MiB or GiB")),
    };
    number.checked_mul(1 << shift).ok_or_else(|| "this size is too large".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1".to_owned()),
    }
}

/// Answers.
pub(super) fn answer(ask: &Ask) -> Result<ExitCode, LabError> {
    let (run, model) = model(ask.run.as_deref())?;
    let question = Question {
        task_ns: nanos(ask.task) as f64,
        tasks: ask.tasks,
        payload: ask.payload,
        result: ask.result,
        lane: match ask.bytes_in {
            BytesIn::Nested => Lane::Nested,
            BytesIn::Vec => Lane::Bytes,
            BytesIn::Shared => Lane::Shared,
        },
        waits: ask.waits,
        crashes: ask.crashes,
        cold: ask.cold,
    };
    let advice = advise(&model, &question)
        .ok_or_else(|| LabError::Sample(format!("the cost model of {} has no executor for this", run.id)))?;
    match ask.format {
        Format::Json => print_json(&serde_json::json!({ "run": run.id, "advice": advice })),
        Format::Text => {
            let mut text = advice.to_text();
            text.push_str(&format!(
                "by       the run {} on {}, {} cores\n",
                run.id, run.host.cpu_model, run.host.cores
            ));
            for why in run.unfit() {
                text.push_str(&format!("CAUTION  do not rely on it: at that run {why}\n"));
            }
            for warning in &run.host.warnings {
                text.push_str(&format!("CAUTION  that run: {warning}\n"));
            }
            print(text.as_bytes())
        }
    }
}

/// The run that is named, or else the newest one of this machine, with its cost model.
fn model(named: Option<&Path>) -> Result<(Run, CostModel), LabError> {
    const CURE: &str = "`lab cost` measures one, and so does `lab bench`";
    let with_model = |mut run: Run| run.cost.take().filter(|model| !model.fits.is_empty()).map(|model| (run, model));
    if let Some(path) = named {
        let found = with_model(reports::load(path)?);
        return found.ok_or_else(|| LabError::Sample(format!("{} has no cost model: {CURE}", path.display())));
    }
    let folder = place::default_folder("");
    let fingerprint = machine::inspect().fingerprint;
    let mut runs: Vec<PathBuf> =
        fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    // Names begin with the time of the run.
    runs.sort_unstable();
    let found = runs.iter().rev().find_map(|path| {
        // What is not a run, or is one of a newer lab, is passed over.
        reports::load(path).ok().filter(|run| run.host.fingerprint == fingerprint).and_then(with_model)
    });
    found.ok_or_else(|| {
        LabError::Sample(format!("no run in {} has a cost model of this machine: {CURE}", folder.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024_and_shares_lie_between_0_and_1() {
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!((size("4096"), size("2 M"), size("0")), (Ok(4096), Ok(2 << 20), Ok(0)));
        assert!(size("KiB").is_err() && size("4 parsecs").is_err() && size("99999999999999G").is_err());
        assert_eq!(share("0.9"), Ok(0.9));
        assert!(share("90").is_err() && share("NaN").is_err());
        assert_eq!(task_time("250us"), Ok(Duration::from_micros(250)));
        assert!(task_time("banana").unwrap_err().contains("1ms"));
    }
}
