//! What a panic in a task leaves behind: message, place and stack, recorded by a panic hook.
//!
//! A hook is the only way to learn where a panic happened. It is installed once, keeps the hook that was there, and hands every
//! panic that is not a task's to that hook. A task's panic is not printed: it is returned to the caller that asks for the result.
//!
//! The stack is only captured where `RUST_LIB_BACKTRACE` or `RUST_BACKTRACE` asks for it, as everywhere in Rust. It is only
//! turned into text, which takes most of the time, for a panic that ends its task, and not for one that the task catches itself.

use std::{
    any::Any,
    backtrace::{Backtrace, BacktraceStatus},
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use crate::{error::TaskError, sys, user_code::is_forbidden};

thread_local! {
    /// Twice the number of tasks that run on this thread (tasks nest when one waits for another in place), plus one if the
    /// innermost code is contained: a panic of such code is not the task's.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// What the hook noted, and the depth of the task for which it did. Only panics touch it, and it is empty between them.
    static RECORDS: RefCell<Vec<(usize, Record)>> = const { RefCell::new(Vec::new()) };
    /// Whether there are any records.
    static RECORDED: Cell<bool> = const { Cell::new(false) };
}

struct Record {
    location: String,
    /// Not turned into text yet; empty if no variable asks for backtraces.
    backtrace: Backtrace,
}

impl Record {
    fn into_texts(self) -> (String, String) {
        let is_captured = self.backtrace.status() == BacktraceStatus::Captured;
        (self.location, if is_captured { self.backtrace.to_string() } else { String::new() })
    }
}

/// Runs a task's code; a panic becomes [`TaskError::Panicked`].
pub(crate) fn catch<T>(task: impl FnOnce() -> T) -> Result<T, TaskError> {
    catch_boxed(task).map_err(|error| *error)
}

/// Like [`catch`], with an outcome that is as small as the one that is kept.
#[inline]
pub(crate) fn catch_boxed<T>(task: impl FnOnce() -> T) -> Result<T, Box<TaskError>> {
    let outer = Outer::enter_task();
    let outcome = panic::catch_unwind(AssertUnwindSafe(task));
    outer.leave();
    match outcome {
        Ok(result) => {
            outer.forget_records();
            Ok(result)
        }
        Err(payload) => Err(panicked(payload, outer.depth_of_task())),
    }
}

/// The depth that a thread was at, before code of the user's began.
#[derive(Clone, Copy)]
struct Outer(usize);

// What is no part of a generic function is compiled once, and not for every type of task.
impl Outer {
    #[inline]
    fn enter_task() -> Self {
        install_hook();
        let outer = Self(DEPTH.get());
        DEPTH.set(2 * outer.depth_of_task());
        outer
    }

    #[inline]
    fn depth_of_task(self) -> usize {
        self.0 / 2 + 1
    }

    /// A task that ended well may have caught a panic of its own.
    #[inline]
    fn forget_records(self) {
        if RECORDED.get() {
            drop(take_record(self.depth_of_task()));
        }
    }

    #[inline]
    fn enter_contained() -> Self {
        debug_assert!(!is_forbidden(), "no code of the user's under a lock");
        let outer = Self(DEPTH.get());
        DEPTH.set(outer.0 | 1);
        outer
    }

    #[inline]
    fn leave(self) {
        DEPTH.set(self.0);
    }
}

/// What the hook noted last for the task at this depth.
#[cold]
fn take_record(depth: usize) -> Option<Record> {
    let take = |records: &RefCell<Vec<(usize, Record)>>| {
        let mut records = records.borrow_mut();
        let first = first_of(&records, depth);
        let record = records.drain(first..).next_back().map(|(_, record)| record);
        RECORDED.set(!records.is_empty());
        record
    };
    RECORDS.try_with(take).ok().flatten()
}

/// Where the records of this depth and of deeper ones begin.
fn first_of(records: &[(usize, Record)], depth: usize) -> usize {
    records.iter().position(|(at, _)| *at >= depth).unwrap_or(records.len())
}

#[cold]
fn panicked(payload: Box<dyn Any + Send>, depth: usize) -> Box<TaskError> {
    // Before the payload's destructor runs, which may panic as well.
    let record = take_record(depth);
    let message = message_of(&*payload);
    contain(|| drop(payload));
    let (location, backtrace) = match record {
        Some(record) => record.into_texts(),
        // `resume_unwind` runs no hook, and the program may have replaced this crate's hook.
        None => ("an unknown place".to_owned(), String::new()),
    };
    Box::new(TaskError::Panicked { message, location, backtrace })
}

/// Runs the user's code that gives nothing back, such as a callback or a destructor. A panic is reported by the program's
/// panic hook and goes no further.
#[inline]
pub(crate) fn contain(code: impl FnOnce()) {
    let outer = Outer::enter_contained();
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(code)) {
        drop_payload(payload);
    }
    outer.leave();
}

/// A payload's own destructor may panic as well, with a payload whose destructor panics in turn: that payload is leaked.
#[cold]
fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

/// Runs the user's code, for a caller whose panic is to continue on another thread, where no hook sees it: the program's panic hook
/// reports it here, also in the middle of a task.
pub(crate) fn catch_to_resume<T>(code: impl FnOnce() -> T) -> thread::Result<T> {
    let outer = Outer::enter_contained();
    let outcome = panic::catch_unwind(AssertUnwindSafe(code));
    outer.leave();
    outcome
}

/// Drops a value of the user's; contains a panic of its destructor.
pub(crate) fn drop_contained<T>(value: T) {
    if std::mem::needs_drop::<T>() {
        contain(|| drop(value));
    }
}

