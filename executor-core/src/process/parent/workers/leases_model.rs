//! The whole life of shared memory, driven at random: a program, its requests and configurations, and workers that decode late,
//! keep what they were given, return it, lose files, violate the protocol, and die at any step. The store, the leases, the
//! definitions and the workers' tables are the real ones, and so is the memory: each segment is full of one byte, and each process
//! that may read it finds that byte and no other.

use std::{
    collections::{HashMap, VecDeque},
    os::unix::net::UnixStream,
    sync::Arc,
};

mod channel;

use channel::{Channel, LENGTH, Random, Segment, Sent, Told};

use super::{definitions::Definitions, leases::Leases};
use crate::{
    configuration::Bound,
    pins::Pins,
    portable::request::Request,
    process::{
        transport::{ControlChannel, ParentEnd},
        wire::frame::DEFINITIONS,
        worker::entry::EntryOf,
    },
    shm::{
        Attached, Block, Reference, Use,
        borrowed::Borrower,
        store::{self, Fresh},
    },
};

/// A request as the parent has it.
struct InFlightRequest {
    number: u64,
    /// Pins what it refers to; nothing when it was revoked.
    request: Option<(Request, Pins)>,
}

struct WorkerHandle {
    // The parent's side.
    leases: Leases,
    definitions: Definitions,
    channel: Channel,
    in_flight: VecDeque<InFlightRequest>,
    next_number: u64,
    // Its own side.
    borrower: Borrower,
    known: Vec<Told>,
    /// What the request that it runs has decoded, and its number.
    running: Option<(u64, Vec<Segment>)>,
    kept: Vec<Segment>,
    /// Segments whose file it could not take when they came last, and at which step.
    lost: HashMap<u64, usize>,
    asleep_until: usize,
}

impl WorkerHandle {
    fn new() -> Self {
        let (control, other) = ControlChannel::pair().unwrap();
        let (leases, counts) = Leases::new(Arc::new(UnixStream::pair().unwrap().0)).unwrap();
        Self {
            leases,
            definitions: Definitions::default(),
            channel: Channel { sent: VecDeque::new(), control, _other: other },
            in_flight: VecDeque::new(),
            next_number: 0,
            borrower: Borrower::new(&counts).unwrap(),
            known: vec![Told::new(); DEFINITIONS],
            running: None,
            kept: Vec::new(),
            lost: HashMap::new(),
            asleep_until: 0,
        }
    }

    /// Resolves what it was told, and looks at it. What it cannot resolve it has lost, and the parent did not know that when it
    /// sent the request.
    fn decode(&self, told: &Told, told_at: usize) -> Vec<Segment> {
        let decode = |(reference, byte): &(Reference, u8)| match self.borrower.find(*reference) {
            Ok(block) => {
                let segment = Segment(block, *byte);
                segment.check();
                Some(segment)
            }
            Err(why) => {
                let lost_at = self.lost.get(&reference.id);
                assert!(lost_at.is_some_and(|lost_at| *lost_at >= told_at), "{why}: {lost_at:?}, told at {told_at}");
                None
            }
        };
        told.iter().filter_map(decode).collect()
    }
}

struct Model {
    random: Random,
    step: usize,
    next_byte: u8,
    held: Vec<Segment>,
    fresh: Vec<Fresh>,
    configurations: Vec<(Arc<Bound>, Told)>,
    workers: Vec<WorkerHandle>,
    counts: [usize; 6],
    /// All segments that were made.
    made: Vec<u64>,
}

fn told(segments: &[Segment]) -> Told {
    segments.iter().map(|segment| (segment.0.reference(), segment.1)).collect()
}

fn pins(segments: &[Segment]) -> Pins {
    Pins::collect(|| segments.iter().for_each(|segment| assert!(Pins::add_block(&segment.0)))).1
}

fn task(x: u8) -> u8 {
    x
}

fn entry<F: crate::Task<u8, M, Output = u8>, M>(_: F) -> &'static crate::portable::entry::Entry {
    EntryOf::<F, u8, M>::ENTRY
}

