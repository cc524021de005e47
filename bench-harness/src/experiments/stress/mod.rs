//! A stress program: several actors do random things to one pool until a round ends it in a random way; then nothing may be
//! lost, pending or left behind, and the next round builds another pool.
//!
//! What each actor does follows from the seed, the executor, the number of the round and that of the actor. When it happens
//! does not.

mod actor;
mod checks;
mod draw;
mod foreign;
#[cfg(unix)]
mod host;
mod in_process;
mod leaks;
mod maps;
mod operations;
#[cfg(unix)]
mod processes;
mod shared;
#[cfg(unix)]
mod signal;
mod submitting;
mod tasks;
mod threads;
mod waiting;
mod watch;

use std::{
    panic,
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use executor_core::{ProcessPoolExecutor, RayonExecutor, SerialExecutor, Shutdown, SubmitError, ThreadPoolExecutor};
use serde::Serialize;
use workloads::Random;

use self::{
    actor::{Actor, Built, Held, Subject},
    checks::{Counted, Round},
    draw::{below, mix, shutdown},
    leaks::{Inventory, Trend},
    watch::Watch,
};
use crate::error::LabError;

/// What is put under stress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Target {
    /// `ThreadPoolExecutor`.
    Thread,
    /// `ProcessPoolExecutor` over shared memory.
    Process,
    /// `ProcessPoolExecutor` over sockets.
    Socket,
    /// `ProcessPoolExecutor` with a fork server, over either.
    Forkserver,
    /// `RayonExecutor`.
    Rayon,
    /// `SerialExecutor`.
    Serial,
    /// One after the other.
    All,
}

impl Target {
    fn each() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied().filter(|target| *target != Self::All)
    }

    /// As `--executor` takes it.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// What to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// For each executor.
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    pub(crate) target: Target,
    /// Only this one, again and again.
    pub(crate) round: Option<u64>,
    /// Who does one thing for longer than this is hanging.
    pub(crate) patience: Duration,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    seed: u64,
    command: String,
    executors: Vec<Stressed>,
}

/// One executor.
#[derive(Debug, Default, Serialize)]
struct Stressed {
    executor: String,
    rounds: u64,
    operations: u64,
    tasks: u64,
    /// Results that were checked one by one.
    results: u64,
    callbacks: u64,
    workers_died: u64,
    elapsed_s: f64,
    /// `None` where there were too few rounds to say anything.
    memory_early_kib: Option<u64>,
    memory_late_kib: Option<u64>,
    wrong: Vec<String>,
    leaks: Vec<String>,
    /// The round in which the first of these was seen, as a command.
    reproduce: Option<String>,
}

pub(crate) const WRONG: u8 = 5;
pub(crate) const HANG: u8 = 6;
pub(crate) const LEAK: u8 = 7;

impl Outcome {
    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.executors.iter().any(|one| !one.wrong.is_empty()) {
            ExitCode::from(WRONG)
        } else if self.executors.iter().any(|one| !one.leaks.is_empty()) {
            ExitCode::from(LEAK)
        } else {
            ExitCode::SUCCESS
        }
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for one in &self.executors {
            text.push_str(&format!(
                "{:<10} {:>5.0} s, {} rounds, {} operations, {} tasks, {} results checked, {} callbacks, {} workers died, \
                 {}: {}\n",
                one.executor,
                one.elapsed_s,
                one.rounds,
                one.operations,
                one.tasks,
                one.results,
                one.callbacks,
                one.workers_died,
                match (one.memory_early_kib, one.memory_late_kib) {
                    (Some(early), Some(late)) => format!("memory {early} -> {late} KiB"),
                    _ => "too few rounds to compare memory".to_owned(),
                },
                if one.wrong.is_empty() && one.leaks.is_empty() { "good" } else { "BAD" },
            ));
            for what in &one.wrong {
                text.push_str(&format!("  wrong: {what}\n"));
            }
            for what in &one.leaks {
                text.push_str(&format!("  leak: {what}\n"));
            }
            if let Some(command) = &one.reproduce {
                text.push_str(&format!("  reproduce: {command}\n"));
            }
        }
        text
    }
}

