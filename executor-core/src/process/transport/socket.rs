//! Frames over a Unix socket pair: beside every transport for what is not a request or a reply, and a transport by itself,
//! portable, and the oracle for the faster one.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{Mutex, MutexGuard, PoisonError},
};
#[cfg(target_os = "linux")]
use std::{os::fd::OwnedFd, sync::OnceLock};

use super::{Alert, ParentEnd, Place, Record, Reply, ReplyHeader, ReplyKind, Request, WorkerEnd};
#[cfg(target_os = "linux")]
use crate::process::shm::{self, Block, MOST_BLOCKS, Reference, Share};
use crate::{
    codec::Output,
    process::wire::{self, FrameBuffer, Malformed, Reader},
    sys,
};

const READ_SIZE: usize = 64 * 1024;

/// Files that may have come before anybody asked for them: those of one reply, and what comes by while it is read.
#[cfg(target_os = "linux")]
const MOST_FILES: usize = MOST_BLOCKS + 64;

/// A file that has come; `None` when this process had no descriptor left for it.
#[cfg(target_os = "linux")]
pub(super) type ArrivedFile = Option<OwnedFd>;

/// A reference to shared memory, with the file of what the worker has made, if it could be received.
#[cfg(target_os = "linux")]
type AttachedFile = (Reference, Option<OwnedFd>);

/// A socket that is read together with the files that come beside the bytes.
struct Source<'a> {
    socket: &'a UnixStream,
    #[cfg(target_os = "linux")]
    files: &'a mut VecDeque<ArrivedFile>,
}

