//! Claims about one interface, and about the order and the time in which results come: 1, 4, 7, 8.

use std::{thread, time::Duration, time::Instant};

use executor_core::{CancelToken, Executor, ReturnWhen, TaskFuture, as_completed, partial, wait};
use reports::model::{ClaimVerdict, FigureKind};
use workloads::{Random, digest_of};

use super::{
    seen::{Checks, Seen, refuted},
    tasks::{Marks, POOLS, begins, hold, mark_and_hold, nap, now, on, square},
};
use crate::{
    executors::{AnyExecutor, Kind},
    stats::nanos,
};

/// 1: the same source on every executor.
pub(super) fn one_interface() -> Result<Seen, String> {
    let mut checks = Checks::default();
    let mut serial = None;
    for kind in Kind::ALL {
        let answers = on(kind, 2, program_on)?;
        let expected = serial.get_or_insert_with(|| answers.clone());
        checks.check(*expected == answers, format!("the answers of {kind} are those of serial"));
    }
    let seen = format!("one function gave the same answers on {} executors; no line of it differs", Kind::ALL.len());
    Ok(checks.end(ClaimVerdict::Supported, refuted, &seen))
}

fn add(a: u64, b: u64) -> u64 {
    a + b
}

fn scale(x: u64, factor: &u64) -> u64 {
    x * factor
}

/// A small program that uses all of the interface.
fn program_on(executor: &AnyExecutor) -> String {
    let squares: Vec<Option<u64>> = executor.map(square, 0..50).map(Result::ok).collect();
    let scaled: Vec<Option<u64>> = executor.map(partial(scale, 3), 0..10).map(Result::ok).collect();
    let sums: Vec<TaskFuture<u64>> = (0..20).filter_map(|n| executor.submit(add, (n, 1)).ok()).collect();
    let mut completed: Vec<Option<u64>> =
        as_completed(sums, None).flatten().map(|future| future.result().ok()).collect();
    completed.sort_unstable();
    let waited = wait(executor.submit_many(square, 0..5).unwrap_or_default(), None, ReturnWhen::AllCompleted);
    digest_of(&[&format!("{squares:?} {scaled:?} {completed:?} {} {}", waited.done.len(), waited.not_done.len())])
}

fn delayed(index: u64, micros: u64) -> (u64, u64) {
    thread::sleep(Duration::from_micros(micros));
    (index, now())
}

/// 4: results of `map` in the order of the input, though tasks end in another one.
pub(super) fn map_order() -> Result<Seen, String> {
    let mut checks = Checks::default();
    for kind in POOLS {
        let answers = on(kind, 4, mapped_on)?;
        let order: Vec<u64> = answers.iter().map(|(index, _)| *index).collect();
        checks.check(
            order == (0..MAPPED).collect::<Vec<u64>>(),
            format!("{kind} gives results in the order of the input"),
        );
        let ends_in_order = answers.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        checks.check(!ends_in_order, format!("tasks on {kind} end in another order than that of the input"));
    }
    let seen = format!("{MAPPED} items with random delays on 4 workers of 3 pools came in the order of the input");
    Ok(checks.end(ClaimVerdict::Supported, refuted, &seen))
}

const MAPPED: u64 = 40;

fn mapped_on(executor: &AnyExecutor) -> Vec<(u64, u64)> {
    let mut random = Random::new(4);
    // The first one is the slowest.
    let delays = (0..MAPPED).map(|index| (index, if index == 0 { 6_000 } else { random.next_u64() % 4_000 }));
    executor.map(delayed, delays.collect::<Vec<_>>()).filter_map(Result::ok).collect()
}

/// The delays of the three items, in milliseconds: half of those in the text.
const DELAYS: [u64; 3] = [250, 50, 150];

/// 7: `as_completed` yields by the end of tasks.
pub(super) fn as_they_finish() -> Result<Seen, String> {
    let mut checks = Checks::default();
    for kind in POOLS {
        on(kind, 3, |executor| released_on(executor, &mut checks, kind))?;
    }
    let (order, first, of_map) = on(Kind::Thread, 3, delayed_on)?;
    checks.check(order == [2, 3, 1], format!("items with delays of {DELAYS:?} ms come as 2, 3, 1"));
    checks.check(first < of_map / 2.0, "the first result comes long before that of map");
    checks.value("first result of as_completed", FigureKind::Duration, first);
    checks.value("first result of map", FigureKind::Duration, of_map);
    let seen = "tasks that were let go one by one came in that order on 3 pools, while the others still ran";
    Ok(checks.end(ClaimVerdict::Supported, refuted, seen))
}

