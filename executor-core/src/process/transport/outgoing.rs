//! Bytes and files that wait for room in a worker's socket. All of it is sent in the order in which it was put here.

#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, OwnedFd};
use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice},
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use super::socket::is_gone;
use crate::{portable::bytes::Long, sys};
#[cfg(target_os = "linux")]
use crate::{process::wire::frame, shm::Share};

/// The parts that are to be sent.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    parts: VecDeque<Part>,
    /// So many bytes of the first one have gone.
    sent: usize,
    /// Long contents that have gone, or never will: a thread that has the pool's lock does not free them.
    spent: Vec<Long>,
    /// The last attempt was refused.
    refused: Option<Refused>,
}

/// The system has refused to take something, and not because the socket is full: it has no memory at this moment. The socket can be
/// written to all the while, so a thread that waited for that would try again at once, and for ever.
#[derive(Debug, Clone, Copy)]
struct Refused {
    /// When to try again.
    again: Instant,
    /// How long to wait after the next refusal.
    pause: Duration,
}

/// What was refused is tried again after this time, and then after twice as long each time ...
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// ... up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Whether an error is about neither the socket's room nor its other end.
fn is_refusal(error: &io::Error) -> bool {
    !is_gone(error) && !matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}

/// Something that is to be sent.
#[derive(Debug)]
enum Part {
    Bytes(Vec<u8>),
    Long(Long),
    /// A frame whose file goes with its first byte.
    #[cfg(target_os = "linux")]
    Share(Share, OwnedFd),
}

impl Part {
    /// The bytes, where they are ready to be sent.
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Long(long) => long.as_slice(),
            #[cfg(target_os = "linux")]
            Self::Share(..) => &[],
        }
    }

    fn into_long(self) -> Option<Long> {
        if let Self::Long(long) = self { Some(long) } else { None }
    }
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// When to send again what the system has refused to take, if it has.
    pub(super) fn refused_until(&self) -> Option<Instant> {
        self.refused.map(|refused| refused.again)
    }

    /// Whether it is too early to try again.
    pub(super) fn is_resting(&self) -> bool {
        self.refused.is_some_and(|refused| Instant::now() < refused.again)
    }

    fn note(&mut self, sent: &io::Result<usize>) {
        if !sent.as_ref().is_err_and(is_refusal) {
            self.refused = None;
            return;
        }
        let pause = self.refused.map_or(FIRST_PAUSE, |refused| refused.pause);
        self.refused = Some(Refused { again: Instant::now() + pause, pause: (2 * pause).min(LONGEST_PAUSE) });
    }

    /// Adds a copy of these bytes.
    pub(super) fn push_bytes(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.parts.back_mut() {
            Some(Part::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.parts.push_back(Part::Bytes(bytes.to_vec())),
        }
    }

    /// Adds a content that is not copied.
    pub(super) fn push_long(&mut self, long: Long) {
        self.parts.push_back(Part::Long(long));
    }

    /// Adds a frame whose file goes with its first byte.
    #[cfg(target_os = "linux")]
    pub(super) fn push_share(&mut self, share: Share, file: OwnedFd) {
        self.parts.push_back(Part::Share(share, file));
    }

    /// Sends some of the first part, and no more than `most` bytes unless they go with a file.
    fn send_first(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        let Some(first) = self.parts.front_mut() else { return Ok(0) };
        #[cfg(target_os = "linux")]
        if let Part::Share(share, file) = first {
            let sent = sys::send_with_fds(socket, &share_frame(*share, true), &[file.as_fd()]);
            let has_file = !sent.as_ref().is_err_and(is_refusal);
            let count = if has_file { sent? } else { 0 };
            // The file goes with the first byte; where the system refuses it, a frame that says so goes in its place.
            *first = Part::Bytes(share_frame(*share, has_file));
            return Ok(count);
        }
        let left = &first.as_slice()[self.sent..];
        sys::send_parts(socket, &[IoSlice::new(&left[..left.len().min(most)])])
    }

    /// Sends some of it, and no more than `most` bytes unless they go with a file. Says how many.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        let sent = self.send_first(socket, most);
        self.note(&sent);
        let count = sent?;
        self.sent += count;
        if self.parts.front().is_some_and(|first| self.sent == first.as_slice().len()) {
            let first = self.parts.pop_front();
            self.spent.extend(first.and_then(Part::into_long));
            self.sent = 0;
        }
        Ok(count)
    }

    /// Nothing more is sent.
    pub(super) fn clear(&mut self) {
        let unsent = self.parts.drain(..).filter_map(Part::into_long);
        self.spent.extend(unsent);
        (self.sent, self.refused) = (0, None);
    }

    pub(super) fn has_spent(&self) -> bool {
        !self.spent.is_empty()
    }

    /// The long contents that are not needed here any more.
    pub(super) fn take_spent(&mut self) -> Vec<Long> {
        std::mem::take(&mut self.spent)
    }
}

