//! Items and inputs of maps whose destructors panic, and inputs that wait for the pool that maps them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use executor_core::{Executor, RayonExecutor, ReturnWhen, Shutdown, TaskError, TaskFuture, ThreadPoolExecutor, wait};

use crate::{LONG, held};

#[test]
fn inputs_of_two_maps_may_wait_for_the_pool_that_maps_them() {
    let pool = Arc::new(ThreadPoolExecutor::new(2).unwrap());
    let map = || {
        let inner = Arc::clone(&pool);
        let input = (0..6_u64).inspect(move |_| {
            let futures: Vec<_> = (0..3).map(|_| inner.spawn(|| ()).unwrap()).collect();
            assert!(wait(futures, None, ReturnWhen::AllCompleted).not_done.is_empty());
        });
        pool.spawn_map(|x| x, input).into_vec()
    };
    thread::scope(|scope| {
        let maps: Vec<_> = (0..2).map(|_| scope.spawn(|| (0..20).map(|_| map()).collect::<Vec<_>>())).collect();
        for results in maps.into_iter().flat_map(|map| map.join().unwrap()) {
            assert_eq!(results.unwrap(), [0, 1, 2, 3, 4, 5]);
        }
    });
}

/// The map's time is up, and its input still busy: the worker that asked for it cannot leave, and cannot run other tasks.
#[test]
fn an_input_may_wait_for_the_pool_whose_worker_waits_for_that_input() {
    let [pool, other] = [(); 2].map(|()| Arc::new(ThreadPoolExecutor::new(1).unwrap()));
    let ((is_up, wait), (sender, receiver)) = (mpsc::channel::<()>(), mpsc::channel());
    let (outer, second) = (Arc::clone(&pool), Arc::clone(&other));
    let mapped = pool
        .spawn(move || {
            let (inner, wait) = (Arc::clone(&outer), Arc::new(Mutex::new(wait)));
            let input = (0..1_u64).inspect(move |_| {
                let (inner, wait) = (Arc::clone(&inner), Arc::clone(&wait));
                let late = second.spawn(move || {
                    assert!(wait.lock().unwrap().recv_timeout(LONG).is_ok());
                    inner.spawn(|| 7).unwrap().result()
                });
                assert_eq!(late.unwrap().result(), Ok(Ok(7)));
            });
            let results = outer.spawn_map(|x| x, input).timeout(Duration::from_millis(10)).into_vec();
            sender.send(results).unwrap();
        })
        .unwrap();
    // Long after the time is up, since no event says that a thread waits for the input.
    thread::sleep(Duration::from_millis(150));
    is_up.send(()).unwrap();
    let results = receiver.recv_timeout(LONG);
    if results.is_err() {
        // Or their ends would be waited for as well.
        std::mem::forget((pool, other));
        panic!("no worker stands in for the one that waits for the input");
    }
    assert_eq!(results, Ok(Err(TaskError::DeadlineExceeded)));
    mapped.result().unwrap();
}

/// Each of its kind panics when it is dropped.
struct Grumpy(Arc<AtomicUsize>);

impl Drop for Grumpy {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("this destructor's panic is part of the test");
    }
}

/// A second panic of the same vector would abort the program.
#[test]
fn items_of_a_map_may_all_panic_when_they_are_dropped() {
    const ITEMS: usize = 12;
    let dropped = Arc::new(AtomicUsize::new(0));
    let items = |count| {
        let dropped = Arc::clone(&dropped);
        (0..count).map(move |_| Grumpy(Arc::clone(&dropped)))
    };
    // Chunks that have not started.
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let (task, release) = held();
    let busy = pool.spawn(task).unwrap();
    drop(pool.spawn_map(|item: Grumpy| std::mem::forget(item), items(ITEMS)).chunk_size(4).start());
    release.send(()).unwrap();
    assert_eq!(busy.result(), Ok(()));
    assert_eq!(dropped.swap(0, Ordering::SeqCst), ITEMS);
    // Items that are not begun after an error.
    let pool = ThreadPoolExecutor::new(2).unwrap();
    let call = |item: Grumpy| {
        std::mem::forget(item);
        panic!("this task's panic is part of the test");
    };
    let answers: Result<Vec<()>, _> = pool.spawn_map(call, items(ITEMS)).chunk_size(ITEMS).into_vec();
    assert!(matches!(answers, Err(TaskError::Panicked { .. })));
    assert_eq!(dropped.load(Ordering::SeqCst), ITEMS - 1);
}

/// The same for what may travel.
#[derive(serde::Serialize, serde::Deserialize)]
struct GrumpyItem;

/// Dropped so far.
static GRUMPY_ITEMS: AtomicUsize = AtomicUsize::new(0);

impl Drop for GrumpyItem {
    fn drop(&mut self) {
        GRUMPY_ITEMS.fetch_add(1, Ordering::SeqCst);
        panic!("this destructor's panic is part of the test");
    }
}

#[test]
fn items_that_may_travel_may_all_panic_when_they_are_dropped() {
    const ITEMS: usize = 12;
    fn check<E: Executor>(executor: &E, busy: TaskFuture<()>, release: &mpsc::Sender<()>) {
        let items = || std::iter::repeat_with(|| GrumpyItem).take(ITEMS);
        // Chunks that have not started, and one that is refused.
        let map = executor.map(|item: GrumpyItem| std::mem::forget(item), items()).chunk_size(4).start();
        drop(map);
        release.send(()).unwrap();
        assert_eq!((busy.result(), GRUMPY_ITEMS.swap(0, Ordering::SeqCst)), (Ok(()), ITEMS));
        executor.shutdown(Shutdown::Drain, None);
        let mut map = executor.map(|item: GrumpyItem| std::mem::forget(item), items()).chunk_size(ITEMS);
        assert_eq!(map.next(), Some(Err(TaskError::ShutDown)));
        assert_eq!(GRUMPY_ITEMS.swap(0, Ordering::SeqCst), ITEMS);
    }
    let (task, release) = held();
    let pool = ThreadPoolExecutor::new(1).unwrap();
    check(&pool, pool.spawn(task).unwrap(), &release);
    let (task, release) = held();
    let pool = RayonExecutor::new(1).unwrap();
    check(&pool, pool.spawn(task).unwrap(), &release);
}

/// So many items; its destructor panics.
struct GrumpyInput(usize);

impl Iterator for GrumpyInput {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.0 = self.0.checked_sub(1)?;
        Some(7)
    }
}

impl Drop for GrumpyInput {
    fn drop(&mut self) {
        panic!("this destructor's panic is part of the test");
    }
}

#[test]
fn an_input_whose_destructor_panics_costs_a_map_no_item_and_its_tasks_are_cancelled() {
    for unordered in [false, true] {
        let pool = ThreadPoolExecutor::new(1).unwrap();
        let (task, release) = held();
        let busy = pool.spawn(task).unwrap();
        let map = pool.map(|x: u32| x, GrumpyInput(100)).chunk_size(1).buffer_size(5);
        let map = if unordered { map.unordered() } else { map }.start();
        assert!(catch_unwind(AssertUnwindSafe(|| drop(map))).is_err());
        assert_eq!(pool.stats().cancelled, 5);
        release.send(()).unwrap();
        assert_eq!(busy.result(), Ok(()));
        let mut map = pool.map(|x: u32| x, GrumpyInput(3)).chunk_size(2);
        assert!(catch_unwind(AssertUnwindSafe(|| map.next())).is_err());
        assert_eq!(map.collect::<Result<Vec<_>, _>>(), Ok(vec![7; 3]));
    }
}
