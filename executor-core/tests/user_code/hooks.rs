//! What a builder was given, an initializer or an exit hook; threads that cannot be started; tasks that a pool runs in place.

use std::{
    sync::{Arc, Mutex, OnceLock, mpsc},
    thread,
    time::Duration,
};

use executor_core::{
    Executor, Shutdown, Submit, SubmitError, TaskError, TaskFuture, TaskOptions, ThreadPoolExecutor, ThreadPoolHandle,
};

use crate::{Bomb, LONG, held, wait_until_idle};

#[test]
fn threads_that_cannot_be_started_fail_their_tasks_and_the_pool_ends() {
    let pool = ThreadPoolExecutor::builder().max_workers(4).stack_size(1 << 46).build().unwrap();
    for future in pool.submit_many(|x: u64| x, 0..4).unwrap() {
        assert!(matches!(future.result(), Err(TaskError::NoWorker { .. })));
    }
    drop(pool);
}

#[test]
fn an_initializer_may_wait_for_a_task_of_its_pool() {
    static CORE: OnceLock<ThreadPoolHandle> = OnceLock::new();
    let initializer = || {
        let Some(core) = CORE.get() else { return };
        let future = core.submit_task(|x: u64| x + 1, 1, TaskOptions::new()).unwrap();
        assert_eq!(future.result(), Ok(2));
    };
    let pool = ThreadPoolExecutor::builder().max_workers(2).initializer(initializer).build().unwrap();
    assert!(CORE.set(pool.handle().clone()).is_ok());
    for x in 0..50 {
        assert_eq!(pool.spawn(move || x).unwrap().result(), Ok(x));
        wait_until_idle(&pool);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_the_builder_was_given_may_panic_in_the_last_worker() {
    let (sender, dropped) = mpsc::channel();
    let bomb = Bomb(sender);
    let hook = move || _ = &bomb;
    let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("bomb").exit_hook(hook).build().unwrap();
    let pool = Arc::new(pool);
    let (inner, (go_on, wait)) = (Arc::clone(&pool), mpsc::channel::<()>());
    let future = pool.spawn(move || {
        let _ = wait.recv_timeout(LONG);
        // It does not wait for itself, and its worker has the last pointer to the pool.
        drop(inner);
    });
    drop(pool);
    go_on.send(()).unwrap();
    future.unwrap().result().unwrap();
    dropped.recv_timeout(LONG).unwrap();
    // The program is still there when the thread is gone.
    let is_bomb = |entry: std::fs::DirEntry| {
        std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.starts_with("bomb"))
    };
    while std::fs::read_dir("/proc/self/task").unwrap().any(|entry| entry.is_ok_and(is_bomb)) {
        thread::yield_now();
    }
}

#[test]
fn an_exit_hook_may_wait_for_a_task_of_another_pool() {
    static OTHER: OnceLock<ThreadPoolExecutor> = OnceLock::new();
    OTHER.set(ThreadPoolExecutor::new(1).unwrap()).unwrap();
    let (in_hook, hook_is_reached) = mpsc::channel();
    let (task, release) = held();
    let task = Mutex::new(Some(task));
    let hook = move || {
        if let Some(task) = task.lock().unwrap().take() {
            let future = OTHER.get().unwrap().spawn(task).unwrap();
            in_hook.send(()).unwrap();
            future.result().unwrap();
        }
    };
    let pool = ThreadPoolExecutor::builder()
        .max_workers(2)
        .idle_timeout(Some(Duration::from_millis(1)))
        .exit_hook(hook)
        .build()
        .unwrap();
    pool.spawn(|| ()).unwrap().result().unwrap();
    hook_is_reached.recv_timeout(LONG).unwrap();
    for x in 0..100 {
        assert_eq!(pool.spawn(move || x).unwrap().result(), Ok(x));
    }
    release.send(()).unwrap();
    assert!(pool.shutdown(Shutdown::Drain, None).is_complete());
    assert!(matches!(pool.spawn(|| 7), Err(SubmitError::ShutDown)));
}

#[test]
fn a_scope_whose_tasks_a_shutdown_cancels_does_not_say_that_they_ran() {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let ((task, release), (started, has_started)) = (held(), mpsc::channel());
    let held = pool.spawn(move || {
        started.send(()).unwrap();
        task();
    });
    has_started.recv_timeout(LONG).unwrap();
    let outcome = pool.scope(|scope| {
        scope.spawn(|| ()).unwrap();
        assert_eq!(pool.shutdown(Shutdown::CancelQueued, Some(Duration::ZERO)).cancelled, 1);
        release.send(()).unwrap();
    });
    assert_eq!(outcome, Err(TaskError::Cancelled));
    held.unwrap().result().unwrap();
}

#[test]
fn a_time_limit_is_kept_where_a_task_runs_in_place() {
    let pool = Arc::new(ThreadPoolExecutor::new(1).unwrap());
    let inner = Arc::clone(&pool);
    let outer = pool.spawn(move || {
        let ((task, release), options) = (held(), TaskOptions::new().timeout(Duration::from_millis(10)));
        let future = inner.spawn_with(task, options).unwrap();
        // It ends only after the limit has.
        future.add_done_callback(move |_| _ = release.send(()));
        future.result()
    });
    assert!(matches!(outer.unwrap().result(), Ok(Err(TaskError::TimedOut { .. }))));
}

#[test]
fn a_bounded_pool_that_is_broken_still_takes_tasks_and_says_why() {
    let (initializer, release) = held();
    let initializer = Mutex::new(Some(initializer));
    let pool = ThreadPoolExecutor::builder()
        .max_workers(1)
        .queue_capacity(1)
        .initializer(move || -> Result<(), &str> {
            if let Some(wait) = initializer.lock().unwrap().take() {
                wait();
            }
            Err("this failure is part of the test")
        })
        .build()
        .unwrap();
    let is_broken = |future: TaskFuture<()>| matches!(future.result(), Err(TaskError::InitializerFailed { .. }));
    let first = pool.spawn(|| ()).unwrap();
    thread::scope(|scope| {
        let second = scope.spawn(|| pool.spawn(|| ()).unwrap());
        // Most probably it waits for space by then; nothing tells.
        (0..1000).for_each(|_| thread::yield_now());
        release.send(()).unwrap();
        assert!(is_broken(first) && is_broken(second.join().unwrap()));
    });
    for _ in 0..3 {
        assert!(is_broken(pool.try_submit(|| (), ()).unwrap()));
    }
}
