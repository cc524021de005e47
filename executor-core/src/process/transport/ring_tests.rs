//! Both ends of the rings together, over loads that fill them in every way: nothing is pushed for which there is no room,
//! nothing is overwritten before it was read, and everything is answered.

use std::{
    collections::VecDeque,
    thread,
    time::{Duration, Instant},
};

use proptest::{collection::vec, prelude::*};

use super::{
    ControlChannel, Load, ParentEnd, Record, RecordOffset, ReplyHeader, ReplyKind, RingWorker, SocketWorker, WorkerEnd,
    layout::{CAPACITY, Header, INLINE, MIN_ROOM, in_ring, kind, offset, record_length},
    ring_pair,
    ring_parent::Rings,
};

/// For what must happen: a test that waits longer has failed.
const LONG: Duration = Duration::from_secs(60);

/// What is pushed for one request, and how long its answer is.
#[derive(Debug, Clone)]
struct Ask {
    /// Records without content before the definition, and before the request.
    bare: [usize; 2],
    bound: Option<usize>,
    length: usize,
    answer: usize,
    /// It is taken back at once, if the worker has not claimed it.
    is_revoked: bool,
    /// The worker is notified at once.
    is_rung: bool,
}

/// Lengths at which something changes, and others.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        0..100_usize,
        0..4096_usize,
        INLINE - 40..INLINE + 20,
        INLINE / 2..INLINE + 1,
        Just(INLINE),
        Just(200_000_usize),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let bare = || prop_oneof![Just(0_usize), 0..4_usize, 0..=256_usize, Just(256_usize)];
    let bound = prop_oneof![Just(None), length().prop_map(Some)];
    ([bare(), bare()], bound, length(), length(), any::<bool>(), any::<bool>()).prop_map(
        |(bare, bound, length, answer, is_revoked, is_rung)| Ask { bare, bound, length, answer, is_revoked, is_rung },
    )
}

/// Many short requests, whose answers fill the other ring before the parent reads them.
fn short_ask() -> impl Strategy<Value = Ask> {
    (ask(), 0..200_usize).prop_map(|(ask, length)| Ask { bare: [0, 0], bound: None, length, ..ask })
}

/// What a request, a configuration or an answer of this number and length is.
fn content(number: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![(number.wrapping_mul(0x9e37_79b9) >> 24) as u8; length];
    let last = length.min(4);
    bytes[length - last..].copy_from_slice(&number.to_le_bytes()[..last]);
    bytes
}

/// Answers every request, and checks that each is what was pushed.
fn work(end: &RingWorker, answers: &[Ask]) {
    let (mut body, mut definition) = (Vec::new(), None);
    while let Some(request) = end.next(&mut body).expect("the parent is there") {
        match request.record {
            Record::Define { definition: number, bound, .. } => {
                let bound = bound.expect("there is a configuration");
                assert!(bound == content(number, bound.len()), "configuration {number}");
                definition = Some(number);
            }
            Record::Run { definition: number, bytes, .. } => {
                let ask = &answers[number as usize];
                assert!(bytes == content(number, ask.length), "request {number}");
                assert!(ask.bound.is_none() || definition == Some(number), "each definition comes before its request");
                let mut output = end.room().expect("the parent is there");
                output.put(&content(number, ask.answer));
                let kind = ReplyKind::Done;
                let header = ReplyHeader { number: request.number, kind, items: 0, elapsed: 0 };
                end.send(output, header).expect("the parent is there");
            }
            Record::Share { .. } | Record::Forget { .. } => {}
        }
    }
}

/// What is pushed for a request: its contents, in order.
fn records(which: u32, ask: &Ask) -> (Option<Vec<u8>>, Vec<u8>) {
    (ask.bound.map(|length| content(which, length)), content(which, ask.length))
}

