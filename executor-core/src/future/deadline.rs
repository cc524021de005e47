//! Time limits of tasks that run in this process: one thread that sleeps until the next limit. It
//! runs none of the user's code: the callback threads run wakers, observers and destructors.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{TaskRef, shortage, time_keeper::keep_time};
use crate::{
    panic,
    sys::{self, PerProcess},
};

struct Watched {
    who: TaskRef,
    limit: Duration,
    what: Limit,
}

/// What a limit is for.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// How long the task may run.
    Running,
    /// How long it may wait to be started.
    Queued,
}

#[derive(Default)]
struct Deadlines {
    /// Ordered by time, and by a number that tells equal times apart.
    queue: BTreeMap<(Instant, u64), Watched>,
    next: u64,
    serving: bool,
    /// The thread leaves when there is no limit to be kept.
    is_dismissed: bool,
}

/// Each process has its own: a forked copy has no thread that would keep the limits that were watched before.
static CLOCK: PerProcess<Clock> = PerProcess::new(Clock::default);

#[derive(Default)]
struct Clock {
    deadlines: Mutex<Deadlines>,
    changed: Condvar,
}

fn lock() -> MutexGuard<'static, Deadlines> {
    CLOCK.get().deadlines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A limit that is being watched, until this is dropped.
pub(crate) struct Watch(Option<(Instant, u64)>);

/// Ends the task by its time limit when that has passed, unless the returned watch is dropped before.
pub(crate) fn watch(who: TaskRef, what: Limit, limit: Duration) -> Watch {
    // A limit too long for the clock is none.
    let Some(end) = Instant::now().checked_add(limit) else { return Watch(None) };
    let mut deadlines = lock();
    let key = (end, deadlines.next);
    deadlines.next += 1;
    let earliest = deadlines.queue.first_key_value().is_none_or(|(first, _)| key < *first);
    deadlines.queue.insert(key, Watched { who, limit, what });
    if !deadlines.serving {
        begin_serving(&mut deadlines);
    } else if earliest {
        CLOCK.get().changed.notify_one();
    }
    Watch(Some(key))
}

/// Starts the thread that watches. While no thread can be started, limits are not kept, but the tasks themselves run.
fn begin_serving(deadlines: &mut Deadlines) {
    deadlines.serving = thread::Builder::new().name("executor-deadline".to_owned()).spawn(serve).is_ok();
    if !deadlines.serving {
        shortage::note(ensure_served);
    }
}

/// Has the thread leave as soon as there is no limit to be kept; or, with `false`, stay.
#[cfg(target_os = "linux")]
pub(super) fn dismiss(is_dismissed: bool) {
    lock().is_dismissed = is_dismissed;
    CLOCK.get().changed.notify_all();
}

/// Called where a thread has just been started: now there may be one for limits that could not be watched so far.
pub(crate) fn ensure_served() {
    let mut deadlines = lock();
    if !deadlines.serving && !deadlines.queue.is_empty() {
        begin_serving(&mut deadlines);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(key) = self.0 {
            let watched = lock().queue.remove(&key);
            // Dropped outside the lock, because it may be the last holder of the task.
            drop(watched);
        }
    }
}

/// Guards the thread: if it ends by a panic, which is a fault of this crate, the limits that are left get another thread.
struct Serving;

impl Drop for Serving {
    fn drop(&mut self) {
        if thread::panicking() {
            lock().serving = false;
            ensure_served();
        }
    }
}

fn serve() {
    let _serving = Serving;
    let (generation, clock) = (sys::generation(), CLOCK.get());
    keep_time();
    let mut deadlines = lock();
    loop {
        let Some((&key, _)) = deadlines.queue.first_key_value() else {
            if deadlines.is_dismissed {
                deadlines.serving = false;
                return;
            }
            deadlines = clock.changed.wait(deadlines).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let left = key.0.saturating_duration_since(Instant::now());
        if left > Duration::ZERO {
            deadlines = clock.changed.wait_timeout(deadlines, left).unwrap_or_else(PoisonError::into_inner).0;
        } else if let Some(watched) = deadlines.queue.remove(&key) {
            #[cfg(all(test, not(loom)))]
            assert!(watched.limit != tests::PANICS, "a test asks for it");
            drop(deadlines);
            // A bug in this crate must not cost the other limits.
            panic::contain(|| expire(watched, key.0));
            // Where no other thread could be started, this one has run a waker, which may have forked.
            if sys::generation() != generation {
                sys::end_copy();
            }
            deadlines = lock();
        }
    }
}

fn expire(watched: Watched, end: Instant) {
    let taken = watched.limit.saturating_add(end.elapsed());
    match watched.what {
        Limit::Running => watched.who.expire(taken),
        Limit::Queued => watched.who.expire_queued(taken),
    }
    watched.who.drop_elsewhere();
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Executor, TaskError, TaskOptions, ThreadPoolExecutor};

    /// A limit with which the thread that keeps it panics.
    pub(super) const PANICS: Duration = Duration::from_nanos(12_345_678);

    #[test]
    fn a_panic_of_the_thread_that_keeps_limits_costs_the_others_nothing() {
        let pool = ThreadPoolExecutor::builder().max_workers(1).build().unwrap();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let running = pool.spawn(move || wait.recv().is_ok()).unwrap();
        let [_, other] = [PANICS, PANICS * 4]
            .map(|limit| pool.submit_with(|(): ()| {}, (), TaskOptions::new().queue_timeout(limit)).unwrap());
        let outcome = other.result_timeout(Duration::from_secs(60)).unwrap();
        assert!(matches!(outcome, Err(TaskError::Expired { .. })), "{outcome:?}");
        drop(go_on);
        assert_eq!(running.result(), Ok(false));
    }
}
