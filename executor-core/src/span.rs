//! Spans of `tracing` follow a task (feature `tracing`): to the thread that runs it, or, when a worker process runs it, to the
//! task's end.

#[cfg(feature = "tracing")]
mod following {
    use tracing::Span;
    #[cfg(unix)]
    use tracing::span::EnteredSpan;

    #[cfg(unix)]
    use crate::{future::TaskId, stats::TaskEnd};

    /// Wraps work so that it runs in the span that is current here.
    pub(crate) fn carry<R>(work: impl FnOnce() -> R + Send + 'static) -> impl FnOnce() -> R + Send + 'static {
        let span = Span::current();
        move || span.in_scope(work)
    }

    /// The span of the thread that submitted a task. The span does not close before this is dropped.
    #[cfg(unix)]
    pub(crate) type Carried = Span;

    #[cfg(unix)]
    pub(crate) fn current() -> Carried {
        Span::current()
    }

    /// Notes in the submitter's span that its task has ended.
    #[cfg(unix)]
    pub(crate) fn task_ended(span: &Carried, task: TaskId, end: TaskEnd) {
        tracing::debug!(parent: span, task = task.get(), ?end, "task ended");
    }

    /// In a worker process: the span of a task that runs, for as long as this is kept.
    #[cfg(unix)]
    pub(crate) fn enter_task(function: Option<fn() -> &'static str>) -> EnteredSpan {
        tracing::info_span!("task", function = function.map(|name| name())).entered()
    }
}

/// Without the feature no span follows a task.
#[cfg(not(feature = "tracing"))]
mod following {
    pub(crate) fn carry<W>(work: W) -> W {
        work
    }

    #[cfg(unix)]
    pub(crate) struct Carried;

    #[cfg(unix)]
    pub(crate) fn current() -> Carried {
        Carried
    }

    #[cfg(unix)]
    pub(crate) struct Entered;

    #[cfg(unix)]
    pub(crate) fn enter_task(_: Option<fn() -> &'static str>) -> Entered {
        Entered
    }
}

pub(crate) use following::carry;
#[cfg(all(unix, feature = "tracing"))]
pub(crate) use following::task_ended;
#[cfg(unix)]
pub(crate) use following::{Carried, current, enter_task};
