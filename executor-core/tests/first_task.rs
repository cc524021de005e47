//! The first task of a program, so there is no other test in this binary: it runs while its thread unwinds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use executor_core::{SerialExecutor, TaskError};

struct RunsATask<'a>(&'a mut Option<Result<u32, TaskError>>);

impl Drop for RunsATask<'_> {
    fn drop(&mut self) {
        let outcome = catch_unwind(|| SerialExecutor::new().spawn(|| 1).unwrap().result());
        *self.0 = outcome.ok();
    }
}

#[test]
fn the_first_task_may_run_in_a_destructor_while_its_thread_unwinds() {
    let mut outcome = None;
    let runs = RunsATask(&mut outcome);
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _runs = runs;
        panic!("this panic is part of the test");
    }));
    assert!(unwound.is_err());
    assert_eq!(outcome, Some(Ok(1)));
    let panicking = SerialExecutor::new().spawn(|| -> u32 { panic!("recorded") }).unwrap().result();
    assert!(
        matches!(&panicking, Err(TaskError::Panicked { location, .. }) if location.contains("first_task.rs")),
        "{panicking:?}"
    );
}
