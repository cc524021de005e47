//! The parent's ends against a worker that may write anything, anywhere it can: whatever comes is a reply or malformed, and
//! what the parent has pushed stays what it was.

use std::{io::Write, os::fd::AsFd};

use proptest::{collection::vec, prelude::*};

use super::{
    ControlChannel, Load, NotifyPolicy, ParentEnd, Record, RecordOffset, SocketRequests,
    layout::{CAPACITY, HEADER, Header, INLINE, claim_word, claimed, kind, replies, revoked},
    ring_pair,
};
use crate::{
    codec,
    process::wire::{frame, handshake::Hello},
    shm::{MOST_BLOCKS, Reference, Share},
    sys::{self, Mapping, Writable},
    untrusted::Malformed,
};

/// Something that either side does.
#[derive(Debug, Clone)]
enum Step {
    /// The parent pushes a request with so many bytes.
    Push(usize),
    Ring,
    Receive,
    Unfinished,
    Revoke(u8),
    ReleaseAll,
    Raise(bool),
    /// The worker writes to one of its words ...
    Word(usize, u64),
    /// ... to a claim ...
    Claim(u8, u8, u64),
    /// ... a header somewhere in its ring ...
    Header(usize, u32, u32, u8, u32),
    /// ... or any bytes ...
    Bytes(usize, u64),
    /// ... says that there is so much more to read ...
    Produce(u64),
    /// ... and sends something.
    Send(Vec<u8>),
    /// ... or a file beside a frame: its own memory, or what nobody can map.
    SendFile(u8, bool),
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..64_u64, (0..2 * CAPACITY as u64), (u64::MAX - 64..=u64::MAX)]
}

