//! The peer process of a ping-pong or ring, as its parent holds it: this program, started again by a hidden command, with the
//! shared memory as its standard input.

use std::{
    io,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::thread::futex;

use super::{
    Baseline,
    shared::{Line, Shared},
};

/// Indices of the control line and of one line each way; a ring has its own lines after these.
pub(super) const CONTROL: usize = 0;
pub(super) const THERE: usize = 1;
pub(super) const BACK: usize = 2;
/// The number of lines that a ping-pong needs.
pub(super) const LINES: usize = BACK + 1;

/// Sent in place of a number: the turn is over.
pub(super) const STOP: u32 = u32::MAX;

/// A running peer process, which is killed on drop.
pub(super) struct PeerProcess {
    child: Child,
    shared: Shared,
}

impl PeerProcess {
    /// Starts it with `lines` lines of shared memory.
    pub(super) fn start(baseline: Baseline, lines: usize) -> Result<Self, String> {
        let start = || -> io::Result<Self> {
            let (shared, file) = Shared::create(lines)?;
            let child = command(baseline)?.stdin(Stdio::from(file)).stdout(Stdio::null()).spawn()?;
            Ok(Self { child, shared })
        };
        start().map_err(|error| format!("the second process did not start: {error}"))
    }

    pub(super) fn lines(&self) -> &[Line] {
        self.shared.lines()
    }

    /// Lets the peer begin a turn.
    pub(super) fn wake(&self) {
        let bell = &self.lines()[CONTROL].bell;
        // ORDERING: Release, so that the peer sees the lines as they were set for this turn.
        bell.fetch_add(1, Ordering::Release);
        ring_bell(bell);
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        // The peer holds no data that could be lost.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command that starts a peer.
pub(super) fn command(baseline: Baseline) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let name = clap::ValueEnum::to_possible_value(&baseline).map(|value| value.get_name().to_owned());
    command.arg("baseline").arg(name.unwrap_or_default());
    Ok(command)
}

/// Sleeps until `bell` differs from `old`, and returns its value.
pub(super) fn wait_until_other(bell: &AtomicU32, old: u32) -> u32 {
    loop {
        // ORDERING: Acquire; the lines were written before the bell was rung.
        let now = bell.load(Ordering::Acquire);
        if now != old {
            return now;
        }
        // The loop reads the bell again whatever the reason of the return. The futex is not a private one, since the other
        // side is another process.
        let _ = futex::wait(bell, futex::Flags::empty(), old, None);
    }
}

/// Wakes the thread that sleeps on `bell`.
pub(super) fn ring_bell(bell: &AtomicU32) {
    // This fails only for an invalid address.
    let _ = futex::wake(bell, futex::Flags::empty(), 1);
}
