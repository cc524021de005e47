//! A single task, and every kind of wait for its outcome.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use executor_core::{Executor, Promise, ReturnWhen, TaskError, Waitable, as_completed, wait, wait_until};

use crate::{LONG, picky, square};

on_every_executor!(
    submit_takes_one_argument_or_a_tuple,
    every_kind_of_wait_sees_every_result,
    wait_returns_when_it_should,
    callbacks_are_called_once_and_harm_nothing,
    a_wait_that_runs_out_gives_the_future_back,
);

fn submit_takes_one_argument_or_a_tuple(executor: impl Executor) {
    assert_eq!(executor.submit(square, 12).unwrap().result(), Ok(144));
    assert_eq!(
        executor.submit(|a: u64, b: String| format!("{a}{b}"), (1, "x".to_owned())).unwrap().result().unwrap(),
        "1x"
    );
    assert_eq!(executor.submit(|| 7_u8, ()).unwrap().result(), Ok(7));
    assert_eq!(executor.try_submit(|pair: (u8, u8)| pair.1, (1, 2)).unwrap().result(), Ok(2));
}

fn every_kind_of_wait_sees_every_result(executor: impl Executor) {
    let text = executor.submit(|x: u64| x.to_string(), 5).unwrap();
    let number = executor.submit(square, 5).unwrap();
    let mixed: [Box<dyn Waitable + '_>; 3] = [Box::new(&text), Box::new(&number), Box::new(&number)];
    assert_eq!(as_completed(mixed, Some(LONG)).map(Result::unwrap).count(), 2, "a duplicate counts once");
    assert_eq!((text.result().unwrap(), number.result()), ("5".to_owned(), Ok(25)));
    assert_eq!(pollster::block_on(executor.submit(square, 6).unwrap()), Ok(36));

    let mut set = as_completed([executor.submit(square, 1).unwrap()], Some(LONG));
    let mut sum = 0;
    while let Some(done) = set.next() {
        let answer = done.unwrap().result().unwrap();
        sum += answer;
        if answer < 10 {
            set.add(executor.submit(|x: u64| x + 1, answer).unwrap());
        }
    }
    assert_eq!(sum, 55, "1 to 10, each added while draining");
}

fn wait_returns_when_it_should(executor: impl Executor) {
    let (_held, never) = Promise::<u64>::new();
    let good = executor.submit(square, 2).unwrap();
    let waited = wait([&never, &good], Some(LONG), ReturnWhen::FirstCompleted);
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));

    let bad = executor.submit(picky, 3).unwrap();
    let waited = wait([&good, &bad, &never], Some(LONG), ReturnWhen::FirstError);
    assert!(waited.done.iter().any(|future| future.id() == bad.id()));
    assert_eq!(waited.not_done[0].id(), never.id());

    let found = wait_until([&never, &good], Some(LONG), |future| future.id() == good.id());
    assert_eq!(found.done.len(), 1);

    assert!(never.cancel());
    let waited = wait([&good, &bad, &never], Some(LONG), ReturnWhen::AllCompleted);
    assert_eq!(waited.done.len(), 3, "cancelled is done");
    assert_eq!(never.result(), Err(TaskError::Cancelled));
}

fn callbacks_are_called_once_and_harm_nothing(executor: impl Executor) {
    let (sender, receiver) = mpsc::channel();
    let future = executor.submit(square, 2).unwrap();
    let id = future.id();
    future.add_done_callback(|_| panic!("this panic is part of the test"));
    for name in ["first", "second"] {
        let sender = sender.clone();
        future.add_done_callback(move |done| sender.send((name, done.id(), done.failed())).unwrap());
    }
    assert!(future.wait_timeout(LONG));
    let late = sender.clone();
    future.add_done_callback(move |done| late.send(("late", done.id(), done.failed())).unwrap());
    let mut heard: Vec<_> = (0..3).map(|_| receiver.recv_timeout(LONG).unwrap()).collect();
    heard.sort_unstable();
    assert_eq!(heard, [("first", id, false), ("late", id, false), ("second", id, false)]);
    let counter = Arc::new(AtomicUsize::new(0));
    let (counted, done) = (Arc::clone(&counter), sender.clone());
    executor.submit(square, 3).unwrap().on_result(move |result| {
        counted.fetch_add(result.unwrap() as usize, Ordering::Relaxed);
        done.send(("result", id, false)).unwrap();
    });
    assert_eq!(receiver.recv_timeout(LONG).unwrap().0, "result");
    assert_eq!(counter.load(Ordering::Relaxed), 9);
    assert_eq!(future.result(), Ok(4));
}

fn a_wait_that_runs_out_gives_the_future_back(executor: impl Executor) {
    let (promise, never) = Promise::<u64>::new();
    let never = never.result_timeout(Duration::ZERO).unwrap_err();
    assert!(!never.done());
    // Done already: a worker process may take its time to start.
    let square = wait([executor.submit(square, 3).unwrap()], Some(LONG), ReturnWhen::AllCompleted).done.remove(0);
    let mut set = as_completed([never, square], Some(Duration::from_millis(100)));
    assert_eq!(set.next().unwrap().unwrap().result(), Ok(9));
    assert_eq!(set.next().unwrap().unwrap_err().unfinished, 1);
    assert!(set.next().is_none());
    let never = set.into_pending().remove(0);
    promise.set_result(1).unwrap();
    assert_eq!(never.result_timeout(LONG).unwrap(), Ok(1));
}
