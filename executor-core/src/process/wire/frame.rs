//! The frames between the parent and a worker. All numbers are little-endian.
//!
//! A frame is its length (`u32`, of what follows), its kind (`u8`) and its body. The parent does not trust what it reads:
//! every length is checked against what is there, and nothing is allocated for a length that has only been announced.

use std::io::{self, Read};

#[cfg(all(test, not(loom)))]
use crate::untrusted::Reader;
use crate::{codec::limits::MAX_ENCODED, untrusted::Malformed};

/// The longest frame: 1 GiB.
pub(in crate::process) const MAX_FRAME: usize = 1 << 30;

/// Well below the longest frame, of which a header and what is before it take some.
const _: () = assert!(MAX_ENCODED <= MAX_FRAME / 2);

/// How many functions, each with its configuration, a worker keeps; when another comes, it takes the place of the oldest.
pub(in crate::process) const DEFINITIONS: usize = 64;

/// Rises with every change of this file or of a transport.
pub(super) const PROTOCOL: u32 = 5;

/// Parent to worker: the parent's identity, and the initializer (a postcard `Hello`); files come beside it.
pub(in crate::process) const HELLO: u8 = 1;
/// Parent to worker, where the socket is the transport: run a task.
pub(in crate::process) const RUN: u8 = 2;
/// Parent to worker, where the socket is the transport: what a number means.
pub(in crate::process) const DEFINE: u8 = 3;
/// Parent to worker, where the socket is the transport: no more tasks will come.
pub(in crate::process) const BYE: u8 = 4;
/// Parent to worker: shared memory, whose file comes beside it.
#[cfg(target_os = "linux")]
pub(in crate::process) const SHARE: u8 = 6;
/// Parent to worker, where the socket is the transport: to unmap shared memory.
#[cfg(target_os = "linux")]
pub(in crate::process) const FORGET: u8 = 7;

/// Parent to fork server, in place of `HELLO`: the parent's identity, and the preload.
pub(in crate::process) const FORK_SERVER: u8 = 4;
/// Parent to fork server: fork a worker, whose end of a socket comes beside it.
pub(in crate::process) const FORK: u8 = 5;

/// Worker to parent: the handshake is complete, tasks may come.
pub(in crate::process) const READY: u8 = 16;
/// Worker to parent: it is not the same program (text).
pub(in crate::process) const REFUSED: u8 = 17;
/// Worker to parent: the initializer failed (text).
pub(in crate::process) const INITIALIZER_FAILED: u8 = 18;
/// Worker to parent: it was refused a resource for a moment, and ends; what it was going to do with that, and why it could not
/// (text).
pub(in crate::process) const SHORTAGE: u8 = 20;
/// Worker to parent: look at the rings.
pub(in crate::process) const KICK: u8 = 19;

/// Worker to parent: it has grown too large and should be replaced.
pub(in crate::process) const GROWN: u8 = 23;
/// Worker to parent: a file, beside it. With a byte of content: the system did not let the file travel.
#[cfg(target_os = "linux")]
pub(in crate::process) const FILE: u8 = 24;

/// Both ways: a reply, where the socket is the transport; otherwise what was too long for a ring.
pub(in crate::process) const DATA: u8 = 32;

/// Worker to parent, from its handler for aborts: it was refused memory, and ends.
pub(in crate::process) const OUT_OF_MEMORY: u8 = 22;
/// The whole frame: the handler can make none.
#[cfg(target_os = "linux")]
pub(in crate::process) const OUT_OF_MEMORY_FRAME: [u8; 5] = [1, 0, 0, 0, OUT_OF_MEMORY];
/// Fork server to parent: the new worker's pid (`u32`) and zero, or zero and the error's number (`u32`).
pub(in crate::process) const FORKED: u8 = 21;

/// Bytes of a text; the rest of a longer one is left out.
pub(super) const LONGEST_TEXT: usize = 64 * 1024;

/// As much of a text as may be sent.
pub(in crate::process) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

/// The longest frame of this kind that a worker or a fork server sends; 0 for what none of them sends.
pub(in crate::process) fn longest(kind: u8) -> usize {
    match kind {
        // A value, what is before it, and references behind it.
        DATA => MAX_ENCODED + (1 << 20),
        REFUSED | INITIALIZER_FAILED | SHORTAGE => LONGEST_TEXT + 1,
        READY | KICK | GROWN | OUT_OF_MEMORY | FORKED => 64,
        #[cfg(target_os = "linux")]
        FILE => 64,
        _ => 0,
    }
}

/// Starts a frame; [`end_frame`] puts its length in.
pub(in crate::process) fn begin_frame(output: &mut Vec<u8>, kind: u8) -> usize {
    let start = output.len();
    output.extend_from_slice(&[0; 4]);
    output.push(kind);
    start
}

