//! Time limits of tasks that run in this process: one thread that sleeps until the next limit, and only while there is one.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    future::TaskRef,
    sys::{self, PerProcess},
};

struct Watched {
    who: TaskRef,
    limit: Duration,
    what: Limit,
}

/// What is limited.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// How long the task runs.
    Running,
    /// How long it waits to be started.
    Queued,
}

#[derive(Default)]
struct Deadlines {
    /// By time, and by a number that makes equal times different.
    queue: BTreeMap<(Instant, u64), Watched>,
    next: u64,
    serving: bool,
}

/// Of each process its own: in a forked copy there is no thread that would keep the limits that were watched before.
static CLOCK: PerProcess<Clock> = PerProcess::new(Clock::default);

#[derive(Default)]
struct Clock {
    deadlines: Mutex<Deadlines>,
    changed: Condvar,
}

fn lock() -> MutexGuard<'static, Deadlines> {
    CLOCK.get().deadlines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the watch when dropped.
pub(crate) struct Watch(Option<(Instant, u64)>);

/// Ends the task by its time limit when that has passed, unless the watch is dropped before.
pub(crate) fn watch(who: TaskRef, what: Limit, limit: Duration) -> Watch {
    // A limit too large for the clock is none.
    let Some(end) = Instant::now().checked_add(limit) else { return Watch(None) };
    let mut deadlines = lock();
    let key = (end, deadlines.next);
    deadlines.next += 1;
    let earliest = deadlines.queue.first_key_value().is_none_or(|(first, _)| key < *first);
    deadlines.queue.insert(key, Watched { who, limit, what });
    if !deadlines.serving {
        // Without a thread to watch, a limit is not kept, but the task itself is not harmed.
        deadlines.serving = thread::Builder::new().name("executor-deadline".to_owned()).spawn(serve).is_ok();
    } else if earliest {
        CLOCK.get().changed.notify_one();
    }
    Watch(Some(key))
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(key) = self.0 {
            let watched = lock().queue.remove(&key);
            // Outside the lock: it may be the last to hold on to the task.
            drop(watched);
        }
    }
}

fn serve() {
    let (generation, clock) = (sys::generation(), CLOCK.get());
    let mut deadlines = lock();
    loop {
        let Some((&key, _)) = deadlines.queue.first_key_value() else {
            deadlines = clock.changed.wait(deadlines).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let left = key.0.saturating_duration_since(Instant::now());
        if left > Duration::ZERO {
            deadlines = clock.changed.wait_timeout(deadlines, left).unwrap_or_else(PoisonError::into_inner).0;
        } else if let Some(watched) = deadlines.queue.remove(&key) {
            drop(deadlines);
            let taken = watched.limit + key.0.elapsed();
            match watched.what {
                Limit::Running => watched.who.expire(taken),
                Limit::Queued => watched.who.expire_queued(taken),
            }
            // The next limit is not to wait for the task's destructors.
            watched.who.drop_elsewhere();
            // A waker may have forked.
            if sys::generation() != generation {
                sys::end_copy();
            }
            deadlines = lock();
        }
    }
}
