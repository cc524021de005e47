//! Tasks in flight at a worker that has not begun them: they can be cancelled, moved and counted like those in the queue, and what
//! happens to the task before them does not affect them.

mod gated;
mod pool_kinds;

use std::{
    fs,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use executor_core::{Executor, Promise, ReturnWhen, Shutdown, SubmitError, TaskError, TaskOptions, as_completed, wait};
use gated::{Gate, LONG, assert_squares, quick_pool, result, run_until, square, squares, until};
use pool_kinds::{Kind, on_every_kind_of_pool};

executor_core::test_worker!();

on_every_kind_of_pool!(
    a_standing_task_can_be_cancelled_until_it_runs,
    only_what_runs_is_running,
    a_long_task_does_not_hold_up_short_ones,
    a_long_task_among_many_short_ones_does_not_hold_up_the_last_ones,
    a_bounded_queue_counts_what_stands,
    cancel_queued_cancels_what_stands,
    kill_at_shutdown_ends_what_stands,
    a_drain_that_does_not_wait_runs_what_stands,
    a_drain_ends_whichever_thread_takes_the_last_answer,
    a_time_limit_costs_only_the_task_that_reached_it,
    a_task_is_never_stopped_for_the_one_before_it,
    a_time_limit_begins_with_its_own_task,
    killing_a_standing_task_harms_no_worker,
    killing_a_running_task_harms_no_other,
    every_kind_of_waiting_at_the_same_time,
    a_large_value_reaches_a_pool_that_sleeps,
);

fn a_standing_task_can_be_cancelled_until_it_runs(kind: Kind) {
    let (pool, gate) = (quick_pool(kind.builder(), 1), Gate::new());
    let running = gate.close(&pool);
    let mark = gate.name("ran");
    let note = |(mark, x): (String, u64)| fs::write(format!("{mark}{x}"), "").is_ok();
    let in_flight: Vec<_> = (0..10).map(|x| pool.submit(note, (mark.clone(), x)).unwrap()).collect();
    for future in in_flight.iter().step_by(2) {
        assert!(future.cancel() && future.cancelled());
    }
    assert!(!running.cancel(), "it runs");
    gate.open();
    assert_eq!(result(running), Ok(7));
    for (x, future) in in_flight.into_iter().enumerate() {
        let expected = if x.is_multiple_of(2) { Err(TaskError::Cancelled) } else { Ok(true) };
        assert_eq!(result(future), expected);
        assert_eq!(gate.path(&format!("ran{x}")).exists(), !x.is_multiple_of(2));
    }
    let stats = pool.stats();
    assert_eq!((stats.cancelled, stats.failed, stats.died), (5, 0, 0));
}

fn only_what_runs_is_running(kind: Kind) {
    let (pool, gate) = (quick_pool(kind.builder(), 1), Gate::new());
    let first = gate.close(&pool);
    let behind = squares(&pool, 5);
    assert!(first.running() && !first.done());
    assert!(behind.iter().all(|future| !future.running() && !future.done()));
    let stats = pool.stats();
    assert_eq!((stats.running, stats.queued), (1, 5));
    gate.open();
    assert!(first.wait_timeout(LONG));
    assert!(!first.running() && first.done());
    assert_squares(behind);
}

fn a_long_task_does_not_hold_up_short_ones(kind: Kind) {
    let (pool, gate) = (quick_pool(kind.builder(), 2), Gate::new());
    let long = gate.close(&pool);
    assert_squares(squares(&pool, 100));
    assert!(long.running());
    gate.open();
    assert_eq!(result(long), Ok(7));
}

fn a_long_task_among_many_short_ones_does_not_hold_up_the_last_ones(kind: Kind) {
    let pool = quick_pool(kind.builder(), 2);
    for round in 0..10 {
        let gate = Gate::new();
        let before = squares(&pool, 20 * round);
        let long = gate.submit(&pool, 0);
        // Two are in flight behind it where there is room: too little work to be worth moving, if it were short.
        let behind = squares(&pool, 2 + 10 * (round % 5));
        assert_squares(before);
        assert_squares(behind);
        gate.open();
        assert_eq!(result(long), Ok(7));
    }
}

fn a_bounded_queue_counts_what_stands(kind: Kind) {
    let (pool, gate) = (quick_pool(kind.builder().queue_capacity(5), 1), Gate::new());
    let long = gate.close(&pool);
    let mut taken: Vec<_> = (0..5).map(|x| pool.try_submit(square, x).unwrap()).collect();
    assert!(matches!(pool.try_submit(square, 5), Err(SubmitError::Full)));
    // One that is cancelled makes room for another.
    assert!(taken.pop().unwrap().cancel());
    taken.push(pool.try_submit(square, 4).unwrap());
    assert!(matches!(pool.try_submit(square, 5), Err(SubmitError::Full)));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| (5..200).map(|x| pool.submit(square, x).unwrap()).collect::<Vec<_>>());
        gate.open();
        taken.extend(waiting.join().unwrap());
    });
    assert_eq!(result(long), Ok(7));
    assert_squares(taken);
}