/// Ends the frame that began at `start`. A frame that is too long is taken back.
pub(in crate::process) fn end_frame(output: &mut Vec<u8>, start: usize) -> Result<(), Malformed> {
    let length = output.len() - start - 4;
    if length > MAX_FRAME {
        output.truncate(start);
        return Err(Malformed);
    }
    // Fits: MAX_FRAME is below 2^32.
    output[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

/// Cuts frames out of a stream of bytes.
#[derive(Debug, Default)]
pub(in crate::process) struct FrameBuffer {
    /// The bytes that have arrived, up to `end`. Behind them is memory for the next read, which is zeroed once and not for each.
    bytes: Vec<u8>,
    read: usize,
    end: usize,
}

impl FrameBuffer {
    /// Appends bytes that were read elsewhere.
    pub(in crate::process) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.truncate(self.end);
        self.bytes.extend_from_slice(bytes);
        self.end = self.bytes.len();
    }

    /// The bytes that have arrived and were not taken.
    fn rest(&self) -> &[u8] {
        &self.bytes[self.read..self.end]
    }

    /// One read of at most `limit` bytes.
    pub(in crate::process) fn read_from(&mut self, source: &mut impl Read, limit: usize) -> io::Result<usize> {
        if self.read == self.end {
            // The memory of a long frame is not kept for the next, short one.
            if self.bytes.capacity() > 1 << 20 {
                self.bytes = Vec::new();
            }
            (self.read, self.end) = (0, 0);
        } else if self.read > 64 * 1024 {
            self.bytes.copy_within(self.read..self.end, 0);
            (self.read, self.end) = (0, self.end - self.read);
        }
        let most = self.end + limit;
        if self.bytes.len() < most {
            self.bytes.resize(most, 0);
        }
        let count = source.read(&mut self.bytes[self.end..most])?;
        self.end += count;
        debug_assert!(self.read <= self.end && self.end <= most, "what is read is what has arrived");
        Ok(count)
    }

    /// Kind and length of the next frame, whole or not.
    pub(in crate::process) fn begun(&self) -> Option<(u8, usize)> {
        let (length, rest) = self.rest().split_first_chunk::<4>()?;
        Some((*rest.first()?, u32::from_le_bytes(*length) as usize))
    }

    /// Whether [`next`](Self::next) has a frame or an error to return.
    pub(in crate::process) fn has_frame(&self) -> bool {
        self.rest().split_first_chunk::<4>().is_some_and(|(length, rest)| {
            let length = u32::from_le_bytes(*length) as usize;
            length == 0 || length > MAX_FRAME || rest.len() >= length
        })
    }

    /// Kind and body of the next whole frame.
    pub(in crate::process) fn next(&mut self) -> Result<Option<(u8, &[u8])>, Malformed> {
        let Some((length, rest)) = self.rest().split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 || length > MAX_FRAME {
            return Err(Malformed);
        }
        if rest.len() < length {
            return Ok(None);
        }
        let start = self.read + 4;
        self.read = start + length;
        Ok(Some((self.bytes[start], &self.bytes[start + 1..start + length])))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn buffer(bytes: &[u8]) -> FrameBuffer {
        let mut buffer = FrameBuffer::default();
        buffer.extend(bytes);
        buffer
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let mut bytes = Vec::new();
        for body in [&b"one"[..], b"", b"three"] {
            let start = begin_frame(&mut bytes, DATA);
            bytes.extend_from_slice(body);
            end_frame(&mut bytes, start).unwrap();
        }
        let mut buffer = FrameBuffer::default();
        let mut seen = Vec::new();
        for byte in bytes {
            buffer.extend(&[byte]);
            while let Some((kind, body)) = buffer.next().unwrap() {
                seen.push((kind, body.to_vec()));
            }
        }
        assert_eq!(seen, [(DATA, b"one".to_vec()), (DATA, vec![]), (DATA, b"three".to_vec())]);
    }

    /// All frames, until there are no more or one is malformed.
    fn frames(pieces: &[&[u8]]) -> (Vec<(u8, Vec<u8>)>, bool) {
        let (mut buffer, mut seen) = (FrameBuffer::default(), Vec::new());
        for piece in pieces {
            buffer.extend(piece);
            loop {
                match buffer.next() {
                    Ok(Some((kind, body))) => seen.push((kind, body.to_vec())),
                    Ok(None) => break,
                    Err(Malformed) => return (seen, false),
                }
            }
        }
        (seen, true)
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_the_same_frames_however_they_are_cut(
            bytes in proptest::collection::vec(proptest::prop_oneof![0..6_u8, proptest::num::u8::ANY], 0..200),
            cut in 0..200_usize,
        ) {
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let whole = frames(&[&bytes]);
            proptest::prop_assert_eq!(frames(&[first, second]), whole.clone());
            let length: usize = whole.0.iter().map(|(_, body)| body.len() + 5).sum();
            proptest::prop_assert!(length <= bytes.len());
        }
    }

    #[test]
    fn an_impossible_length_is_malformed_and_allocates_nothing() {
        assert_eq!(buffer(&[0xff; 8]).next(), Err(Malformed));
        assert_eq!(buffer(&[0; 8]).next(), Err(Malformed));
    }

    #[test]
    fn a_body_that_is_too_short_is_malformed() {
        assert_eq!(Reader(&[1, 2]).u32(), Err(Malformed));
        assert_eq!(Reader(&[1, 2]).u64(), Err(Malformed));
        assert_eq!(Reader(&[]).u8(), Err(Malformed));
        assert_eq!(Reader(&[7]).u8(), Ok(7));
    }
}
