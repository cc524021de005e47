//! A worker that may write anything, anywhere it can, as a list of steps: whatever it does, the parent gets replies or an error,
//! and what the parent has pushed stays what it was. Tests make the steps at random, and the fuzzer makes them out of bytes.

use std::{
    io::Write,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{OnceLock, atomic::Ordering},
};

use arbitrary::Arbitrary;

use super::{
    ControlChannel, Load, NotifyPolicy, ParentEnd, Record, RecordOffset, Reply, SocketRequests,
    layout::{
        CAPACITY, HEADER, Header, INLINE, SLOTS, claim_word, claimed, kind, offset, record_length, replies, revoked,
    },
    ring_pair,
    ring_parent::Rings,
};
use crate::{
    process::wire::frame,
    shm::{MOST_BLOCKS, Reference},
    sys::{self, Mapping, Writable},
    untrusted::Malformed,
};

/// A step of either side.
#[derive(Debug, Clone, Arbitrary)]
pub(in crate::process) enum Step {
    /// The parent pushes a request with so many bytes.
    Push(u32),
    Ring,
    Receive,
    Unfinished,
    Revoke(u8),
    ReleaseAll,
    Raise(bool),
    /// The worker writes to one of its words ...
    Word(u8, u64),
    /// ... to a claim ...
    Claim(u8, u8, u64),
    /// ... a header somewhere in its ring ...
    Header(u16, u32, u32, u8, u32),
    /// ... or any bytes ...
    Bytes(u16, u64),
    /// ... says that there are so many more records to read ...
    Produce(u16),
    /// ... and sends something.
    Send(Vec<u8>),
    /// A frame of this kind.
    SendFrame(u8, Vec<u8>),
    /// A file beside a frame of this kind.
    SendFile(u8, File),
    /// A reply as a worker writes it, up to what is in it. It may go on behind the end of the ring.
    Reply(Answer),
    /// The ring is skipped up to so many records before its end.
    Skip(u8),
}

/// The content of a reply.
#[derive(Debug, Clone, Arbitrary)]
pub(in crate::process) struct Answer {
    pub(in crate::process) kind: u8,
    pub(in crate::process) number: u32,
    pub(in crate::process) items: u16,
    pub(in crate::process) content: Vec<u8>,
    /// Whether the worker has made it, its id and its length.
    pub(in crate::process) references: Vec<(bool, u8, u32)>,
}

/// A file that a worker sends in place of memory.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(in crate::process) enum File {
    /// The memory of its replies, which both can write to.
    Rings,
    /// A file that cannot be mapped.
    Socket,
    /// Segments that a result may refer to.
    Sealed,
}

/// Bytes in a [sealed](File::Sealed) file.
pub(in crate::process) const SEALED: usize = 100;

fn sealed() -> BorrowedFd<'static> {
    static FILE: OnceLock<OwnedFd> = OnceLock::new();
    FILE.get_or_init(|| match Mapping::create_sealed(SEALED, |bytes| bytes.fill(1)) {
        Ok((_, file)) => file,
        Err(_) => panic!("there is shared memory"),
    })
    .as_fd()
}

/// The worker's end of the socket. It never waits: what does not fit is not sent.
struct Worker {
    socket: UnixStream,
    rings: Mapping,
    file: OwnedFd,
    /// Bytes of replies that it says there are.
    produced: u64,
}

impl Worker {
    fn store(&self, at: usize, value: u64) {
        self.rings.long(at).store(value, Ordering::SeqCst);
    }

    fn send(&self, bytes: &[u8]) {
        let _ = (&self.socket).write(bytes);
    }

    fn send_frame(&self, kind: u8, body: &[u8]) {
        let mut frame = (body.len() as u32 + 1).to_le_bytes().to_vec();
        frame.push(kind);
        frame.extend_from_slice(body);
        self.send(&frame);
    }

    fn send_file(&self, kind: u8, file: File) {
        let file = match file {
            File::Rings => self.file.as_fd(),
            File::Socket => self.socket.as_fd(),
            File::Sealed => sealed(),
        };
        let _ = sys::send_with_fds(self.socket.as_fd(), &[1, 0, 0, 0, kind], &[file]);
    }

    fn put_header(&self, at: usize, header: Header) {
        for (index, word) in header.to_words().into_iter().enumerate() {
            self.store(replies::RING + at + 8 * index, word);
        }
    }

