//! `lab bench` and `lab sweep`: a run is measured, printed, and saved.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{ArgMatches, ValueEnum};
use reports::model::{Run, Tone, Verdict};

use super::{
    arguments::WhereTo,
    exit::{fresh_seed, gave_wrong_answers},
    output::{Format, print, print_json},
};
use crate::{
    error::{LabError, chain},
    executors::Kind,
    experiments::{
        self, Experiment, bench,
        claims::Claims,
        pathologies::{Pathologies, PathologyName},
        python::PythonBeside,
        settings::Settings,
    },
    own_input, place,
    registry::Registry,
    tell::tell,
};

/// The arguments of the main job.
pub(super) struct Bench {
    pub(super) quick: bool,
    pub(super) full: bool,
    pub(super) no_python: bool,
}

/// Samples of each cell in a full run.
const FULL: u32 = 12;

/// Measures all workloads on all executors.
pub(super) fn bench(registry: &Registry, bench: Bench, where_to: &WhereTo) -> Result<ExitCode, LabError> {
    let Bench { quick, full, no_python } = bench;
    let wanted = |experiment: &&dyn Experiment| !no_python || experiment.id() != PythonBeside::ID;
    let claims = Claims { only: Vec::new() };
    let more = full.then_some(&claims as &dyn Experiment);
    let experiments: Vec<&dyn Experiment> = experiments::ALL.iter().copied().filter(wanted).chain(more).collect();
    let seed = where_to.seed.unwrap_or_else(fresh_seed);
    let words = [(quick, " --quick"), (full, " --full"), (no_python, " --no-python")];
    let words: String = words.into_iter().filter(|(is_set, _)| *is_set).map(|(_, word)| word).collect();
    let command = format!("{} bench{words} --seed {seed}", own_input::program());
    let settings = settings(registry, where_to, quick, (command, seed));
    let settings = Settings { repetitions: full.then_some(FULL), ..settings };
    measure("bench", where_to, &experiments, settings)
}

/// Takes some of the experiments of a bench.
pub(super) fn part(
    registry: &Registry,
    name: &str,
    experiments: &[&dyn Experiment],
    quick: bool,
    where_to: &WhereTo,
) -> Result<ExitCode, LabError> {
    let seed = where_to.seed.unwrap_or_else(fresh_seed);
    let command = format!("{} {name}{} --seed {seed}", own_input::program(), if quick { " --quick" } else { "" });
    let settings = Settings {
        // They have kernels of their own, and need no workload's input.
        workload: Some(""),
        ..settings(registry, where_to, quick, (command, seed))
    };
    measure(name, where_to, experiments, settings)
}

/// The arguments of a sweep.
pub(super) struct Sweep<'a> {
    pub(super) workload: &'a str,
    pub(super) executors: Vec<Kind>,
    pub(super) workers: Vec<u32>,
    pub(super) reps: Option<u32>,
    /// In percent.
    pub(super) loads: Vec<u32>,
    pub(super) quick: bool,
    pub(super) paths: Vec<PathBuf>,
    /// All options of the command.
    pub(super) options: &'a ArgMatches,
}

/// Measures one workload over executors and worker counts.
pub(super) fn sweep(registry: &Registry, sweep: Sweep<'_>, where_to: &WhereTo) -> Result<ExitCode, LabError> {
    let Sweep { workload, executors, workers, reps, loads, quick, paths, options } = sweep;
    let workload = registry.find(workload)?;
    own_input::refuse_others(registry, workload, &paths, options)?;
    let seed = where_to.seed.unwrap_or_else(fresh_seed);
    let executors = each_once(match executors {
        named if !named.is_empty() => named,
        // A program runs in a process of its own in any case.
        _ if workload.starts_programs() => vec![Kind::Thread],
        _ => Kind::ALL.to_vec(),
    });
    let (workers, loads) = (each_once(workers), each_once(loads));
    let list = |numbers: Vec<String>, name: &str| {
        if numbers.is_empty() { String::new() } else { format!(" --{name} {}", numbers.join(",")) }
    };
    let command = format!(
        "{} sweep {}{}{}{}{}{}{} --seed {seed}{}",
        own_input::program(),
        workload.name(),
        list(executors.iter().map(ToString::to_string).collect(), "executors"),
        list(workers.iter().map(ToString::to_string).collect(), "workers"),
        reps.map_or_else(String::new, |reps| format!(" --reps {reps}")),
        list(loads.iter().map(ToString::to_string).collect(), "loads"),
        if quick { " --quick" } else { "" },
        own_input::words(registry, options),
        own_input::paths(workload, &paths),
    );
    let settings = Settings {
        workload: Some(workload.name()),
        executors,
        workers,
        repetitions: reps,
        loads: loads.into_iter().map(|percent| f64::from(percent) / 100.0).collect(),
        own: Some((paths, options.clone())),
        ..settings(registry, where_to, quick, (command, seed))
    };
    measure("sweep", where_to, experiments::SWEEP, settings)
}

