//! Arguments of 1 MiB, several at a time: the bytes that arrive per second.
//!
//! For the process pool, rounds are interleaved with copies of 256 MiB: a process pool cannot be faster than one copy of
//! memory, and the target is a share of that speed. The speed of copying one megabyte again and again, out of the cache, is
//! a row as well.

use std::time::Instant;

use reports::{model::Reason, overhead::Unit};

use super::{
    contenders::with_contender,
    measurement::{Probe, Reading, Subject},
};
use crate::contender::{Contender, ContenderVisit};
use crate::peers::{
    Peer,
    baselines::{Baseline, copy::Copy},
};

pub(super) const QUANTITY: &str = "1 MiB arguments";
pub(super) const SHARE: &str = "share of memcpy";
pub(super) const MIB: usize = 1 << 20;
const LARGE: usize = 256 * MIB;

pub(super) fn measure(probe: &Probe) -> Result<Vec<Reading>, Reason> {
    let sizes = probe.sizes;
    let reading = |values| Reading::new(probe.subject, QUANTITY, Unit::BytesPerSecond, values);
    match probe.subject {
        Subject::Baseline(baseline) => {
            let (bytes, times) = if baseline == Baseline::CopyLarge { (LARGE, 1) } else { (MIB, sizes.payloads * 4) };
            let mut copy = Copy::new(bytes);
            Ok(vec![reading((0..sizes.rounds).map(|_| copy.rate(times)).collect())])
        }
        Subject::Peer(Peer::Python(python)) => {
            let figures = python.measure(probe.workers, "payload", sizes.payloads, sizes.rounds)?;
            Ok(vec![reading(figures.values).with_note(python.note(&figures.version))])
        }
        subject => {
            let beside = (subject == Subject::PROCESS && sizes.ratios).then(|| Copy::new(LARGE));
            let rounds = Rounds { count: sizes.payloads, rounds: sizes.rounds, beside };
            let (speeds, shares) = with_contender(subject, probe.workers, rounds)??;
            let mut readings = vec![reading(speeds)];
            if !shares.is_empty() {
                readings.push(Reading::new(subject, SHARE, Unit::Ratio, shares));
            }
            Ok(readings)
        }
    }
}

struct Rounds {
    count: u32,
    rounds: u32,
    beside: Option<Copy>,
}

impl ContenderVisit for Rounds {
    type Output = Result<(Vec<f64>, Vec<f64>), Reason>;

    fn visit<C: Contender>(mut self, contender: &C) -> Self::Output {
        // After this, the executor's own buffers are allocated and warm.
        deliver(contender, self.count)?;
        let (mut speeds, mut shares) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            let bare = self.beside.as_mut().map(|copy| copy.rate(1));
            let speed = deliver(contender, self.count)?;
            speeds.push(speed);
            shares.extend(bare.map(|bare| speed / bare));
        }
        Ok((speeds, shares))
    }
}

/// Submits `count` megabytes and collects; bytes per second. Making the arguments is not the executor's work.
fn deliver<C: Contender>(contender: &C, count: u32) -> Result<f64, Reason> {
    let blocks: Vec<Vec<u8>> = (0..count).map(|_| vec![7; MIB]).collect();
    let start = Instant::now();
    let tickets: Vec<_> = blocks.into_iter().filter_map(|block| contender.submit_bytes(block)).collect();
    let arrived = contender.wait_all(tickets);
    let elapsed = start.elapsed();
    let sent = u64::from(count) * MIB as u64;
    if arrived != sent {
        return Err(Reason::wrong(format!("of {sent} bytes {arrived} arrived")));
    }
    Ok(sent as f64 / elapsed.as_secs_f64())
}
