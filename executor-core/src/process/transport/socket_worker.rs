//! The worker's end of its socket; see `control.rs` and `socket_parent.rs`.

use std::{
    cell::RefCell,
    io::{self, ErrorKind},
    os::{fd::AsFd, unix::net::UnixStream},
};
#[cfg(target_os = "linux")]
use std::{collections::VecDeque, os::fd::BorrowedFd};

#[cfg(target_os = "linux")]
use super::socket::{ATTACHED, ArrivedFile, is_gone};
use super::{
    Record, ReplyHeader, ReplyKind, Request, WorkerEnd, kick,
    socket::{READ_SIZE, Source},
};
#[cfg(target_os = "linux")]
use crate::shm::{self, Block, Share};
use crate::{
    codec::Output,
    process::wire::frame::{self, FrameBuffer},
    sys,
    untrusted::{Malformed, Reader},
};

/// In place of a file.
#[cfg(target_os = "linux")]
const NO_FILE: [u8; 6] = [2, 0, 0, 0, frame::FILE, 0];

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

    /// From now on [`kick_parent`](kick::kick_parent) does something.
    #[cfg(target_os = "linux")]
    pub(in crate::process) fn let_others_kick(&self) -> io::Result<()> {
        kick::note_socket(self.socket.try_clone()?);
        shm::wake_on_release(kick::kick_parent);
        Ok(())
    }

    /// The socket itself.
    pub(in crate::process) fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Waits until there is something to be read, and reads nothing.
    ///
    /// A worker that is stopped where it waits has read nothing then, also if a request comes before the stop: the signal ends this
    /// wait, and it stops before it goes on. A wait in the reading itself would take the request, which counts as begun, and stop.
    fn wait_for_more(&self) {
        if !self.incoming.has_frame() {
            sys::wait_until_readable(self.socket.as_fd());
        }
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
            Some((frame::DATA, content)) => {
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
            Some((frame::SHARE, content)) => {
                let content = content.to_vec();
                self.accept_share(&content)
            }
            Some(_) => Err(ErrorKind::InvalidData.into()),
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    #[cfg(target_os = "linux")]
    fn accept_share(&mut self, content: &[u8]) -> io::Result<()> {
        let (share, has_file) =
            Share::from_bytes(content).map_err(|Malformed| io::Error::from(ErrorKind::InvalidData))?;
        shm::accept(share, if has_file { self.files.pop_front().flatten() } else { None });
        Ok(())
    }

    /// Sends a file by itself.
    #[cfg(target_os = "linux")]
    pub(super) fn send_file(&mut self, file: BorrowedFd<'_>) -> io::Result<()> {
        let _one = kick::sending();
        let frame = [1, 0, 0, 0, frame::FILE];
        let sent = sys::send_with_fds(self.socket.as_fd(), &frame, &[file])?;
        sys::send_all(self.socket.as_fd(), &frame[sent..])
    }

    /// Sends the files of what this worker has made. Where the system does not let one travel, because there are too many of
    /// this user's under way already, or no memory, the parent is told so: it waits for no file, and fails what refers to it.
    #[cfg(target_os = "linux")]
    pub(super) fn send_files(&mut self, attached: &[Block]) -> io::Result<()> {
        attached.iter().filter_map(Block::file).try_for_each(|file| match self.send_file(file) {
            Err(error) if !is_gone(&error) => self.send(&NO_FILE),
            outcome => outcome,
        })
    }

    /// Sends bytes.
    pub(in crate::process) fn send(&mut self, frames: &[u8]) -> io::Result<()> {
        let _one = kick::sending();
        sys::send_all(self.socket.as_fd(), frames)
    }

    /// Sends a frame.
    pub(super) fn send_frame(&mut self, kind: u8, content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len() + 1).map_err(|_| ErrorKind::InvalidInput)?;
        let mut head = [0; 5];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4] = kind;
        let _one = kick::sending();
        sys::send_all(self.socket.as_fd(), &head)?;
        sys::send_all(self.socket.as_fd(), content)
    }

    /// Wakes the parent. When the socket is full it will wake up anyway.
    pub(super) fn kick(&mut self) {
        let _one = kick::sending();
        sys::send_if_room(self.socket.as_fd(), &kick::FRAME);
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
            socket.wait_for_more();
            let kind = match socket.receive()? {
                Some((frame::BYE, _)) => return Ok(None),
                None => return Err(ErrorKind::UnexpectedEof.into()),
                Some((kind, content)) => {
                    body.clear();
                    body.extend_from_slice(content);
                    kind
                }
            };
            match kind {
                #[cfg(target_os = "linux")]
                frame::SHARE => socket.accept_share(body)?,
                #[cfg(target_os = "linux")]
                frame::FORGET => shm::forget(Reader(body).u64().map_err(malformed)?),
                _ => break kind,
            }
        };
        let mut reader = Reader(body);
        let definition = reader.u32().map_err(malformed)?;
        let record = match kind {
            frame::RUN => Record::Run { definition, items: reader.u32().map_err(malformed)?, bytes: reader.0 },
            frame::DEFINE => {
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
        let start = frame::begin_frame(&mut frame, frame::DATA);
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
        frame::end_frame(&mut frame, start).map_err(|Malformed| ErrorKind::InvalidData)?;
        self.socket.borrow_mut().send(&frame)
    }

    fn send_control(&self, frames: &[u8]) -> io::Result<()> {
        self.socket.borrow_mut().send(frames)
    }
}
