//! Both ends of a transport at once, and the worker's end by itself.

use std::{collections::VecDeque, io, os::unix::net::UnixStream};

use arbitrary::Arbitrary;

use super::list;
use crate::process::transport::{
    ControlChannel, Load, ParentEnd, Record, RecordOffset, ReplyHeader, ReplyKind, RingWorker, SocketRequests,
    SocketTransport, SocketWorker, WorkerEnd, ring_pair,
};

/// A request may take so many bytes: more than a record may have in a ring, and less than fits into a socket.
const LONGEST: usize = 70_000;
/// More than that goes over the socket.
const LONG: usize = 60_000;

/// Few bytes, many times over.
#[derive(Debug, Arbitrary)]
struct Content {
    bytes: Vec<u8>,
    times: u16,
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.bytes.repeat(usize::from(self.times).min(LONGEST / self.bytes.len().max(1)));
        bytes.extend_from_slice(&self.bytes);
        bytes
    }
}

#[derive(Debug, Arbitrary)]
enum Ask {
    Define {
        definition: u32,
        function: (u64, u64),
        bound: Option<Content>,
    },
    Run {
        definition: u32,
        items: u8,
        content: Content,
    },
    /// The request with this index among those that wait is taken back.
    Revoke(u8),
    /// The worker takes a request, and answers.
    Serve {
        answer: Content,
        kind: u8,
        items: u8,
        elapsed: u32,
    },
}

/// The records that the worker has to find next.
#[derive(Debug, PartialEq)]
enum Expected {
    Define { definition: u32, function: (u64, u64), bound: Option<Vec<u8>> },
    Run { number: u64, definition: u32, items: u32, bytes: Vec<u8>, place: RecordOffset, is_revoked: bool },
}

impl Expected {
    fn length(&self) -> usize {
        match self {
            Self::Define { bound, .. } => bound.as_ref().map_or(0, Vec::len),
            Self::Run { bytes, .. } => bytes.len(),
        }
    }
}

/// Both ends, and what is between them.
struct Link<P, W> {
    parent: P,
    worker: W,
    expected: VecDeque<Expected>,
    /// Requests pushed.
    next: u64,
    /// Requests that were answered, or revoked before one that was.
    released: Option<(u64, RecordOffset)>,
}

impl<P: ParentEnd, W: WorkerEnd> Link<P, W> {
    fn new(parent: P, worker: W) -> Self {
        Self { parent, worker, expected: VecDeque::new(), next: 0, released: None }
    }

    fn waiting(&self) -> impl Iterator<Item = &Expected> {
        self.expected.iter().filter(|expected| matches!(expected, Expected::Run { is_revoked: false, .. }))
    }

    /// Whether there is room. The thread that would wait for more room in the socket is the one that would make it.
    fn has_room(&self, length: usize) -> bool {
        let is_next_long = length > LONG && self.expected.iter().any(|expected| expected.length() > LONG);
        self.waiting().count() < self.parent.depth() && !is_next_long && self.parent.has_room(Load::one(length))
    }

    fn take(&mut self, ask: &Ask) {
        match ask {
            Ask::Define { definition, function, bound } => {
                let bound = bound.as_ref().map(Content::bytes);
                let (offset, name_hash) = *function;
                let record = Record::Define { definition: *definition, offset, name_hash, bound: bound.as_deref() };
                if self.has_room(record.content()) {
                    self.parent.push(record);
                    self.expected.push_back(Expected::Define { definition: *definition, function: *function, bound });
                }
            }
            Ask::Run { definition, items, content } => {
                let (bytes, items) = (content.bytes(), u32::from(*items));
                if self.has_room(bytes.len()) {
                    let place = self.parent.push(Record::Run { definition: *definition, items, bytes: &bytes });
                    let number = self.next;
                    self.next += 1;
                    let definition = *definition;
                    let is_revoked = false;
                    self.expected.push_back(Expected::Run { number, definition, items, bytes, place, is_revoked });
                }
            }
            Ask::Revoke(index) => self.revoke(usize::from(*index)),
            Ask::Serve { answer, kind, items, elapsed } => {
                if self.waiting().next().is_some() {
                    let kind = [ReplyKind::Done, ReplyKind::Failed][usize::from(*kind) % 2];
                    let number = self.serve(&answer.bytes(), kind, u32::from(*items), *elapsed);
                    self.receive(number, &answer.bytes(), kind, u32::from(*items), *elapsed);
                }
            }
        }
    }

