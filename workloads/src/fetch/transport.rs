//! Observes connections: whether a new or an older one was used for a request, and whether a byte came back. Only by that can
//! the client decide whether a request may be sent once more.
//!
//! It also thins out answers with very many header lines: the HTTP library refuses more than 128, and this workload reads only
//! a few of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ureq::{
    Error,
    unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport, time},
};

/// Observations of one agent's connections.
#[derive(Debug, Default)]
pub(super) struct Seen {
    connections: AtomicU64,
    answered: AtomicBool,
}

// ORDERING: the same thread, which makes the request, writes and reads all fields.
impl Seen {
    /// The number of connections that were made.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Forgets that a byte came back.
    pub(super) fn begin(&self) {
        self.answered.store(false, Ordering::Relaxed);
    }

    /// Whether a byte came back since [`begin`](Self::begin).
    pub(super) fn answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }
}

/// The last link of the chain of connectors: it wraps the connection that the others have made.
#[derive(Debug)]
pub(super) struct Watch(pub(super) Arc<Seen>);

impl<In: Transport> Connector<In> for Watch {
    type Out = Watched<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, made: Option<In>) -> Result<Option<Self::Out>, Error> {
        Ok(made.map(|inner| {
            self.0.connections.fetch_add(1, Ordering::Relaxed);
            Watched { inner, seen: Arc::clone(&self.0), expects_head: false }
        }))
    }
}

/// A connection that is observed.
#[derive(Debug)]
pub(super) struct Watched<In> {
    inner: In,
    seen: Arc<Seen>,
    /// Whether the next bytes are the head of an answer.
    expects_head: bool,
}

impl<In: Transport> Transport for Watched<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.expects_head = true;
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let start = Instant::now();
        let mut more = self.inner.await_input(timeout)?;
        if !self.inner.buffers().input().is_empty() {
            self.seen.answered.store(true, Ordering::Relaxed);
        }
        while self.expects_head && more {
            match look(self.inner.buffers().input()) {
                Head::Whole { end, lines } => {
                    if lines > MANY {
                        thin_out(self.inner.buffers(), end);
                    }
                    self.expects_head = false;
                }
                // The library must not see the beginning of such a head, since it would refuse it already.
                Head::Partial { lines } if lines > MANY => {
                    more = self.inner.await_input(less(timeout, start.elapsed()))?
                }
                Head::Partial { .. } | Head::None => break,
            }
        }
        Ok(more)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// More lines than this are thinned out.
const MANY: usize = 100;

/// The lines of a head that the library needs to read the answer.
const MEANT: [&str; 5] = ["content-length", "transfer-encoding", "content-encoding", "connection", "location"];

#[derive(Debug, PartialEq, Eq)]
enum Head {
    /// The head is complete: its empty line ends at `end`.
    Whole { end: usize, lines: usize },
    /// The end has not arrived yet.
    Partial { lines: usize },
    /// Not a head, but bytes of an encrypted tunnel.
    None,
}

fn look(input: &[u8]) -> Head {
    if !input.starts_with(b"HTTP/") {
        return Head::None;
    }
    let (mut lines, mut start) = (0, 0);
    while let Some(length) = input[start..].iter().position(|byte| *byte == b'\n') {
        let end = start + length + 1;
        if matches!(&input[start..end], b"\n" | b"\r\n") {
            return Head::Whole { end, lines };
        }
        (lines, start) = (lines + 1, end);
    }
    Head::Partial { lines }
}

/// Keeps the first line and the needed ones of a head of `end` bytes.
fn thin_out(buffers: &mut dyn Buffers, end: usize) {
    let whole = buffers.input().to_vec();
    let mut kept = Vec::with_capacity(whole.len());
    for (number, line) in whole[..end].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let is_meant = MEANT.iter().any(|meant| name.eq_ignore_ascii_case(meant.as_bytes()));
        if number == 0 || is_meant || matches!(line, b"\n" | b"\r\n") {
            kept.extend_from_slice(line);
        }
    }
    kept.extend_from_slice(&whole[end..]);
    buffers.input_consume(whole.len());
    let place = buffers.input_append_buf();
    // INVARIANT: the lines that are kept are no longer than the head, all of which has been taken out.
    debug_assert!(place.len() >= kept.len());
    place[..kept.len()].copy_from_slice(&kept);
    buffers.input_appended(kept.len());
}

fn less(timeout: NextTimeout, elapsed: Duration) -> NextTimeout {
    let after = match timeout.after {
        time::Duration::Exact(after) => {
            time::Duration::Exact(after.saturating_sub(elapsed).max(Duration::from_millis(1)))
        }
        other => other,
    };
    NextTimeout { after, ..timeout }
}

#[cfg(test)]
mod tests {
    use ureq::unversioned::transport::LazyBuffers;

    use super::*;

    #[test]
    fn a_head_is_found_where_it_ends() {
        assert_eq!(look(b"HTTP/1.1 200 OK\r\na: b\r\n\r\nbody\n\n"), Head::Whole { end: 25, lines: 2 });
        assert_eq!(look(b"HTTP/1.1 200 OK\r\na: b\r\n"), Head::Partial { lines: 2 });
        assert_eq!(look(b"\x16\x03\x01\n\n"), Head::None);
    }

    #[test]
    fn what_is_left_of_a_long_head_is_what_is_meant() {
        let mut buffers = LazyBuffers::new(1000, 1000);
        let text = b"HTTP/1.1 200 OK\r\nx: y\r\nContent-Length: 4\r\nx: y\r\n\r\nbody";
        buffers.input_append_buf()[..text.len()].copy_from_slice(text);
        buffers.input_appended(text.len());
        thin_out(&mut buffers, text.len() - 4);
        assert_eq!(buffers.input(), b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody");
    }
}