fn cancel_queued_cancels_what_stands(kind: Kind) {
    let (pool, gate) = (quick_pool(kind.builder(), 2), Gate::new());
    let long = [gate.submit(&pool, 0), gate.submit(&pool, 1)];
    (0..2).for_each(|number| gate.wait_until_it_runs(number));
    let behind = squares(&pool, 20);
    let report = thread::scope(|scope| {
        let shutdown = scope.spawn(|| pool.shutdown(Shutdown::CancelQueued, Some(LONG)));
        for future in behind {
            assert_eq!(result(future), Err(TaskError::Cancelled));
        }
        gate.open();
        shutdown.join().unwrap()
    });
    assert_eq!((report.cancelled, report.killed, report.is_complete()), (20, 0, true));
    for future in long {
        assert_eq!(result(future), Ok(7));
    }
}

fn kill_at_shutdown_ends_what_stands(kind: Kind) {
    let (pool, gate) = (quick_pool(kind.builder(), 2), Gate::new());
    let long = [gate.submit(&pool, 0), gate.submit(&pool, 1)];
    (0..2).for_each(|number| gate.wait_until_it_runs(number));
    let behind = squares(&pool, 20);
    let report = pool.shutdown(Shutdown::Kill, Some(LONG));
    assert_eq!((report.cancelled, report.killed, report.is_complete()), (20, 2, true));
    behind.into_iter().for_each(|future| assert_eq!(result(future), Err(TaskError::Cancelled)));
    for future in long {
        assert_eq!(result(future), Err(TaskError::ShutDown));
    }
}

fn a_drain_that_does_not_wait_runs_what_stands(kind: Kind) {
    let (pool, gate) = (quick_pool(kind.builder(), 1), Gate::new());
    let long = gate.close(&pool);
    let behind = squares(&pool, 20);
    let report = pool.shutdown(Shutdown::Drain, Some(Duration::ZERO));
    assert_eq!((report.running, report.queued, report.is_complete()), (1, 20, false));
    assert!(matches!(pool.submit(square, 1), Err(SubmitError::ShutDown)));
    gate.open();
    assert_squares(behind);
    assert_eq!(result(long), Ok(7));
    assert!(pool.shutdown(Shutdown::Drain, Some(LONG)).is_complete());
}

fn a_drain_ends_whichever_thread_takes_the_last_answer(kind: Kind) {
    for _ in 0..5 {
        let (pool, gate) = (quick_pool(kind.builder(), 1), Gate::new());
        let long = gate.close(&pool);
        thread::scope(|scope| {
            let shutdown = scope.spawn(|| pool.shutdown(Shutdown::Drain, Some(LONG)));
            until("not shut down", || matches!(pool.try_submit(square, 1), Err(SubmitError::ShutDown)));
            gate.open();
            // This thread takes the answers, and the supervisor does not get to see any.
            until("it has no answer", || pool.stats().failed == 0 && long.done());
            assert!(shutdown.join().unwrap().is_complete(), "{:?}", pool.stats());
        });
        assert_eq!(result(long), Ok(7));
    }
}

fn a_time_limit_costs_only_the_task_that_reached_it(kind: Kind) {
    let (pool, gate) = (quick_pool(kind.builder(), 1), Gate::new());
    let limit = TaskOptions::new().timeout(Duration::from_millis(300));
    let submit = |x| pool.submit_with(square, x, limit).unwrap();
    let before: Vec<_> = (0..20).map(submit).collect();
    let long = pool.submit_with(run_until, (gate.name("started0"), gate.name("open")), limit).unwrap();
    let behind: Vec<_> = (0..20).map(submit).collect();
    let unlimited = squares(&pool, 20);
    match result(long) {
        Err(TaskError::TimedOut { ran_for }) => assert!(ran_for >= Duration::from_millis(300)),
        other => panic!("{other:?}"),
    }
    assert_squares(before);
    assert_squares(behind);
    assert_squares(unlimited);
    assert_eq!(pool.stats().failed, 1);
}

