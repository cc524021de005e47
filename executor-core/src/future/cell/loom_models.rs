//! All interleavings of the protocol in README.md, by loom: `RUSTFLAGS="--cfg loom" cargo test -p executor-core --lib`.

use std::sync::Arc as StdArc;

use loom::{sync::Arc, thread};

use super::{
    super::{BlockingGuard, outcome::Slot, waiter::Waiter},
    *,
};
use crate::{error::TaskError, future::CompletionSet, sync};

/// A task as `InProcess` and `Promise` make it, and the steps that they take.
struct Model {
    cell: Cell,
    slot: Slot<u32, u32>,
}

impl Model {
    fn new(holders: u32) -> Arc<Self> {
        Arc::new(Self { cell: Cell::new(holders), slot: Slot::new(3) })
    }

    fn run(&self) -> bool {
        if !self.cell.claim() {
            return false;
        }
        // SAFETY: this call has claimed the cell.
        let work = unsafe { self.slot.take_work() };
        self.put(work + 4)
    }

    fn put(&self, value: u32) -> bool {
        let won = self.cell.settle();
        if won {
            // SAFETY: this call has settled the cell.
            unsafe { self.slot.put(Ok(value)) };
            self.cell.finish(State::Finished);
        }
        won
    }

    fn cancel(&self) -> bool {
        let won = self.cell.cancel();
        if won {
            // SAFETY: this call has taken the cell out of Pending.
            assert_eq!(unsafe { self.slot.take_work() }, 3);
        }
        won
    }

    /// Blocks as `TaskFuture::block` does; returns what it finds then.
    fn wait(&self) -> Option<Result<u32, Box<TaskError>>> {
        if self.cell.subscribe(Waiter::Thread(sync::current_thread())).is_ok() {
            while !self.cell.state().is_final() {
                sync::park();
            }
        }
        // SAFETY: one thread of each model takes the outcome.
        unsafe { self.slot.take_outcome(&self.cell) }
    }
}

#[test]
fn a_waiter_is_woken_by_completion_whenever_it_comes() {
    loom::model(|| {
        let task = Model::new(1);
        let worker = Arc::clone(&task);
        let worker = thread::spawn(move || assert!(worker.run()));
        assert_eq!(task.wait(), Some(Ok(7)));
        worker.join().unwrap();
    });
}

/// For models that take minutes without a bound on preemptions.
fn check_bounded(model: impl Fn() + Send + Sync + 'static) {
    check_with(2, model);
}