/// The arguments of `lab pathologies`.
pub(super) struct Causes {
    pub(super) only: Vec<PathologyName>,
    pub(super) workers: Option<u32>,
    pub(super) reps: Option<u32>,
    pub(super) quick: bool,
}

/// Measures what threads share, with it and without it.
pub(super) fn pathologies(registry: &Registry, causes: Causes, where_to: &WhereTo) -> Result<ExitCode, LabError> {
    let Causes { only, workers, reps, quick } = causes;
    let only = each_once(only);
    let seed = where_to.seed.unwrap_or_else(fresh_seed);
    let option =
        |name: &str, value: Option<String>| value.map_or_else(String::new, |value| format!(" --{name} {value}"));
    let names = only.iter().filter_map(ValueEnum::to_possible_value).map(|value| value.get_name().to_owned());
    let names = names.collect::<Vec<_>>().join(",");
    let command = format!(
        "{} pathologies{}{}{}{} --seed {seed}",
        own_input::program(),
        option("only", (!names.is_empty()).then_some(names)),
        option("workers", workers.map(|workers| workers.to_string())),
        option("reps", reps.map(|reps| reps.to_string())),
        if quick { " --quick" } else { "" },
    );
    let settings = Settings {
        // Its tasks are its own.
        workload: Some(""),
        executors: vec![Kind::Thread, Kind::Process],
        workers: workers.into_iter().collect(),
        repetitions: reps,
        ..settings(registry, where_to, quick, (command, seed))
    };
    measure("pathologies", where_to, &[&Pathologies { only, whole: true }], settings)
}

/// Judges the claims.
pub(super) fn claims(
    registry: &Registry,
    only: Vec<u32>,
    reps: Option<u32>,
    quick: bool,
    where_to: &WhereTo,
) -> Result<ExitCode, LabError> {
    let only = each_once(only);
    let seed = where_to.seed.unwrap_or_else(fresh_seed);
    let names = only.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let command = format!(
        "{} claims{}{}{} --seed {seed}",
        own_input::program(),
        if names.is_empty() { String::new() } else { format!(" --only {names}") },
        reps.map_or_else(String::new, |reps| format!(" --reps {reps}")),
        if quick { " --quick" } else { "" },
    );
    let settings = Settings {
        // Their tasks are their own.
        workload: Some(""),
        repetitions: Some(reps.unwrap_or(experiments::claims::blocks(quick))),
        ..settings(registry, where_to, quick, (command, seed))
    };
    measure("claims", where_to, &[&Claims { only }], settings)
}

/// The arguments of `lab python`.
pub(super) struct Pythons {
    pub(super) python: Vec<PathBuf>,
    pub(super) workers: Option<u32>,
    pub(super) reps: Option<u32>,
    pub(super) quick: bool,
}

/// Measures Python beside the lab's executors.
pub(super) fn python(registry: &Registry, pythons: Pythons, where_to: &WhereTo) -> Result<ExitCode, LabError> {
    let Pythons { python, workers, reps, quick } = pythons;
    let seed = where_to.seed.unwrap_or_else(fresh_seed);
    let named = python.iter().map(|path| format!(" --python {}", own_input::quoted(&workloads::shown(path))));
    let option = |name: &str, value: Option<u32>| value.map_or_else(String::new, |value| format!(" --{name} {value}"));
    let command = format!(
        "{} python{}{}{}{} --seed {seed}",
        own_input::program(),
        named.collect::<String>(),
        option("workers", workers),
        option("reps", reps),
        if quick { " --quick" } else { "" },
    );
    let settings = Settings {
        // It makes the input of its own workloads.
        workload: Some(""),
        executors: Vec::new(),
        workers: workers.into_iter().collect(),
        repetitions: reps,
        ..settings(registry, where_to, quick, (command, seed))
    };
    measure("python", where_to, &[&PythonBeside::new(python)], settings)
}

/// Settings for all executors with the usual numbers of workers and samples, and for made input.
fn settings<'a>(
    registry: &'a Registry,
    where_to: &WhereTo,
    quick: bool,
    (command, seed): (String, u64),
) -> Settings<'a> {
    Settings {
        quick,
        seed,
        registry,
        workload: None,
        executors: Kind::ALL.to_vec(),
        workers: Vec::new(),
        repetitions: None,
        loads: Vec::new(),
        accept_unfit: where_to.accept_unfit,
        own: None,
        id: String::new(),
        started: Duration::ZERO,
        command,
        data: place::default_data(),
    }
}

