use loom::{
    sync::{Arc as LoomArc, atomic::AtomicUsize},
    thread,
};

use super::*;

struct Pool {
    idle: Sleep,
    queued: AtomicUsize,
    ran: AtomicUsize,
    /// The threads of workers that a submit has started.
    started: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Pool {
    fn new(limit: usize) -> LoomArc<Self> {
        LoomArc::new(Self {
            idle: Sleep::new(limit),
            queued: AtomicUsize::new(0),
            ran: AtomicUsize::new(0),
            started: Mutex::new(Vec::new()),
        })
    }

    /// As weak as the real queues are: only the protocol orders it.
    fn has_work(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > 0
    }

    fn take(&self) -> bool {
        let take = |queued: usize| queued.checked_sub(1);
        self.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// `false` if the task was refused.
    fn submit(this: &LoomArc<Self>) -> bool {
        if this.idle.is_closed() {
            return false;
        }
        this.queued.fetch_add(1, Ordering::Relaxed);
        match this.idle.announce(1, || this.has_work()) {
            Announced::Seen { start } => {
                assert!(start <= 1);
                if start == 1 {
                    let pool = LoomArc::clone(this);
                    lock(&this.started).push(thread::spawn(move || Pool::serve(&pool)));
                }
                true
            }
            // Taken back, unless a worker has it already.
            Announced::Closed => !this.take(),
        }
    }

    /// The life of a worker, as in `worker.rs`, with the same rules for each step.
    fn serve(this: &LoomArc<Self>) {
        let me = Arc::new(Sleeper::new());
        me.enter();
        let mut searching = true;
        loop {
            if this.take() {
                if std::mem::take(&mut searching) && this.idle.end_search() && this.has_work() {
                    assert_eq!(this.idle.wake_for(1), 0, "the model starts one worker");
                }
                this.ran.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if !searching {
                this.idle.begin_search();
                searching = true;
                continue;
            }
            this.idle.prepare_to_park(&me);
            if this.has_work() && this.idle.cancel_park(&me) {
                continue;
            }
            if this.idle.is_shut() {
                if this.idle.leave(&me) {
                    return;
                }
                continue;
            }
            assert_eq!(this.idle.sleep(&me, None), Slept::Called);
        }
    }
}

/// With at most three preemptions: without a bound the two models take hours.
fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn no_task_is_left_without_a_worker_to_take_it() {
    check(|| {
        let pool = Pool::new(1);
        assert_eq!(pool.idle.wake_for(1), 1);
        let serving = LoomArc::clone(&pool);
        let worker = thread::spawn(move || Pool::serve(&serving));
        assert!(Pool::submit(&pool));
        assert!(Pool::submit(&pool));
        pool.idle.shut();
        pool.idle.wake_all();
        worker.join().unwrap();
        assert_eq!((pool.ran.load(Ordering::Relaxed), pool.has_work()), (2, false));
    });
}

#[test]
fn a_worker_that_falls_asleep_is_enough_for_one_task() {
    check(|| {
        let pool = Pool::new(2);
        assert_eq!(pool.idle.wake_for(1), 1);
        let serving = LoomArc::clone(&pool);
        let worker = thread::spawn(move || Pool::serve(&serving));
        assert!(Pool::submit(&pool));
        assert!(lock(&pool.started).is_empty(), "a second worker was started in vain");
        pool.idle.shut();
        pool.idle.wake_all();
        worker.join().unwrap();
        assert_eq!((pool.ran.load(Ordering::Relaxed), pool.has_work()), (1, false));
    });
}

#[test]
fn a_task_that_comes_with_the_shutdown_is_run_or_refused() {
    check(|| {
        let pool = Pool::new(1);
        assert_eq!(pool.idle.wake_for(1), 1);
        let (serving, submitting) = (LoomArc::clone(&pool), LoomArc::clone(&pool));
        let worker = thread::spawn(move || Pool::serve(&serving));
        let submitter = thread::spawn(move || Pool::submit(&submitting));
        pool.idle.shut();
        pool.idle.wake_all();
        worker.join().unwrap();
        // The submitter may not have come to its announcement yet, which `Pool::shut_down` handles in the same way.
        if pool.idle.awake() == 0 && pool.has_work() && pool.idle.wake_for(1) == 1 {
            Pool::serve(&pool);
        }
        let taken = submitter.join().unwrap();
        let started = std::mem::take(&mut *lock(&pool.started));
        started.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!((pool.ran.load(Ordering::Relaxed), pool.has_work()), (usize::from(taken), false));
    });
}