fn check_with(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

#[test]
fn of_run_and_cancel_exactly_one_wins_and_the_waiter_learns_which() {
    check_bounded(|| {
        let task = Model::new(1);
        let (worker, canceller) = (Arc::clone(&task), Arc::clone(&task));
        let worker = thread::spawn(move || worker.run());
        let canceller = thread::spawn(move || canceller.cancel());
        let outcome = task.wait();
        let (ran, cancelled) = (worker.join().unwrap(), canceller.join().unwrap());
        assert!(ran != cancelled);
        assert_eq!(outcome, Some(if ran { Ok(7) } else { Err(Box::new(TaskError::Cancelled)) }));
    });
}

#[test]
fn of_two_outcomes_the_first_stays() {
    loom::model(|| {
        let task = Model::new(1);
        let other = Arc::clone(&task);
        let other = thread::spawn(move || other.put(1));
        let mine = task.put(2);
        let others = other.join().unwrap();
        assert!(mine != others);
        assert_eq!(task.wait(), Some(Ok(if mine { 2 } else { 1 })));
        assert_eq!(task.wait(), None);
    });
}

#[test]
fn a_set_hears_of_every_cell_once() {
    loom::model(|| {
        let set = StdArc::new(CompletionSet::new());
        let tasks = [Model::new(1), Model::new(1)];
        let theirs = tasks.clone();
        let worker = thread::spawn(move || {
            assert!(theirs[1].put(1));
            assert!(theirs[0].cancel());
        });
        for (index, task) in tasks.iter().enumerate() {
            if task.cell.subscribe(Waiter::Set(StdArc::clone(&set), index)).is_err() {
                set.push(index);
            }
        }
        let here = BlockingGuard::begin();
        let mut heard = [set.pop(&here, None), set.pop(&here, None)];
        heard.sort_unstable();
        assert_eq!(heard, [Some(0), Some(1)]);
        assert_eq!(set.try_pop(), None);
        worker.join().unwrap();
    });
}

#[test]
fn a_waiter_that_leaves_misses_nothing_and_breaks_nothing() {
    check_bounded(|| {
        let task = Model::new(1);
        let worker = Arc::clone(&task);
        let worker = thread::spawn(move || assert!(worker.put(7)));
        // A wait whose time has run out at once.
        if let Ok(key) = task.cell.subscribe(Waiter::Thread(sync::current_thread())) {
            task.cell.unsubscribe(key);
        }
        assert_eq!(task.wait(), Some(Ok(7)));
        worker.join().unwrap();
    });
}

#[test]
fn two_waiters_are_both_woken() {
    check_bounded(|| {
        let task = Model::new(1);
        let worker = Arc::clone(&task);
        let worker = thread::spawn(move || assert!(worker.put(7)));
        let set = StdArc::new(CompletionSet::new());
        if task.cell.subscribe(Waiter::Set(StdArc::clone(&set), 5)).is_err() {
            set.push(5);
        }
        assert_eq!(task.wait(), Some(Ok(7)));
        assert_eq!(set.pop(&BlockingGuard::begin(), None), Some(5));
        worker.join().unwrap();
    });
}

#[test]
fn only_the_last_holder_has_the_cell_to_itself() {
    loom::model(|| {
        let task = Model::new(2);
        let worker = Arc::clone(&task);
        let worker = thread::spawn(move || {
            assert!(worker.run());
            worker.cell.release()
        });
        let last = task.cell.release();
        if last {
            // The worker has let go, so what it did is visible.
            assert_eq!(task.cell.state(), State::Finished);
            // SAFETY: there is no other holder left.
            assert_eq!(unsafe { task.slot.take_outcome(&task.cell) }, Some(Ok(7)));
        }
        assert!(worker.join().unwrap() != last);
    });
}

/// Memory that a holder touches, and that the last holder has to see; loom reports when it does not.
struct Held {
    cell: Cell,
    touched: UnsafeCell<u32>,
}

impl Held {
    fn new(holders: u32) -> Arc<Self> {
        Arc::new(Self { cell: Cell::new(holders), touched: UnsafeCell::new(0) })
    }

    fn touch(&self) {
        // SAFETY: in each model one holder at a time touches it, if the protocol is right.
        self.touched.with_mut(|touched| unsafe { *touched += 1 });
    }

    fn touched(&self) -> u32 {
        // SAFETY: in each model one holder at a time touches it, if the protocol is right.
        self.touched.with(|touched| unsafe { *touched })
    }
}

/// Runs `one` and `other` at the same time, on a task with so many holders, and then `check` on their results. Runs them twice,
/// because loom does not try an order in which the main thread is last, if the other thread reads a count right before it
/// changes it.
fn meet<A: 'static, B: 'static>(
    holders: u32,
    one: fn(&Held) -> A,
    other: fn(&Held) -> B,
    check: impl Fn(&Held, A, B) + Copy + Send + Sync + 'static,
) {
    loom::model(move || {
        let task = Held::new(holders);
        let theirs = Arc::clone(&task);
        let said = thread::spawn(move || other(&theirs));
        let one = one(&task);
        check(&task, one, said.join().unwrap());
    });
    loom::model(move || {
        let task = Held::new(holders);
        let theirs = Arc::clone(&task);
        let said = thread::spawn(move || one(&theirs));
        let other = other(&task);
        check(&task, said.join().unwrap(), other);
    });
}

#[test]
fn the_last_holder_sees_what_the_other_one_did() {
    let touch_and_release = |task: &Held| {
        task.touch();
        task.cell.release()
    };
    let release = |task: &Held| {
        // On either path through `release`, the count alone orders this after what the other holder did.
        let last = task.cell.release();
        if last {
            task.touch();
            assert_eq!(task.touched(), 2);
        }
        last
    };
    meet(2, touch_and_release, release, |_, one, other| assert!(one != other));
}

#[test]
fn a_thread_with_both_references_claims_alone_or_as_one_of_many() {
    // The references of the queue and of the handle, both on one thread, and that of a watch, which may end the task.
    let claim = |task: &Held| {
        let alone = task.cell.claim_alone();
        let claimed = alone || task.cell.claim();
        if claimed {
            task.touch();
        }
        assert!(!alone || task.cell.is_held_once(), "no other holder can ever look");
        claimed
    };
    let watch = |task: &Held| {
        let claimed = task.cell.claim();
        if claimed {
            task.touch();
            task.cell.finish(State::Failed);
        }
        assert!(!task.cell.release(), "the handle is there");
        claimed
    };
    meet(3, claim, watch, |task, one, other| {
        assert!(one != other, "one of them runs or ends it");
        assert_eq!(task.touched(), 1);
        assert!(task.cell.release());
    });
}

#[test]
fn a_thread_that_claims_alone_sees_what_former_holders_did() {
    let claim = |task: &Held| {
        let alone = task.cell.claim_alone();
        if alone {
            // Stands for taking the work.
            task.touch();
        }
        alone
    };
    let look = |task: &Held| {
        let seen = task.touched();
        assert!(!task.cell.release(), "the handle is there");
        seen
    };
    meet(3, claim, look, |task, alone, seen| {
        assert_eq!((task.touched(), seen), (u32::from(alone), 0));
    });
}

#[test]
fn a_waiter_that_comes_and_one_that_leaves_meet_the_end_on_a_third_thread() {
    // With more preemptions, the number of ways in which two threads can spin for the lock has no bound for loom.
    check_with(1, || {
        let task = Model::new(1);
        let set = StdArc::new(CompletionSet::new());
        let (worker, guest) = (Arc::clone(&task), Arc::clone(&task));
        let worker = thread::spawn(move || assert!(worker.put(7)));
        let theirs = StdArc::clone(&set);
        let guest = thread::spawn(move || {
            if guest.cell.subscribe(Waiter::Set(StdArc::clone(&theirs), 1)).is_err() {
                theirs.push(1);
            }
        });
        // A wait whose time has run out at once; the set may have been told before.
        if let Ok(key) = task.cell.subscribe(Waiter::Set(StdArc::clone(&set), 2)) {
            task.cell.unsubscribe(key);
        }
        guest.join().unwrap();
        worker.join().unwrap();
        let heard: Vec<_> = std::iter::from_fn(|| set.try_pop()).filter(|index| *index != 2).collect();
        assert_eq!(heard, [1]);
    });
}
