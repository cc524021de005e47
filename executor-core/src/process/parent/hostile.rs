//! What the parent does with a reply of a worker that may have written anything, up to the value that the caller asks for.

use std::{collections::BTreeMap, os::unix::net::UnixStream, sync::Arc};

use super::workers::leases::Leases;
use crate::{
    SharedBytes, TaskError, codec,
    portable::answer::{Answer, Chunk, ChunkAnswer, Decode, Single},
    process::transport::{Reply, ReplyKind},
    shm::Attached,
    untrusted::Malformed,
};

/// As many items as a chunk has here at most.
const MOST_ITEMS: u32 = 64;

/// Takes replies, and decodes each as several types.
pub(in crate::process) struct Taker {
    leases: Leases,
}

impl Taker {
    /// `None` where the system has no memory to share.
    pub(in crate::process) fn new() -> Option<Self> {
        let doorbell = Arc::new(UnixStream::pair().ok()?.0);
        Some(Self { leases: Leases::new(doorbell).ok()?.0 })
    }

    pub(in crate::process) fn take(&mut self, reply: Reply<'_>) -> Result<(), Malformed> {
        let mut attached = Attached::new();
        for (reference, file) in reply.attached {
            self.leases.attach(&mut attached, reference, file)?;
        }
        let bytes = &reply.bytes[..];
        if reply.kind == ReplyKind::Failed {
            let _ = codec::decode::<TaskError>(bytes);
            return Ok(());
        }
        decode_single(bytes, &attached);
        decode_chunk(reply.items % MOST_ITEMS, bytes, &attached);
        Ok(())
    }
}

fn decode_single(bytes: &[u8], attached: &Attached) {
    let answer = Answer::Attached(Box::new((bytes.into(), attached.clone())));
    if let Ok(shared) = Single::<SharedBytes>::decode(&answer) {
        // All of it is there to be read.
        assert!(
            shared.len() <= bytes.len()
                || attached.iter().any(|(reference, _)| reference.length == shared.len() as u64)
        );
        std::hint::black_box(shared.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)));
    }
    let _ = Single::<Vec<u8>>::decode(&answer);
    let _ = Single::<BTreeMap<String, Vec<Option<u64>>>>::decode(&answer);
}

fn decode_chunk(total: u32, bytes: &[u8], attached: &Attached) {
    let mut chunk = ChunkAnswer::default();
    (chunk.total, chunk.bytes, chunk.attached) = (total, bytes.to_vec(), attached.clone());
    let answer = Answer::Chunk(Box::new(chunk));
    if let Ok(decoded) = Chunk::<SharedBytes>::decode(&answer) {
        assert_eq!(decoded.values.len() + decoded.errors.len(), total as usize);
    }
    if let Ok(decoded) = Chunk::<Vec<String>>::decode(&answer) {
        assert_eq!(decoded.values.len() + decoded.errors.len(), total as usize);
        assert!(decoded.errors.is_sorted_by(|(one, _), (other, _)| one < other));
    }
}
