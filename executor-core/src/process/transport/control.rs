//! The control channel: the parent's end of a worker's socket, beside every transport, for what is not a request or a reply. One
//! of the transports sends those over it as well.

#[cfg(target_os = "linux")]
use std::{borrow::Cow, os::fd::OwnedFd};
use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::Instant,
};

use super::{
    outgoing::Outgoing,
    socket::{READ_SIZE, Source, is_gone},
};
#[cfg(target_os = "linux")]
use super::{
    outgoing::share_frame,
    socket::ArrivedFile,
    untrusted_files::{UntrustedFiles, close_elsewhere},
};
#[cfg(target_os = "linux")]
use crate::shm::{MOST_BLOCKS, Reference, Share};
use crate::{
    portable::bytes::Long,
    process::wire::frame::{self, FrameBuffer},
    sys,
    untrusted::Malformed,
};

/// Files that may have come before they were asked for: those of one reply, and what comes by while it is read.
#[cfg(target_os = "linux")]
const MOST_FILES: usize = MOST_BLOCKS + 64;

/// A reference to shared memory, with the file of what the worker has made, if it could be received.
#[cfg(target_os = "linux")]
type AttachedFile = (Reference, Option<OwnedFd>);

/// So many bytes in a row are more than a socket holds, and a worker that writes all the time, or reads, must not keep the parent
/// there.
pub(super) const MOST_BYTES: usize = 16 * READ_SIZE;

/// A worker sends few frames that are not the transport's. More than this at a time violate the protocol.
const MOST_OTHERS: usize = 16;

/// The parent's end. Nothing in it blocks.
#[derive(Debug)]
pub(in crate::process) struct ControlChannel {
    socket: UnixStream,
    incoming: FrameBuffer,
    /// The bytes and files that did not fit into the socket.
    outgoing: Outgoing,
    /// Bytes that were to be sent, and those that the system has taken. Without a worker the rest of them is gone.
    pushed: u64,
    delivered: u64,
    /// The worker is gone: nothing can be sent any more.
    is_cut: bool,
    /// The worker has gone and left something in the socket that it had not read.
    left_some: bool,
    /// Contents of frames that belong to the transport.
    data: VecDeque<Vec<u8>>,
    /// All other frames.
    other: VecDeque<(u8, Vec<u8>)>,
    /// Files that came beside frames of their own.
    #[cfg(target_os = "linux")]
    files: UntrustedFiles,
    /// Bytes read.
    received: u64,
    /// Bytes were read since the transport last looked at its memory: the kick that woke this process may have been among them.
    has_news: bool,
    /// A kick was read, and not received: by a thread that looked for something else.
    is_kicked: bool,
    /// The process that has made it. In a copy of it that was forked, the socket is not to be touched.
    maker: u32,
    open: bool,
}

impl ControlChannel {
    /// Both ends; the second one is for the worker, as its standard input.
    pub(in crate::process) fn pair() -> io::Result<(Self, UnixStream)> {
        let (socket, worker) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        [&socket, &worker].into_iter().try_for_each(sys::be_quiet)?;
        let parent = Self {
            socket,
            incoming: FrameBuffer::default(),
            outgoing: Outgoing::default(),
            pushed: 0,
            delivered: 0,
            is_cut: false,
            left_some: false,
            data: VecDeque::new(),
            other: VecDeque::new(),
            #[cfg(target_os = "linux")]
            files: UntrustedFiles::default(),
            received: 0,
            has_news: false,
            is_kicked: false,
            maker: std::process::id(),
            open: true,
        };
        Ok((parent, worker))
    }