impl Model {
    fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            step: 0,
            next_byte: 1,
            held: Vec::new(),
            fresh: Vec::new(),
            configurations: Vec::new(),
            workers: (0..3).map(|_| WorkerHandle::new()).collect(),
            counts: [0; 6],
            made: Vec::new(),
        }
    }

    fn finish(&mut self, mut fresh: Fresh) {
        self.next_byte = self.next_byte.wrapping_add(1);
        fresh.bytes_mut().fill(self.next_byte);
        self.held.push(Segment(Block::Held(fresh.into_holder()), self.next_byte));
    }

    fn some_segments(&mut self) -> Vec<Segment> {
        let all = self.held.len();
        (0..self.random.below(3).min(all)).map(|_| self.held[self.random.below(all)].clone()).collect()
    }

    /// A worker does nothing for a while, everything in flight at it is cancelled, and so many configurations come that the numbers
    /// of all that it was told are taken by others before it has read them.
    fn flood(&mut self, index: usize) {
        self.workers[index].asleep_until = self.step + 300;
        for _ in 0..=DEFINITIONS {
            self.step += 1;
            let bound = Arc::new(Bound { id: self.step as u64, bytes: Vec::new(), _pins: Pins::default() });
            self.send(index, &[], Some((bound, Told::new())));
        }
        let worker = &mut self.workers[index];
        let running = worker.running.as_ref().map(|(number, _)| *number);
        worker.in_flight.iter_mut().filter(|it| Some(it.number) != running).for_each(|it| it.request = None);
        self.configurations.clear();
    }

    fn submit(&mut self) {
        let segments = self.some_segments();
        let bound = if self.random.is(2) && !self.configurations.is_empty() {
            let index = self.random.below(self.configurations.len());
            Some(self.configurations[index].clone())
        } else {
            None
        };
        let index = self.random.below(self.workers.len());
        self.send(index, &segments, bound);
    }

    fn send(&mut self, index: usize, segments: &[Segment], bound: Option<(Arc<Bound>, Told)>) {
        let worker = &mut self.workers[index];
        let pins = pins(segments);
        let request = Request {
            entry: entry(task),
            bound: bound.as_ref().map(|(bound, _)| Arc::clone(bound)),
            ticket: 0,
            extras: None,
        };
        worker.leases.share(&pins, &mut worker.channel).unwrap();
        let has_all = request.bound.as_ref().is_none_or(|bound| worker.leases.has_all(&bound._pins));
        let definition = match worker.definitions.find(&request) {
            Some(definition) if has_all => definition,
            _ => {
                if let Some(bound) = &request.bound {
                    worker.leases.share(&bound._pins, &mut worker.channel).unwrap();
                }
                let definition = worker.definitions.put(&request, worker.next_number);
                let told = bound.map(|(_, told)| told).unwrap_or_default();
                worker.channel.sent.push_back(Sent::Define(definition as usize, told));
                definition
            }
        };
        let (number, step) = (worker.next_number, self.step);
        worker.next_number += 1;
        let sent = Sent::Run { number, definition: definition as usize, told: told(segments), step };
        worker.channel.sent.push_back(sent);
        worker.in_flight.push_back(InFlightRequest { number, request: Some((request, pins)) });
    }

    /// Revokes a request that the worker has not claimed.
    fn cancel(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        let running = worker.running.as_ref().map(|(number, _)| *number);
        let open: Vec<usize> =
            (0..worker.in_flight.len()).filter(|at| Some(worker.in_flight[*at].number) != running).collect();
        if !open.is_empty() {
            worker.in_flight[open[self.random.below(open.len())]].request = None;
        }
        if worker.in_flight.iter().all(|in_flight| in_flight.request.is_none()) && worker.running.is_none() {
            worker.in_flight.clear();
            if worker.channel.release_all() {
                worker.definitions.passed_all();
            }
        }
    }

    /// The worker takes the next record.
    fn work(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        if worker.asleep_until > self.step {
            return;
        }
        if worker.running.is_some() {
            return self.answer(index);
        }
        match worker.channel.sent.pop_front() {
            Some(Sent::Share(share, file)) => {
                let is_lost = self.random.is(8);
                if is_lost {
                    self.counts[0] += 1;
                    worker.lost.insert(share.id, self.step);
                } else {
                    worker.lost.remove(&share.id);
                }
                worker.borrower.accept(share, (!is_lost).then_some(file));
            }
            Some(Sent::Forget(id)) => worker.borrower.forget(id),
            Some(Sent::Define(number, told)) => {
                // It may decode it at once, whether or not the request behind it was cancelled meanwhile.
                if self.random.is(2) {
                    drop(worker.decode(&told, 0));
                }
                worker.known[number] = told;
            }
            Some(Sent::Run { number, definition, told, step }) => {
                let is_revoked = worker
                    .in_flight
                    .iter()
                    .find(|in_flight| in_flight.number == number)
                    .is_none_or(|it| it.request.is_none());
                if !is_revoked {
                    let mut segments = worker.decode(&told, step);
                    segments.extend(worker.decode(&worker.known[definition], step));
                    self.counts[1] += 1;
                    worker.running = Some((number, segments));
                }
            }
            None => {}
        }
    }

    /// The worker answers the request that it runs, with some of what it has.
    fn answer(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        let Some((number, segments)) = worker.running.take() else { return };
        segments.iter().for_each(Segment::check);
        let mut answer: Vec<Segment> = Vec::new();
        for segment in &segments {
            if self.random.is(3) {
                worker.kept.push(segment.clone());
            }
        }
        let has = segments.iter().chain(&worker.kept);
        for segment in has.filter(|_| self.random.is(6)) {
            segment.0.hand_over();
            answer.push(segment.clone());
        }
        let references = told(&answer);
        drop((segments, answer));
        // The parent takes it.
        let mut attached = Attached::new();
        for (reference, byte) in references {
            worker.leases.attach(&mut attached, reference, None).unwrap();
            let block = attached.last().unwrap().1.clone().unwrap();
            self.counts[2] += 1;
            self.held.push(Segment(block, byte));
        }
        while worker.in_flight.front().is_some_and(|in_flight| in_flight.number <= number) {
            worker.in_flight.pop_front();
        }
        worker.definitions.passed(number);
    }

    /// A worker says that it returns something, with whatever count it likes. It is not seen again.
    fn forge(&mut self, index: usize) {
        let newest =
            self.fresh.iter().map(|fresh| fresh.id()).chain(self.held.iter().map(|segment| segment.0.reference().id));
        let ids: Vec<u64> = newest.collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.random.below(ids.len())];
        let is_fresh = self.fresh.iter().any(|fresh| fresh.id() == id);
        let worker = &mut self.workers[index];
        let counts = self.random.is(4);
        if !counts {
            worker.leases.forge_counts(7);
        }
        let reference = Reference { from_worker: false, id, length: LENGTH as u64 };
        let mut attached = Attached::new();
        if worker.leases.attach(&mut attached, reference, None).is_ok() {
            assert!(!is_fresh, "a worker has returned what is being written");
            let block = attached.pop().unwrap().1.unwrap();
            let byte = block.bytes()[0];
            self.held.push(Segment(block, byte));
            self.counts[3] += 1;
        }
        self.counts[4] += usize::from(is_fresh);
        self.workers[index] = WorkerHandle::new();
    }

    fn step(&mut self) {
        self.step += 1;
        let index = self.random.below(self.workers.len());
        match self.random.below(40) {
            0..4 if self.held.len() < 40 => {
                let purpose = [Use::Shared, Use::Shared, Use::Argument, Use::Private][self.random.below(4)];
                if let Some(mut fresh) = store::make(LENGTH, purpose) {
                    fresh.bytes_mut().fill(0);
                    self.made.push(fresh.id());
                    if self.random.is(2) { self.fresh.push(fresh) } else { self.finish(fresh) }
                }
            }
            4..6 => {
                if let Some(fresh) = self.fresh.pop() {
                    if self.random.is(5) { drop(fresh) } else { self.finish(fresh) }
                }
            }
            6..10 if !self.held.is_empty() => {
                let at = self.random.below(self.held.len());
                drop(self.held.swap_remove(at));
            }
            10..13 => {
                let segments = self.some_segments();
                let bound = Bound { id: self.step as u64, bytes: Vec::new(), _pins: pins(&segments) };
                self.configurations.push((Arc::new(bound), told(&segments)));
                if self.configurations.len() > 6 {
                    let at = self.random.below(self.configurations.len());
                    drop(self.configurations.swap_remove(at));
                }
            }
            13..21 if self.workers[index].channel.sent.len() < 300 => self.submit(),
            21..23 => self.cancel(index),
            23..35 => self.work(index),
            35 => {
                let kept = &mut self.workers[index].kept;
                if !kept.is_empty() {
                    kept.swap_remove(self.random.below(kept.len()));
                }
            }
            36 if self.made.is_empty() || self.random.is(2) => store::sweep(),
            36 => store::come_late(self.made[self.random.below(self.made.len())]),
            37 => {
                let preallocated = store::preallocated();
                let worker = &mut self.workers[index];
                worker.leases.tell_to_forget(&mut worker.channel);
                worker.leases.offer(&preallocated, worker.next_number, &mut worker.channel);
            }
            38 if self.random.is(8) => self.forge(index),
            38 if self.random.is(4) && self.workers[index].channel.sent.len() < 300 => self.flood(index),
            // It dies, whatever it was doing.
            39 if self.random.is(10) => {
                self.counts[5] += 1;
                self.workers[index] = WorkerHandle::new();
            }
            _ => {}
        }
        self.check();
    }

    fn check(&self) {
        self.held.iter().for_each(Segment::check);
        for worker in &self.workers {
            worker.kept.iter().for_each(Segment::check);
            worker.running.iter().flat_map(|(_, segments)| segments).for_each(Segment::check);
        }
    }
}

#[test]
fn a_reader_of_a_segment_finds_what_was_written_for_it() {
    let mut counts = [0; 6];
    for seed in 1..=6_u64 {
        let mut model = Model::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for _ in 0..6000 {
            model.step();
        }
        let made = std::mem::take(&mut model.made);
        let tried = model.counts;
        drop(model);
        store::sweep();
        assert!(made.into_iter().all(store::is_free), "a segment without a holder is not free");
        counts.iter_mut().zip(tried).for_each(|(all, one)| *all += one);
    }
    // What it is meant to try has happened: losses, decodings, returns, false returns, false returns of what is being written,
    // deaths.
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}
