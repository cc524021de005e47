//! Notices when somebody makes no progress, and says what everybody was doing.

use std::{
    fmt::Write,
    fs,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

/// The name of the thread that watches.
pub(super) const THREAD: &str = "stress-watch";

/// Who does what, since when.
#[derive(Debug, Default)]
struct Doing {
    who: String,
    what: Option<(String, Instant)>,
    steps: u64,
}

/// What tells the state of the pool of this round.
type Describe = Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Default)]
struct State {
    doing: Vec<Arc<Mutex<Doing>>>,
    describe: Option<Describe>,
    over: bool,
}

/// Watches all who have a [`Post`].
#[derive(Clone, Default)]
pub(super) struct Watch {
    state: Arc<(Mutex<State>, Condvar)>,
}

/// Where somebody says what they are doing; they are idle when it is dropped.
pub(super) struct Post {
    watch: Watch,
    doing: Arc<Mutex<Doing>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// Watches from now on. Whoever does one thing for longer than `limit` is hanging, and `hanging` is called with the report.
    pub(super) fn start(&self, limit: Duration, hanging: impl Fn(&str) + Send + 'static) -> std::io::Result<()> {
        let watch = self.clone();
        let serve = move || {
            let (state, changed) = &*watch.state;
            let mut guard = lock(state);
            while !guard.over {
                guard =
                    changed.wait_timeout(guard, Duration::from_millis(500)).unwrap_or_else(PoisonError::into_inner).0;
                let hangs = |doing: &Arc<Mutex<Doing>>| {
                    lock(doing).what.as_ref().is_some_and(|(_, since)| since.elapsed() > limit)
                };
                if guard.doing.iter().any(hangs) {
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

    pub(super) fn post(&self, who: impl Into<String>) -> Post {
        let doing = Arc::new(Mutex::new(Doing { who: who.into(), ..Doing::default() }));
        lock(&self.state.0).doing.push(Arc::clone(&doing));
        Post { watch: self.clone(), doing }
    }

    /// How to describe the pool that is under stress now.
    pub(super) fn describe(&self, describe: Option<Describe>) {
        let old = std::mem::replace(&mut lock(&self.state.0).describe, describe);
        // Outside the lock: it may be the last to hold on to a pool.
        drop(old);
    }
}

impl Post {
    pub(super) fn step(&self, what: impl Into<String>) {
        let mut doing = lock(&self.doing);
        doing.steps += 1;
        doing.what = Some((what.into(), Instant::now()));
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        lock(&self.watch.state.0).doing.retain(|doing| !Arc::ptr_eq(doing, &self.doing));
    }
}

fn report(state: &State) -> String {
    let mut text = String::new();
    for doing in &state.doing {
        let doing = lock(doing);
        let _ = match &doing.what {
            Some((what, since)) => {
                writeln!(text, "{}: step {}, for {:.1?}: {what}", doing.who, doing.steps, since.elapsed())
            }
            None => writeln!(text, "{}: nothing", doing.who),
        };
    }
    if let Some(describe) = state.describe.clone() {
        // What hangs may hold the very lock that this needs.
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

/// Names of all threads, and in which system call each is.
fn threads() -> Vec<(String, String)> {
    let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    entries
        .map(|entry| {
            let read = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default().trim().to_owned();
            (read("comm"), format!("{} {}", entry.file_name().display(), read("syscall")))
        })
        .collect()
}
