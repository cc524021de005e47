//! One message there and one back, at a time, between two threads or two processes.

use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{Baseline, need_two_cores};
#[cfg(target_os = "linux")]
use super::{
    peer_process::{BACK, LINES, PeerProcess, STOP, THERE, ring_bell, wait_until_other},
    pipe::Pipes,
};
use crate::stats::nanos;

/// Trips before the first that counts, in which the peer wakes up.
pub(crate) const WARM_UP: u32 = 50;

/// The longest that the trips may take: where no core is free, a trip can take milliseconds, and fewer are made.
const LONGEST: Duration = Duration::from_millis(200);

/// A ping-pong that can be measured again and again, and takes no CPU time in between.
pub(crate) struct PingPong(Parties);

enum Parties {
    Threads,
    #[cfg(target_os = "linux")]
    Spin(PeerProcess),
    #[cfg(target_os = "linux")]
    Futex(PeerProcess),
    #[cfg(target_os = "linux")]
    Pipe(Pipes),
}

impl PingPong {
    /// Starts the second party, where it is a process.
    pub(crate) fn new(baseline: Baseline) -> Result<Self, String> {
        let parties = match baseline {
            Baseline::SpinThreads => need_two_cores().map(|()| Parties::Threads),
            #[cfg(target_os = "linux")]
            Baseline::SpinProcesses => {
                need_two_cores().and_then(|()| PeerProcess::start(baseline, LINES)).map(Parties::Spin)
            }
            #[cfg(target_os = "linux")]
            Baseline::FutexProcesses => PeerProcess::start(baseline, LINES).map(Parties::Futex),
            #[cfg(target_os = "linux")]
            Baseline::PipeProcesses => Pipes::start().map(Parties::Pipe),
            #[cfg(not(target_os = "linux"))]
            Baseline::SpinProcesses | Baseline::FutexProcesses | Baseline::PipeProcesses => {
                Err("needs Linux: memfd and futex".to_owned())
            }
            Baseline::Ring | Baseline::CopyOneMebibyte | Baseline::CopyLarge => {
                Err("is not a ping-pong baseline".to_owned())
            }
        };
        parties.map(Self)
    }

    /// The times of `count` trips in nanoseconds.
    pub(crate) fn trips(&mut self, count: u32) -> Vec<u64> {
        match &mut self.0 {
            Parties::Threads => between_threads(count),
            #[cfg(target_os = "linux")]
            Parties::Spin(peer) => {
                begin(peer);
                let (there, back) = (&peer.lines()[THERE].bell, &peer.lines()[BACK].bell);
                let times = times(count, |number| spin_trip(there, back, number));
                spin_trip(there, back, STOP);
                times
            }
            #[cfg(target_os = "linux")]
            Parties::Futex(peer) => {
                begin(peer);
                let (there, back) = (&peer.lines()[THERE].bell, &peer.lines()[BACK].bell);
                let trip = |number: u32| {
                    let old = back.load(Ordering::Relaxed);
                    there.store(number, Ordering::Release);
                    ring_bell(there);
                    wait_until_other(back, old);
                };
                let times = times(count, trip);
                trip(STOP);
                times
            }
            #[cfg(target_os = "linux")]
            Parties::Pipe(pipes) => {
                let mut whole = true;
                let times = times(count, |_| whole &= pipes.trip());
                // A broken pipe has no figure: its times would be those of a call that fails.
                if whole { times } else { Vec::new() }
            }
        }
    }
}

/// Sets both lines to the values that the peer expects, and begins its turn.
#[cfg(target_os = "linux")]
fn begin(peer: &PeerProcess) {
    // ORDERING: `wake` publishes both.
    peer.lines()[THERE].bell.store(0, Ordering::Relaxed);
    peer.lines()[BACK].bell.store(0, Ordering::Relaxed);
    peer.wake();
}

/// Spins, and yields after every 1000 turns: a thread that shares its core with the peer would otherwise keep it from answering
/// until the end of its time slice. Where each has a core of its own, no trip takes that long.
#[derive(Default)]
pub(super) struct Spin(u32);

impl Spin {
    pub(super) fn turn(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(1000) {
            thread::yield_now();
        } else {
            spin_loop();
        }
    }
}

fn times(count: u32, mut trip: impl FnMut(u32)) -> Vec<u64> {
    (1..=WARM_UP).for_each(&mut trip);
    let end = Instant::now() + LONGEST;
    let mut times = Vec::with_capacity(count as usize);
    for number in WARM_UP + 1..=WARM_UP + count {
        let start = Instant::now();
        if start > end {
            break;
        }
        trip(number);
        times.push(nanos(start.elapsed()));
    }
    times
}

fn spin_trip(there: &AtomicU32, back: &AtomicU32, number: u32) {
    // ORDERING: Acquire and Release as a message would need; nothing but the number is passed.
    there.store(number, Ordering::Release);
    let mut waiting = Spin::default();
    while back.load(Ordering::Acquire) != number {
        waiting.turn();
    }
}

#[repr(align(128))]
struct Line(AtomicU32);

fn between_threads(count: u32) -> Vec<u64> {
    const END: u32 = u32::MAX;
    let (there, back) = (Line(AtomicU32::new(0)), Line(AtomicU32::new(0)));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut seen = 0;
            let mut waiting = Spin::default();
            while seen != END {
                // ORDERING: Acquire and Release as a message would need; nothing but the number is passed.
                let now = there.0.load(Ordering::Acquire);
                if now == seen {
                    waiting.turn();
                } else {
                    waiting = Spin::default();
                    seen = now;
                    back.0.store(now, Ordering::Release);
                }
            }
        });
        let times = times(count, |number| spin_trip(&there.0, &back.0, number));
        there.0.store(END, Ordering::Release);
        times
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_answer_each_message_and_can_do_so_again() {
        let Ok(mut ping_pong) = PingPong::new(Baseline::SpinThreads) else { return };
        for _ in 0..2 {
            let times = ping_pong.trips(20);
            assert!(times.len() == 20 && times.iter().all(|time| *time > 0));
        }
    }
}
