//! Spans follow a task to wherever it runs. A binary of its own, because the subscriber is the program's.

use executor_core::{Executor, RayonExecutor, SerialExecutor, ThreadPoolExecutor};
use tracing::Span;
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
