//! A worker without a process: the requests that it has been sent, its replies, and a peer that no signal reaches.

use std::{
    collections::{HashSet, VecDeque},
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
};

use crate::{
    error::WorkerExit,
    portable::bytes::Long,
    process::{
        parent::workers::peer::WorkerPeer,
        transport::{ControlChannel, Load, NotifyPolicy, ParentEnd, Record, RecordOffset, Reply, ReplyKind},
    },
    sys::NotAllowed,
    untrusted::Malformed,
};

/// The state that a worker process and its rings have together.
#[derive(Default)]
pub(super) struct Side {
    pub(super) waiting: VecDeque<u64>,
    pub(super) claimed: HashSet<u64>,
    pub(super) running: Option<u64>,
    pub(super) replies: VecDeque<u64>,
    /// Some items of a chunk: how many, and their results.
    pub(super) parts: VecDeque<(u64, u32, Vec<u8>)>,
    /// Those after them that are complete and were not sent.
    pub(super) open: Option<(u32, Vec<u8>)>,
    /// Long contents, which nothing reads.
    pub(super) long: Vec<Long>,
}

impl Side {
    /// The worker does one thing: claims a request, or answers the one that it has claimed.
    pub(super) fn step(&mut self) {
        if let Some(number) = self.running.take() {
            self.replies.push_back(number);
        } else if let Some(number) = self.waiting.pop_front() {
            self.claimed.insert(number);
            self.running = Some(number);
        }
    }
}

pub(super) struct End {
    pub(super) side: Arc<Mutex<Side>>,
    pub(super) control: ControlChannel,
    pub(super) next_number: u64,
}

impl ParentEnd for End {
    fn depth(&self) -> usize {
        64
    }

    fn has_room(&self, _: Load) -> bool {
        true
    }

    fn push_with(&mut self, record: Record<'_>, long: Option<Long>) -> RecordOffset {
        self.side.lock().unwrap().long.extend(long);
        if matches!(record, Record::Run { .. }) {
            self.side.lock().unwrap().waiting.push_back(self.next_number);
            self.next_number += 1;
        }
        RecordOffset::default()
    }

    fn notify(&mut self, _: bool) {}

    fn release(&mut self, _: u64, _: RecordOffset) {}

    fn release_all(&mut self) -> bool {
        false
    }

    fn is_claimed(&self, number: u64) -> bool {
        self.side.lock().unwrap().claimed.contains(&number)
    }

    fn revoke(&mut self, number: u64) -> bool {
        let waiting = &mut self.side.lock().unwrap().waiting;
        let at = waiting.iter().position(|other| *other == number);
        at.is_some_and(|at| waiting.remove(at).is_some())
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }

    fn bytes(&self, _: RecordOffset) -> Vec<u8> {
        Vec::new()
    }

    fn receive(&mut self, receiver: &mut dyn FnMut(Reply<'_>) -> Result<(), Malformed>) -> Result<(), Malformed> {
        let (parts, replies) = {
            let mut side = self.side.lock().unwrap();
            (std::mem::take(&mut side.parts), std::mem::take(&mut side.replies))
        };
        for (number, items, bytes) in parts {
            receiver(Reply {
                number: number as u32,
                kind: ReplyKind::Part,
                items,
                elapsed: 0,
                bytes: bytes.into(),
                #[cfg(target_os = "linux")]
                attached: Vec::new(),
            })?;
        }
        for number in replies {
            receiver(Reply {
                number: number as u32,
                kind: ReplyKind::Done,
                items: 0,
                // Short, so that several are in flight at a worker.
                elapsed: 100_000,
                bytes: [0][..].into(),
                #[cfg(target_os = "linux")]
                attached: Vec::new(),
            })?;
        }
        Ok(())
    }

    fn unfinished(&mut self) -> Option<(u32, Vec<u8>)> {
        self.side.lock().unwrap().open.take()
    }

    fn set_notify_policy(&mut self, _: NotifyPolicy) {}

    fn say_goodbye(&mut self) {}

    fn control(&mut self) -> &mut ControlChannel {
        &mut self.control
    }
}

/// No signal reaches it, and it is reaped as soon as that is tried.
pub(super) struct Immortal;

impl WorkerPeer for Immortal {
    fn pid(&self) -> u32 {
        1
    }

    fn watch(&self) -> Option<OwnedFd> {
        None
    }

    fn is_stopped(&self) -> bool {
        false
    }

    fn terminate(&self) {}

    fn kill(&self) -> Result<(), NotAllowed> {
        Ok(())
    }

    fn try_reap(&mut self) -> Option<WorkerExit> {
        Some(WorkerExit::Unknown)
    }
}