impl Read for Source<'_> {
    #[cfg(target_os = "linux")]
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let received = sys::receive_with_fds(self.socket.as_fd(), bytes)?;
        self.files.extend(received.files.into_iter().map(Some));
        // A frame has one file at most, unless it is the parent's.
        self.files.extend(received.lost_files.then_some(None));
        Ok(received.bytes)
    }

    #[cfg(not(target_os = "linux"))]
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut socket = self.socket;
        socket.read(bytes)
    }
}
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
    /// Files that came beside frames of their own.
    #[cfg(target_os = "linux")]
    files: VecDeque<ArrivedFile>,
    /// Files that are kept, and at which byte of `outgoing` they go.
    #[cfg(target_os = "linux")]
    outgoing_files: VecDeque<(usize, Vec<OwnedFd>)>,
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
            #[cfg(target_os = "linux")]
            files: VecDeque::new(),
            #[cfg(target_os = "linux")]
            outgoing_files: VecDeque::new(),
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

    /// Sends a frame with files beside it.
    #[cfg(target_os = "linux")]
    pub(super) fn send_with_files(&mut self, kind: u8, content: &[u8], files: &[BorrowedFd<'_>]) {
        let mut frame = (content.len() as u32 + 1).to_le_bytes().to_vec();
        frame.push(kind);
        frame.extend_from_slice(content);
        if self.outgoing.is_empty() {
            match sys::send_with_fds(self.socket.as_fd(), &frame, files) {
                Ok(sent) => return self.send(&[&frame[sent..]]),
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                // The worker is gone, or it has more files on their way to it than the system allows. One that is alive has
                // to be ended: it would wait for this for ever.
                Err(_) => return self.hang_up(),
            }
        }
        match files.iter().map(BorrowedFd::try_clone_to_owned).collect() {
            Ok(files) => self.outgoing_files.push_back((self.outgoing.len(), files)),
            Err(_) => return self.hang_up(),
        }
        self.outgoing.extend_from_slice(&frame);
    }

    /// The worker ends itself then, and the supervisor notices.
    #[cfg(target_os = "linux")]
    fn hang_up(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    /// Sends some of what is kept.
    fn send_kept(&mut self) -> io::Result<usize> {
        #[cfg(target_os = "linux")]
        if let Some((at, files)) = self.outgoing_files.front() {
            if *at > self.sent {
                return self.socket.write(&self.outgoing[self.sent..*at]);
            }
            let end = self.outgoing_files.get(1).map_or(self.outgoing.len(), |(next, _)| *next);
            let files: Vec<BorrowedFd<'_>> = files.iter().map(OwnedFd::as_fd).collect();
            let count = sys::send_with_fds(self.socket.as_fd(), &self.outgoing[self.sent..end], &files)?;
            self.outgoing_files.pop_front();
            return Ok(count);
        }
        self.socket.write(&self.outgoing[self.sent..])
    }

    /// Sends what is kept.
    pub(in crate::process) fn flush(&mut self) {
        while self.sent < self.outgoing.len() {
            match self.send_kept() {
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

    /// Whether a frame that is none of the transport's was read, and not received.
    pub(in crate::process) fn has_frames(&self) -> bool {
        !self.other.is_empty()
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
            let mut source = Source {
                socket: &self.socket,
                #[cfg(target_os = "linux")]
                files: &mut self.files,
            };
            let outcome = self.incoming.read_from(&mut source, READ_SIZE);
            // Whatever frames they came beside.
            #[cfg(target_os = "linux")]
            if self.files.len() > MOST_FILES {
                return Err(Malformed);
            }
            while let Some((kind, body)) = self.incoming.next()? {
                match kind {
                    // It did its work by coming.
                    wire::KICK => {}
                    wire::DATA => self.data.push_back(body.to_vec()),
                    // The file came before it, or with it.
                    #[cfg(target_os = "linux")]
                    wire::FILE => {}
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

    /// The next file of those that were sent by themselves, if it has arrived.
    #[cfg(target_os = "linux")]
    pub(super) fn next_file(&mut self) -> Result<Option<ArrivedFile>, Malformed> {
        if self.files.is_empty() {
            self.read()?;
        }
        Ok(self.files.pop_front())
    }

    /// Takes the references from the end of a reply, and the files that belong to them. `None` when a file has not come yet;
    /// then nothing has been taken.
    #[cfg(target_os = "linux")]
    pub(super) fn take_attached(&mut self, bytes: &mut Cow<'_, [u8]>) -> Result<Option<Vec<AttachedFile>>, Malformed> {
        let (rest, count) = bytes.split_last_chunk::<4>().ok_or(Malformed)?;
        let length = (u32::from_le_bytes(*count) as usize).checked_mul(Reference::LENGTH).ok_or(Malformed)?;
        let at = rest.len().checked_sub(length).ok_or(Malformed)?;
        let references: Vec<Reference> = rest[at..]
            .chunks_exact(Reference::LENGTH)
            .map(|reference| Reference::from_bytes(reference).ok_or(Malformed))
            .collect::<Result<_, _>>()?;
        let files = references.iter().filter(|reference| reference.from_worker).count();
        if self.files.len() < files {
            self.read()?;
            if self.files.len() < files {
                return Ok(None);
            }
        }
        match bytes {
            Cow::Borrowed(all) => *all = &all[..at],
            Cow::Owned(all) => all.truncate(at),
        }
        let with_file = |reference: Reference| {
            let file = if reference.from_worker { self.files.pop_front().flatten() } else { None };
            (reference, file)
        };
        Ok(Some(references.into_iter().map(with_file).collect()))
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
            #[cfg(target_os = "linux")]
            Record::Share { share, files } => self.send_with_files(wire::SHARE, &share.to_bytes(), files),
            #[cfg(target_os = "linux")]
            Record::Forget { id } => self.send_frame(wire::FORGET, &[&id.to_le_bytes()]),
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
            let byte = reader.u8()?;
            let kind = match byte & !ATTACHED {
                0 => ReplyKind::Done,
                1 => ReplyKind::Failed,
                2 => ReplyKind::Part,
                _ => return Err(Malformed),
            };
            let (items, elapsed) = (reader.u32()?, reader.u32()?);
            #[cfg_attr(not(target_os = "linux"), expect(unused_mut, reason = "nothing is cut off"))]
            let mut bytes = Cow::Borrowed(reader.0);
            receiver(Reply {
                number,
                kind,
                items,
                elapsed,
                // Its files were sent before it.
                #[cfg(target_os = "linux")]
                attached: match byte & ATTACHED {
                    0 => Vec::new(),
                    _ => self.take_attached(&mut bytes)?.ok_or(Malformed)?,
                },
                bytes,
            })?;
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

/// The bit in a reply's kind that says that references stand at the end of its content.
const ATTACHED: u8 = 8;

/// One frame at a time: a thread of a task's own may have to wake the parent.
static SENDING: Mutex<()> = Mutex::new(());

fn sending() -> MutexGuard<'static, ()> {
    SENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The worker's way to its parent, for [`kick_parent`].
#[cfg(target_os = "linux")]
static TO_PARENT: OnceLock<UnixStream> = OnceLock::new();

/// Wakes the parent, from any thread of a worker that was lent something.
#[cfg(target_os = "linux")]
pub(in crate::process) fn kick_parent() {
    if let Some(socket) = TO_PARENT.get() {
        let _one = sending();
        sys::send_if_room(socket.as_fd(), &KICK);
    }
}

const KICK: [u8; 5] = [1, 0, 0, 0, wire::KICK];

/// Writes references to the end of a reply.
#[cfg(target_os = "linux")]
pub(super) fn put_attached(output: &mut Output<'_>, attached: &[Block]) {
    for block in attached {
        block.hand_over();
        output.put(&block.reference().to_bytes());
    }
    if !attached.is_empty() {
        output.put(&(attached.len() as u32).to_le_bytes());
    }
}

/// The worker's end.
pub(in crate::process) struct SocketWorker {
    socket: UnixStream,
    incoming: FrameBuffer,
    #[cfg(target_os = "linux")]
    files: VecDeque<ArrivedFile>,
}

impl SocketWorker {
    /// `received` is what was read from the socket already.
    pub(in crate::process) fn new(socket: UnixStream, received: &[u8]) -> Self {
        let mut incoming = FrameBuffer::default();
        incoming.extend(received);
        Self {
            socket,
            incoming,
            #[cfg(target_os = "linux")]
            files: VecDeque::new(),
        }
    }

    /// The socket itself.
    pub(in crate::process) fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Waits for the next frame; `None` when the parent is gone.
    pub(in crate::process) fn receive(&mut self) -> io::Result<Option<(u8, &[u8])>> {
        // Two looks at the buffer, because a borrow that is returned from inside the loop would live through all of it.
        while !self.incoming.has_frame() {
            let mut source = Source {
                socket: &self.socket,
                #[cfg(target_os = "linux")]
                files: &mut self.files,
            };
            match self.incoming.read_from(&mut source, READ_SIZE) {
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

    /// Waits for shared memory from the parent.
    #[cfg(target_os = "linux")]
    pub(super) fn receive_share(&mut self) -> io::Result<()> {
        match self.receive()? {
            Some((wire::SHARE, content)) => {
                let content = content.to_vec();
                self.accept_share(&content)
            }
            Some(_) => Err(ErrorKind::InvalidData.into()),
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    #[cfg(target_os = "linux")]
    fn accept_share(&mut self, content: &[u8]) -> io::Result<()> {
        let share = Share::from_bytes(content).map_err(|Malformed| io::Error::from(ErrorKind::InvalidData))?;
        if TO_PARENT.get().is_none() {
            // Without it the parent learns later that something is not held any more.
            let _ = self.socket.try_clone().map(|socket| TO_PARENT.set(socket));
        }
        let count = if share.has_holds { 2 } else { 1 };
        let count = count.min(self.files.len());
        shm::accept(share, self.files.drain(..count).flatten());
        Ok(())
    }

    /// Sends a file by itself.
    #[cfg(target_os = "linux")]
    pub(super) fn send_file(&mut self, file: BorrowedFd<'_>) -> io::Result<()> {
        let _one = sending();
        let frame = [1, 0, 0, 0, wire::FILE];
        let sent = sys::send_with_fds(self.socket.as_fd(), &frame, &[file])?;
        self.socket.write_all(&frame[sent..])
    }

    /// Sends the files of what this worker has made.
    #[cfg(target_os = "linux")]
    pub(super) fn send_files(&mut self, attached: &[Block]) -> io::Result<()> {
        attached.iter().filter_map(Block::file).try_for_each(|file| self.send_file(file))
    }

    /// Sends bytes.
    pub(in crate::process) fn send(&mut self, frames: &[u8]) -> io::Result<()> {
        let _one = sending();
        self.socket.write_all(frames)
    }

    /// Sends a frame.
    pub(super) fn send_frame(&mut self, kind: u8, content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len() + 1).map_err(|_| ErrorKind::InvalidInput)?;
        let mut head = [0; 5];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4] = kind;
        let _one = sending();
        self.socket.write_all(&head)?;
        self.socket.write_all(content)
    }

    /// Wakes the parent. When the socket is full it will wake up anyway.
    pub(super) fn kick(&mut self) {
        let _one = sending();
        sys::send_if_room(self.socket.as_fd(), &KICK);
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
        let kind = loop {
            let kind = match socket.receive()? {
                None | Some((wire::BYE, _)) => return Ok(None),
                Some((kind, content)) => {
                    body.clear();
                    body.extend_from_slice(content);
                    kind
                }
            };
            match kind {
                #[cfg(target_os = "linux")]
                wire::SHARE => socket.accept_share(body)?,
                #[cfg(target_os = "linux")]
                wire::FORGET => shm::forget(Reader(body).u64().map_err(malformed)?),
                _ => break kind,
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

    #[cfg_attr(not(target_os = "linux"), expect(unused_mut, reason = "nothing is appended"))]
    fn send(&self, mut output: Output<'_>, reply: ReplyHeader) -> io::Result<()> {
        let flag = 0;
        #[cfg(target_os = "linux")]
        let flag = {
            let attached = output.take_attached();
            put_attached(&mut output, &attached);
            self.socket.borrow_mut().send_files(&attached)?;
            if attached.is_empty() { flag } else { ATTACHED }
        };
        let mut frame = Vec::new();
        let start = wire::begin_frame(&mut frame, wire::DATA);
        frame.extend_from_slice(&reply.number.to_le_bytes());
        let kind = match reply.kind {
            ReplyKind::Done => 0,
            ReplyKind::Failed => 1,
            ReplyKind::Part => 2,
        };
        frame.push(kind | flag);
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