fn a_task_is_never_stopped_for_the_one_before_it(kind: Kind) {
    const LIMIT: Duration = Duration::from_millis(3);
    fn spin(micros: u64) -> u64 {
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(micros) {
            std::hint::spin_loop();
        }
        micros
    }
    let pool = quick_pool(kind.builder(), 1);
    let limit = TaskOptions::new().timeout(LIMIT);
    // Tasks that end just before they would be stopped, just when they are, and after; each with others behind it.
    let futures: Vec<_> = (0..150)
        .flat_map(|x| [2700 + 8 * x, 1, 1, 1])
        .map(|micros| (micros, pool.submit_with(spin, micros, limit).unwrap()))
        .collect();
    let mut stopped = 0;
    for (micros, future) in futures {
        match result(future) {
            Ok(answer) => assert_eq!(answer, micros),
            Err(TaskError::TimedOut { ran_for }) => {
                stopped += 1;
                assert!(ran_for >= LIMIT, "stopped after {ran_for:?}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(stopped > 0);
}

fn a_time_limit_begins_with_its_own_task(kind: Kind) {
    let (pool, gate) = (quick_pool(kind.builder(), 1), Gate::new());
    let stop = |signal: &str| {
        let pid = pool.worker_pids()[0].to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
    };
    let first = gate.close(&pool);
    gate.open();
    assert_eq!(result(first), Ok(7));
    // It is in flight at a worker that cannot begin it.
    stop("-STOP");
    let limit = |millis| TaskOptions::new().timeout(Duration::from_millis(millis));
    let cancelled = pool.submit_with(square, 1, limit(100_000)).unwrap();
    let was_standing = cancelled.cancel();
    let (_promise, never) = Promise::<u64>::new();
    assert!(!never.wait_timeout(Duration::from_millis(500)), "time passes");
    stop("-CONT");
    assert_eq!(result(cancelled).is_err(), was_standing);
    assert_eq!(result(pool.submit_with(square, 3, limit(400)).unwrap()), Ok(9));
    assert_eq!(pool.stats().died, 0);
}

fn killing_a_standing_task_harms_no_worker(kind: Kind) {
    let (pool, gate) = (quick_pool(kind.builder(), 1), Gate::new());
    let pid = pool.worker_pids();
    let long = gate.close(&pool);
    let behind = squares(&pool, 5);
    assert!(behind[2].kill());
    gate.open();
    assert_eq!(result(long), Ok(7));
    for (x, future) in behind.into_iter().enumerate() {
        assert_eq!(result(future), if x == 2 { Err(TaskError::Cancelled) } else { Ok(square(x as u64)) });
    }
    assert_eq!(pool.worker_pids(), pid);
}

fn killing_a_running_task_harms_no_other(kind: Kind) {
    let (pool, gate) = (quick_pool(kind.builder(), 1), Gate::new());
    let long = gate.close(&pool);
    let behind = squares(&pool, 20);
    assert!(long.kill());
    assert_eq!(result(long), Err(TaskError::Cancelled));
    assert_squares(behind);
}

fn every_kind_of_waiting_at_the_same_time(kind: Kind) {
    const ROUNDS: u64 = 100;
    let pool = quick_pool(kind.builder(), 2);
    thread::scope(|scope| {
        scope.spawn(|| (0..ROUNDS).for_each(|x| assert_eq!(result(pool.submit(square, x).unwrap()), Ok(x * x))));
        scope.spawn(|| {
            (0..ROUNDS).for_each(|x| assert_eq!(pollster::block_on(pool.submit(square, x).unwrap()), Ok(x * x)));
        });
        scope.spawn(|| {
            let (sender, receiver) = mpsc::channel();
            for x in 0..ROUNDS {
                let sender = sender.clone();
                pool.submit(square, x).unwrap().on_result(move |result| sender.send(result).unwrap());
                assert_eq!(receiver.recv_timeout(LONG).unwrap(), Ok(x * x));
            }
        });
        scope.spawn(|| {
            for round in 0..ROUNDS {
                let futures = squares(&pool, round % 7 + 1);
                let waited = wait(futures, Some(LONG), ReturnWhen::AllCompleted);
                assert!(waited.not_done.is_empty());
            }
        });
        scope.spawn(|| {
            for round in 0..ROUNDS {
                let done = as_completed(squares(&pool, round % 7 + 1), Some(LONG));
                assert_eq!(done.map(Result::unwrap).count() as u64, round % 7 + 1);
            }
        });
        scope.spawn(|| {
            for x in 0..ROUNDS {
                let future = pool.submit(square, x).unwrap();
                until("it is not done", || future.done());
            }
        });
    });
    assert_eq!(pool.stats().failed, 0);
}

fn a_large_value_reaches_a_pool_that_sleeps(kind: Kind) {
    let pool = quick_pool(kind.builder(), 1);
    for mib in [1, 8, 3] {
        let bytes = vec![mib as u8; mib << 20];
        assert_eq!(result(pool.submit(|bytes: Vec<u8>| bytes.len(), bytes.clone()).unwrap()), Ok(mib << 20));
        assert!(result(pool.submit(|bytes: Vec<u8>| bytes, bytes.clone()).unwrap()) == Ok(bytes));
    }
}
