//! Frames over a Unix socket pair: beside every transport for what is not a request or a reply, and a transport by itself,
//! portable, and the oracle for the faster one.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use super::{Alert, ParentEnd, Place, Record, Reply, ReplyHeader, ReplyKind, Request, WorkerEnd};
use crate::{
    codec::Output,
    process::wire::{self, FrameBuffer, Malformed, Reader},
    sys,
};

const READ_SIZE: usize = 64 * 1024;

/// So many reads in a row are more than a socket holds, and a worker that writes all the time must not keep the parent there.
const MOST_READS: usize = 16;

/// The parent's end. Nothing in it blocks.
#[derive(Debug)]
pub(in crate::process) struct SocketParent {
    socket: UnixStream,
    incoming: FrameBuffer,
    /// What did not fit into the socket; `sent` bytes of it have gone since.
    outgoing: Vec<u8>,
    sent: usize,
    /// Contents of frames that belong to the transport.
    data: VecDeque<Vec<u8>>,
    /// All other frames.
    other: VecDeque<(u8, Vec<u8>)>,
    open: bool,
    /// Requests sent, as a transport by itself.
    next_number: u64,
}

impl SocketParent {
    /// Both ends; the second one is for the worker, as its standard input.
    pub(in crate::process) fn pair() -> io::Result<(Self, UnixStream)> {
        let (socket, worker) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let parent = Self {
            socket,
            incoming: FrameBuffer::default(),
            outgoing: Vec::new(),
            sent: 0,
            data: VecDeque::new(),
            other: VecDeque::new(),
            open: true,
            next_number: 0,
        };
        Ok((parent, worker))
    }