#[cfg(target_os = "linux")]
pub(super) fn share_frame(share: Share, has_file: bool) -> Vec<u8> {
    let content = share.to_bytes(has_file);
    let mut frame = (content.len() as u32 + 1).to_le_bytes().to_vec();
    frame.push(frame::SHARE);
    frame.extend_from_slice(&content);
    frame
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{io::Read, thread};

    use super::{
        super::{ControlChannel, ParentEnd, Record, SocketRequests, control::MOST_BYTES},
        *,
    };
    use crate::{portable::bytes::LongBytes, process::wire::frame};

    /// A worker that reads all the time makes room all the time; yet other threads get the lock between two turns.
    #[test]
    fn no_turn_sends_more_than_it_may() {
        let length = 32 * MOST_BYTES;
        let content: Vec<u8> = (0..length).map(|index| (index / 7) as u8).collect();
        let (control, mut worker) = ControlChannel::pair().unwrap();
        let mut parent = SocketRequests::new(control);
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            worker.read_to_end(&mut all).map(|_| all)
        });
        let long = Long::Argument(LongBytes::from(content.clone()));
        let at = long.as_slice().as_ptr();
        let mut before = 0;
        parent.push_with(Record::Run { definition: 1, items: 0, bytes: &[2] }, Some(long));
        let spent = loop {
            let sent = parent.control().delivered() - before;
            assert!(sent <= (MOST_BYTES + 64) as u64, "a turn has sent {sent} bytes");
            before += sent;
            if !parent.control().wants_to_send() {
                break parent.control().take_spent();
            }
            thread::yield_now();
            parent.control().flush();
        };
        assert!(matches!(&spent[..], [long] if long.as_slice().as_ptr() == at), "it is not freed where it was sent");
        drop(parent);
        let all = reader.join().unwrap().unwrap();
        // The length, the kind, the definition, the items, and what precedes the long part.
        assert_eq!(all.len(), 4 + 1 + 4 + 4 + 1 + length);
        assert!(all.ends_with(&content));
    }

    /// A socket that has room is ready all the time, so the supervisor would try again at once, and for ever.
    #[test]
    fn what_the_system_has_no_memory_for_is_not_sent_again_at_once() {
        const MANY: u32 = 1_000;
        let (mut control, mut worker) = ControlChannel::pair().unwrap();
        sys::refusals::begin(MANY);
        control.send_frame(frame::BYE, &[]);
        assert!(control.wants_to_send());
        for _ in 0..MANY {
            control.flush();
        }
        assert!(sys::refusals::left() > MANY / 2, "{} are left", sys::refusals::left());
        // Each pause is longer than the one before it, up to a limit, and each of these has one attempt.
        let mut attempts = 0;
        while let Some(again) = control.refused_until() {
            attempts += 1;
            if attempts == 9 {
                sys::refusals::begin(0);
            }
            let pause = again.saturating_duration_since(Instant::now());
            assert!(pause <= LONGEST_PAUSE);
            thread::sleep(pause);
            control.flush();
        }
        assert_eq!(attempts, 9);
        assert!(!control.wants_to_send());
        let mut bytes = [0; 5];
        worker.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, [1, 0, 0, 0, frame::BYE]);
    }

    /// Bytes behind a long content, or before it, are sent in their order; and what is not sent is not freed either.
    #[test]
    fn pieces_are_sent_in_their_order() {
        let (socket, mut worker) = std::os::unix::net::UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut outgoing = Outgoing::default();
        let long = |byte| Long::Argument(LongBytes::from(vec![byte; 10]));
        outgoing.push_bytes(b"ab");
        outgoing.push_bytes(b"");
        outgoing.push_long(long(b'1'));
        outgoing.push_long(long(b'2'));
        outgoing.push_bytes(b"c");
        outgoing.push_bytes(b"d");
        let mut sent = Vec::new();
        while !outgoing.is_empty() {
            let count = outgoing.send(std::os::fd::AsFd::as_fd(&socket), 4).unwrap();
            assert!((1..=4).contains(&count));
            let mut bytes = [0; 8];
            let read = worker.read(&mut bytes).unwrap();
            sent.extend_from_slice(&bytes[..read]);
        }
        assert_eq!(sent, b"ab11111111112222222222cd");
        assert_eq!(outgoing.take_spent().len(), 2);
        outgoing.push_long(long(b'3'));
        outgoing.clear();
        assert!(outgoing.is_empty());
        assert_eq!(outgoing.take_spent().len(), 1);
    }
}
