//! Spans of `tracing` follow a task to the thread that runs it (feature `tracing`).

/// Work that runs in the span that is current here.
#[cfg(feature = "tracing")]
pub(crate) fn carry<R>(work: impl FnOnce() -> R + Send + 'static) -> impl FnOnce() -> R + Send + 'static {
    let span = tracing::Span::current();
    move || span.in_scope(work)
}

/// Without the feature: the work itself.
#[cfg(not(feature = "tracing"))]
pub(crate) fn carry<W>(work: W) -> W {
    work
}
