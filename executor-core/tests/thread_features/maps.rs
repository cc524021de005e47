//! Maps, most of them into a vector, whatever the input promises.

use std::{
    sync::{
        Arc, Barrier, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use executor_core::{Executor, Shutdown, TaskError, TaskFuture, TaskOptions, ThreadPoolExecutor};

use crate::{LONG, hold};

#[test]
fn a_map_into_a_vec_is_in_order_whatever_the_input_promises() {
    let pool = ThreadPoolExecutor::new(3).unwrap();
    let squares: Vec<u64> = (0..50_000).map(|x| x * x).collect();
    let square = |x: u64| x * x;
    assert_eq!(pool.map(square, 0..50_000).into_vec().unwrap(), squares);
    // No lower bound at all, and one that is too low.
    assert_eq!(pool.map(square, (0..50_000).filter(|_| true)).into_vec().unwrap(), squares);
    assert_eq!(pool.map(square, (0..10).chain((10..50_000).filter(|_| true))).into_vec().unwrap(), squares);
    assert_eq!(pool.map(square, 0..50_000).chunk_size(7).into_vec().unwrap(), squares);
    let borrowed: Vec<u64> = (0..50_000).collect();
    assert_eq!(pool.map(square, borrowed.iter().copied()).into_vec().unwrap(), squares);
    let texts = pool.map(|x: u64| x.to_string(), 0..10_000).into_vec().unwrap();
    assert!(texts.iter().enumerate().all(|(x, text)| *text == x.to_string()));
}

#[test]
fn an_endless_chunk_needs_no_more_memory_than_its_items() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    for chunk in [1 << 42, usize::MAX] {
        let some = || (0..).map_while(|x: u64| (x < 10_000).then_some(x));
        let in_order: Vec<u64> = some().collect();
        let map = || pool.map(|x: u64| x, some()).chunk_size(chunk);
        assert_eq!(map().collect::<Result<Vec<_>, _>>().as_ref(), Ok(&in_order));
        assert_eq!(map().into_vec().as_ref(), Ok(&in_order));
    }
}

#[test]
fn an_input_that_promises_more_than_it_has_is_not_believed() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let some = || Boaster(0..10_000, 1 << 44);
    let in_order: Vec<u64> = (0..10_000).collect();
    let itself = |x: u64| x;
    assert_eq!(pool.submit_many(itself, some()).unwrap().len(), in_order.len());
    assert_eq!(pool.map(itself, some()).into_vec().as_ref(), Ok(&in_order));
    for chunk in [1 << 42, usize::MAX] {
        let map = || pool.map(itself, some()).chunk_size(chunk);
        assert_eq!(map().collect::<Result<Vec<_>, _>>().as_ref(), Ok(&in_order));
        assert_eq!(map().into_vec().as_ref(), Ok(&in_order));
    }
}

#[test]
fn a_map_into_a_vec_has_all_workers_also_where_the_number_of_items_is_unknown() {
    let pool = ThreadPoolExecutor::new(3).unwrap();
    for deadline in [None, Some(LONG)] {
        let here = Arc::new((Mutex::new(0), Condvar::new()));
        // Each item is done when all are under way.
        let meet = move |_| {
            let (number, changed) = &*here;
            let mut number = number.lock().unwrap();
            *number += 1;
            changed.notify_all();
            let is_short = |number: &mut i32| *number < 3;
            !changed.wait_timeout_while(number, Duration::from_secs(10), is_short).unwrap().1.timed_out()
        };
        let map = pool.spawn_map(meet, (0..3).filter(|_| true));
        let map = if let Some(deadline) = deadline { map.timeout(deadline) } else { map };
        assert_eq!(map.into_vec(), Ok(vec![true; 3]));
    }
}

#[test]
fn an_unordered_map_into_a_vec_is_in_order_too() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let (sender, receiver) = mpsc::channel();
    let receiver = Mutex::new(receiver);
    // The first item is done after most others.
    let last_first = move |x: usize| {
        if x == 0 {
            (1..10).for_each(|_| receiver.lock().unwrap().recv_timeout(LONG).unwrap());
        } else {
            sender.send(()).unwrap();
        }
        x
    };
    let results = pool.spawn_map(last_first, 0..10).chunk_size(1).buffer_size(10).unordered().into_vec().unwrap();
    assert_eq!(results, (0..10).collect::<Vec<_>>());
}

#[test]
fn expensive_items_without_a_size_are_not_pulled_all_at_once() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let calls = AtomicUsize::new(0);
    let fail_late = move |(): ()| {
        let calls = calls.fetch_add(1, Ordering::Relaxed);
        assert!(calls < 100, "enough");
        if calls < 2 {
            // Far more expensive than the first pull, however slow that is.
            std::hint::black_box((0..500).map(expensive).fold(0, |sum, x| sum ^ x));
        }
    };
    let error = pool.spawn_map(fail_late, std::iter::repeat_n((), usize::MAX)).into_vec().unwrap_err();
    assert!(matches!(&error, TaskError::Panicked { message, .. } if message == "enough"), "{error:?}");
}