/// Drops values of the user's one by one: if the vector dropped them, the second destructor that panics would abort the program.
pub(crate) fn drop_each<T>(values: impl IntoIterator<Item = T>) {
    if std::mem::needs_drop::<T>() {
        values.into_iter().for_each(|value| contain(|| drop(value)));
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic payload that is not a string".to_owned()
    }
}

/// What is known of the hook: nothing, that it is installed, or otherwise the generation of the process that is installing it.
const NO_HOOK: u64 = 0;
const INSTALLED: u64 = u64::MAX;

#[inline]
fn install_hook() {
    static HOOK: AtomicU64 = AtomicU64::new(NO_HOOK);
    // ORDERING: Acquire pairs with the Release of `install_first`.
    if HOOK.load(Ordering::Acquire) != INSTALLED {
        install_first(&HOOK);
    }
}

#[cold]
fn install_first(hook: &AtomicU64) {
    // A thread that unwinds may not set a hook: the next task sets it, and a panic of this task has no place.
    if thread::panicking() {
        return;
    }
    let own = sys::generation();
    // ORDERING: Acquire pairs with the Release below.
    while let Err(other) = hook.compare_exchange(NO_HOOK, own, Ordering::Acquire, Ordering::Acquire) {
        // In a copy that was forked while another thread installed the hook, that thread is missing, and may have locked std's hook:
        // then panics of the copy's tasks have no place.
        if other != own {
            return;
        }
        thread::yield_now();
    }
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !record(info) {
            previous(info);
        }
    }));
    // ORDERING: Release: a thread that sees this finds the hook.
    hook.store(INSTALLED, Ordering::Release);
}

/// Notes a panic if it is a task's; returns whether it was.
fn record(info: &PanicHookInfo<'_>) -> bool {
    let depth = DEPTH.try_with(Cell::get).unwrap_or(0);
    let is_contained = depth % 2 == 1;
    if depth == 0 || is_contained {
        return false;
    }
    let depth = depth / 2;
    let location = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let backtrace = Backtrace::capture();
    let noted = RECORDS.try_with(|records| {
        let mut records = records.borrow_mut();
        // Removes records of panics that the task has caught itself: only the last record is ever asked for.
        let first = first_of(&records, depth);
        records.truncate(first);
        records.push((depth, Record { location, backtrace }));
    });
    // A thread that is about to end may have no records any more.
    if noted.is_ok() {
        RECORDED.set(true);
    }
    true
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn location_of(outcome: Result<(), TaskError>) -> String {
        match outcome {
            Err(TaskError::Panicked { location, .. }) => location,
            other => panic!("no panic: {other:?}"),
        }
    }

    #[test]
    fn of_the_panics_that_a_task_catches_itself_one_record_is_kept() {
        let kept = catch(|| {
            for _ in 0..10 {
                let caught = panic::catch_unwind(|| panic!("caught"));
                assert!(caught.is_err());
            }
            RECORDS.with_borrow(Vec::len)
        });
        assert_eq!((kept, RECORDS.with_borrow(Vec::len)), (Ok(1), 0));
    }

    #[test]
    fn a_copy_does_not_wait_for_a_hook_that_the_program_was_installing() {
        let hook = AtomicU64::new(sys::generation() + 1);
        install_first(&hook);
        assert_eq!(hook.into_inner(), sys::generation() + 1);
    }

    #[test]
    fn a_task_may_panic_in_the_destructor_of_a_thread_local() {
        struct Late(std::sync::mpsc::Sender<Result<(), TaskError>>);
        impl Drop for Late {
            fn drop(&mut self) {
                self.0.send(catch(|| panic!("late"))).unwrap();
            }
        }
        thread_local! {
            static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            // Thread-locals that were set first are destroyed last.
            LATE.set(Some(Late(sender)));
            assert!(catch(|| panic!("early")).is_err());
        });
        assert!(matches!(receiver.recv().unwrap(), Err(TaskError::Panicked { message, .. }) if message == "late"));
        thread.join().unwrap();
    }

    #[test]
    fn a_panic_has_a_backtrace_if_the_environment_asks_for_one() {
        let Err(TaskError::Panicked { backtrace, .. }) = catch(|| panic!("here")) else { panic!("no panic") };
        let is_asked_for = Backtrace::capture().status() == BacktraceStatus::Captured;
        assert_eq!(!backtrace.is_empty(), is_asked_for, "{backtrace}");
    }

    #[test]
    fn a_panic_of_contained_code_is_not_the_tasks() {
        let kept = catch(|| {
            contain(|| panic!("this contained panic is part of the test"));
            let within = catch(|| contain(|| assert!(catch(|| panic!("within")).is_err())));
            (within, RECORDS.with_borrow(Vec::len))
        });
        assert_eq!(kept, Ok((Ok(()), 0)));
        let outcome = catch(|| {
            contain(|| panic!("this contained panic is part of the test"));
            panic::resume_unwind(Box::new("without a hook"));
        });
        assert_eq!(location_of(outcome), "an unknown place");
    }

    #[test]
    fn a_panic_has_its_own_place_whatever_was_caught_before_and_within() {
        let mut line = 0;
        let outcome = catch(|| {
            assert!(panic::catch_unwind(|| panic!("before")).is_err());
            let inner = catch(|| panic!("within"));
            assert!(inner.is_err());
            line = line!() + 1;
            panic!("at last");
        });
        let location = location_of(outcome);
        assert!(location.contains(&format!(":{line}:")), "{location}");
    }
}
