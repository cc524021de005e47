//! Maps of every kind, and checks of their results.

use std::{collections::HashMap, sync::Arc, time::Duration};

use executor_core::{Map, Submit, Task, TaskError, TryMapError};
use workloads::Random;

use super::{
    checks::{Expect, Plan, Round},
    draw::below,
    driver::StressSubject,
    tasks::{self, answer},
};

/// The settings of one map.
#[derive(Debug, Clone, Copy)]
struct Settings {
    items: u64,
    first: u64,
    /// Some items panic.
    panics: bool,
    chunk: Option<usize>,
    buffer: Option<usize>,
    starts: bool,
    stops: bool,
    time_limit: Option<Duration>,
    task_limit: Option<Duration>,
    /// The map is dropped after this many items.
    take: usize,
}

impl Settings {
    fn draw(random: &mut Random) -> Self {
        let size =
            |random: &mut Random, one_in, most| (below(random, one_in) == 0).then(|| 1 + below(random, most) as usize);
        Self {
            items: if below(random, 8) == 0 { below(random, 20_000) } else { below(random, 200) },
            first: random.next_u64(),
            panics: below(random, 8) == 0,
            chunk: size(random, 2, 40),
            buffer: size(random, 3, 60),
            starts: below(random, 4) == 0,
            stops: below(random, 8) == 0,
            time_limit: size(random, 10, 20).map(|limit| Duration::from_millis(limit as u64)),
            task_limit: size(random, 16, 20).map(|limit| Duration::from_millis(limit as u64)),
            take: size(random, 6, 50).unwrap_or(usize::MAX),
        }
    }

    /// Fewer items where each is slow: a panic formats its backtrace, and an item may need a process of its own.
    fn limited(mut self, round: &Round) -> Self {
        if round.hazards.processes {
            self.items = self.items.min(2000);
        }
        if self.panics || self.task_limit.is_some() {
            self.items = self.items.min(100);
        }
        self
    }

    fn arguments(self) -> impl Iterator<Item = u64> + Clone + Send {
        (0..self.items).map(move |number| self.first.wrapping_add(number))
    }

    fn expect(self, argument: u64) -> Expect {
        let plan = if self.panics && argument.is_multiple_of(16) { Plan::Panic } else { Plan::Answer };
        let expect = Expect::new(plan, argument);
        if self.task_limit.is_some() { expect.timing_out() } else { expect }
    }

    fn apply<C, F, M, I>(self, mut map: Map<C, F, M, I>) -> Map<C, F, M, I>
    where
        C: Submit,
        F: Task<u64, M, Output = u64>,
        I: Iterator<Item = u64>,
        M: 'static,
    {
        if let Some(limit) = self.task_limit {
            map = map.task_timeout(limit);
        }
        if let Some(items) = self.chunk {
            map = map.chunk_size(items);
        }
        if let Some(items) = self.buffer {
            map = map.buffer_size(items);
        }
        if let Some(limit) = self.time_limit {
            map = map.timeout(limit);
        }
        map = map.stop_on_error(self.stops);
        if self.starts { map.start() } else { map }
    }
}

/// Checks the error of a task that was not interfered with.
pub(super) fn check_error(round: &Round, error: &TaskError) {
    round.require(round.explains(&Expect::new(Plan::Answer, 0), error), || format!("for no reason: {error:?}"));
}

/// Whether an error that stands for the rest of a map has a reason. Such an error is the last one.
fn ends_map(round: &Round, settings: &Settings, error: &TaskError) -> bool {
    match error {
        TaskError::ShutDown => round.is_ending(),
        TaskError::DeadlineExceeded => settings.time_limit.is_some(),
        _ => false,
    }
}

