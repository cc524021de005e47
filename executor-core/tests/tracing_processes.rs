//! Where a worker process runs a task, the span in which it was submitted stays open until the task has ended, and is told of that.
//! A binary of its own, because the subscriber is the program's.
#![cfg(unix)]

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        mpsc::{self, Receiver, Sender},
    },
    time::Duration,
};

use executor_core::{CancelToken, Executor, ProcessPoolExecutor, TaskError, Transport};
use tracing::{Event, Span, Subscriber, field::Visit, span};
use tracing_subscriber::{
    Registry,
    layer::{Context, Layer, SubscriberExt},
    registry::LookupSpan,
};

executor_core::test_worker!();

const LONG: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// In which span, and what.
    Event(String, BTreeMap<&'static str, String>),
    Closed(String),
}

struct Listener(Mutex<Sender<Heard>>);

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Listener {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(span) = context.event_span(event) else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let _ = self.0.lock().unwrap().send(Heard::Event(span.name().to_owned(), fields.0));
    }

    fn on_close(&self, id: span::Id, context: Context<'_, S>) {
        let name = context.span(&id).unwrap().name().to_owned();
        let _ = self.0.lock().unwrap().send(Heard::Closed(name));
    }
}

/// In a worker.
fn listen() {
    tracing::subscriber::set_global_default(Registry::default()).unwrap();
}

/// The name of the span that a task runs in.
fn span_here() -> Option<String> {
    Span::current().metadata().map(|span| span.name().to_owned())
}

fn fail() {
    panic!("this panic is part of the test");
}

fn hold(token: CancelToken) {
    while !token.is_cancelled() {
        std::thread::yield_now();
    }
}

fn next(heard: &Receiver<Heard>) -> Heard {
    heard.recv_timeout(LONG).expect("an event comes")
}

fn ended(task: executor_core::TaskId, how: &str) -> Heard {
    let fields = [("message", "task ended".to_owned()), ("task", task.to_string()), ("end", how.to_owned())];
    Heard::Event("request".to_owned(), BTreeMap::from(fields))
}

#[test]
fn a_span_stays_open_until_its_task_has_ended_and_hears_how() {
    let (sender, heard) = mpsc::channel();
    tracing::subscriber::set_global_default(Registry::default().with(Listener(Mutex::new(sender)))).unwrap();
    let closed = || Heard::Closed("request".to_owned());
    for transport in [Transport::Socket, Transport::default()] {
        let builder = ProcessPoolExecutor::builder().max_workers(1).transport(transport);
        let pool = builder.initializer(listen, ()).build().unwrap();
        let token = CancelToken::new();
        let held = {
            let request = tracing::info_span!("request");
            request.in_scope(|| pool.submit(hold, token.clone()).unwrap())
        };
        // Outside of any span: no event comes of it.
        let behind = pool.submit(span_here, ()).unwrap();
        while !held.running() {
            std::thread::yield_now();
        }
        assert_eq!(heard.try_recv().ok(), None, "the submitter's part of the span is over, and the task's is not");
        token.cancel();
        assert_eq!([next(&heard), next(&heard)], [ended(held.id(), "Done"), closed()]);
        assert_eq!(held.result(), Ok(()));
        assert_eq!(behind.result().unwrap().as_deref(), Some("task"), "in the worker a task has a span of its own");

        let failed = tracing::info_span!("request").in_scope(|| pool.submit(fail, ()).unwrap());
        assert!(failed.wait_timeout(LONG));
        assert_eq!([next(&heard), next(&heard)], [ended(failed.id(), "Failed"), closed()]);

        let token = CancelToken::new();
        let held = pool.submit(hold, token.clone()).unwrap();
        let cancelled = tracing::info_span!("request").in_scope(|| pool.submit(span_here, ()).unwrap());
        assert!(cancelled.cancel());
        assert_eq!([next(&heard), next(&heard)], [ended(cancelled.id(), "Cancelled"), closed()]);
        assert_eq!(cancelled.result(), Err(TaskError::Cancelled));
        token.cancel();
        held.result().unwrap();
        drop(pool);
        assert_eq!(heard.try_recv().ok(), None);
    }
}
