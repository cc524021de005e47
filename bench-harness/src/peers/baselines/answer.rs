//! The peer process of a ping-pong or ring: the hidden command `lab baseline`.
//!
//! Between two turns it sleeps on the control line's bell, so that it takes no core from other measurements.

use std::{io, os::fd::AsFd, sync::atomic::Ordering};

use super::{
    Baseline,
    peer_process::{BACK, CONTROL, LINES, STOP, THERE, ring_bell, wait_until_other},
    ping_pong::Spin,
    pipe, ring,
    shared::{Line, Shared},
};

/// Answers until this process is killed.
pub(crate) fn run_peer(baseline: Baseline) -> io::Result<()> {
    // The parent may be killed at its time limit, and then nothing else would stop a peer that spins.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if baseline == Baseline::PipeProcesses {
        return pipe::answer();
    }
    let count = if baseline == Baseline::Ring { ring::LINES } else { LINES };
    let shared = Shared::open(io::stdin().as_fd(), count)?;
    let lines = shared.lines();
    let mut turn = 0;
    loop {
        turn = wait_until_other(&lines[CONTROL].bell, turn);
        match baseline {
            Baseline::SpinProcesses => spin(lines),
            Baseline::FutexProcesses => answer_by_futex(lines),
            Baseline::Ring => ring::answer(lines),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "this baseline needs no second process")),
        }
    }
}

fn spin(lines: &[Line]) {
    let mut seen = 0;
    let mut waiting = Spin::default();
    loop {
        // ORDERING: Acquire and Release as a message would need; nothing but the number is passed.
        let now = lines[THERE].bell.load(Ordering::Acquire);
        if now == seen {
            waiting.turn();
            continue;
        }
        waiting = Spin::default();
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
        // ORDERING: Release as a message would need; nothing but the number is passed.
        lines[BACK].bell.store(seen, Ordering::Release);
        ring_bell(&lines[BACK].bell);
    }
}
