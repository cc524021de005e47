//! A stress program: several drivers do random things to one pool until a round ends it in a random way; then nothing may be
//! lost, pending or left behind, and the next round builds another pool.
//!
//! The operations of each driver follow from the seed, the executor, the number of the round and that of the driver. Their
//! timing does not.

mod checks;
mod draw;
mod driver;
#[cfg(unix)]
mod host;
mod in_process;
pub(super) mod leaks;
mod maps;
mod operations;
mod outcome;
#[cfg(unix)]
mod processes;
mod round;
mod shared;
#[cfg(unix)]
mod signal;
mod submitting;
mod tasks;
mod threads;
mod user_code;
mod waiting;
mod watchdog;

use std::{
    panic,
    time::{Duration, Instant},
};

use executor_core::{ProcessPoolExecutor, RayonExecutor, SerialExecutor, ThreadPoolExecutor};

use self::{
    checks::Counted,
    driver::StressSubject,
    leaks::{Inventory, Trend},
    outcome::{HANG, Stressed},
    round::run_round,
    watchdog::Watchdog,
};
use crate::error::LabError;

pub(crate) use outcome::{Outcome, Settings, StressTarget, command};

/// Runs until the time is over or a check fails. A hang ends the program.
pub(crate) fn run(settings: &Settings) -> Result<Outcome, LabError> {
    quieten_expected_panics();
    let targets = match settings.target {
        StressTarget::All => StressTarget::each().collect(),
        one => vec![one],
    };
    let mut executors = Vec::new();
    for target in targets {
        let settings = Settings { target, ..*settings };
        let stressed = match target {
            StressTarget::Thread => stress::<Counted<ThreadPoolExecutor>>(&settings, ())?,
            StressTarget::Process => {
                stress::<Counted<ProcessPoolExecutor>>(&settings, processes::Variant::SharedMemory)?
            }
            StressTarget::Socket => stress::<Counted<ProcessPoolExecutor>>(&settings, processes::Variant::Socket)?,
            StressTarget::Forkserver => {
                stress::<Counted<ProcessPoolExecutor>>(&settings, processes::Variant::ForkServer)?
            }
            StressTarget::Rayon => stress::<Counted<RayonExecutor>>(&settings, ())?,
            StressTarget::Serial | StressTarget::All => stress::<Counted<SerialExecutor>>(&settings, ())?,
        };
        let is_bad = stressed.reproduce.is_some();
        executors.push(stressed);
        if is_bad {
            break;
        }
    }
    Ok(Outcome { seed: settings.seed, command: command(settings), executors })
}

/// Keeps the panic hook from reporting panics of callbacks, which are on purpose.
fn quieten_expected_panics() {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let message = info.payload_as_str().unwrap_or_default();
        if !message.starts_with("stress") {
            previous(info);
        }
    }));
}

fn stress<S: StressSubject>(settings: &Settings, variant: S::Variant) -> Result<Stressed, LabError> {
    let mut stressed = Stressed { executor: settings.target.name(), ..Stressed::default() };
    let start = Instant::now();
    let until = start + settings.time;
    let watchdog = Watchdog::default();
    let mut trend = Trend::default();
    let mut before = Inventory::take();
    let end_with = |command: String| {
        move |report: &str| {
            crate::tell::tell!("hang: a thread made no progress\n{report}reproduce: {command}");
            std::process::exit(i32::from(HANG));
        }
    };
    watchdog.start(settings.patience, end_with(command(settings))).map_err(LabError::Output)?;
    while stressed.reproduce.is_none() && (Instant::now() < until || stressed.rounds < 2) {
        let number = settings.round.unwrap_or(stressed.rounds);
        let reproduce = command(&Settings { round: Some(number), ..*settings });
        // The last round needs some time to end as well.
        let round = run_round::<S>(
            settings,
            variant,
            number,
            until.max(Instant::now() + Duration::from_millis(200)),
            &watchdog,
        )?;
        stressed.rounds += 1;
        stressed.operations += round.operations;
        stressed.tasks += round.tasks;
        stressed.results += round.results;
        stressed.callbacks += round.callbacks;
        stressed.workers_died += round.workers_died;
        stressed.wrong.extend(round.wrong);
        if stressed.rounds == 1 {
            before.accept_files();
        }
        stressed.leaks.extend(before.left());
        trend.note();
        if !stressed.wrong.is_empty() || !stressed.leaks.is_empty() {
            stressed.leaks.iter_mut().for_each(|leak| *leak = format!("{leak} (after {})", round.about));
            stressed.reproduce = Some(reproduce);
        }
    }
    watchdog.stop();
    if let Some(leak) = trend.leak() {
        stressed.leaks.push(leak);
        stressed.reproduce.get_or_insert_with(|| command(settings));
    }
    (stressed.memory_early_kib, stressed.memory_late_kib) = trend.ends().unzip();
    stressed.elapsed_s = start.elapsed().as_secs_f64();
    Ok(stressed)
}