fn measure(
    kind: &str,
    where_to: &WhereTo,
    experiments: &[&dyn Experiment],
    mut settings: Settings<'_>,
) -> Result<ExitCode, LabError> {
    settings.started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    settings.id = place::name(settings.started, kind);
    let folder = where_to.out.clone().unwrap_or_else(|| place::default_folder(&settings.id));
    // Minutes of measuring must not end at a folder that cannot be written, or that another run uses.
    let _claim = reports::claim(&folder)?;
    if where_to.out.is_some()
        && let Ok(earlier) = reports::load(&folder)
    {
        // This is said before the measuring, while the earlier run can still be kept.
        tell!("replaces the run of {} in {}", earlier.started_at, folder.display());
    }
    let run = bench::run(&settings, experiments).inspect_err(|error| {
        if let LabError::Prepare(workloads::PrepareError::AllSkipped { skipped }) = error {
            skipped.iter().for_each(|skipped| tell!("skipped {skipped}"));
        }
        // Only an empty folder is removed.
        let _ = where_to.out.is_none().then(|| std::fs::remove_dir(&folder));
    })?;
    // The findings are printed before anything else can fail, since they cannot be made again.
    if let Format::Text = where_to.format {
        let mut text: String = run.findings.iter().map(|finding| finding.in_full() + "\n").collect();
        if !run.claims.is_empty() {
            text.push_str(&format!("\n{}", reports::claims::to_text(&run.claims)));
        }
        print(text.as_bytes())?;
    }
    let (written, problem) = save(&run, &folder);
    match (where_to.format, &written) {
        (Format::Text, Some(written)) => {
            print(format!("\nreport: {}\ndata:   {}\n", written.html.display(), written.json.display()).as_bytes())?;
        }
        (Format::Text, None) => {}
        (Format::Json, written) => {
            let mut printed = serde_json::json!({
                "report": written.as_ref().map(|written| &written.html),
                "data": written.as_ref().map(|written| &written.json),
                "error": problem,
                "interrupted": run.interrupted,
                "findings": run.findings,
                "skipped": run.skipped
            });
            if !run.claims.is_empty() {
                printed["claims"] = serde_json::json!(run.claims);
            }
            print_json(&printed)?;
        }
    }
    Ok(if problem.is_some() && !is_wrong(&run) { ExitCode::FAILURE } else { exit_code(&run) })
}

/// Writes the report to its folder, or else to a temporary one. Returns where it is, and the error of the first attempt.
fn save(run: &Run, folder: &Path) -> (Option<reports::Written>, Option<String>) {
    let error = match reports::write(run, folder) {
        Ok(written) => return (Some(written), None),
        Err(error) => chain(&error),
    };
    tell!("error: {error}");
    if reports::load(folder).is_ok_and(|saved| saved.id == run.id) {
        tell!("the results are in {}: `lab report` makes the page of them", folder.join(reports::JSON_NAME).display());
    }
    let elsewhere = std::env::temp_dir().join(format!("lab-{}", run.id));
    match reports::write(run, &elsewhere) {
        Ok(written) => {
            tell!("saved in {} instead", elsewhere.display());
            (Some(written), Some(error))
        }
        Err(other) => {
            tell!("error: {}", chain(&other));
            (None, Some(error))
        }
    }
}

/// Removes repetitions and keeps the order: a cell that is named twice is one cell.
fn each_once<T: PartialEq>(given: Vec<T>) -> Vec<T> {
    given.into_iter().fold(Vec::new(), |mut unique, value| {
        if !unique.contains(&value) {
            unique.push(value);
        }
        unique
    })
}

fn is_wrong(run: &Run) -> bool {
    run.cells.iter().any(|cell| matches!(cell.verdict, Verdict::Wrong { .. }))
        || run.overhead.iter().any(|row| gave_wrong_answers(row.group, row.missing.as_ref()))
        || run.python.iter().flat_map(|python| &python.cells).any(|cell| {
            // Wrong answers of Python say nothing about the lab's executors.
            cell.is_of_lab() && matches!(cell.verdict, Verdict::Wrong { .. })
        })
}

fn exit_code(run: &Run) -> ExitCode {
    if is_wrong(run) {
        ExitCode::from(5)
    } else if run.interrupted {
        ExitCode::from(130)
    } else if run.cells.iter().any(|cell| matches!(cell.verdict, Verdict::Failed { .. }))
        || run.findings.iter().any(|finding| finding.tone == Tone::Wrong)
    {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
