//! The descriptors that the supervisor sleeps on.

use std::{
    os::{fd::AsFd, unix::net::UnixStream},
    sync::Arc,
    time::Instant,
};

use crate::{
    process::parent::{
        launch::Launcher,
        state::State,
        workers::handle::{Watched, WorkerHandle},
    },
    sys,
};

/// The workers and other sources that are ready to be attended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    Doorbell,
    Launcher,
    Worker(u32),
}

/// The descriptors that the supervisor sleeps on.
pub(super) struct Fds(Vec<(u32, Arc<Watched>, Interest)>);

/// The events that are polled for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interest {
    Frames,
    /// And there is something to be sent.
    FramesAndRoom,
    /// It is dying, and its socket has nothing more to tell.
    End,
    /// The same, and the descriptor of its process does not tell of its end.
    Nothing,
}

impl Interest {
    fn of(worker: &mut WorkerHandle) -> Self {
        match worker.is_dying() {
            true if worker.is_end_untold() => Self::Nothing,
            true => Self::End,
            // What the system has refused has its time, for there is room all the while.
            false if worker.channel.refused_until().is_some() => Self::Frames,
            false if worker.channel.control().wants_to_send() => Self::FramesAndRoom,
            false => Self::Frames,
        }
    }
}

impl Fds {
    pub(super) fn of(state: &mut State) -> Self {
        let watched = state.workers.iter_mut();
        Self(
            watched
                .map(|(number, worker)| (number, Arc::clone(worker.watched()), Interest::of(worker)))
                .filter(|(.., interest)| *interest != Interest::Nothing)
                .collect(),
        )
    }

    /// Waits until a worker has sent something, the doorbell was written to, or `deadline` has passed. No lock is held.
    pub(super) fn wait(&self, doorbell_rx: &UnixStream, launcher: &Launcher, deadline: Option<Instant>) -> Vec<Ready> {
        let mut fds = vec![(doorbell_rx.as_fd(), false)];
        let mut who = vec![Ready::Doorbell];
        for fd in launcher.watched() {
            fds.push(fd);
            who.push(Ready::Launcher);
        }
        for (number, watched, interest) in &self.0 {
            if *interest != Interest::End {
                fds.push((watched.channel.as_fd(), *interest == Interest::FramesAndRoom));
                who.push(Ready::Worker(*number));
            }
            if let Some(process) = &watched.process {
                fds.push((process.as_fd(), false));
                who.push(Ready::Worker(*number));
            }
        }
        let states = sys::poll_until(&fds, deadline);
        let mut ready: Vec<Ready> =
            who.into_iter().zip(states).filter_map(|(who, ready)| ready.then_some(who)).collect();
        ready.dedup();
        ready
    }
}