    /// Sends the first frames, with files beside them. What does not fit at once is kept.
    pub(in crate::process) fn send_first(&mut self, frames: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        match sys::send_with_fds(self.socket.as_fd(), frames, files) {
            Ok(sent) => {
                self.note_sent(sent);
                self.send(&[&frames[sent..]]);
            }
            Err(error) if is_gone(&error) => self.cut(&error),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Sends bytes, or keeps what does not fit for [`flush`](Self::flush). A worker that is gone is not an error: its end is
    /// noticed where it is received.
    pub(super) fn send(&mut self, parts: &[&[u8]]) {
        self.pushed += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let mut skip = 0;
        while self.outgoing.is_empty() && !self.is_cut {
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
            match sys::send_parts(self.socket.as_fd(), &slices) {
                Ok(count) => {
                    skip += count;
                    self.delivered += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_gone(&error) => self.cut(&error),
                // Bytes for which the system has no memory at this moment are not lost.
                Err(_) => break,
            }
        }
        if self.is_cut {
            return;
        }
        for part in parts {
            let begin = skip.min(part.len());
            skip -= begin;
            self.outgoing.push_bytes(&part[begin..]);
        }
    }

    /// Bytes went with files beside them.
    fn note_sent(&mut self, count: usize) {
        self.pushed += count as u64;
        self.delivered += count as u64;
    }

    /// The worker is gone. The system says only once that it has not read everything, to the next read or write.
    fn cut(&mut self, error: &io::Error) {
        self.is_cut = true;
        self.note_left(error);
        self.outgoing.clear();
    }

    /// Of other systems it is not known what this error means.
    fn note_left(&mut self, error: &io::Error) {
        self.left_some |= cfg!(target_os = "linux") && error.kind() == ErrorKind::ConnectionReset;
    }

    /// Sends a frame whose content is made of `parts`.
    pub(in crate::process) fn send_frame(&mut self, kind: u8, parts: &[&[u8]]) {
        self.send_frame_with(kind, parts, None);
    }

    /// The same; the content ends with `long`, which is not copied.
    pub(super) fn send_frame_with(&mut self, kind: u8, parts: &[&[u8]], long: Option<Long>) {
        let rest = long.as_ref().map_or(0, |long| long.as_slice().len());
        let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>() + rest;
        // Callers keep contents below `frame::MAX_FRAME`.
        let mut head = (length as u32).to_le_bytes().to_vec();
        head.push(kind);
        let mut all = vec![&head[..]];
        all.extend_from_slice(parts);
        self.send(&all);
        let Some(long) = long else { return };
        self.pushed += rest as u64;
        self.outgoing.push_long(long);
        if self.is_cut {
            return self.outgoing.clear();
        }
        self.flush();
    }

    /// Sends shared memory. Where the system does not let its file travel, because there are too many of them already, this
    /// program has no descriptor left, or no memory, the worker is told so: it waits for no file, and says that it has lost
    /// the segment.
    #[cfg(target_os = "linux")]
    pub(super) fn send_share(&mut self, share: Share, file: BorrowedFd<'_>) {
        let frame = share_frame(share, true);
        let mut file = Some(file);
        if self.outgoing.is_empty() {
            match sys::send_with_fds(self.socket.as_fd(), &frame, file.as_slice()) {
                Ok(sent) => {
                    self.note_sent(sent);
                    return self.send(&[&frame[sent..]]);
                }
                Err(error) if is_gone(&error) => return self.cut(&error),
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(_) => file = None,
            }
        }
        match file.and_then(|file| file.try_clone_to_owned().ok()) {
            Some(file) => {
                self.pushed += frame.len() as u64;
                self.outgoing.push_share(share, file);
            }
            None => self.send(&[&share_frame(share, false)]),
        }
    }

    /// Sends what is kept, as much of it as may be sent in a row: a worker that reads meanwhile makes room all the time.
    pub(in crate::process) fn flush(&mut self) {
        let mut left = MOST_BYTES;
        while left > 0 && !self.outgoing.is_empty() && !self.outgoing.is_resting() {
            match self.outgoing.send(self.socket.as_fd(), left) {
                Ok(count) => {
                    left = left.saturating_sub(count);
                    self.delivered += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_gone(&error) => return self.cut(&error),
                // Bytes for which the system has no memory at this moment are kept, and sent later.
                Err(_) => return,
            }
        }
    }

    /// Bytes that were to be sent.
    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Bytes that the system has taken.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Bytes read.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Whether the worker is known not to have read everything that the system has taken.
    pub(super) fn is_left_unread(&self) -> bool {
        #[cfg(target_os = "linux")]
        return self.left_some || sys::has_unread(self.socket.as_fd());
        #[cfg(not(target_os = "linux"))]
        return self.left_some;
    }

    /// The long contents that are not needed here any more: they are to be dropped without the pool's lock.
    pub(in crate::process) fn take_spent(&mut self) -> Vec<Long> {
        self.outgoing.take_spent()
    }

    /// Whether there are any.
    pub(in crate::process) fn has_spent(&self) -> bool {
        self.outgoing.has_spent()
    }

    /// The same, where nothing more is going to be sent.
    pub(in crate::process) fn take_unsent(&mut self) -> Vec<Long> {
        self.outgoing.clear();
        self.outgoing.take_spent()
    }

    /// Whether something is kept.
    pub(in crate::process) fn wants_to_send(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// When to [`flush`](Self::flush) what is kept, where that is not for want of room in the socket.
    pub(in crate::process) fn refused_until(&self) -> Option<Instant> {
        self.outgoing.refused_until()
    }

    /// Whether a frame that is none of the transport's was read, and not received.
    pub(in crate::process) fn has_frames(&self) -> bool {
        !self.other.is_empty() || self.is_kicked
    }

    /// From now on, [`has_news`](Self::has_news) tells of what is read.
    #[cfg(target_os = "linux")]
    pub(super) fn forget_news(&mut self) {
        self.has_news = false;
    }

    /// Whether something was read since then: a kick may have been among it, or what was announced before it was sent.
    #[cfg(target_os = "linux")]
    pub(super) fn has_news(&self) -> bool {
        self.has_news
    }

    /// There may be more: a thread has to come again.
    #[cfg(target_os = "linux")]
    pub(super) fn come_again(&mut self) {
        self.is_kicked = true;
    }

    /// Whether there is more than one content, begun or whole, or as many files as are read at a time.
    #[cfg(target_os = "linux")]
    pub(super) fn is_stuffed(&self) -> bool {
        let begun = self.incoming.begun().is_some_and(|(kind, _)| kind == frame::DATA);
        self.data.len() + usize::from(begun) > 1 || self.files.len() >= MOST_FILES
    }

    /// Whether there is anything that is a transport's.
    #[cfg(target_os = "linux")]
    pub(in crate::process) fn has_content(&self) -> bool {
        !self.data.is_empty() || self.files.len() > 0
    }

    /// Nothing more is sent or awaited. What has come can be read.
    pub(in crate::process) fn hang_up(&self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    /// Readable when something has arrived.
    pub(in crate::process) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads all that has arrived, and sorts it. Files beyond those of one reply stay where they are until some are taken.
    fn read(&mut self) -> Result<(), Malformed> {
        let mut bytes = 0;
        while self.open && bytes < MOST_BYTES {
            #[cfg(target_os = "linux")]
            let files = self.files.len();
            #[cfg(target_os = "linux")]
            if files >= MOST_FILES {
                break;
            }
            let mut source = Source {
                socket: &self.socket,
                #[cfg(target_os = "linux")]
                files: &mut self.files.0,
            };
            let outcome = self.incoming.read_from(&mut source, READ_SIZE);
            #[cfg(target_os = "linux")]
            let came = self.files.len() - files;
            #[cfg(not(target_os = "linux"))]
            let came = 0;
            self.sort(came)?;
            match outcome {
                Ok(0) => self.open = false,
                Ok(count) => {
                    bytes += count;
                    self.received += count as u64;
                    self.has_news = true;
                    // A read ends behind each file; otherwise one that is short has found nothing more.
                    #[cfg(target_os = "linux")]
                    let ends = self.files.len() == files;
                    #[cfg(not(target_os = "linux"))]
                    let ends = true;
                    if count < READ_SIZE && ends {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.note_left(&error);
                    self.open = false;
                }
            }
        }
        Ok(())
    }

    /// Sorts the frames that were read. So many files came with the last of these bytes: a read ends behind them.
    fn sort(
        &mut self,
        #[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "no files come"))] came: usize,
    ) -> Result<(), Malformed> {
        // Of a frame that is too long for what it is, nothing more is read.
        while self.incoming.begun().is_none_or(|(kind, length)| length <= frame::longest(kind)) {
            let Some((kind, body)) = self.incoming.next()? else { return Ok(()) };
            match kind {
                // It did its work by coming; or another thread has to do it.
                frame::KICK => self.is_kicked = true,
                frame::DATA => self.data.push_back(body.to_vec()),
                // The file came before it, or with it; or it says that there is none.
                #[cfg(target_os = "linux")]
                frame::FILE if body.is_empty() => {}
                #[cfg(target_os = "linux")]
                frame::FILE => self.files.miss(came),
                _ if self.other.len() >= MOST_OTHERS => return Err(Malformed),
                _ => self.other.push_back((kind, body.to_vec())),
            }
        }
        Err(Malformed)
    }

    /// The next content for the transport, if it has arrived.
    pub(super) fn next_data(&mut self) -> Result<Option<Vec<u8>>, Malformed> {
        if self.data.is_empty() {
            self.read()?;
            // No reply has so many files before it.
            #[cfg(target_os = "linux")]
            if self.data.is_empty() && self.files.len() >= MOST_FILES {
                return Err(Malformed);
            }
        }
        Ok(self.data.pop_front())
    }

    /// The next file of those that were sent by themselves, if it has arrived.
    #[cfg(target_os = "linux")]
    pub(super) fn next_file(&mut self) -> Result<Option<ArrivedFile>, Malformed> {
        if self.files.len() == 0 {
            self.read()?;
        }
        self.files.pop()
    }

    /// Takes the references from the end of a reply, and the files that belong to them. `None` when a file has not come yet;
    /// then nothing has been taken.
    #[cfg(target_os = "linux")]
    pub(super) fn take_attached(&mut self, bytes: &mut Cow<'_, [u8]>) -> Result<Option<Vec<AttachedFile>>, Malformed> {
        let (rest, count) = bytes.split_last_chunk::<4>().ok_or(Malformed)?;
        let count = u32::from_le_bytes(*count) as usize;
        // Each is looked for under the locks of the pool and of the store.
        if count > MOST_BLOCKS {
            return Err(Malformed);
        }
        let at = rest.len().checked_sub(count * Reference::LENGTH).ok_or(Malformed)?;
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
            let file = if reference.from_worker { self.files.pop()?.flatten() } else { None };
            Ok((reference, file))
        };
        references.into_iter().map(with_file).collect::<Result<_, _>>().map(Some)
    }

    /// Hands every frame that is none of the transport's to `receiver`, and says whether the worker's end is still open.
    pub(in crate::process) fn receive_frames(
        &mut self,
        receiver: &mut dyn FnMut(u8, &[u8]),
    ) -> Result<bool, Malformed> {
        self.is_kicked = false;
        self.read()?;
        self.is_kicked = false;
        for (kind, body) in self.other.drain(..) {
            receiver(kind, &body);
        }
        Ok(self.open)
    }
}

#[cfg(target_os = "linux")]
impl Drop for ControlChannel {
    /// Files that lie in the socket would be closed by the thread that closes the socket, wherever that is.
    fn drop(&mut self) {
        if self.maker != std::process::id() {
            return;
        }
        // From here on nothing can be added.
        self.hang_up();
        let mut bytes = [0; 4096];
        while let Ok(received) = sys::receive_with_fds(self.socket.as_fd(), &mut bytes)
            && received.bytes > 0
        {
            close_elsewhere(received.files);
        }
    }
}
