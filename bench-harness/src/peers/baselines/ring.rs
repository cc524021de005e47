//! Two rings between two processes, one there and one back, with as many messages under way as fit: the speed that a process
//! pool could reach if a task were one word, had no future, and no process could die.
//!
//! A reader that finds its ring empty spins for a while and then sleeps. No wake-up is lost: the reader announces that it
//! sleeps, then checks the ring again, then sleeps; the writer writes, then checks whether the reader sleeps. A full fence
//! stands between write and check on both sides, so that at least one side sees the other's write.

use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, Ordering, fence},
    time::{Duration, Instant},
};

use rustix::thread::futex;

use super::{
    Baseline,
    peer_process::{BACK, PeerProcess, ring_bell},
    shared::Line,
};

/// Messages in a ring.
const CAPACITY: u64 = 4096;
const PER_LINE: u64 = 8;
const SLOTS: usize = (CAPACITY / PER_LINE) as usize;

/// Lines of each ring: the writer's, the reader's, and the slots.
const RING: usize = 2 + SLOTS;
const FIRST: usize = BACK + 1;
pub(super) const LINES: usize = FIRST + 2 * RING;

/// How long the reader spins before it sleeps.
const SPIN: Duration = Duration::from_micros(20);

/// Sent in place of a message: the turn is over.
const END: u64 = u64::MAX;

struct Ring<'a> {
    /// `words[0]`: the number of messages written so far. Only the writer changes it.
    head: &'a Line,
    /// `bell`: 1 while the reader sleeps or is about to.
    reader: &'a Line,
    slots: &'a [Line],
    /// The number of messages that this side has written or read.
    count: u64,
}

impl<'a> Ring<'a> {
    fn new(lines: &'a [Line], index: usize) -> Self {
        let lines = &lines[FIRST + index * RING..][..RING];
        // ORDERING: Acquire; the count was set by the turn before this one, which has ended.
        let count = lines[0].words[0].load(Ordering::Acquire);
        Self { head: &lines[0], reader: &lines[1], slots: &lines[2..], count }
    }

    /// Writes a message. The caller makes sure that there is room.
    fn write(&mut self, message: u64) {
        let slot = self.count % CAPACITY;
        self.slots[(slot / PER_LINE) as usize].words[(slot % PER_LINE) as usize].store(message, Ordering::Relaxed);
        self.count += 1;
        // ORDERING: Release publishes the slot. The fence stands between this write and the check of the reader's bell, as
        // the module's documentation says.
        self.head.words[0].store(self.count, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.reader.bell.load(Ordering::Relaxed) == 1 && self.reader.bell.swap(0, Ordering::Relaxed) == 1 {
            ring_bell(&self.reader.bell);
        }
    }

    fn try_read(&mut self) -> Option<u64> {
        // ORDERING: Acquire; the slot was written before the count.
        if self.head.words[0].load(Ordering::Acquire) == self.count {
            return None;
        }
        let slot = self.count % CAPACITY;
        self.count += 1;
        Some(self.slots[(slot / PER_LINE) as usize].words[(slot % PER_LINE) as usize].load(Ordering::Relaxed))
    }

    fn read(&mut self) -> u64 {
        loop {
            let mut until = None;
            loop {
                if let Some(message) = self.try_read() {
                    return message;
                }
                let now = Instant::now();
                if now >= *until.get_or_insert(now + SPIN) {
                    break;
                }
                spin_loop();
            }
            self.sleep(&self.reader.bell);
        }
    }

    fn sleep(&self, bell: &AtomicU32) {
        bell.store(1, Ordering::Relaxed);
        // ORDERING: the fence stands between the write of the bell and the check of the ring, as the module's documentation
        // says.
        fence(Ordering::SeqCst);
        if self.head.words[0].load(Ordering::Acquire) == self.count {
            // The caller checks the ring again whatever the reason of the return.
            let _ = futex::wait(bell, futex::Flags::empty(), 1, None);
        }
        bell.store(0, Ordering::Relaxed);
    }
}

/// A peer process with its two rings.
pub(crate) struct Rings(PeerProcess);

impl Rings {
    pub(crate) fn start() -> Result<Self, String> {
        PeerProcess::start(Baseline::Ring, LINES).map(Self)
    }

    /// Messages per second, each sent there and received back.
    pub(crate) fn rate(&self, messages: u32) -> f64 {
        let lines = self.0.lines();
        let (mut there, mut back) = (Ring::new(lines, 0), Ring::new(lines, 1));
        self.0.wake();
        there.write(0);
        back.read();
        let start = Instant::now();
        let (mut sent, mut received) = (0, 0);
        while received < messages {
            // No more under way than either ring holds, so that neither side ever waits for room.
            while sent < messages && u64::from(sent - received) < CAPACITY / 2 {
                there.write(sent.into());
                sent += 1;
                if let Some(_answer) = back.try_read() {
                    received += 1;
                }
            }
            if received < messages {
                back.read();
                received += 1;
            }
        }
        let rate = f64::from(messages) / start.elapsed().as_secs_f64();
        there.write(END);
        back.read();
        rate
    }
}

/// One turn of the peer process.
pub(super) fn answer(lines: &[Line]) {
    // This side reads one ring and writes the other; the counts of both say how many messages were written.
    let (mut there, mut back) = (Ring::new(lines, 0), Ring::new(lines, 1));
    // Messages that were sent since this process was woken count as well; the parent began with equal counts.
    there.count = back.count;
    loop {
        let message = there.read();
        back.write(message);
        if message == END {
            return;
        }
    }
}
