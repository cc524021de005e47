//! Events that are to be told to the pool's observer, and noted in the spans in which tasks were submitted.
//!
//! All of that is the user's code, so it is kept here as long as the pool's lock is held, and told by the thread that releases it,
//! or, where that takes long or the thread is the supervisor, by a thread that no other one waits for. Only one thread tells at a
//! time, and takes what others leave meanwhile: so events are told in the order in which they happened.

use std::{cell, collections::VecDeque, time::Instant};

use crate::{
    future::{Cell, TaskId},
    portable::job::Job,
    span,
    stats::{Observer, TaskEnd},
    sys,
};

/// An event of a task or a worker.
enum Event {
    Queued(TaskId),
    Started(TaskId),
    Ended(TaskId, TaskEnd),
    /// A task has ended that was submitted in a span.
    #[cfg(feature = "tracing")]
    Span(span::Carried, TaskId, TaskEnd),
    WorkerStarted,
    WorkerEnded,
}

#[derive(Default)]
pub(in crate::process) struct Events {
    /// Whether there is an observer: without one nothing is kept.
    is_observed: bool,
    untold: Vec<Event>,
    /// A thread tells events, and will come back for more.
    is_telling: bool,
}

/// Events to be told, without the lock.
#[must_use]
pub(in crate::process) struct Untold(VecDeque<Event>);

/// With more untold than this an observer is far behind.
const BEHIND: usize = 4096;

thread_local! {
    static IS_TELLING: cell::Cell<bool> = const { cell::Cell::new(false) };
}

/// Whether this thread is in the middle of telling an observer: then it waits for no telling.
pub(in crate::process) fn is_telling_here() -> bool {
    IS_TELLING.try_with(cell::Cell::get).unwrap_or(true)
}

impl Events {
    pub(super) fn new(is_observed: bool) -> Self {
        Self { is_observed, ..Self::default() }
    }

    pub(in crate::process) fn is_observed(&self) -> bool {
        self.is_observed
    }

    fn note(&mut self, event: impl FnOnce() -> Event) {
        if self.is_observed {
            self.untold.push(event());
        }
    }

    pub(in crate::process) fn queued(&mut self, cell: &Cell) {
        self.note(|| Event::Queued(cell.id()));
    }

    /// It is known that a worker has begun the task; told once.
    pub(in crate::process::parent) fn started(&mut self, job: &Job) {
        if self.is_observed && job.content().location().note_started() {
            self.untold.push(Event::Started(job.cell().id()));
        }
    }

    pub(super) fn ended(&mut self, cell: &Cell, end: TaskEnd) {
        self.note(|| Event::Ended(cell.id(), end));
    }

    /// Notes the outcome in the submitter's span, and drops the span.
    #[cfg(feature = "tracing")]
    pub(super) fn leave(&mut self, span: span::Carried, cell: &Cell, end: TaskEnd) {
        if !span.is_none() {
            self.untold.push(Event::Span(span, cell.id(), end));
        }
    }

    /// Without the feature there is no span.
    #[cfg(not(feature = "tracing"))]
    pub(super) fn leave(&mut self, _: span::Carried, _: &Cell, _: TaskEnd) {}

    pub(in crate::process) fn worker_started(&mut self) {
        self.note(|| Event::WorkerStarted);
    }

    pub(in crate::process) fn worker_ended(&mut self) {
        self.note(|| Event::WorkerEnded);
    }

    /// The events that the caller has to tell once it has released the lock, if there are any. Afterwards it asks [for
    /// more](Self::more).
    pub(in crate::process) fn begin_telling(&mut self) -> Option<Untold> {
        if self.untold.is_empty() || self.is_telling {
            return None;
        }
        self.is_telling = true;
        Some(Untold(std::mem::take(&mut self.untold).into()))
    }

    /// The events that have happened while the caller told the last ones.
    pub(in crate::process) fn more(&mut self) -> Option<Untold> {
        self.is_telling = !self.untold.is_empty();
        self.is_telling.then(|| Untold(std::mem::take(&mut self.untold).into()))
    }

    /// Whether there is something to tell, and no thread tells it.
    pub(in crate::process) fn has_untold(&self) -> bool {
        !self.untold.is_empty() && !self.is_telling
    }

    /// Whether so much is untold that a thread that adds to it should wait.
    pub(in crate::process) fn is_behind(&self) -> bool {
        self.untold.len() > BEHIND
    }

    /// Whether something is untold, or being told.
    pub(in crate::process) fn is_told(&self) -> bool {
        self.untold.is_empty() && !self.is_telling
    }
}

impl Untold {
    /// Tells, until all is told or it is time; `true` when all is. In a copy that the observer has forked on this thread there is
    /// nothing more to tell: it is the program's.
    pub(in crate::process) fn tell(&mut self, observer: Option<&dyn Observer>, end: Option<Instant>) -> bool {
        let generation = sys::generation();
        let outer = IS_TELLING.try_with(|telling| telling.replace(true));
        while let Some(event) = self.0.pop_front() {
            // The next one is told all the same.
            crate::panic::contain(|| event.tell(observer));
            if sys::generation() != generation {
                std::mem::forget(std::mem::take(&mut self.0));
                break;
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                break;
            }
        }
        if let Ok(outer) = outer {
            let _ = IS_TELLING.try_with(|telling| telling.set(outer));
        }
        self.0.is_empty()
    }
}

impl Event {
    fn tell(self, observer: Option<&dyn Observer>) {
        #[cfg(feature = "tracing")]
        if let Self::Span(span, id, end) = self {
            return span::task_ended(&span, id, end);
        }
        let Some(observer) = observer else { return };
        match self {
            Self::Queued(id) => observer.task_queued(id),
            Self::Started(id) => observer.task_started(id),
            Self::Ended(id, end) => observer.task_ended(id, end),
            #[cfg(feature = "tracing")]
            Self::Span(..) => {}
            Self::WorkerStarted => observer.worker_started(),
            Self::WorkerEnded => observer.worker_ended(),
        }
    }
}