pub(super) fn in_order<S: StressSubject>(pool: &Arc<S>, round: &Round, random: &mut Random) {
    let settings = Settings::draw(random).limited(round);
    let results: Vec<_> = if settings.panics {
        settings.apply(pool.map(tasks::panics_at_times, settings.arguments())).take(settings.take).collect()
    } else if below(random, 2) == 0 {
        settings.apply(pool.map(tasks::quick, settings.arguments())).take(settings.take).collect()
    } else {
        let settings = Settings { items: settings.items.min(500), ..settings };
        settings.apply(pool.map(tasks::busy, settings.arguments())).take(settings.take).collect()
    };
    let mut ended = settings.take != usize::MAX || settings.stops;
    for (argument, result) in settings.arguments().zip(&results) {
        match result {
            Err(error) if ends_map(round, &settings, error) => ended = true,
            result => round.check(&settings.expect(argument), result),
        }
    }
    // One of the two kinds has fewer items.
    let whole = [settings.items, settings.items.min(500)].contains(&(results.len() as u64));
    round.require(ended || whole, || format!("{} results of {settings:?}", results.len()));
}

pub(super) fn unordered<S: StressSubject>(pool: &Arc<S>, round: &Round, random: &mut Random) {
    let settings = Settings::draw(random).limited(round);
    let results: Vec<_> = if settings.panics {
        settings.apply(pool.map(tasks::panics_at_times, settings.arguments()).unordered()).take(settings.take).collect()
    } else {
        settings.apply(pool.map(tasks::quick, settings.arguments()).unordered()).take(settings.take).collect()
    };
    let mut expected: HashMap<u64, Plan> = settings.arguments().map(|x| (answer(x), settings.expect(x).plan)).collect();
    let mut ended = settings.take != usize::MAX || settings.stops;
    for result in &results {
        match result {
            Ok(value) => round.require(expected.remove(value) == Some(Plan::Answer), || {
                format!("{value} is no answer, or was given twice, in {settings:?}")
            }),
            Err(error) if ends_map(round, &settings, error) => ended = true,
            Err(TaskError::Panicked { .. }) if settings.panics => {}
            Err(error) => {
                round.require(round.explains(&settings.expect(1), error), || format!("{error:?} in {settings:?}"))
            }
        }
    }
    round.require(ended || results.len() as u64 == settings.items, || {
        format!("{} results of {settings:?}", results.len())
    });
}

pub(super) fn into_vec<S: StressSubject>(pool: &Arc<S>, round: &Round, random: &mut Random) {
    let mut settings = Settings::draw(random).limited(round);
    if below(random, 2) == 0 {
        // The method by which thread pools collect results themselves.
        settings = Settings { buffer: None, task_limit: None, starts: false, ..settings };
    }
    let outcome = if settings.panics {
        settings.apply(pool.map(tasks::panics_at_times, settings.arguments())).into_vec()
    } else {
        settings.apply(pool.map(tasks::quick, settings.arguments())).into_vec()
    };
    match outcome {
        Ok(values) => round.require(
            values.iter().copied().eq(settings.arguments().map(answer))
                && (!settings.panics || !settings.arguments().any(|x| x.is_multiple_of(16))),
            || format!("into_vec has wrong answers, or not all: {} of {settings:?}", values.len()),
        ),
        Err(error) if ends_map(round, &settings, &error) => {}
        Err(TaskError::Panicked { .. }) if settings.panics => {}
        Err(error) => {
            round.require(round.explains(&settings.expect(1), &error), || format!("{error:?} in {settings:?}"))
        }
    }
}

pub(super) fn try_map<S: StressSubject>(pool: &Arc<S>, round: &Round, random: &mut Random) {
    let (items, only_even) = (below(random, 60), below(random, 2) == 0);
    let step = if only_even { 2 } else { 1 };
    let mut count = 0;
    let mut failed = false;
    for result in pool.try_map(tasks::odd_is_an_error, (0..items).map(|x| x * step)) {
        round.require(!failed, || "a try_map went on after an error".to_owned());
        match result {
            Ok(value) => round.require(value == answer(count * step), || "try_map has a wrong answer".to_owned()),
            Err(TryMapError::Output(x)) => {
                failed = true;
                round.require(!only_even && x == count, || format!("try_map has a wrong error: {x}"));
            }
            Err(TryMapError::Task(error)) => {
                failed = true;
                if !(error == TaskError::ShutDown && round.is_ending()) {
                    check_error(round, &error);
                }
            }
        }
        count += 1;
    }
    round.require(failed || count == items && (only_even || items < 2), || format!("try_map: {count} of {items}"));
}