fn step() -> impl Strategy<Value = Step> {
    let kinds = prop::sample::select(vec![
        kind::DONE,
        kind::FAILED,
        kind::PART,
        kind::PAD,
        kind::DONE | kind::SPILLED,
        kind::PART | kind::SPILLED,
        kind::DONE | kind::OUT,
        kind::DONE | kind::ATTACHED,
        kind::DONE | kind::OUT | kind::ATTACHED,
        kind::DONE | kind::SPILLED | kind::ATTACHED,
        0,
        255,
    ]);
    let lengths = prop_oneof![0..64_u32, (0..CAPACITY as u32 + 64), (u32::MAX - 64..=u32::MAX)];
    let frame = (prop_oneof![Just(32_u8), any::<u8>()], vec(any::<u8>(), 0..40)).prop_map(|(kind, body)| {
        let mut frame = (body.len() as u32 + 1).to_le_bytes().to_vec();
        frame.push(kind);
        frame.extend(body);
        frame
    });
    prop_oneof![
        prop_oneof![0..200_usize, 0..INLINE + 100].prop_map(Step::Push),
        Just(Step::Ring),
        Just(Step::Receive),
        Just(Step::Unfinished),
        any::<u8>().prop_map(Step::Revoke),
        Just(Step::ReleaseAll),
        any::<bool>().prop_map(Step::Raise),
        (0..5_usize, number()).prop_map(|(word, value)| Step::Word(word, value)),
        (any::<u8>(), 0..3_u8, number()).prop_map(|(request, state, value)| Step::Claim(request, state, value)),
        (0..64_usize, lengths, any::<u32>(), kinds, any::<u32>())
            .prop_map(|(at, length, number, kind, items)| Step::Header(at, length, number, kind as u8, items)),
        (0..CAPACITY / 8, number()).prop_map(|(at, value)| Step::Bytes(at, value)),
        prop_oneof![0..8_u64, 0..=(CAPACITY / HEADER) as u64].prop_map(Step::Produce),
        prop_oneof![frame, vec(any::<u8>(), 0..40)].prop_map(Step::Send),
        (prop_oneof![Just(frame::FILE), any::<u8>()], any::<bool>())
            .prop_map(|(kind, ours)| Step::SendFile(kind, ours)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_a_worker_writes_harms_the_parent(steps in vec(step(), 1..80)) {
        let (control, mut socket) = ControlChannel::pair().unwrap();
        let (mut rings, [_, file]) = ring_pair(control).unwrap();
        let worker = Mapping::open(file.as_fd(), replies::LENGTH, Writable::Everywhere).unwrap();
        let mut pushed: Vec<(RecordOffset, Vec<u8>)> = Vec::new();
        let mut produced = 0_u64;
        let mut sane = true;
        for step in steps {
            match step {
                Step::Push(length) => {
                    if rings.has_room(Load::one(length)) {
                        let bytes: Vec<u8> = (0..length).map(|index| (index + pushed.len()) as u8).collect();
                        let place = rings.push(Record::Run { definition: 1, items: 0, bytes: &bytes });
                        pushed.push((place, bytes));
                    }
                }
                Step::Ring => rings.notify(false),
                Step::Receive => {
                    let mut replies = 0;
                    // Afterwards nothing more is read from it, as the pool does it.
                    sane = sane && rings.receive(&mut |reply| {
                        replies += 1;
                        // What is in an outbox is as long as the file that the worker sent.
                        assert!(reply.bytes.len() <= CAPACITY.max(replies::LENGTH));
                        assert!(reply.attached.len() <= CAPACITY / Reference::LENGTH);
                        Ok(())
                    }).is_ok();
                    prop_assert!(replies <= CAPACITY / HEADER);
                }
                Step::Unfinished => {
                    let unfinished = rings.unfinished();
                    prop_assert!(unfinished.is_none_or(|(_, bytes)| bytes.len() <= CAPACITY));
                }
                Step::Revoke(number) => {
                    let number = u64::from(number);
                    let was_claimed = rings.is_claimed(number);
                    prop_assert_eq!(rings.revoke(number), !was_claimed);
                }
                Step::ReleaseAll => {
                    // What is given back may be overwritten, and is not asked for again.
                    pushed.clear();
                    rings.release_all();
                }
                Step::Raise(always) => rings.set_notify_policy(if always { NotifyPolicy::Always } else { NotifyPolicy::BeforeSleep }),
                Step::Word(word, value) => {
                    let places =
                        [replies::PRODUCED, replies::OPEN_AT, replies::OPEN, replies::SLEEPS_AT, replies::PASSED];
                    if places[word].is_multiple_of(8) {
                        worker.long(places[word]).store(value, std::sync::atomic::Ordering::SeqCst);
                    } else {
                        worker.word(places[word]).store(value as u32, std::sync::atomic::Ordering::SeqCst);
                    }
                }
                Step::Claim(number, state, value) => {
                    let number = u64::from(number);
                    let value = [claimed(number), revoked(number), value][usize::from(state)];
                    worker.long(claim_word(number)).store(value, std::sync::atomic::Ordering::SeqCst);
                }
                Step::Header(at, length, number, kind, items) => {
                    let header = Header { length, number, elapsed: 0, items: items >> 8, kind: kind.into() };
                    for (index, word) in header.to_words().into_iter().enumerate() {
                        let at = replies::RING + at * HEADER + 8 * index;
                        worker.long(at).store(word, std::sync::atomic::Ordering::SeqCst);
                    }
                }
                Step::Bytes(at, value) => {
                    worker.long(replies::RING + 8 * at).store(value, std::sync::atomic::Ordering::SeqCst);
                }
                Step::Produce(records) => {
                    produced += records * HEADER as u64;
                    worker.long(replies::PRODUCED).store(produced, std::sync::atomic::Ordering::SeqCst);
                }
                Step::Send(bytes) => socket.write_all(&bytes).unwrap(),
                Step::SendFile(kind, ours) => {
                    let file = if ours { file.as_fd() } else { socket.as_fd() };
                    sys::send_with_fds(socket.as_fd(), &[1, 0, 0, 0, kind], &[file]).unwrap();
                }
            }
            for (place, bytes) in pushed.iter().filter(|(_, bytes)| rings.keeps(bytes.len())) {
                prop_assert!(rings.bytes(*place) == *bytes, "the parent's own memory has changed");
            }
        }
    }

    #[test]
    fn any_bytes_are_a_reference_a_share_or_a_greeting_or_an_error(bytes in vec(prop_oneof![0..3_u8, any::<u8>()], 0..80)) {
        if let Some(reference) = Reference::from_bytes(&bytes) {
            prop_assert_eq!(Reference::from_bytes(&reference.to_bytes()), Some(reference));
        }
        if let Ok((share, has_file)) = Share::from_bytes(&bytes) {
            prop_assert_eq!(Share::from_bytes(&share.to_bytes(has_file)), Ok((share, has_file)));
        }
        // Neither panics, nor allocates for what is only announced.
        let _ = codec::decode::<Hello>(&bytes);
        let _ = codec::decode::<crate::TaskError>(&bytes);
        let _ = codec::decode::<crate::SharedBytes>(&bytes);
    }

    #[test]
    fn nothing_that_a_worker_sends_harms_the_parent(
        writes in vec(prop_oneof![vec(prop_oneof![0..40_u8, any::<u8>()], 0..60)], 1..10),
    ) {
        let (control, mut socket) = ControlChannel::pair().unwrap();
        let mut parent = SocketRequests::new(control);
        let sent: usize = writes.iter().map(Vec::len).sum();
        let mut received = 0;
        for bytes in writes {
            socket.write_all(&bytes).unwrap();
            let frames = parent.control().receive_frames(&mut |_, body| received += body.len());
            let replies = parent.receive(&mut |reply| {
                received += reply.bytes.len();
                Ok(())
            });
            if frames.is_err() || replies.is_err() {
                break;
            }
        }
        prop_assert!(received <= sent);
    }
}

#[test]
fn a_reply_refers_to_no_more_than_one_value_can() {
    let (mut parent, _socket) = ControlChannel::pair().unwrap();
    let mut take = |count: usize| {
        let mut bytes = Reference { from_worker: false, id: 1, length: 1 }.to_bytes().repeat(count);
        bytes.extend_from_slice(&(count as u32).to_le_bytes());
        parent.take_attached(&mut bytes.into()).map(|attached| attached.map(|attached| attached.len()))
    };
    assert_eq!(take(MOST_BLOCKS), Ok(Some(MOST_BLOCKS)));
    assert_eq!(take(MOST_BLOCKS + 1), Err(Malformed));
}
