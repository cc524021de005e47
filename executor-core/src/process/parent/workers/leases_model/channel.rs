//! What the model sends over, and what it sends: records that are kept, and segments that are full of one byte.

use std::{
    collections::VecDeque,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use crate::{
    portable::bytes::Long,
    process::transport::{ControlChannel, Load, NotifyPolicy, ParentEnd, Record, RecordOffset, Reply},
    shm::{Block, Reference, lease::Share},
    untrusted::Malformed,
};

/// Bytes of a segment.
pub(super) const LENGTH: usize = 64 * 1024;

/// Numbers that are the same each time.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % end
    }

    pub(super) fn is(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// A segment, and the byte that it is full of.
#[derive(Clone)]
pub(super) struct Segment(pub(super) Block, pub(super) u8);

impl Segment {
    pub(super) fn check(&self) {
        let bytes = self.0.bytes();
        for at in [0, 4096, LENGTH / 2, LENGTH - 1] {
            assert_eq!(bytes[at], self.1, "a segment has changed under a reader");
        }
    }
}

/// What encoded bytes say of a segment: the reference, and the byte that it is to be full of.
pub(super) type Told = Vec<(Reference, u8)>;

/// A record in a worker's ring.
pub(super) enum Sent {
    Share(Share, OwnedFd),
    Forget(u64),
    Define(usize, Told),
    Run { number: u64, definition: usize, told: Told, step: usize },
}

/// The parent's end of a ring that is a list.
pub(super) struct Channel {
    pub(super) sent: VecDeque<Sent>,
    pub(super) control: ControlChannel,
    pub(super) _other: UnixStream,
}

impl ParentEnd for Channel {
    fn depth(&self) -> usize {
        1024
    }

    fn has_room(&self, _: Load) -> bool {
        true
    }

    fn push_with(&mut self, record: Record<'_>, _: Option<Long>) -> RecordOffset {
        self.sent.push_back(match record {
            Record::Share { share, file } => Sent::Share(share, file.try_clone_to_owned().unwrap()),
            Record::Forget { id } => Sent::Forget(id),
            Record::Run { .. } | Record::Define { .. } => unreachable!("pushed by the model"),
        });
        RecordOffset::default()
    }

    fn notify(&mut self, _: bool) {}

    fn release(&mut self, _: u64, _: RecordOffset) {}

    fn release_all(&mut self) -> bool {
        self.sent.is_empty()
    }

    fn is_claimed(&self, _: u64) -> bool {
        false
    }

    fn revoke(&mut self, _: u64) -> bool {
        false
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }

    fn bytes(&self, _: RecordOffset) -> Vec<u8> {
        Vec::new()
    }

    fn receive(&mut self, _: &mut dyn FnMut(Reply<'_>) -> Result<(), Malformed>) -> Result<(), Malformed> {
        Ok(())
    }

    fn unfinished(&mut self) -> Option<(u32, Vec<u8>)> {
        None
    }

    fn set_notify_policy(&mut self, _: NotifyPolicy) {}

    fn say_goodbye(&mut self) {}

    fn control(&mut self) -> &mut ControlChannel {
        &mut self.control
    }
}