/// Three tasks, which end when they are let go.
fn released_on(executor: &AnyExecutor, checks: &mut Checks, kind: Kind) {
    let tokens: [CancelToken; 3] = Default::default();
    let futures = tokens.iter().enumerate().filter_map(|(index, token)| {
        let future = executor.submit(hold, token.clone()).ok()?;
        Some((index, future))
    });
    let mut completed = as_completed(futures.collect::<Vec<_>>(), Some(super::tasks::LONGEST_WAIT));
    for index in [1, 2, 0] {
        tokens[index].cancel();
        let next = completed.next().and_then(Result::ok).map(|(index, _)| index);
        checks.check(next == Some(index), format!("the task that ends is the next one on {kind}"));
    }
    tokens.iter().for_each(CancelToken::cancel);
}

/// The text's own program: the order of the items, the time of the first, and that of the first of a map.
fn delayed_on(executor: &AnyExecutor) -> (Vec<usize>, f64, f64) {
    let start = Instant::now();
    let items = DELAYS.into_iter().enumerate();
    let futures = items.filter_map(|(index, delay)| Some((index + 1, executor.submit(nap, delay).ok()?)));
    let mut first = 0.0;
    let order = as_completed(futures.collect::<Vec<_>>(), None).flatten().map(|(item, _)| {
        if first == 0.0 {
            first = nanos(start.elapsed()) as f64;
        }
        item
    });
    let order = order.collect();
    let start = Instant::now();
    let mut results = executor.map(nap, DELAYS).start();
    results.next();
    let of_map = nanos(start.elapsed()) as f64;
    results.for_each(drop);
    (order, first, of_map)
}

/// 8: `wait` returns at the first end, and the rest is cancelled.
pub(super) fn first_completed() -> Result<Seen, String> {
    let mut checks = Checks::default();
    for kind in POOLS {
        let marks = Marks::new()?;
        let lag = on(kind, 2, |executor| first_on(executor, &mut checks, kind, &marks))?;
        checks.value(format!("from the end of a task to the return of wait, {kind}"), FigureKind::Duration, lag);
    }
    let seen = "wait returned with the one task that had ended; of the others, those that had not begun were cancelled and never ran";
    Ok(checks.end(ClaimVerdict::Supported, refuted, seen))
}

fn first_on(executor: &AnyExecutor, checks: &mut Checks, kind: Kind, marks: &Marks) -> f64 {
    const TASKS: usize = 10;
    let (first, others) = (CancelToken::new(), CancelToken::new());
    let futures: Vec<TaskFuture<u64>> = (0..TASKS)
        .filter_map(|index| {
            let token = if index == 0 { &first } else { &others };
            executor.submit(mark_and_hold, (marks.path(index), token.clone())).ok()
        })
        .collect();
    checks.check(futures.first().is_some_and(begins), format!("the first task begins on {kind}"));
    first.cancel();
    let waited = wait(futures, Some(super::tasks::LONGEST_WAIT), ReturnWhen::FirstCompleted);
    let returned = now();
    checks.check(
        waited.done.len() == 1 && waited.not_done.len() == TASKS - 1,
        format!("one of {TASKS} is done on {kind}"),
    );
    let ended = waited.done.into_iter().next().and_then(|future| future.result().ok()).unwrap_or(returned);
    let cancelled = waited.not_done.iter().filter(|future| future.cancel()).count();
    others.cancel();
    wait(waited.not_done, Some(super::tasks::LONGEST_WAIT), ReturnWhen::AllCompleted);
    // One runs beside the first, and one more may have begun when the first had ended.
    checks.check((TASKS - 3..TASKS).contains(&cancelled), format!("what has not begun is cancelled on {kind}"));
    checks.check(marks.count() == TASKS - cancelled, format!("what was cancelled has not run on {kind}"));
    returned.saturating_sub(ended) as f64
}
