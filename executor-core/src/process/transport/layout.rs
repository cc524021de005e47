//! The layout of the two shared mappings of a worker. README.md says which side writes which part.

/// The mapping that only the parent can write to: its words, then the ring of requests.
pub(super) mod requests {
    /// Records published so far, wrapping. The worker sleeps on it.
    pub(in super::super) const PUBLISHED: usize = 0;
    /// A [`NotifyPolicy`](super::super::NotifyPolicy).
    pub(in super::super) const NOTIFY_POLICY: usize = 64;
    /// Whether a core is free on which the worker may spin.
    pub(in super::super) const MAY_SPIN: usize = 68;
    /// Bytes of the ring of replies that the parent has read.
    pub(in super::super) const CONSUMED: usize = 128;
    /// Changes with every such reading. A worker without room for a reply sleeps on it.
    pub(in super::super) const DRAINED: usize = 136;
    /// One word for each outbox: how often its file could not be received. The worker makes another one then.
    pub(in super::super) const OUTBOX_LOST: usize = 140;
    /// The ring.
    pub(in super::super) const RING: usize = 4096;
    /// All of it.
    pub(in super::super) const LENGTH: usize = RING + super::CAPACITY;
}

/// The mapping that the worker writes to: its words, the claims, then the ring of replies.
pub(super) mod replies {
    /// Bytes of replies published so far.
    pub(in super::super) const PRODUCED: usize = 0;
    /// Where the reply begins that is being written (a value of `PRODUCED`) ...
    pub(in super::super) const OPEN_AT: usize = 64;
    /// ... and what of it is complete: items in the high half, bytes in the low half.
    pub(in super::super) const OPEN: usize = 72;
    /// The value of `PUBLISHED` or `DRAINED` that the worker sleeps at, or is about to, or slept at last.
    pub(in super::super) const SLEEPS_AT: usize = 128;
    /// Records of the ring of requests that the worker has passed; only written when it has passed all.
    pub(in super::super) const PASSED: usize = 132;
    /// One for each request that the ring may hold; the only words that both sides write to.
    pub(in super::super) const CLAIMS: usize = 4096;
    /// The ring.
    pub(in super::super) const RING: usize = CLAIMS + 8 * super::SLOTS;
    /// All of it.
    pub(in super::super) const LENGTH: usize = RING + super::CAPACITY;
}

/// Bytes in each ring.
pub(super) const CAPACITY: usize = 256 * 1024;
/// Requests that a ring may hold at the same time.
pub(super) const SLOTS: usize = 1024;
/// Every record begins with so many bytes, and at a multiple of them.
pub(super) const HEADER: usize = 16;
/// The longest content of a record. What is longer goes over the socket.
pub(super) const INLINE: usize = 64 * 1024;
/// Outboxes that a worker may have: while the parent copies out of one, it fills the other.
pub(super) const OUTBOXES: usize = 2;
/// A reply in an outbox has no more items: a part is sent when it has half of this many bytes, and no item is shorter than one.
pub(super) const MOST_ITEMS_OUT: u32 = INLINE as u32;
/// Longer replies go over the socket, so that a worker does not keep much memory for them.
pub(super) const LONGEST_OUT: usize = 16 << 20;
/// Room that a worker has for a reply at least before it begins to write it.
pub(super) const MIN_ROOM: usize = 8 * 1024;

/// Kinds of records, in the lowest byte of the last word of a header. The other three hold the number of items.
pub(super) mod kind {
    pub(in super::super) const RUN: u32 = 1;
    pub(in super::super) const DEFINE: u32 = 2;
    pub(in super::super) const DEFINE_BOUND: u32 = 3;
    pub(in super::super) const GOODBYE: u32 = 4;
    /// Shared memory is to be taken from the socket.
    pub(in super::super) const SHARE: u32 = 5;
    pub(in super::super) const FORGET: u32 = 6;
    pub(in super::super) const DONE: u32 = 16;
    pub(in super::super) const FAILED: u32 = 17;
    pub(in super::super) const PART: u32 = 18;
    /// Nothing; the rest of the ring up to its end is skipped.
    pub(in super::super) const PAD: u32 = 32;
    /// The content comes over the socket.
    pub(in super::super) const SPILLED: u32 = 128;
    /// The content is in an outbox, whose index and length are here. The file of a new one comes over the socket.
    pub(in super::super) const OUT: u32 = 64;
    /// The content ends with references to shared memory, and their number. The files of those that the worker has made come over
    /// the socket.
    pub(in super::super) const ATTACHED: u32 = 8;
}

