//! Spans of `tracing` follow a task (feature `tracing`): to the thread that runs it; or, where a worker process does, to its
//! end.

#[cfg(feature = "tracing")]
mod following {
    use tracing::{Span, span::EnteredSpan};

    use crate::{future::TaskId, stats::TaskEnd};

    /// Work that runs in the span that is current here.
    pub(crate) fn carry<R>(work: impl FnOnce() -> R + Send + 'static) -> impl FnOnce() -> R + Send + 'static {
        let span = Span::current();
        move || span.in_scope(work)
    }

    /// The span of who submitted a task. It does not close before it is dropped.
    pub(crate) type Carried = Span;

    pub(crate) fn current() -> Carried {
        Span::current()
    }

    /// Notes in the submitter's span that its task has ended.
    pub(crate) fn task_ended(span: &Carried, task: TaskId, end: TaskEnd) {
        tracing::debug!(parent: span, task = task.get(), ?end, "task ended");
    }

    /// In a worker process: the span of a task that runs, as long as this is kept.
    pub(crate) fn enter_task(function: Option<fn() -> &'static str>) -> EnteredSpan {
        tracing::info_span!("task", function = function.map(|name| name())).entered()
    }
}

/// Without the feature nothing follows.
#[cfg(not(feature = "tracing"))]
mod following {
    pub(crate) fn carry<W>(work: W) -> W {
        work
    }

    pub(crate) type Carried = ();

    pub(crate) fn current() -> Carried {}

    pub(crate) fn enter_task(_: Option<fn() -> &'static str>) {}
}

#[cfg(feature = "tracing")]
pub(crate) use following::task_ended;
pub(crate) use following::{Carried, carry, current, enter_task};