/// The command that does the same again.
pub(crate) fn command(settings: &Settings) -> String {
    let Settings { time, seed, target, round, .. } = settings;
    let round = round.map_or_else(String::new, |round| format!(" --round {round}"));
    format!("lab stress --seconds {} --seed {seed} --executor {}{round}", time.as_secs(), target.name())
}

/// Runs until the time is over or something is wrong. A hang ends the program.
pub(crate) fn run(settings: &Settings) -> Result<Outcome, LabError> {
    quieten_expected_panics();
    let targets = match settings.target {
        Target::All => Target::each().collect(),
        one => vec![one],
    };
    let mut executors = Vec::new();
    for target in targets {
        let settings = Settings { target, ..*settings };
        let stressed = match target {
            Target::Thread => stress::<Counted<ThreadPoolExecutor>>(&settings, ())?,
            Target::Process => stress::<Counted<ProcessPoolExecutor>>(&settings, processes::Variant::SharedMemory)?,
            Target::Socket => stress::<Counted<ProcessPoolExecutor>>(&settings, processes::Variant::Socket)?,
            Target::Forkserver => stress::<Counted<ProcessPoolExecutor>>(&settings, processes::Variant::ForkServer)?,
            Target::Rayon => stress::<Counted<RayonExecutor>>(&settings, ())?,
            Target::Serial | Target::All => stress::<Counted<SerialExecutor>>(&settings, ())?,
        };
        let is_bad = stressed.reproduce.is_some();
        executors.push(stressed);
        if is_bad {
            break;
        }
    }
    Ok(Outcome { seed: settings.seed, command: command(settings), executors })
}

/// Callbacks panic on purpose, and that is reported by the hook.
fn quieten_expected_panics() {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let message = info.payload_as_str().unwrap_or_default();
        if !message.starts_with("stress") {
            previous(info);
        }
    }));
}

