//! The parent's ends against a worker that may write anything, anywhere it can: whatever comes is a reply or malformed, and
//! what the parent has pushed stays what it was.

use proptest::{collection::vec, prelude::*};

use super::{
    ControlChannel,
    hostile::{Answer, File, SEALED, Step, over_rings, over_socket},
    layout::{CAPACITY, HEADER, INLINE, kind},
};
use crate::{
    codec,
    process::wire::{frame, handshake::Hello},
    shm::{MOST_BLOCKS, Reference, Share},
    untrusted::Malformed,
};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..64_u64, (0..2 * CAPACITY as u64), (u64::MAX - 64..=u64::MAX)]
}

fn kind_of_reply() -> impl Strategy<Value = u8> {
    prop::sample::select(
        [
            kind::DONE,
            kind::FAILED,
            kind::PART,
            kind::PAD,
            kind::DONE | kind::SPILLED,
            kind::PART | kind::SPILLED,
            kind::DONE | kind::OUT,
            kind::DONE | kind::ATTACHED,
            kind::DONE | kind::OUT | kind::ATTACHED,
            kind::DONE | kind::SPILLED | kind::ATTACHED,
            0,
            255,
        ]
        .map(|kind| kind as u8)
        .to_vec(),
    )
}

/// The content of a reply of any kind; its first bytes may be a place in an outbox.
fn answer() -> impl Strategy<Value = Answer> {
    let content = prop_oneof![
        vec(prop_oneof![0..4_u8, any::<u8>()], 0..60),
        (0..3_u32, 0..200_u32).prop_map(|(index, length)| [index, length].map(u32::to_le_bytes).concat()),
    ];
    let references = vec((any::<bool>(), 0..3_u8, prop_oneof![Just(SEALED as u32), any::<u32>()]), 0..3);
    (kind_of_reply(), 0..64_u32, any::<u16>(), content, references)
        .prop_map(|(kind, number, items, content, references)| Answer { kind, number, items, content, references })
}

fn step() -> impl Strategy<Value = Step> {
    let lengths = prop_oneof![0..64_u32, (0..CAPACITY as u32 + 64), (u32::MAX - 64..=u32::MAX)];
    let file = prop::sample::select(vec![File::Rings, File::Socket, File::Sealed]);
    prop_oneof![
        prop_oneof![0..200_u32, 0..INLINE as u32 + 100].prop_map(Step::Push),
        Just(Step::Ring),
        Just(Step::Receive),
        Just(Step::Unfinished),
        any::<u8>().prop_map(Step::Revoke),
        Just(Step::ReleaseAll),
        any::<bool>().prop_map(Step::Raise),
        (any::<u8>(), number()).prop_map(|(word, value)| Step::Word(word, value)),
        (any::<u8>(), 0..3_u8, number()).prop_map(|(request, state, value)| Step::Claim(request, state, value)),
        (0..64_u16, lengths, any::<u32>(), kind_of_reply(), any::<u32>())
            .prop_map(|(at, length, number, kind, items)| Step::Header(at, length, number, kind, items)),
        (any::<u16>(), number()).prop_map(|(at, value)| Step::Bytes(at, value)),
        prop_oneof![0..8_u16, 0..=(CAPACITY / HEADER) as u16].prop_map(Step::Produce),
        vec(prop_oneof![0..40_u8, any::<u8>()], 0..60).prop_map(Step::Send),
        (prop_oneof![Just(frame::DATA), any::<u8>()], vec(any::<u8>(), 0..40))
            .prop_map(|(kind, body)| Step::SendFrame(kind, body)),
        (prop_oneof![Just(frame::FILE), any::<u8>()], file).prop_map(|(kind, file)| Step::SendFile(kind, file)),
        answer().prop_map(Step::Reply),
        prop_oneof![0..8_u8, any::<u8>()].prop_map(Step::Skip),
    ]
}

/// The worker's steps; after each of them the parent receives.
fn sent() -> impl Strategy<Value = Vec<Step>> {
    vec((step(), Just(Step::Receive)), 1..20)
        .prop_map(|steps| steps.into_iter().flat_map(|(step, look)| [step, look]).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_a_worker_writes_harms_the_parent(steps in vec(step(), 1..80)) {
        over_rings(steps, &mut |_| Ok(()));
    }

    #[test]
    fn any_bytes_are_a_reference_a_share_or_a_greeting_or_an_error(bytes in vec(prop_oneof![0..3_u8, any::<u8>()], 0..80)) {
        if let Some(reference) = Reference::from_bytes(&bytes) {
            prop_assert_eq!(Reference::from_bytes(&reference.to_bytes()), Some(reference));
        }
        if let Ok((share, has_file)) = Share::from_bytes(&bytes) {
            prop_assert_eq!(Share::from_bytes(&share.to_bytes(has_file)), Ok((share, has_file)));
        }
        // Neither panics, nor allocates for what is only announced.
        let _ = codec::decode::<Hello>(&bytes);
        let _ = codec::decode::<crate::TaskError>(&bytes);
        let _ = codec::decode::<crate::SharedBytes>(&bytes);
    }

    #[test]
    fn nothing_that_a_worker_sends_harms_the_parent(steps in sent()) {
        over_socket(steps, &mut |_| Ok(()));
    }
}

#[test]
fn a_reply_refers_to_no_more_than_one_value_can() {
    let (mut parent, _socket) = ControlChannel::pair().unwrap();
    let mut take = |count: usize| {
        let mut bytes = Reference { from_worker: false, id: 1, length: 1 }.to_bytes().repeat(count);
        bytes.extend_from_slice(&(count as u32).to_le_bytes());
        parent.take_attached(&mut bytes.into()).map(|attached| attached.map(|attached| attached.len()))
    };
    assert_eq!(take(MOST_BLOCKS), Ok(Some(MOST_BLOCKS)));
    assert_eq!(take(MOST_BLOCKS + 1), Err(Malformed));
}
