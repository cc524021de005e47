//! Where done-callbacks run: threads of their own, so that a slow or panicking one delays no task and no other callback.
//!
//! One thread runs callbacks; one stands by. When callbacks wait and none has been taken for [`STALL`], the one standing
//! by joins in and a new one stands by, up to [`MAX_THREADS`]. Threads with nothing to do for [`IDLE`] leave. The wait for
//! a stall happens only while callbacks are queued, so nothing wakes up in an idle program.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::cell::Completed;
use crate::panic;

pub(crate) type Callback = Box<dyn FnOnce(Completed) + Send>;

const STALL: Duration = Duration::from_millis(2);
const IDLE: Duration = Duration::from_secs(5);
const MAX_THREADS: usize = 128;

struct Queue {
    jobs: VecDeque<(Vec<Callback>, Completed)>,
    /// Jobs taken so far; stands still while every running callback is a slow one.
    taken: u64,
    threads: usize,
    waiting: usize,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue { jobs: VecDeque::new(), taken: 0, threads: 0, waiting: 0 });
static CHANGED: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one future's callbacks in the order in which they were added.
pub(super) fn dispatch(callbacks: Vec<Callback>, completed: Completed) {
    let mut queue = lock();
    queue.jobs.push_back((callbacks, completed));
    if queue.waiting > 0 {
        CHANGED.notify_one();
    } else if queue.threads < MAX_THREADS {
        start(queue);
    }
}

fn start(mut queue: MutexGuard<'static, Queue>) {
    queue.threads += 1;
    drop(queue);
    let started = thread::Builder::new().name("executor-callback".to_owned()).spawn(serve);
    if started.is_err() {
        // Out of threads. Whoever asked runs what is queued, for a callback must not be lost.
        let mut queue = lock();
        queue.threads -= 1;
        if queue.threads == 0 {
            while let Some((callbacks, completed)) = queue.jobs.pop_front() {
                drop(queue);
                run(callbacks, completed);
                queue = lock();
            }
        }
    }
}

fn serve() {
    let mut queue = lock();
    loop {
        if let Some((callbacks, completed)) = queue.jobs.pop_front() {
            queue.taken += 1;
            if !queue.jobs.is_empty() && queue.waiting == 0 && queue.threads < MAX_THREADS {
                // Somebody has to notice if this job is a slow one.
                start(queue);
            } else {
                if !queue.jobs.is_empty() {
                    CHANGED.notify_one();
                }
                drop(queue);
            }
            run(callbacks, completed);
            queue = lock();
            continue;
        }
        queue.waiting += 1;
        let (after, timeout) = CHANGED.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
        queue = after;
        // Others may be running callbacks: give them the chance to take what is queued before joining in.
        while !queue.jobs.is_empty() && queue.threads > queue.waiting {
            let taken = queue.taken;
            let (after, stalled) = CHANGED.wait_timeout(queue, STALL).unwrap_or_else(PoisonError::into_inner);
            queue = after;
            if stalled.timed_out() && queue.taken == taken {
                break;
            }
        }
        queue.waiting -= 1;
        if queue.jobs.is_empty() && timeout.timed_out() {
            queue.threads -= 1;
            return;
        }
    }
}

fn run(callbacks: Vec<Callback>, completed: Completed) {
    for callback in callbacks {
        // The next callback and the thread go on.
        panic::contain(|| callback(completed));
    }
}
