//! Two rings between two processes, one there and one back, with as many messages under way as fit: what a process pool could
//! do if a task were one word, without a future, and without anybody who may die.
//!
//! Who finds nothing looks for a while and then sleeps. No wake-up is lost: the sleeper says that it sleeps, then looks again,
//! then sleeps; the writer writes, then looks whether anybody sleeps. Between write and look stands a full fence on both
//! sides, so that at least one of them sees the other.

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

/// Of each ring: the writer's line, the reader's line, and the slots.
const RING: usize = 2 + SLOTS;
const FIRST: usize = BACK + 1;
pub(super) const LINES: usize = FIRST + 2 * RING;

/// How long to look before sleeping.
const LOOK: Duration = Duration::from_micros(20);

/// In place of a message: the turn is over.
const END: u64 = u64::MAX;

struct Ring<'a> {
    /// `words[0]`: how many were written. Written by the writer.
    head: &'a Line,
    /// `bell`: 1 while the reader sleeps or is about to.
    reader: &'a Line,
    slots: &'a [Line],
    /// How many this side has written or read.
    count: u64,
}

impl<'a> Ring<'a> {
    fn new(lines: &'a [Line], index: usize) -> Self {
        let lines = &lines[FIRST + index * RING..][..RING];
        // ORDERING: set by the turn before this one, which has ended.
        let count = lines[0].words[0].load(Ordering::Acquire);
        Self { head: &lines[0], reader: &lines[1], slots: &lines[2..], count }
    }

    /// The caller makes sure that there is room.
    fn write(&mut self, message: u64) {
        let slot = self.count % CAPACITY;
        self.slots[(slot / PER_LINE) as usize].words[(slot % PER_LINE) as usize].store(message, Ordering::Relaxed);
        self.count += 1;
        // ORDERING: Release, for the slot; then the fence of the module's text.
        self.head.words[0].store(self.count, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.reader.bell.load(Ordering::Relaxed) == 1 && self.reader.bell.swap(0, Ordering::Relaxed) == 1 {
            ring_bell(&self.reader.bell);
        }
    }

    fn try_read(&mut self) -> Option<u64> {
        // ORDERING: Acquire, for the slot.
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
                if now >= *until.get_or_insert(now + LOOK) {
                    break;
                }
                spin_loop();
            }
            self.sleep(&self.reader.bell);
        }
    }

    fn sleep(&self, bell: &AtomicU32) {
        bell.store(1, Ordering::Relaxed);
        // ORDERING: the fence of the module's text.
        fence(Ordering::SeqCst);
        if self.head.words[0].load(Ordering::Acquire) == self.count {
            // Whatever it returns for, the ring is looked at again.
            let _ = futex::wait(bell, futex::Flags::empty(), 1, None);
        }
        bell.store(0, Ordering::Relaxed);
    }
}

/// A peer with its two rings.
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

/// One turn of the second process.
pub(super) fn answer(lines: &[Line]) {
    // The reader of one and the writer of the other: both have as many messages behind them as were written.
    let (mut there, mut back) = (Ring::new(lines, 0), Ring::new(lines, 1));
    // What has been sent since this process was woken counts as well; the first process began with equal counts.
    there.count = back.count;
    loop {
        let message = there.read();
        back.write(message);
        if message == END {
            return;
        }
    }
}