    /// Sends the first frames, with files beside them. What does not fit at once is kept.
    pub(in crate::process) fn send_first(&mut self, frames: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        match sys::send_with_fds(self.socket.as_fd(), frames, files) {
            Ok(sent) => self.send(&[&frames[sent..]]),
            // As in `send`.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Sends bytes, or keeps what does not fit for [`flush`](Self::flush). A worker that is gone is not an error: its end is
    /// noticed where it is received.
    fn send(&mut self, parts: &[&[u8]]) {
        let mut skip = 0;
        while self.outgoing.is_empty() {
            let mut left = skip;
            let slices: Vec<IoSlice<'_>> = parts
                .iter()
                .filter_map(|part| {
                    let begin = left.min(part.len());
                    left -= begin;
                    (begin < part.len()).then(|| IoSlice::new(&part[begin..]))
                })
                .collect();
            if slices.is_empty() {
                return;
            }
            match self.socket.write_vectored(&slices) {
                Ok(count) => skip += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The worker is gone.
                Err(_) => return,
            }
        }
        for part in parts {
            let begin = skip.min(part.len());
            skip -= begin;
            self.outgoing.extend_from_slice(&part[begin..]);
        }
    }

    /// Sends a frame whose content is made of `parts`.
    pub(in crate::process) fn send_frame(&mut self, kind: u8, parts: &[&[u8]]) {
        let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
        // Callers keep contents below `wire::MAX_FRAME`.
        let mut head = (length as u32).to_le_bytes().to_vec();
        head.push(kind);
        let mut all = vec![&head[..]];
        all.extend_from_slice(parts);
        self.send(&all);
    }

    /// Sends what is kept.
    pub(in crate::process) fn flush(&mut self) {
        while self.sent < self.outgoing.len() {
            match self.socket.write(&self.outgoing[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => break,
            }
        }
        // A large argument's memory is not kept for the next, small one.
        self.outgoing = Vec::new();
        self.sent = 0;
    }

    /// Whether something is kept.
    pub(in crate::process) fn wants_to_send(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Readable when something has arrived.
    pub(in crate::process) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads all that has arrived, and sorts it.
    fn read(&mut self) -> Result<(), Malformed> {
        for _ in 0..MOST_READS {
            if !self.open {
                break;
            }
            let outcome = self.incoming.read_from(&mut self.socket, READ_SIZE);
            while let Some((kind, body)) = self.incoming.next()? {
                match kind {
                    // It did its work by coming.
                    wire::KICK => {}
                    wire::DATA => self.data.push_back(body.to_vec()),
                    _ => self.other.push_back((kind, body.to_vec())),
                }
            }
            match outcome {
                Ok(0) => self.open = false,
                Ok(count) if count < READ_SIZE => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.open = false,
            }
        }
        Ok(())
    }

    /// The next content for the transport, if it has arrived.
    pub(super) fn next_data(&mut self) -> Result<Option<Vec<u8>>, Malformed> {
        if self.data.is_empty() {
            self.read()?;
        }
        Ok(self.data.pop_front())
    }

    /// Hands every frame that is none of the transport's to `receiver`, and says whether the worker's end is still open.
    pub(in crate::process) fn receive_frames(
        &mut self,
        receiver: &mut dyn FnMut(u8, &[u8]),
    ) -> Result<bool, Malformed> {
        self.read()?;
        for (kind, body) in self.other.drain(..) {
            receiver(kind, &body);
        }
        Ok(self.open)
    }
}

/// One request at a time; the worker has it as soon as it is sent.
impl ParentEnd for SocketParent {
    fn depth(&self) -> usize {
        1
    }

    fn has_room(&self, _: usize) -> bool {
        true
    }

    fn push(&mut self, record: Record<'_>) -> Place {
        match record {
            Record::Run { definition, items, bytes } => {
                self.send_frame(wire::RUN, &[&definition.to_le_bytes(), &items.to_le_bytes(), bytes]);
                self.next_number += 1;
            }
            Record::Define { definition, offset, name_hash, bound } => {
                let (offset, hash) = (offset.to_le_bytes(), name_hash.to_le_bytes());
                let has_bound = [u8::from(bound.is_some())];
                let bound = bound.unwrap_or_default();
                self.send_frame(wire::DEFINE, &[&definition.to_le_bytes(), &offset, &hash, &has_bound, bound]);
            }
        }
        Place::default()
    }

    fn ring(&mut self, _: bool) {}

    fn release(&mut self, _: u64, _: Place) {}

    fn release_all(&mut self) {}

    fn is_claimed(&self, _: u64) -> bool {
        true
    }

    fn revoke(&mut self, _: u64) -> bool {
        false
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }

    fn bytes(&self, _: Place) -> Vec<u8> {
        Vec::new()
    }

    fn receive(&mut self, receiver: &mut dyn FnMut(Reply<'_>) -> Result<(), Malformed>) -> Result<(), Malformed> {
        while let Some(body) = self.next_data()? {
            let mut reader = Reader(&body);
            let number = reader.u32()?;
            let kind = match reader.u8()? {
                0 => ReplyKind::Done,
                1 => ReplyKind::Failed,
                2 => ReplyKind::Part,
                _ => return Err(Malformed),
            };
            let (items, elapsed) = (reader.u32()?, reader.u32()?);
            receiver(Reply { number, kind, items, elapsed, bytes: Cow::Borrowed(reader.0) })?;
        }
        Ok(())
    }

    fn unfinished(&mut self) -> Option<(u32, Vec<u8>)> {
        None
    }

    fn set_alert(&mut self, _: Alert) {}

    fn say_goodbye(&mut self) {
        self.send_frame(wire::BYE, &[]);
    }

    fn control(&mut self) -> &mut SocketParent {
        self
    }
}

/// The worker's end.
pub(in crate::process) struct SocketWorker {
    socket: UnixStream,
    incoming: FrameBuffer,
}

impl SocketWorker {
    /// `received` is what was read from the socket already.
    pub(in crate::process) fn new(socket: UnixStream, received: &[u8]) -> Self {
        let mut incoming = FrameBuffer::default();
        incoming.extend(received);
        Self { socket, incoming }
    }

    /// The socket itself.
    pub(in crate::process) fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Waits for the next frame; `None` when the parent is gone.
    pub(in crate::process) fn receive(&mut self) -> io::Result<Option<(u8, &[u8])>> {
        // Two looks at the buffer, because a borrow that is returned from inside the loop would live through all of it.
        while !self.incoming.has_frame() {
            match self.incoming.read_from(&mut self.socket, READ_SIZE) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        self.incoming.next().map_err(|Malformed| ErrorKind::InvalidData.into())
    }

    /// Waits for a frame of the transport, and puts its content into `body`.
    pub(super) fn receive_data(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        match self.receive()? {
            Some((wire::DATA, content)) => {
                body.clear();
                body.extend_from_slice(content);
                Ok(())
            }
            Some(_) => Err(ErrorKind::InvalidData.into()),
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Sends bytes.
    pub(in crate::process) fn send(&mut self, frames: &[u8]) -> io::Result<()> {
        self.socket.write_all(frames)
    }

    /// Sends a frame.
    pub(super) fn send_frame(&mut self, kind: u8, content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len() + 1).map_err(|_| ErrorKind::InvalidInput)?;
        let mut head = [0; 5];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4] = kind;
        self.send(&head)?;
        self.send(content)
    }

    /// Wakes the parent. When the socket is full it will wake up anyway.
    pub(super) fn kick(&mut self) {
        sys::send_if_room(self.socket.as_fd(), &[1, 0, 0, 0, wire::KICK]);
    }
}

/// The socket as a transport by itself.
pub(in crate::process) struct SocketTransport {
    socket: RefCell<SocketWorker>,
    number: std::cell::Cell<u32>,
}

impl SocketTransport {
    pub(in crate::process) fn new(socket: SocketWorker) -> Self {
        Self { socket: RefCell::new(socket), number: std::cell::Cell::new(0) }
    }
}

impl WorkerEnd for SocketTransport {
    fn next<'a>(&'a self, body: &'a mut Vec<u8>) -> io::Result<Option<Request<'a>>> {
        let mut socket = self.socket.borrow_mut();
        let malformed = |Malformed| io::Error::from(ErrorKind::InvalidData);
        let kind = match socket.receive()? {
            None | Some((wire::BYE, _)) => return Ok(None),
            Some((kind, content)) => {
                body.clear();
                body.extend_from_slice(content);
                kind
            }
        };
        let mut reader = Reader(body);
        let definition = reader.u32().map_err(malformed)?;
        let record = match kind {
            wire::RUN => Record::Run { definition, items: reader.u32().map_err(malformed)?, bytes: reader.0 },
            wire::DEFINE => {
                let (offset, name_hash) = (reader.u64().map_err(malformed)?, reader.u64().map_err(malformed)?);
                let has_bound = reader.u8().map_err(malformed)? == 1;
                Record::Define { definition, offset, name_hash, bound: has_bound.then_some(reader.0) }
            }
            _ => return Err(ErrorKind::InvalidData.into()),
        };
        let number = self.number.get();
        if matches!(record, Record::Run { .. }) {
            self.number.set(number.wrapping_add(1));
        }
        Ok(Some(Request { record, number, waited: true }))
    }

    fn room(&self) -> io::Result<Output<'_>> {
        Ok(Output::new(&mut []))
    }

    fn progress(&self, _: u32, _: usize) {}

    fn send(&self, output: Output<'_>, reply: ReplyHeader) -> io::Result<()> {
        let mut frame = Vec::new();
        let start = wire::begin_frame(&mut frame, wire::DATA);
        frame.extend_from_slice(&reply.number.to_le_bytes());
        frame.push(match reply.kind {
            ReplyKind::Done => 0,
            ReplyKind::Failed => 1,
            ReplyKind::Part => 2,
        });
        frame.extend_from_slice(&reply.items.to_le_bytes());
        frame.extend_from_slice(&reply.elapsed.to_le_bytes());
        if let Err(content) = output.into_overflow() {
            frame.extend_from_slice(&content);
        }
        wire::end_frame(&mut frame, start).map_err(|Malformed| ErrorKind::InvalidData)?;
        self.socket.borrow_mut().send(&frame)
    }

    fn send_control(&self, frames: &[u8]) -> io::Result<()> {
        self.socket.borrow_mut().send(frames)
    }
}