    /// Puts a reply where the parent expects the next one, and of its content what fits before the end of the ring.
    fn reply(&mut self, answer: Answer) {
        let Answer { kind: byte, number, items, mut content, references } = answer;
        let has_references = u32::from(byte) & kind::ATTACHED != 0;
        if has_references {
            for (from_worker, id, length) in references.iter().take(MOST_BLOCKS) {
                let length = u64::from(*length);
                content.extend(Reference { from_worker: *from_worker, id: u64::from(*id), length }.to_bytes());
                if *from_worker {
                    self.send_file(frame::FILE, File::Sealed);
                }
            }
            content.extend_from_slice(&(references.len().min(MOST_BLOCKS) as u32).to_le_bytes());
        }
        if u32::from(byte) & kind::SPILLED != 0 {
            self.send_frame(frame::DATA, &content);
            content.clear();
        }
        let at = offset(self.produced);
        let length = record_length(content.len());
        let header = Header::new(content.len(), number, byte.into());
        self.put_header(at, Header { items: items.into(), ..header });
        content.resize(content.len().next_multiple_of(8).min(CAPACITY - at - HEADER), 0);
        for (index, word) in content.chunks_exact(8).enumerate() {
            let word = word.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
            self.store(replies::RING + at + HEADER + 8 * index, word);
        }
        self.produce(length);
    }

    fn skip(&mut self, left: u8) {
        let at = offset(self.produced);
        let rest = (CAPACITY - at - HEADER).saturating_sub(usize::from(left) * HEADER);
        self.put_header(at, Header::new(rest, 0, kind::PAD));
        self.produce(record_length(rest));
    }

    fn produce(&mut self, length: usize) {
        self.produced = self.produced.wrapping_add(length as u64);
        self.store(replies::PRODUCED, self.produced);
    }

    fn write(&mut self, step: Step) {
        match step {
            Step::Word(word, value) => {
                let places = [replies::PRODUCED, replies::OPEN_AT, replies::OPEN, replies::SLEEPS_AT, replies::PASSED];
                let at = places[usize::from(word) % places.len()];
                if at.is_multiple_of(8) {
                    self.store(at, value);
                } else {
                    self.rings.word(at).store(value as u32, Ordering::SeqCst);
                }
            }
            Step::Claim(number, state, value) => {
                let number = u64::from(number);
                self.store(claim_word(number), [claimed(number), revoked(number), value][usize::from(state) % 3]);
            }
            Step::Header(at, length, number, kind, items) => {
                let at = usize::from(at) * HEADER % CAPACITY;
                self.put_header(at, Header { length, number, elapsed: 0, items: items >> 8, kind: kind.into() });
            }
            Step::Bytes(at, value) => self.store(replies::RING + 8 * usize::from(at) % CAPACITY, value),
            Step::Produce(records) => self.produce(usize::from(records) * HEADER),
            Step::Send(bytes) => self.send(&bytes),
            Step::SendFrame(kind, body) => self.send_frame(kind, &body),
            Step::SendFile(kind, file) => self.send_file(kind, file),
            Step::Reply(answer) => self.reply(answer),
            Step::Skip(left) => self.skip(left),
            Step::Push(_)
            | Step::Ring
            | Step::Receive
            | Step::Unfinished
            | Step::Revoke(_)
            | Step::ReleaseAll
            | Step::Raise(_) => {}
        }
    }
}

type Receiver<'a> = dyn FnMut(Reply<'_>) -> Result<(), Malformed> + 'a;

/// The parent's end of the rings, and the requests in it.
struct Parent {
    rings: Rings,
    pushed: Vec<(RecordOffset, Vec<u8>)>,
    requests: u64,
    /// What the worker has sent was malformed. Nothing more is read from it then, as the pool does it.
    is_cut: bool,
}

impl Parent {
    fn push(&mut self, length: u32) {
        let length = length as usize % (INLINE + 100);
        // A longer one goes over the socket, which no thread reads here.
        if self.rings.has_room(Load::one(length)) && (length <= INLINE || self.requests < 4) {
            let bytes: Vec<u8> = (0..length).map(|index| (index + self.pushed.len()) as u8).collect();
            let place = self.rings.push(Record::Run { definition: 1, items: 0, bytes: &bytes });
            self.pushed.push((place, bytes));
            self.requests += 1;
        }
    }