fn stress<S: Subject>(settings: &Settings, variant: S::Variant) -> Result<Stressed, LabError> {
    let mut stressed = Stressed { executor: settings.target.name(), ..Stressed::default() };
    let start = Instant::now();
    let until = start + settings.time;
    let watch = Watch::default();
    let mut trend = Trend::default();
    let mut before = Inventory::take();
    let end_with = |command: String| {
        move |report: &str| {
            crate::tell::tell!("hang: somebody made no progress\n{report}reproduce: {command}");
            std::process::exit(i32::from(HANG));
        }
    };
    watch.start(settings.patience, end_with(command(settings))).map_err(LabError::Output)?;
    while stressed.reproduce.is_none() && (Instant::now() < until || stressed.rounds < 2) {
        let number = settings.round.unwrap_or(stressed.rounds);
        let reproduce = command(&Settings { round: Some(number), ..*settings });
        // The last round has to end as well.
        let round =
            play::<S>(settings, variant, number, until.max(Instant::now() + Duration::from_millis(200)), &watch)?;
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
    watch.stop();
    if let Some(leak) = trend.leak() {
        stressed.leaks.push(leak);
        stressed.reproduce.get_or_insert_with(|| command(settings));
    }
    (stressed.memory_early_kib, stressed.memory_late_kib) = trend.ends().unzip();
    stressed.elapsed_s = start.elapsed().as_secs_f64();
    Ok(stressed)
}

/// One round, over.
struct Played {
    operations: u64,
    tasks: u64,
    results: u64,
    callbacks: u64,
    workers_died: u64,
    wrong: Vec<String>,
    about: String,
}

fn play<S: Subject>(
    settings: &Settings,
    variant: S::Variant,
    number: u64,
    until: Instant,
    watch: &Watch,
) -> Result<Played, LabError> {
    let seed = mix(mix(settings.seed, settings.target as u64), number);
    let mut random = Random::new(seed);
    let Built { pool, round, tally, about } = S::build(variant, &mut random)?;
    let pool = Arc::new(pool);
    let described = Arc::downgrade(&pool);
    let entered = Arc::downgrade(&pool);
    foreign::set_entrance(Some(Arc::new(move || {
        if let Some(pool) = entered.upgrade() {
            drop((pool.stats(), pool.try_submit(tasks::quick, 1)));
        }
    })));
    let prefix = format!("round {number}: {about}");
    watch.describe(Some(Arc::new(move || {
        let state = described.upgrade().map(|pool| format!("{:?} {}", pool.stats(), pool.details()));
        format!("{prefix}: {}", state.as_deref().unwrap_or("gone"))
    })));
    let post = watch.post("the round");
    let (actors, operations) = (1 + below(&mut random, 5), 20 + below(&mut random, 150));
    let ends_early = below(&mut random, 3) == 0;
    let mut held: Vec<Held> = Vec::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..actors)
            .map(|number| {
                let post = watch.post(format!("actor {number}"));
                let actor = Actor { pool: &pool, round: &round, post, held: Vec::new() };
                let seed = mix(seed, number);
                scope.spawn(move || actor.run(seed, operations, ends_early, until))
            })
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(left) => held.extend(left),
                Err(_) => round.wrong("an actor panicked"),
            }
        }
    });
    let (stats, workers_died) = end(pool, &round, &mut random, &post, tally.as_deref());
    post.step("asks for what the actors have left");
    for (expect, future) in held {
        // Where the pool was only dropped, a task or a callback may have been the last to hold on to it.
        round.require(future.done() || !stats.is_complete, || {
            format!("{future:?} is pending after the end of its pool")
        });
        round.check(&expect, &future.result());
    }
    post.step("waits for callbacks");
    let (added, called) = round.callbacks.wait(settings.patience);
    round.require(added == called, || format!("{added} callbacks were added, and {called} called"));
    watch.describe(None);
    foreign::set_entrance(None);
    let played = Played {
        operations: round.operations.load(Ordering::SeqCst),
        tasks: stats.tasks,
        results: round.results.load(Ordering::SeqCst),
        callbacks: called,
        workers_died,
        wrong: round.take_wrong(),
        about: format!("round {number}: {about}"),
    };
    Ok(played)
}

/// How a pool has ended.
struct End {
    /// Nothing of it can be pending.
    is_complete: bool,
    tasks: u64,
}

/// Ends the pool in one of the ways, and looks at its numbers.
fn end<S: Subject>(
    pool: Arc<S>,
    round: &Round,
    random: &mut Random,
    post: &watch::Post,
    tally: Option<&checks::Tally>,
) -> (End, u64) {
    let mut steps: Vec<(Shutdown, Option<Duration>)> = Vec::new();
    let way = below(random, 5);
    if way == 0 {
        steps.push((shutdown(random), Some(Duration::from_micros(below(random, 3000)))));
    }
    if way < 4 {
        steps.push((shutdown(random), None));
    }
    for (how, deadline) in &steps {
        post.step(format!("ends the pool: {how:?}, {deadline:?}"));
        round.begin_end(*how);
        let report = pool.shutdown(*how, *deadline);
        round
            .require(deadline.is_some() || report.is_complete(), || format!("{how:?} without a limit left {report:?}"));
    }
    let mut end = End { is_complete: false, tasks: 0 };
    let stats = pool.stats();
    if steps.is_empty() {
        round.begin_end(Shutdown::Drain);
    } else {
        end.is_complete = true;
        round.check_stats(&stats, tally);
        let refused = pool.submit(tasks::quick, 0).map(drop);
        round.require(refused == Err(SubmitError::ShutDown), || format!("after the end: {refused:?}"));
    }
    end.tasks = round.submitted(&stats);
    post.step("drops the pool");
    // Otherwise a callback or a task holds on to it for a moment, and drops it.
    if let Some(pool) = Arc::into_inner(pool) {
        drop(pool);
        end.is_complete = true;
    }
    (end, stats.died)
}
