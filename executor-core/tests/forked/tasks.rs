//! Tasks and initializers that fork: the worker answers, and the copy does not.

use executor_core::{CancelToken, Executor};

use crate::{
    end, end_of, fork, fork_and_return,
    pool_kinds::{Kind, on_every_kind_of_pool},
    square,
};

on_every_kind_of_pool!(
    a_task_that_forks_answers_once,
    a_copy_of_a_worker_sees_that_a_token_is_cancelled,
    an_initializer_that_forks_is_one_initializer,
);

fn a_task_that_forks_answers_once(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    pool.warm_up().unwrap();
    let own = pool.worker_pids()[0];
    for round in 0..20 {
        assert_eq!(pool.submit(fork_and_return, round % 2 == 1).unwrap().result(), Ok(own));
        assert_eq!(pool.submit(square, round).unwrap().result(), Ok(round * round));
    }
    let all: Vec<_> = pool.map(fork_and_return, [false, true, false, true]).chunk_size(4).collect();
    assert_eq!(all, [Ok(own), Ok(own), Ok(own), Ok(own)]);
    assert_eq!(pool.stats().died, 0);
}

fn fork_and_watch((token, file): (CancelToken, String)) -> Result<i32, i32> {
    let copy = fork();
    if copy == 0 {
        while !token.is_cancelled() {
            std::thread::yield_now();
        }
        end(&[token.child().is_cancelled()]);
    }
    std::fs::write(file, "").unwrap();
    end_of(copy)
}

/// Below a task there may be others that do its work.
fn a_copy_of_a_worker_sees_that_a_token_is_cancelled(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forked");
    let pool = kind.builder().max_workers(1).build().unwrap();
    let token = CancelToken::new();
    let task = pool.submit(fork_and_watch, (token.clone(), file.to_str().unwrap().to_owned())).unwrap();
    while !file.exists() {
        std::thread::yield_now();
    }
    token.cancel();
    assert_eq!(task.result(), Ok(Ok(0)));
}

fn fork_in_an_initializer(_: ()) {
    fork_and_return(false);
}

fn an_initializer_that_forks_is_one_initializer(kind: Kind) {
    let pool = kind.builder().max_workers(1).initializer(fork_in_an_initializer, ());
    let pool = pool.preload(fork_in_an_initializer, ()).build().unwrap();
    assert_eq!(pool.submit(square, 3).unwrap().result(), Ok(9));
    assert_eq!((pool.stats().died, pool.stats().respawned), (0, 0));
}
