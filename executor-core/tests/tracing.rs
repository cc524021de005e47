//! Spans follow a task to wherever it runs. A binary of its own, because the subscriber is the program's.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

use executor_core::{
    Executor, RayonExecutor, SerialExecutor, Shutdown, Submit, SubmitError, TaskOptions, ThreadPoolExecutor,
};
use tracing::{Event, Metadata, Span, Subscriber, span, subscriber::with_default};
use tracing_subscriber::Registry;

fn span() -> Option<u64> {
    Span::current().id().map(|id| id.into_u64())
}

fn follows(executor: &impl Executor) {
    let outside = executor.submit(span, ()).unwrap().result().unwrap();
    assert_eq!(outside, None);
    let request = tracing::info_span!("request");
    let inside = request.in_scope(|| executor.submit(span, ()).unwrap()).result().unwrap();
    assert_eq!(inside, request.id().map(|id| id.into_u64()));
    assert!(inside.is_some());
    let mapped = request.in_scope(|| executor.map(|_: u8| span(), 0..3).into_vec()).unwrap();
    assert_eq!(mapped, [inside; 3]);
}

#[test]
fn a_span_follows_a_task_on_every_executor_of_this_process() {
    tracing::subscriber::set_global_default(Registry::default()).unwrap();
    follows(&SerialExecutor::new());
    follows(&ThreadPoolExecutor::new(2).unwrap());
    follows(&RayonExecutor::builder().max_workers(2).build().unwrap());
}

/// Panics where it is asked for the current span.
struct Panics;

impl Subscriber for Panics {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
    fn current_span(&self) -> tracing_core::span::Current {
        resume_unwind(Box::new("a test asks for it"))
    }
}

fn panics<R>(submit: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(|| with_default(Panics, submit))).is_err());
}

#[test]
fn a_subscriber_that_panics_takes_no_place_in_a_queue() {
    let options = TaskOptions::new().refuse_when_full(true);
    let pool = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(2).build().unwrap();
    let has_its_places = || {
        let submitted: Result<Vec<_>, SubmitError> = (0..2).map(|x| pool.submit_with(|x: u64| x, x, options)).collect();
        let results: Vec<_> = submitted.unwrap().into_iter().map(|future| future.result().unwrap()).collect();
        assert_eq!(results, [0, 1]);
    };
    (0..2).for_each(|_| panics(|| pool.submit_with(|x: u64| x, 1, options)));
    has_its_places();
    (0..2).for_each(|_| panics(|| pool.handle().submit_tasks(|x: u64| x, [1, 2], options)));
    has_its_places();
    (0..2).for_each(|_| panics(|| pool.map(|x: u64| x, [1, 2]).into_vec()));
    has_its_places();
    let rayon = RayonExecutor::builder().max_workers(1).build().unwrap();
    panics(|| rayon.submit(|x: u64| x, 1));
    for stats in [pool.stats(), rayon.stats()] {
        assert_eq!((stats.queued, stats.running), (0, 0));
    }
    let ended = [&pool as &dyn Ends, &rayon].map(|executor| executor.ends());
    assert_eq!(ended, [(0, 0); 2]);
}

trait Ends {
    fn ends(&self) -> (usize, usize);
}

impl<E: Executor> Ends for E {
    fn ends(&self) -> (usize, usize) {
        let report = self.shutdown(Shutdown::Drain, Some(Duration::from_secs(60)));
        (report.queued, report.running)
    }
}
