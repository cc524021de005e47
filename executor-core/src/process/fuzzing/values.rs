//! Values: what the codec reads of any bytes, and the results of a chunk.

use std::{any::Any, collections::BTreeMap};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Cause, SharedBytes, TaskError,
    codec::{self, Output},
    portable::{
        answer::{Answer, Chunk, ChunkAnswer, Decode},
        arguments::Items,
    },
    process::{wire::handshake::Hello, worker::entry::EntryOf},
    shm::{Reference, Share},
};

/// A value with every kind of content that the codec can read.
#[derive(Debug, Serialize, Deserialize)]
enum Value {
    Unit,
    Bool(bool),
    Char(char),
    Signed(i8, i16, i32, i64, i128),
    Unsigned(u8, u16, u32, u64, u128),
    Float(f32, f64),
    Text(String),
    Bytes(Blob),
    Option(Option<Box<Value>>),
    List(Vec<Value>),
    Empty(Vec<()>),
    Map(BTreeMap<String, Value>),
    Struct { small: u16, nested: Box<Value> },
    Tuple((u8, Box<Value>, [u16; 3])),
    Newtype(Newtype),
    Shared(SharedBytes),
}

#[derive(Debug, Serialize, Deserialize)]
struct Newtype(Box<Value>);

/// Bytes that a type of the user's reads all at once.
#[derive(Debug)]
struct Blob(Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(|bytes| Self(bytes.to_vec()))
    }
}

/// What is read is no more than the bytes say, and what is written of it is read again as the same.
fn check<T: Serialize + DeserializeOwned + 'static>(bytes: &[u8]) {
    let Ok(value) = codec::decode::<T>(bytes) else { return };
    let mut written = Vec::new();
    // To write may take more stack than to read.
    if codec::encode_without_references(&value, &mut written).is_err() {
        return;
    }
    assert!(written.len() <= bytes.len(), "the shortest encoding is no longer than this one");
    let again = codec::decode::<T>(&written).map(|value| {
        let mut again = Vec::new();
        codec::encode_without_references(&value, &mut again).map(|()| again)
    });
    assert!(matches!(again, Ok(Ok(again)) if again == written), "what was written is read");
    written.push(0);
    // Nothing but a value without bytes may be left over, and no byte is.
    assert!(codec::decode::<T>(&written).is_err(), "nothing is left over");
}

/// What the bytes are as values of several types, as messages, and as what is beside a reply.
pub fn values(bytes: &[u8]) {
    check::<Value>(bytes);
    check::<Vec<u8>>(bytes);
    check::<(u8, Option<String>, Vec<(i32, char)>)>(bytes);
    check::<Result<BTreeMap<u16, String>, f64>>(bytes);
    check::<Hello>(bytes);
    // Neither has to be the shortest: their texts are the user's.
    let _ = codec::decode::<TaskError>(bytes);
    let _ = codec::decode::<Cause>(bytes);
    if let Some(reference) = Reference::from_bytes(bytes) {
        assert_eq!(Reference::from_bytes(&reference.to_bytes()), Some(reference));
    }
    if let Ok((share, has_file)) = Share::from_bytes(bytes) {
        assert_eq!(Share::from_bytes(&share.to_bytes(has_file)), Ok((share, has_file)));
    }
}

fn task(argument: (u8, String)) -> Result<String, u8> {
    if argument.0 < 128 { Ok(argument.1) } else { Err(argument.0) }
}

/// The entry of a function as a worker finds it.
fn entry<A, M, F: crate::Task<A, M>>(_: F) -> &'static crate::portable::entry::Entry
where
    A: crate::Payload,
    F::Output: crate::Payload,
{
    EntryOf::<F, A, M>::ENTRY
}

fn chunk(total: u32, bytes: Vec<u8>) -> Answer {
    let mut chunk = ChunkAnswer::default();
    (chunk.total, chunk.bytes) = (total, bytes);
    Answer::Chunk(Box::new(chunk))
}

/// Any bytes are as many arguments as there are whole ones, of which each has a result, and any bytes are as many results as
/// the chunk has items.
pub fn chunks(bytes: &[u8]) {
    let Some((total, bytes)) = bytes.split_first() else { return };
    let total = u32::from(*total);
    let answer = chunk(total, bytes.to_vec());
    if let Ok(decoded) = Chunk::<Result<String, u8>>::decode(&answer) {
        assert_eq!(decoded.values.len() + decoded.errors.len(), total as usize);
        assert!(decoded.errors.is_sorted_by(|(one, _), (other, _)| one < other));
    }

    let entry = entry(task);
    let task: Box<dyn Any> = match (entry.restore)(&[]) {
        Ok(task) => task,
        Err(error) => panic!("a function without a configuration is always there: {error}"),
    };
    let mut room = [0; 64];
    let _ = (entry.run)(&*task, bytes, &mut Output::new(&mut room));

    let count = Items(bytes).count();
    let mut output = Output::new(&mut room);
    let mut done = 0;
    (entry.run_items)(&*task, Items(bytes), &mut output, &mut |_| done += 1);
    assert_eq!(done, count, "each item has a result");
    let results = match output.into_overflow() {
        Ok(used) => room[..used].to_vec(),
        Err(overflow) => overflow,
    };
    let answer = chunk(count as u32, results);
    let Ok(decoded) = Chunk::<Result<String, u8>>::decode(&answer) else { panic!("it is a chunk's") };
    assert_eq!(decoded.values.len() + decoded.errors.len(), count);
    for (item, value) in Items(bytes).filter_map(|item| codec::decode::<(u8, String)>(item).ok()).zip(&decoded.values) {
        assert_eq!(*value, self::task(item), "results are in order");
    }
}
