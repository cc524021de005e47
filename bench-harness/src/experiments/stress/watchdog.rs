//! Notices when a thread makes no progress, and reports what each thread was doing.

use std::{
    fmt::Write,
    fs,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

/// The name of the watchdog's thread, which fits into the 15 bytes that Linux keeps of one.
pub(super) const THREAD: &str = "stress-watchdog";

/// The current step of one thread, and its start.
#[derive(Debug, Default)]
struct Activity {
    thread: String,
    /// `None` before the first step.
    step: Option<(String, Instant)>,
    steps: u64,
}

/// Describes the state of the pool of this round.
type Describe = Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Default)]
struct State {
    activities: Vec<Arc<Mutex<Activity>>>,
    describe: Option<Describe>,
    over: bool,
}

/// Watches all threads that have a [`Heartbeat`].
#[derive(Clone, Default)]
pub(super) struct Watchdog {
    state: Arc<(Mutex<State>, Condvar)>,
}

/// By this a thread reports what it does. The watchdog forgets the thread when this is dropped.
pub(super) struct Heartbeat {
    watchdog: Watchdog,
    activity: Arc<Mutex<Activity>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watchdog {
    /// Watches from now on. A thread whose step takes longer than `limit` hangs, and `hanging` is called with the report.
    pub(super) fn start(&self, limit: Duration, hanging: impl Fn(&str) + Send + 'static) -> std::io::Result<()> {
        let watchdog = self.clone();
        let serve = move || {
            let (state, changed) = &*watchdog.state;
            let mut guard = lock(state);
            while !guard.over {
                guard =
                    changed.wait_timeout(guard, Duration::from_millis(500)).unwrap_or_else(PoisonError::into_inner).0;
                let hangs = |activity: &Arc<Mutex<Activity>>| {
                    lock(activity).step.as_ref().is_some_and(|(_, since)| since.elapsed() > limit)
                };
                if guard.activities.iter().any(hangs) {
                    let report = report(&guard);
                    drop(guard);
                    hanging(&report);
                    return;
                }
            }
        };
        thread::Builder::new().name(THREAD.to_owned()).spawn(serve).map(drop)
    }

    pub(super) fn stop(&self) {
        lock(&self.state.0).over = true;
        self.state.1.notify_all();
    }

    pub(super) fn heartbeat(&self, thread: impl Into<String>) -> Heartbeat {
        let activity = Arc::new(Mutex::new(Activity { thread: thread.into(), ..Activity::default() }));
        lock(&self.state.0).activities.push(Arc::clone(&activity));
        Heartbeat { watchdog: self.clone(), activity }
    }

    /// Sets the function that describes the pool under stress.
    pub(super) fn describe(&self, describe: Option<Describe>) {
        let old = std::mem::replace(&mut lock(&self.state.0).describe, describe);
        // Dropped after the lock is released: it may hold the last reference to a pool.
        drop(old);
    }
}

impl Heartbeat {
    pub(super) fn step(&self, step: impl Into<String>) {
        let mut activity = lock(&self.activity);
        activity.steps += 1;
        activity.step = Some((step.into(), Instant::now()));
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        lock(&self.watchdog.state.0).activities.retain(|activity| !Arc::ptr_eq(activity, &self.activity));
    }
}

fn report(state: &State) -> String {
    let mut text = String::new();
    for activity in &state.activities {
        let activity = lock(activity);
        let _ = match &activity.step {
            Some((step, since)) => {
                writeln!(text, "{}: step {}, for {:.1?}: {step}", activity.thread, activity.steps, since.elapsed())
            }
            None => writeln!(text, "{}: nothing", activity.thread),
        };
    }
    if let Some(describe) = state.describe.clone() {
        // The thread that hangs may hold the very lock that `describe` needs.
        let (sender, receiver) = mpsc::channel();
        let asked = thread::Builder::new().spawn(move || drop(sender.send(describe())));
        let answer = asked.ok().and_then(|_| receiver.recv_timeout(Duration::from_secs(2)).ok());
        let _ = writeln!(text, "pool: {}", answer.as_deref().unwrap_or("does not answer"));
    }
    for (name, place) in threads() {
        let _ = writeln!(text, "thread {name}: {place}");
    }
    text
}

/// Names of all threads, and the system call in which each of them is.
fn threads() -> Vec<(String, String)> {
    let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    entries
        .map(|entry| {
            let read = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default().trim().to_owned();
            (read("comm"), format!("{} {}", entry.file_name().display(), read("syscall")))
        })
        .collect()
}
