//! The user's code in places where it is easily overlooked: wakers, destructors, hooks. What it does there, panics and waits
//! included, harms no other task.

mod destructors;
mod hooks;
mod map_items;
mod observers;
mod promises;
mod wakers;

use std::{
    sync::{Arc, Mutex, mpsc},
    task::Wake,
    thread,
    time::Duration,
};

use executor_core::{Executor, Observer, TaskEnd, TaskError, TaskId, TaskOptions, ThreadPoolExecutor};

const LONG: Duration = Duration::from_secs(60);

/// A task that ends when it is told to, and the sender that tells it.
fn held() -> (impl FnOnce() + Send + 'static, mpsc::Sender<()>) {
    let (release, held) = mpsc::channel();
    (move || _ = held.recv_timeout(LONG), release)
}

/// A waker, or an observer, that takes until it is told to go on.
struct Blocks {
    entered: mpsc::Sender<()>,
    release: Mutex<mpsc::Receiver<()>>,
}

impl Blocks {
    fn new() -> (Arc<Self>, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((entered, has_entered), (go_on, release)) = (mpsc::channel(), mpsc::channel());
        (Arc::new(Self { entered, release: Mutex::new(release) }), has_entered, go_on)
    }

    fn block(&self) {
        let _ = self.entered.send(());
        let _ = self.release.lock().unwrap().recv_timeout(LONG);
    }
}

impl Wake for Blocks {
    fn wake(self: Arc<Self>) {
        self.block();
    }
}

impl Observer for Blocks {
    fn task_ended(&self, _: TaskId, end: TaskEnd) {
        if end == TaskEnd::Expired {
            self.block();
        }
    }
}

/// Whether time limits are kept at the moment, both of them.
fn limits_are_kept() -> bool {
    let pool = ThreadPoolExecutor::new(1).unwrap();
    let (task, release) = held();
    let limit = Duration::from_millis(1);
    let running = pool.spawn_with(task, TaskOptions::new().timeout(limit)).unwrap();
    let queued = pool.spawn_with(|| (), TaskOptions::new().queue_timeout(limit)).unwrap();
    let outcomes = (running.result_timeout(LONG / 2), queued.result_timeout(LONG / 2));
    drop(release);
    matches!(outcomes, (Ok(Err(TaskError::TimedOut { .. })), Ok(Err(TaskError::Expired { .. }))))
}

/// A worker falls asleep some time after its task; there is no event for that.
fn wait_until_idle(pool: &ThreadPoolExecutor) {
    while pool.stats().idle < pool.stats().workers {
        thread::yield_now();
    }
}

/// Its destructor tells that it runs, and panics.
struct Bomb(mpsc::Sender<()>);

impl Drop for Bomb {
    fn drop(&mut self) {
        let _ = self.0.send(());
        panic!("this destructor's panic is part of the test");
    }
}
