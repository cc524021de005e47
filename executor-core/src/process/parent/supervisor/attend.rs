//! The supervisor's steps when the socket or the process of a worker has become ready.

use std::{os::fd::AsFd, time::Instant};

use super::{control_frames::take_frame, reap::reap};
use crate::{
    process::parent::{pool::PoolShared, spent::Spent, state::State},
    sys,
};

/// Attends to the workers whose frames were read by a thread that received replies: the socket does not become readable for them
/// again. Says whether there were any.
#[must_use]
pub(super) fn attend_pending_frames(pool: &PoolShared, state: &mut State) -> bool {
    let workers = state.workers.iter_mut().filter(|(_, worker)| !worker.is_dying());
    let pending: Vec<u32> =
        workers.filter_map(|(number, worker)| worker.has_pending_frames().then_some(number)).collect();
    let are_any = !pending.is_empty();
    for number in pending {
        attend(pool, state, number);
    }
    are_any
}

/// Sends what the system has refused to take, where it is time to try again.
pub(super) fn send_refused(state: &mut State, now: Instant) {
    for (_, worker) in state.workers.iter_mut() {
        if !worker.is_dying() && worker.channel.refused_until().is_some_and(|again| again <= now) {
            let control = worker.channel.control();
            control.flush();
            state.ledger.spend_all(control.take_spent().into_iter().map(Spent::Long));
        }
    }
}

/// Something happened at this worker: takes what it sent, and sees whether it is alive.
pub(super) fn attend(pool: &PoolShared, state: &mut State, number: u32) {
    let Some(worker) = state.workers.get_mut(number) else { return };
    if worker.is_dying() {
        return reap(pool, state, number);
    }
    let control = worker.channel.control();
    control.flush();
    state.ledger.spend_all(control.take_spent().into_iter().map(Spent::Long));
    let ended = worker.watched().process.as_ref().is_some_and(|process| sys::is_readable(process.as_fd()));
    let mut frames = Vec::new();
    let open = worker.channel.control().receive_frames(&mut |kind, body| frames.push((kind, body.to_vec())));
    let mut sane = open.is_ok();
    for (kind, body) in frames {
        sane = sane && take_frame(pool, state, number, kind, &body).is_ok();
    }
    state.receive(number);
    let Some(worker) = state.workers.get_mut(number) else { return };
    worker.violated_protocol |= !sane;
    if worker.violated_protocol || ended || open == Ok(false) {
        reap(pool, state, number);
    }
}
