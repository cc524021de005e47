//! The parent's end of the transport over a socket: requests and replies are frames of the [control channel](ControlChannel).

use std::{borrow::Cow, time::Instant};

use super::{
    Load, NotifyPolicy, ParentEnd, Record, RecordOffset, Reply, ReplyKind, control::ControlChannel, socket::ATTACHED,
};
use crate::{
    portable::bytes::Long,
    process::wire::frame,
    untrusted::{Malformed, Reader},
};

/// The parent's end. Nothing in it blocks.
#[derive(Debug)]
pub(in crate::process) struct SocketRequests {
    control: ControlChannel,
    /// Requests sent.
    next_number: u64,
    /// Where the last of them ends among the bytes pushed, until it is answered.
    ///
    /// Invariant: nothing is pushed behind it meanwhile, so what is unread then, or is never read, is the end of that request.
    run_end: Option<u64>,
    /// Frames that wait for that answer. The worker would not read them before.
    held: Vec<u8>,
}

impl SocketRequests {
    /// The transport of a worker whose control channel this is.
    pub(in crate::process) fn new(control: ControlChannel) -> Self {
        Self { control, next_number: 0, run_end: None, held: Vec::new() }
    }
}

/// One request at a time; the worker has it as soon as it is sent.
impl ParentEnd for SocketRequests {
    fn depth(&self) -> usize {
        1
    }

    fn has_room(&self, _: Load) -> bool {
        true
    }

    fn push_with(&mut self, record: Record<'_>, long: Option<Long>) -> RecordOffset {
        #[cfg(target_os = "linux")]
        if let Record::Forget { id } = record
            && self.run_end.is_some()
        {
            let start = frame::begin_frame(&mut self.held, frame::FORGET);
            self.held.extend_from_slice(&id.to_le_bytes());
            // Its length is known.
            let _ = frame::end_frame(&mut self.held, start);
            return RecordOffset::default();
        }
        debug_assert!(self.run_end.is_none(), "nothing is pushed behind a request");
        match record {
            Record::Run { definition, items, bytes } => {
                let head = [&definition.to_le_bytes()[..], &items.to_le_bytes(), bytes];
                self.control.send_frame_with(frame::RUN, &head, long);
                self.next_number += 1;
                self.run_end = Some(self.control.pushed());
            }
            Record::Define { definition, offset, name_hash, bound } => {
                let (offset, hash) = (offset.to_le_bytes(), name_hash.to_le_bytes());
                let has_bound = [u8::from(bound.is_some())];
                let bound = bound.unwrap_or_default();
                let head = [&definition.to_le_bytes()[..], &offset, &hash, &has_bound, bound];
                self.control.send_frame_with(frame::DEFINE, &head, long);
            }
            #[cfg(target_os = "linux")]
            Record::Share { share, file } => self.control.send_share(share, file),
            #[cfg(target_os = "linux")]
            Record::Forget { id } => self.control.send_frame(frame::FORGET, &[&id.to_le_bytes()]),
        }
        RecordOffset::default()
    }

    fn notify(&mut self, _: bool) {}

    fn release(&mut self, _: u64, _: RecordOffset) {}

    fn release_all(&mut self) -> bool {
        // What is in the socket is not known; the next answer will tell.
        false
    }

    fn is_claimed(&self, _: u64) -> bool {
        true
    }

    fn is_unread(&self, number: u64) -> bool {
        let Some(end) = self.run_end.filter(|_| number.checked_add(1) == Some(self.next_number)) else { return false };
        self.control.delivered() < end || self.control.is_left_unread() && self.control.pushed() == end
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

    fn receive(&mut self, receiver: &mut dyn FnMut(Reply<'_>) -> Result<(), Malformed>) -> Result<(), Malformed> {
        while let Some(body) = self.control.next_data()? {
            let mut reader = Reader(&body);
            let number = reader.u32()?;
            let byte = reader.u8()?;
            let kind = match byte & !ATTACHED {
                0 => ReplyKind::Done,
                1 => ReplyKind::Failed,
                2 => ReplyKind::Part,
                _ => return Err(Malformed),
            };
            let (items, elapsed) = (reader.u32()?, reader.u32()?);
            #[cfg_attr(not(target_os = "linux"), expect(unused_mut, reason = "nothing is cut off"))]
            let mut bytes = Cow::Borrowed(reader.0);
            receiver(Reply {
                number,
                kind,
                items,
                elapsed,
                // Its files were sent before it.
                #[cfg(target_os = "linux")]
                attached: match byte & ATTACHED {
                    0 => Vec::new(),
                    _ => self.control.take_attached(&mut bytes)?.ok_or(Malformed)?,
                },
                bytes,
            })?;
            if kind != ReplyKind::Part {
                self.run_end = None;
                if !self.held.is_empty() {
                    let held = std::mem::take(&mut self.held);
                    self.control.send(&[&held]);
                }
            }
        }
        Ok(())
    }

    fn taken(&self) -> u64 {
        self.control.received()
    }

    fn unfinished(&mut self) -> Option<(u32, Vec<u8>)> {
        None
    }

    fn set_notify_policy(&mut self, _: NotifyPolicy) {}

    fn say_goodbye(&mut self) {
        self.control.send_frame(frame::BYE, &[]);
    }

    fn control(&mut self) -> &mut ControlChannel {
        &mut self.control
    }

    fn refused_until(&self) -> Option<Instant> {
        self.control.refused_until()
    }
}