#[test]
fn a_map_into_a_vec_ends_with_the_first_item_that_fails() {
    let pool = ThreadPoolExecutor::new(3).unwrap();
    let picky = |x: u64| {
        assert!(x % 1000 != 999, "{x}");
        vec![x]
    };
    for chunk in [1, 10, 5000] {
        let error = pool.map(picky, 0..100_000).chunk_size(chunk).into_vec().unwrap_err();
        assert!(matches!(&error, TaskError::Panicked { message, .. } if message == "999"), "{error:?}");
    }
    let input = (0..).inspect(|x| assert!(*x < 5000, "the input's own panic"));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.map(|x: u64| x, input).into_vec()));
    assert_eq!(outcome.unwrap_err().downcast_ref::<&str>(), Some(&"the input's own panic"));
    let endless = |_: u64| std::thread::sleep(Duration::from_millis(1));
    let late = pool.map(endless, 0..1_000_000).timeout(Duration::from_millis(20)).into_vec();
    assert_eq!(late, Err(TaskError::DeadlineExceeded));
    pool.shutdown(Shutdown::Drain, Some(LONG));
    assert_eq!(pool.map(|x: u64| x, 0..10).into_vec(), Err(TaskError::ShutDown));
}

#[test]
fn items_that_panic_when_dropped_harm_no_map_whose_call_panics() {
    struct Bomb(u32);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(self.0 == 0, "this panic is part of the test");
        }
    }
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let fail = |bomb: Bomb| assert!(bomb.0 > 0, "the call");
    let bombs = || (0..4).map(Bomb);
    // As many as the input has promised, and more.
    for outcome in [
        pool.spawn_map(fail, bombs()).chunk_size(4).into_vec(),
        pool.spawn_map(fail, bombs().filter(|_| true)).chunk_size(4).into_vec(),
    ] {
        let error = outcome.unwrap_err();
        assert!(matches!(&error, TaskError::Panicked { message, .. } if message == "the call"), "{error:?}");
    }
}

/// Some microseconds of work: such items are taken from both ends of the input.
fn expensive(x: u64) -> u64 {
    (0..5000).fold(x, |sum, y| std::hint::black_box(sum ^ y) ^ y)
}

/// Says that it has so many items, whatever it has.
struct Boaster(std::ops::Range<u64>, usize);

impl Iterator for Boaster {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.1, Some(self.1))
    }
}

#[test]
fn a_map_of_expensive_items_into_a_vec_is_in_order_and_ends_with_the_first_that_fails() {
    let pool = ThreadPoolExecutor::new(3).unwrap();
    let numbers: Vec<u64> = (0..3000).collect();
    assert_eq!(pool.map(expensive, 0..3000).into_vec().unwrap(), numbers);
    assert_eq!(pool.map(expensive, 0..3000).chunk_size(7).into_vec().unwrap(), numbers);
    for promised in [0, 10, 2999, 3001, 10_000] {
        assert_eq!(pool.map(expensive, Boaster(0..3000, promised)).into_vec().unwrap(), numbers);
    }
    for failing in [[0, 1], [1500, 2999], [2998, 2999]] {
        let picky = move |x: u64| {
            assert!(!failing.contains(&x), "{x}");
            vec![expensive(x)]
        };
        let error = pool.spawn_map(picky, 0..3000).into_vec().unwrap_err();
        let first = failing[0].to_string();
        assert!(matches!(&error, TaskError::Panicked { message, .. } if *message == first), "{error:?}");
    }
}

#[test]
fn a_map_of_a_closure_takes_what_serde_cannot_write() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let table: Arc<[u64]> = (0..100).map(|x| x * 3).collect();
    let look_up = {
        let table = Arc::clone(&table);
        move |place: usize| Arc::new(table[place])
    };
    let found = pool.spawn_map(look_up.clone(), 0..100).into_vec().unwrap();
    assert!(found.iter().zip(&*table).all(|(found, expected)| **found == *expected));
    let results: Vec<_> = pool.spawn_map(look_up, 95..105).chunk_size(3).collect();
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [[true; 5], [false; 5]].concat());
}

#[test]
fn nothing_of_a_map_into_a_vec_is_left_in_the_queue_when_its_time_is_up() {
    let pool = ThreadPoolExecutor::new(3).unwrap();
    let held: Vec<_> = (0..3).map(|_| hold(&pool)).collect();
    let answers = pool.map(|x: u64| x, 0..100).timeout(Duration::from_millis(10)).into_vec();
    assert_eq!(answers, Err(TaskError::DeadlineExceeded));
    let stats = pool.stats();
    for (barrier, busy) in held {
        barrier.wait();
        assert_eq!(busy.result(), Ok(()));
    }
    assert_eq!((stats.queued, stats.cancelled), (0, 3));
}

/// A worker that comes when nothing is left of the map need not come at all.
#[test]
fn a_map_into_a_vec_has_ended_when_its_items_have_answers() {
    let pool = ThreadPoolExecutor::new(2).unwrap();
    for limit in [None, Some(LONG)] {
        let gate = Arc::new(Barrier::new(3));
        let hold = |options| {
            let gate = Arc::clone(&gate);
            let held = move || _ = gate.wait();
            pool.spawn_with(held, options).unwrap()
        };
        let first = hold(TaskOptions::new());
        while pool.stats().running < 1 {
            std::thread::yield_now();
        }
        let mut second = None;
        let input = std::iter::once_with(|| second = Some(hold(TaskOptions::new().priority(1))));
        let map = pool.spawn_map(|()| 7, input.chain([(); 2]).filter(|()| true));
        let map = if let Some(limit) = limit { map.timeout(limit) } else { map };
        assert_eq!(map.into_vec(), Ok(vec![7; 3]));
        // The tasks that hold the workers have waited for the end of the map.
        gate.wait();
        assert_eq!((first.result(), second.map(TaskFuture::result)), (Ok(()), Some(Ok(()))));
    }
    assert_eq!(pool.stats().queued, 0);
}
