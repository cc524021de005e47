//! The second process of a ping-pong or ring: this program again, by a hidden command, with the shared memory as its standard
//! input.
//!
//! Between two turns it sleeps on the control line's bell, so that it takes no core from what is measured meanwhile.

use std::{
    io,
    os::fd::AsFd,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::thread::futex;

use super::{
    Limit,
    ping_pong::Spin,
    pipe, ring,
    shared::{Line, Shared},
};

/// The control line, then one line each way; a [`ring`] has its own after these.
pub(super) const CONTROL: usize = 0;
pub(super) const THERE: usize = 1;
pub(super) const BACK: usize = 2;

/// In place of a number: the turn is over.
pub(super) const STOP: u32 = u32::MAX;

pub(super) fn lines(limit: Limit) -> usize {
    if limit == Limit::Ring { ring::LINES } else { BACK + 1 }
}

/// A running partner; ended when dropped.
pub(super) struct Partner {
    child: Child,
    shared: Shared,
}

impl Partner {
    pub(super) fn start(limit: Limit) -> Result<Self, String> {
        let start = || -> io::Result<Self> {
            let (shared, file) = Shared::create(lines(limit))?;
            let child = command(limit)?.stdin(Stdio::from(file)).stdout(Stdio::null()).spawn()?;
            Ok(Self { child, shared })
        };
        start().map_err(|error| format!("the second process did not start: {error}"))
    }

    pub(super) fn lines(&self) -> &[Line] {
        self.shared.lines()
    }

    /// Lets the partner begin a turn.
    pub(super) fn wake(&self) {
        let bell = &self.lines()[CONTROL].bell;
        // ORDERING: Release, so that the partner sees the lines as they were set for this turn.
        bell.fetch_add(1, Ordering::Release);
        ring_bell(bell);
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        // It holds nothing that could be lost.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command line of a partner.
pub(super) fn command(limit: Limit) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let name = clap::ValueEnum::to_possible_value(&limit).map(|value| value.get_name().to_owned());
    command.arg("limit").arg(name.unwrap_or_default());
    Ok(command)
}

/// The hidden command: what the second process does until it is killed.
pub(crate) fn be_partner(limit: Limit) -> io::Result<()> {
    // Whoever started this may be killed at its time limit, and then nobody stops a party that spins.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if limit == Limit::PipeProcesses {
        return pipe::answer();
    }
    let shared = Shared::open(io::stdin().as_fd(), lines(limit))?;
    let lines = shared.lines();
    let mut turn = 0;
    loop {
        turn = wait_until_other(&lines[CONTROL].bell, turn);
        match limit {
            Limit::SpinProcesses => spin(lines),
            Limit::FutexProcesses => answer_by_futex(lines),
            Limit::Ring => ring::answer(lines),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "this limit needs no second process")),
        }
    }
}

fn spin(lines: &[Line]) {
    let mut seen = 0;
    let mut patience = Spin::default();
    loop {
        // ORDERING: Acquire and Release as a message would need; nothing but the number is passed.
        let now = lines[THERE].bell.load(Ordering::Acquire);
        if now == seen {
            patience.turn();
            continue;
        }
        patience = Spin::default();
        seen = now;
        lines[BACK].bell.store(now, Ordering::Release);
        if now == STOP {
            return;
        }
    }
}

fn answer_by_futex(lines: &[Line]) {
    let mut seen = 0;
    while seen != STOP {
        seen = wait_until_other(&lines[THERE].bell, seen);
        // ORDERING: as for `spin`.
        lines[BACK].bell.store(seen, Ordering::Release);
        ring_bell(&lines[BACK].bell);
    }
}

/// Sleeps until `bell` shows something else than `old`; what it shows then.
pub(super) fn wait_until_other(bell: &AtomicU32, old: u32) -> u32 {
    loop {
        // ORDERING: Acquire, for what was written before the bell was rung.
        let now = bell.load(Ordering::Acquire);
        if now != old {
            return now;
        }
        // Whatever it returns for, the bell is looked at again. Not a private futex: the other is another process.
        let _ = futex::wait(bell, futex::Flags::empty(), old, None);
    }
}

/// Wakes who sleeps on `bell`.
pub(super) fn ring_bell(bell: &AtomicU32) {
    // It can fail only for an address that is none.
    let _ = futex::wake(bell, futex::Flags::empty(), 1);
}