/// A header: content's length, a number (a request's definition, a reply's request), an elapsed time, items and kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) length: u32,
    pub(super) number: u32,
    pub(super) elapsed: u32,
    pub(super) items: u32,
    pub(super) kind: u32,
}

impl Header {
    pub(super) fn new(length: usize, number: u32, kind: u32) -> Self {
        // Contents are shorter than a ring.
        Self { length: length as u32, number, elapsed: 0, items: 0, kind }
    }

    pub(super) fn to_words(self) -> [u64; 2] {
        [
            u64::from(self.length) | u64::from(self.number) << 32,
            u64::from(self.elapsed) | u64::from(self.items << 8 | self.kind) << 32,
        ]
    }

    pub(super) fn from_words([first, second]: [u64; 2]) -> Self {
        let last = (second >> 32) as u32;
        Self {
            length: first as u32,
            number: (first >> 32) as u32,
            elapsed: second as u32,
            items: last >> 8,
            kind: last & 0xff,
        }
    }
}

/// How much of a ring a record with so many bytes of content takes.
pub(super) fn record_length(content: usize) -> usize {
    HEADER + content.next_multiple_of(HEADER)
}

/// How much of a content is in the ring itself: all of it, or nothing where it goes over the socket.
pub(super) fn in_ring(content: usize) -> usize {
    if content > INLINE { 0 } else { content }
}

/// How much of a ring these contents take at most, wherever it begins: all records, and the rest of the ring up to its end
/// where one of them does not fit before it. All of them together are shorter than the ring, so that is so once at most.
pub(super) fn room_for(contents: impl Iterator<Item = usize>) -> usize {
    let (sum, longest) = contents.fold((0, 0), |(sum, longest), content| {
        let length = record_length(in_ring(content));
        (sum + length, length.max(longest))
    });
    // One that is cut off is shorter than the one that does not fit in there.
    sum + longest.saturating_sub(HEADER)
}

/// Where in the ring a position is.
pub(super) fn offset(position: u64) -> usize {
    (position % CAPACITY as u64) as usize
}

/// The value of a claim word when the worker has claimed the request with this number. A value with another number is from an
/// earlier lap.
pub(super) fn claimed(number: u64) -> u64 {
    number << 2 | 1
}

/// The value of a claim word when the parent has revoked the request with this number.
pub(super) fn revoked(number: u64) -> u64 {
    number << 2 | 2
}

/// Where the claim word of a request is.
pub(super) fn claim_word(number: u64) -> usize {
    replies::CLAIMS + 8 * (number as usize % SLOTS)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_its_words() {
        let header = Header { length: 7, number: u32::MAX, elapsed: 9, items: (1 << 24) - 1, kind: 0xff };
        assert_eq!(Header::from_words(header.to_words()), header);
    }

    /// What these contents take of a ring from this position on.
    fn taken(start: u64, contents: &[usize]) -> usize {
        let end = contents.iter().fold(start, |position, content| {
            let (length, rest) = (record_length(in_ring(*content)), CAPACITY - offset(position));
            position + (length + if rest < length { rest } else { 0 }) as u64
        });
        (end - start) as usize
    }

    proptest::proptest! {
        #[test]
        fn the_room_for_contents_is_enough_wherever_they_begin_and_nowhere_more(
            mut contents in proptest::collection::vec(proptest::prop_oneof![0..100_usize, 0..INLINE + 9], 1..4),
        ) {
            let room = room_for(contents.iter().copied());
            let starts = || (1..=(CAPACITY / HEADER) as u64).map(|records| CAPACITY as u64 - records * HEADER as u64);
            proptest::prop_assert!(starts().all(|start| taken(start, &contents) <= room));
            contents.sort_unstable_by_key(|content| std::cmp::Reverse(in_ring(*content)));
            proptest::prop_assert!(starts().any(|start| taken(start, &contents) == room));
        }
    }

    #[test]
    fn a_lap_later_the_same_word_means_another_request() {
        assert_eq!(claim_word(3), claim_word(3 + SLOTS as u64));
        assert_ne!(claimed(3), claimed(3 + SLOTS as u64));
        assert_ne!(claimed(3), revoked(3));
    }
}