    fn revoke(&mut self, index: usize) {
        let mut waiting = self.expected.iter_mut().filter_map(|expected| match expected {
            Expected::Run { number, is_revoked, .. } if !*is_revoked => Some((*number, is_revoked)),
            _ => None,
        });
        if let Some((number, is_revoked)) = waiting.nth(index) {
            // A transport that is a socket takes nothing back.
            *is_revoked = self.parent.revoke(number);
            assert!(
                *is_revoked || self.parent.depth() == 1,
                "a worker has claimed a request that it was not notified of"
            );
        }
    }

    /// The worker finds all that was pushed up to the first request that was not taken back, and answers that. Gives its number.
    fn serve(&mut self, answer: &[u8], kind: ReplyKind, items: u32, elapsed: u32) -> u64 {
        self.parent.notify(false);
        let mut body = Vec::new();
        loop {
            let found = match self.worker.next(&mut body) {
                Ok(Some(found)) => found,
                other => panic!("the worker finds no request: {other:?}"),
            };
            let expected = loop {
                match self.expected.pop_front() {
                    Some(Expected::Run { is_revoked: true, number, place, .. }) => {
                        self.released = Some((number, place))
                    }
                    other => break other,
                }
            };
            match (found.record, expected) {
                (Record::Define { definition, offset, name_hash, bound }, Some(expected)) => {
                    let function = (offset, name_hash);
                    let found = Expected::Define { definition, function, bound: bound.map(<[u8]>::to_vec) };
                    assert!(found == expected, "another definition");
                }
                (
                    Record::Run { definition, items: many, bytes },
                    Some(Expected::Run {
                        number, definition: pushed, items: pushed_items, bytes: argument, place, ..
                    }),
                ) => {
                    assert_eq!((definition, many, found.number), (pushed, pushed_items, number as u32));
                    assert!(bytes == argument, "another argument");
                    self.released = Some((number, place));
                    let Ok(mut output) = self.worker.room() else { panic!("there is room") };
                    output.put(answer);
                    let header = ReplyHeader { number: found.number, kind, items, elapsed };
                    assert!(self.worker.send(output, header).is_ok());
                    return number;
                }
                (found, expected) => panic!("found {found:?} in place of {expected:?}"),
            }
        }
    }

    fn receive(&mut self, number: u64, answer: &[u8], kind: ReplyKind, items: u32, elapsed: u32) {
        let mut replies = 0;
        let outcome = self.parent.receive(&mut |reply| {
            replies += 1;
            let header = (reply.number, reply.kind, reply.items, reply.elapsed);
            assert_eq!(header, (number as u32, kind, items, elapsed));
            assert!(reply.bytes[..] == *answer && reply.attached.is_empty(), "another answer");
            Ok(())
        });
        assert_eq!((outcome, replies), (Ok(()), 1));
        if let Some((number, place)) = self.released.take() {
            self.parent.release(number, place);
        }
    }
}

/// What the parent pushes is what the worker finds, and what the worker answers is what the parent receives, over both transports.
pub fn requests(bytes: &[u8]) {
    let asks: Vec<Ask> = list(bytes);
    let Ok((control, socket)) = ControlChannel::pair() else { return };
    let Ok((rings, files)) = ring_pair(control) else { return };
    let Ok(worker) = RingWorker::new(SocketWorker::new(socket, &[]), &files) else { return };
    let mut link = Link::new(rings, worker);
    asks.iter().for_each(|ask| link.take(ask));

    let Ok((control, socket)) = ControlChannel::pair() else { return };
    let mut link = Link::new(SocketRequests::new(control), SocketTransport::new(SocketWorker::new(socket, &[])));
    asks.iter().for_each(|ask| link.take(ask));
}

/// Whatever comes over the socket, the worker finds requests in it, or an error, and no more bytes than came.
pub fn worker(bytes: &[u8]) {
    let Ok((socket, other)) = UnixStream::pair() else { return };
    drop(other);
    let worker = SocketTransport::new(SocketWorker::new(socket, bytes));
    let mut body = Vec::new();
    let mut found = 0;
    let end = loop {
        match worker.next(&mut body) {
            Ok(Some(request)) => found += request.record.content(),
            Ok(None) => return,
            Err(error) => break error,
        }
        assert!(found <= bytes.len(), "no more than came");
    };
    assert!(matches!(end.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof), "{end}");
}