    fn receive(&mut self, receiver: &mut Receiver<'_>) {
        if self.is_cut {
            return;
        }
        let mut replies = 0;
        let outcome = self.rings.receive(&mut |reply| {
            replies += 1;
            // What is in an outbox is as long as the file that the worker sent.
            assert!(reply.bytes.len() <= CAPACITY.max(replies::LENGTH));
            assert!(reply.attached.len() <= MOST_BLOCKS);
            receiver(reply)
        });
        assert!(replies <= CAPACITY / HEADER);
        self.is_cut = outcome.is_err() || self.receive_frames().is_err();
    }

    fn receive_frames(&mut self) -> Result<bool, Malformed> {
        self.rings.control().receive_frames(&mut check_frame)
    }

    fn take(&mut self, step: &Step, receiver: &mut Receiver<'_>) {
        match step {
            Step::Push(length) => self.push(*length),
            Step::Ring => self.rings.notify(false),
            Step::Receive => self.receive(receiver),
            Step::Unfinished => {
                let unfinished = self.rings.unfinished();
                assert!(unfinished.is_none_or(|(_, bytes)| bytes.len() <= CAPACITY));
            }
            Step::Revoke(number) => {
                let number = u64::from(*number);
                let was_claimed = self.rings.is_claimed(number);
                assert_eq!(self.rings.revoke(number), !was_claimed);
            }
            Step::ReleaseAll => {
                // What is given back may be overwritten, and is not asked for again.
                self.pushed.clear();
                self.rings.release_all();
            }
            Step::Raise(always) => {
                self.rings.set_notify_policy(if *always { NotifyPolicy::Always } else { NotifyPolicy::BeforeSleep })
            }
            _ => {}
        }
    }

    fn check(&self) {
        for (place, bytes) in self.pushed.iter().filter(|(_, bytes)| self.rings.keeps(bytes.len())) {
            assert!(self.rings.bytes(*place) == *bytes, "the parent's own memory has changed");
        }
    }
}

/// A frame for the pool is one that some worker or fork server sends, and no longer than those are.
fn check_frame(kind: u8, body: &[u8]) {
    assert!(body.len() < frame::longest(kind) && kind != frame::DATA && kind != frame::KICK, "frame {kind}");
}

/// The steps, over the transport in shared memory.
pub(in crate::process) fn over_rings(steps: impl IntoIterator<Item = Step>, receiver: &mut Receiver<'_>) {
    const { assert!(SLOTS > u8::MAX as usize, "each number that a step names has a claim of its own") };
    let Ok((control, socket)) = ControlChannel::pair() else { return };
    let Ok((rings, [_, file])) = ring_pair(control) else { return };
    let Ok(memory) = Mapping::open(file.as_fd(), replies::LENGTH, Writable::Everywhere) else { return };
    assert!(socket.set_nonblocking(true).is_ok());
    let mut parent = Parent { rings, pushed: Vec::new(), requests: 0, is_cut: false };
    let mut worker = Worker { socket, rings: memory, file, produced: 0 };
    for step in steps {
        parent.take(&step, receiver);
        worker.write(step);
        parent.check();
    }
    parent.receive(receiver);
}

/// The steps that send something, over the transport that is a socket.
pub(in crate::process) fn over_socket(steps: impl IntoIterator<Item = Step>, receiver: &mut Receiver<'_>) {
    let Ok((control, socket)) = ControlChannel::pair() else { return };
    // What the worker sends in place of its rings; it has none.
    let Ok((memory, file)) = Mapping::create(replies::LENGTH, Writable::Everywhere) else { return };
    assert!(socket.set_nonblocking(true).is_ok());
    let mut parent = SocketRequests::new(control);
    let mut worker = Worker { socket, rings: memory, file, produced: 0 };
    for step in steps {
        let is_looked_for = matches!(step, Step::Receive);
        worker.write(step);
        if is_looked_for && receive_over_socket(&mut parent, receiver).is_err() {
            return;
        }
    }
    drop(worker);
    let _ = receive_over_socket(&mut parent, receiver);
}

fn receive_over_socket(parent: &mut SocketRequests, receiver: &mut Receiver<'_>) -> Result<(), Malformed> {
    let before = parent.taken();
    parent.control().receive_frames(&mut check_frame)?;
    let mut bytes = 0;
    let outcome = parent.receive(&mut |reply| {
        bytes += reply.bytes.len() as u64;
        receiver(reply)
    });
    assert!(parent.taken() >= before && bytes <= parent.taken(), "nothing is received that was not read");
    outcome
}
