//! The answer to a task: a result, or those of a chunk's items, as workers have sent them; and how they are decoded by the thread
//! that asks for them.

use std::{marker::PhantomData, time::Duration};

use super::{bytes::Bytes, results};
#[cfg(target_os = "linux")]
use crate::shm::{self, Attached};
use crate::{codec, error::TaskError, map::ChunkOutput, task::Payload};

/// The state of a chunk's items.
#[derive(Debug, Default)]
pub(crate) struct ChunkAnswer {
    /// Items in the chunk.
    pub(crate) total: u32,
    /// Those of them that workers are to run.
    pub(crate) sent: u32,
    /// And those of them whose answers are not known yet: the last ones that are no gaps.
    pub(crate) left: u32,
    /// Encoded results, in order, of all items but those in `gaps`.
    pub(crate) bytes: Vec<u8>,
    /// Items that no worker answers, by their index.
    pub(super) gaps: Vec<(u32, TaskError)>,
    /// Why all other items have no answer that are not in `bytes`, if they were lost all at once.
    pub(crate) lost: Option<TaskError>,
    /// The segments that the results refer to.
    #[cfg(target_os = "linux")]
    pub(crate) attached: Attached,
    pub(crate) ran_for: Duration,
}

impl ChunkAnswer {
    /// The index of the item after those that are known.
    pub(super) fn index_of_next(&self) -> u32 {
        let mut left = self.left;
        let mut gaps = self.gaps.iter().rev().map(|(index, _)| *index).peekable();
        for index in (0..self.total).rev() {
            if gaps.peek() == Some(&index) {
                gaps.next();
            } else {
                left = left.saturating_sub(1);
                if left == 0 {
                    return index;
                }
            }
        }
        0
    }
}

/// A result as it came from a worker, decoded by the thread that asks for it.
#[derive(Debug)]
pub(crate) enum Answer {
    Single(Bytes),
    /// A single one that refers to shared memory.
    #[cfg(target_os = "linux")]
    Attached(Box<(Bytes, Attached)>),
    Chunk(Box<ChunkAnswer>),
}

/// A single task with this result.
pub(crate) struct Single<R>(PhantomData<R>);

/// A chunk whose items have this result.
pub(crate) struct Chunk<R>(PhantomData<R>);

/// How an answer becomes a result.
pub(crate) trait Decode: 'static {
    type Output: Send + 'static;
    fn decode(answer: &Answer) -> Result<Self::Output, TaskError>;
    /// Whether there may be an error that only decoding finds.
    const MAY_BE_ERROR: bool;
}

impl<R: Payload> Decode for Single<R> {
    type Output = R;

    const MAY_BE_ERROR: bool = true;

    fn decode(answer: &Answer) -> Result<R, TaskError> {
        match answer {
            Answer::Single(bytes) => {
                codec::decode(bytes.as_slice()).map_err(|cause| TaskError::decode("result", cause))
            }
            #[cfg(target_os = "linux")]
            Answer::Attached(both) => shm::with_attached(&both.1, || codec::decode(both.0.as_slice()))
                .map_err(|cause| TaskError::decode("result", cause)),
            Answer::Chunk(_) => Err(TaskError::decode("result", "it is that of a chunk")),
        }
    }
}

impl<R: Payload> Decode for Chunk<R> {
    type Output = ChunkOutput<R>;

    const MAY_BE_ERROR: bool = false;

    fn decode(answer: &Answer) -> Result<ChunkOutput<R>, TaskError> {
        let Answer::Chunk(chunk) = answer else { return Err(TaskError::decode("result", "it is not that of a chunk")) };
        let mut bytes = &chunk.bytes[..];
        let mut output = ChunkOutput { values: Vec::new(), errors: Vec::new(), ran_for: chunk.ran_for };
        // As many as have their bytes, whatever count the worker gave.
        output.values.reserve((chunk.total as usize).min(bytes.len()));
        let mut gaps = chunk.gaps.iter().peekable();
        let mut indices = 0..chunk.total;
        let mut decode_on = |output: &mut ChunkOutput<R>| {
            for index in indices.by_ref() {
                let result = match gaps.next_if(|(gap, _)| *gap == index) {
                    Some((_, error)) => Err(error.clone()),
                    None if bytes.is_empty()
                        && let Some(error) = &chunk.lost =>
                    {
                        Err(error.clone())
                    }
                    None => decode_item(&mut bytes),
                };
                match result {
                    Ok(value) => output.values.push(value),
                    Err(error) => output.errors.push((index as usize, error)),
                }
            }
        };
        let decode = || {
            // One `catch_unwind` for many items: it is entered again only after an item has panicked.
            while let Err(panic) = crate::panic::catch(|| decode_on(&mut output)) {
                let index = output.values.len() + output.errors.len();
                output.errors.push((index, TaskError::decode("result", panic)));
            }
        };
        #[cfg(target_os = "linux")]
        shm::with_attached(&chunk.attached, decode);
        #[cfg(not(target_os = "linux"))]
        {
            let mut decode = decode;
            decode();
        }
        Ok(output)
    }
}

/// Takes the next item's result off; a panic is the caller's to catch.
fn decode_item<R: Payload>(bytes: &mut &[u8]) -> Result<R, TaskError> {
    let undecodable = |cause| TaskError::decode("result", cause);
    match results::take_first(bytes) {
        Some(Ok(result)) => codec::decode_uncaught(result).map_err(undecodable),
        Some(Err(error)) => Err(codec::decode_uncaught(error).unwrap_or_else(undecodable)),
        None => Err(TaskError::decode("result", "the worker did not send it")),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_next_item_of_a_chunk_is_the_first_that_is_not_known() {
        let gap = |index| (index, TaskError::Cancelled);
        let mut chunk = ChunkAnswer { total: 6, gaps: vec![gap(0), gap(3)], ..ChunkAnswer::default() };
        // Items 1, 2, 4 and 5 are answered by workers, in this order.
        let next = |left| {
            chunk.left = left;
            chunk.index_of_next()
        };
        assert_eq!([4, 3, 2, 1].map(next), [1, 2, 4, 5]);
    }

    proptest::proptest! {
        /// What a worker sends as the results of a chunk is decoded into as many results as the chunk has items.
        #[test]
        fn any_bytes_are_a_result_for_each_item(
            bytes in proptest::collection::vec(proptest::prop_oneof![0..4_u8, proptest::num::u8::ANY], 0..100),
            total in 1..20_u32,
            gaps in proptest::collection::btree_set(0..20_u32, 0..5),
        ) {
            let gaps = gaps.into_iter().filter(|gap| *gap < total).map(|gap| (gap, TaskError::Cancelled)).collect();
            let answer = Answer::Chunk(Box::new(ChunkAnswer { total, bytes, gaps, ..ChunkAnswer::default() }));
            let texts = Chunk::<String>::decode(&answer).unwrap();
            proptest::prop_assert_eq!(texts.values.len() + texts.errors.len(), total as usize);
            proptest::prop_assert!(texts.errors.is_sorted_by(|(one, _), (other, _)| one < other));
            let lists = Chunk::<Vec<u64>>::decode(&answer).unwrap();
            proptest::prop_assert_eq!(lists.values.len() + lists.errors.len(), total as usize);
            proptest::prop_assert!(lists.errors.is_sorted_by(|(one, _), (other, _)| one < other));
        }
    }
}