fn define(which: u32, bound: &Option<Vec<u8>>) -> Option<Record<'_>> {
    let bound = bound.as_deref()?;
    Some(Record::Define { definition: which, offset: 0, name_hash: 0, bound: Some(bound) })
}

fn load(ask: &Ask, define: Option<&Record<'_>>) -> Load {
    Load { bare: ask.bare.iter().sum(), contents: [define.map(Record::content), Some(ask.length), None] }
}

/// Pushes all that a request needs.
fn push(end: &mut Rings, which: u32, ask: &Ask, define: Option<Record<'_>>, bytes: &[u8]) -> RecordOffset {
    let bare = |end: &mut Rings, count| {
        for _ in 0..count {
            end.put(Header::new(0, 0, kind::PAD), [&[], &[]]);
        }
    };
    bare(end, ask.bare[0]);
    if let Some(define) = define {
        end.push(define);
    }
    bare(end, ask.bare[1]);
    end.push(Record::Run { definition: which, items: 0, bytes })
}

/// A request in flight at the worker: its number, its place, and which one it is; `None` once it was revoked.
type InFlight = VecDeque<(u64, RecordOffset, Option<u32>)>;

/// Takes what has come, and gives back what was answered.
fn receive(end: &mut impl ParentEnd, in_flight: &mut InFlight, asks: &[Ask]) -> usize {
    let (mut answered, mut released) = (0, None);
    end.control().flush();
    // As the supervisor does, which the socket wakes: the worker waits there with what neither ring nor outboxes have room for.
    assert!(end.control().receive_frames(&mut |_, _| {}).is_ok());
    let outcome = end.receive(&mut |reply| {
        while let Some((number, place, which)) = in_flight.pop_front() {
            released = Some((number, place));
            if let Some(which) = which {
                assert_eq!(number as u32, reply.number, "answers come in order");
                assert!(reply.bytes[..] == content(which, asks[which as usize].answer), "answer {which}");
                break;
            }
        }
        answered += 1;
        Ok(())
    });
    assert_eq!(outcome, Ok(()));
    if let Some((number, place)) = released {
        end.release(number, place);
    }
    if in_flight.iter().all(|(_, _, which)| which.is_none()) {
        in_flight.clear();
        end.release_all();
    }
    answered
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// The ring is as full as it may be all the time. `put` asserts that there is room; and the bytes in it stay what they were.
    #[test]
    fn nothing_is_pushed_that_there_is_no_room_for(asks in vec(ask(), 1..120)) {
        let (control, _socket) = ControlChannel::pair().unwrap();
        let (mut end, _files) = ring_pair(control).unwrap();
        let mut in_flight: VecDeque<(RecordOffset, Vec<u8>)> = VecDeque::new();
        let (mut released, mut pushed) = (0, 0);
        for (which, ask) in asks.iter().enumerate() {
            let which = which as u32;
            // A content that spills needs a socket with a reader.
            let ask = &Ask { bound: ask.bound.map(|length| length.min(INLINE - 16)), length: ask.length.min(INLINE), ..ask.clone() };
            let (bound, bytes) = records(which, ask);
            let define = define(which, &bound);
            while !end.has_room(load(ask, define.as_ref())) {
                let oldest = in_flight.pop_front();
                prop_assert!(oldest.is_some(), "an empty ring has room for everything");
                let (place, bytes) = oldest.unwrap();
                prop_assert!(end.bytes(place) == bytes, "what stands in the ring was overwritten");
                end.release(released, place);
                released += 1;
            }
            let lengths: Vec<usize> = load(ask, define.as_ref()).records().map(in_ring).map(record_length).collect();
            let place = push(&mut end, which, ask, define, &bytes);
            prop_assert!(end.keeps(1), "there was room for it");
            let all = lengths.iter().sum::<usize>();
            if offset(pushed) + all <= CAPACITY {
                prop_assert_eq!(place.end - pushed, all as u64, "the load is what is pushed");
            }
            pushed = place.end;
            in_flight.push_back((place, bytes));
        }
        for (place, bytes) in in_flight {
            prop_assert!(end.bytes(place) == bytes, "what stands in the ring was overwritten");
        }
    }

    /// The same for answers: the worker writes as long as it may, and the parent reads only then.
    #[test]
    fn no_answer_is_written_that_there_is_no_room_for(
        answers in prop_oneof![vec((length(), any::<bool>()), 1..80), vec((0..MIN_ROOM, prop::bool::weighted(0.02)), 60..200)],
    ) {
        let (control, socket) = ControlChannel::pair().unwrap();
        let (mut end, files) = ring_pair(control).unwrap();
        let worker = RingWorker::new(SocketWorker::new(socket, &[]), &files).unwrap();
        let (mut read, mut unread) = (0, 0);
        let mut receive = |end: &mut Rings| {
            end.receive(&mut |reply| {
                assert_eq!(reply.number, read, "answers come in order");
                assert!(reply.bytes[..] == content(read, answers[read as usize].0), "answer {read}");
                read += 1;
                Ok(())
            })
        };
        for (number, (length, reads)) in answers.iter().enumerate() {
            // What goes over the socket has to be read there before it is full: two answers may be outside of both.
            unread += usize::from(*length > MIN_ROOM);
            if *reads || *length > INLINE || unread > 4 {
                prop_assert_eq!(receive(&mut end), Ok(()));
                unread = 0;
            }
            let mut output = worker.try_room();
            if output.is_none() {
                prop_assert_eq!(receive(&mut end), Ok(()));
                output = worker.try_room();
            }
            let mut output = output.expect("an empty ring has room for everything");
            output.put(&content(number as u32, *length));
            let kind = ReplyKind::Done;
            worker.send(output, ReplyHeader { number: number as u32, kind, items: 0, elapsed: 0 }).unwrap();
        }
        prop_assert_eq!(receive(&mut end), Ok(()));
        prop_assert_eq!(read as usize, answers.len());
    }

    #[test]
    fn whatever_there_is_room_for_arrives_and_is_answered(
        asks in prop_oneof![vec(ask(), 1..60), vec(short_ask(), 1..60)],
    ) {
        let (control, socket) = ControlChannel::pair().unwrap();
        let (mut end, files) = ring_pair(control).unwrap();
        let there = asks.clone();
        let worker = thread::spawn(move || work(&RingWorker::new(SocketWorker::new(socket, &[]), &files).unwrap(), &there));
        let start = Instant::now();
        let mut in_flight = InFlight::new();
        let (mut expected, mut answered) = (0, 0);
        for (which, ask) in asks.iter().enumerate() {
            let which = which as u32;
            let (bound, bytes) = records(which, ask);
            let define = define(which, &bound);
            while !end.has_room(load(ask, define.as_ref())) {
                prop_assert!(start.elapsed() < LONG && !worker.is_finished(), "there will be room");
                end.notify(false);
                answered += receive(&mut end, &mut in_flight, &asks);
                thread::yield_now();
            }
            let place = push(&mut end, which, ask, define, &bytes);
            prop_assert!(end.keeps(1), "there was room for it");
            let revoked = ask.is_revoked && end.revoke(which.into());
            in_flight.push_back((which.into(), place, (!revoked).then_some(which)));
            expected += usize::from(!revoked);
            if ask.is_rung {
                end.notify(false);
            }
        }
        end.notify(false);
        while answered < expected {
            prop_assert!(start.elapsed() < LONG && !worker.is_finished(), "everything is answered");
            answered += receive(&mut end, &mut in_flight, &asks);
            thread::yield_now();
        }
        while !worker.is_finished() {
            prop_assert!(start.elapsed() < LONG, "it is told to go");
            receive(&mut end, &mut in_flight, &asks);
            end.say_goodbye();
            thread::yield_now();
        }
        worker.join().unwrap();
    }
}
