//! The wire format of arguments and results: postcard. No other module depends on that choice.
//!
//! Around it are a [`Writer`](write::Writer) and a [`Reader`](read::Reader), which keep what a type's own `Serialize` and
//! `Deserialize` say, and bound how deep values are nested ([`Depth`](depth::Depth)).

use std::any::Any;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

#[cfg(target_os = "linux")]
use crate::shm::{self, Block};
use crate::{
    panic,
    pins::Pins,
    shared_bytes::{Plain, Received},
};

mod depth;
mod error;
pub(crate) mod limits;
mod read;
mod write;

pub(crate) use error::CodecError;

impl From<postcard::Error> for CodecError {
    #[cold]
    fn from(error: postcard::Error) -> Self {
        Self::new(error)
    }
}

/// Writes a value, and names its type where that fails.
fn write_value<T: Serialize, F>(value: &T, flavor: F) -> Result<(), CodecError>
where
    F: postcard::ser_flavors::Flavor<Output = ()>,
{
    write::write(value, flavor).map_err(CodecError::of::<T>)
}

/// Reads a value from the beginning of `bytes`, and names its type where that fails; gives the rest as well.
fn read_value<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<(T, &'de [u8]), CodecError> {
    read::read(bytes).map_err(CodecError::of::<T>)
}

/// Writes to the end of a vector that holds other things already.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Memory of a given length to write to, and more where that is not enough.
pub(crate) struct Output<'a> {
    room: &'a mut [u8],
    used: usize,
    /// Everything, once the room was not enough.
    overflow: Vec<u8>,
    /// The shared memory that it refers to.
    #[cfg(target_os = "linux")]
    attached: Vec<Block>,
}

impl<'a> Output<'a> {
    pub(crate) fn new(room: &'a mut [u8]) -> Self {
        Self {
            room,
            used: 0,
            overflow: Vec::new(),
            #[cfg(target_os = "linux")]
            attached: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        if self.overflow.is_empty() { self.used } else { self.overflow.len() }
    }

    /// Takes the shared memory that it refers to.
    #[cfg(target_os = "linux")]
    pub(crate) fn take_attached(&mut self) -> Vec<Block> {
        std::mem::take(&mut self.attached)
    }

    /// Whether it should be sent soon: more than half of the room is taken, or it is not complete without what it refers to.
    pub(crate) fn is_large(&self) -> bool {
        #[cfg(target_os = "linux")]
        if !self.attached.is_empty() {
            return true;
        }
        !self.overflow.is_empty() || self.used > self.room.len() / 2
    }

    /// What was written.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        if self.overflow.is_empty() { &mut self.room[..self.used] } else { &mut self.overflow }
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        // Both: with nothing left in the overflow, what is in the room counts again.
        self.used = self.used.min(length);
        self.overflow.truncate(length);
    }

    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if self.overflow.is_empty()
            && let Some(place) = self.room.get_mut(self.used..self.used + bytes.len())
        {
            copy(place, bytes);
            self.used += bytes.len();
        } else {
            self.put_overflow(bytes);
        }
    }

    #[cold]
    fn put_overflow(&mut self, bytes: &[u8]) {
        if self.overflow.is_empty() {
            self.overflow.extend_from_slice(&self.room[..self.used]);
        }
        self.overflow.extend_from_slice(bytes);
    }

    /// How much was written into the room; or all of it, where the room was not enough.
    pub(crate) fn into_overflow(self) -> Result<usize, Vec<u8>> {
        if self.overflow.is_empty() { Ok(self.used) } else { Err(self.overflow) }
    }
}

/// Copies between slices of one length. Most are a few bytes long, and a call of `memcpy` costs more than they do.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    let length = from.len();
    match length {
        0 => {}
        1..=3 => {
            to[0] = from[0];
            to[length / 2] = from[length / 2];
            to[length - 1] = from[length - 1];
        }
        4..=7 => copy_ends::<4>(to, from),
        8..=16 => copy_ends::<8>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first and the last bytes, which may overlap.
#[inline]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    let last = from.len() - N;
    to[..N].copy_from_slice(&from[..N]);
    to[last..].copy_from_slice(&from[last..]);
}

impl postcard::ser_flavors::Flavor for &mut Output<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.put(&[byte]);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.put(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Appends the encoded value. A panic in a user's `Serialize` is an error as well. What was appended before an error is
/// for the caller to cut off.
///
/// The pins keep alive what the bytes refer to; they belong wherever the bytes go.
pub(crate) fn encode<T: Serialize + 'static>(value: &T, output: &mut Vec<u8>) -> Result<Pins, CodecError> {
    let encode = || match as_bytes(value) {
        Some(bytes) => encode_bytes(bytes, Append(output)),
        None => write_value(value, Append(output)),
    };
    let (encoded, pins) = Pins::collect(|| panic::catch(encode));
    match encoded {
        Ok(Ok(())) => Ok(pins),
        Ok(Err(error)) => Err(error),
        Err(panic) => Err(CodecError::new(panic).of::<T>()),
    }
}

/// Appends the encoded value, as [`encode`]; a panic is the caller's to catch, and pins are the caller's to collect.
pub(crate) fn encode_uncaught<T: Serialize + 'static>(value: &T, output: &mut Vec<u8>) -> Result<(), CodecError> {
    match as_bytes(value) {
        Some(bytes) => encode_bytes(bytes, Append(output)),
        None => write_value(value, Append(output)),
    }
}

/// Writes the encoded value, as [`encode_uncaught`].
pub(crate) fn encode_into<T: Serialize + 'static>(value: &T, output: &mut Output<'_>) -> Result<(), CodecError> {
    if let Some(bytes) = as_bytes(value) {
        return write::write(&Plain(bytes), output);
    }
    #[cfg(target_os = "linux")]
    if shm::is_in_use() {
        let (encoded, pins) = Pins::collect(|| write_value(value, &mut *output));
        encoded?;
        output.attached.extend(pins.into_blocks());
        return Ok(());
    }
    write_value(value, output)
}

/// Bytes travel all at once, and by reference where they are many; serde alone would have them one by one.
fn as_bytes<T: 'static>(value: &T) -> Option<&[u8]> {
    let value: &dyn Any = value;
    #[cfg(feature = "bytes")]
    if let Some(bytes) = value.downcast_ref::<bytes::Bytes>() {
        return Some(bytes);
    }
    value.downcast_ref::<Vec<u8>>().map(Vec::as_slice)
}

/// Encodes bytes as [`Plain`] or [`Shared`](crate::shared_bytes::Shared).
fn encode_bytes<F>(bytes: &[u8], flavor: F) -> Result<(), CodecError>
where
    F: postcard::ser_flavors::Flavor<Output = ()>,
{
    #[cfg(target_os = "linux")]
    if Pins::may_share(bytes.len())
        && let Some(reference) = shm::copy(bytes, shm::Use::Argument).and_then(|block| Pins::refer(&block))
    {
        return write::write(&crate::shared_bytes::Shared(reference), flavor);
    }
    write::write(&Plain(bytes), flavor)
}

/// As [`encode`], but nothing travels by reference.
pub(crate) fn encode_without_references<T: Serialize + 'static>(
    value: &T,
    output: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let encoded = panic::catch(|| match as_bytes(value) {
        Some(bytes) => write::write(&Plain(bytes), Append(output)),
        None => write_value(value, Append(output)),
    });
    encoded.unwrap_or_else(|panic| Err(CodecError::new(panic).of::<T>()))
}

/// As [`encode_bytes`], into an empty vector; `None` where there is no room for them in shared memory now.
#[cfg(target_os = "linux")]
pub(crate) fn encode_large(bytes: &[u8], output: &mut Vec<u8>) -> Option<Pins> {
    let (encoded, pins) = Pins::collect(|| {
        let reference = Pins::refer(&shm::copy(bytes, shm::Use::Argument)?)?;
        write::write(&crate::shared_bytes::Shared(reference), Append(output)).ok()
    });
    encoded.map(|()| pins)
}

/// What is before bytes where they travel as they are.
#[cfg(target_os = "linux")]
pub(crate) fn begin_plain(bytes: &[u8], output: &mut Vec<u8>) {
    // The number of the variant and the length; nothing in it could fail.
    let _ = write::write(&(0_u32, bytes.len()), Append(output));
}

/// Reads a value that takes up all of `bytes`; a panic is the caller's to catch.
pub(crate) fn decode_uncaught<T: DeserializeOwned + 'static>(mut bytes: &[u8]) -> Result<T, CodecError> {
    let value = decode_first(&mut bytes)?;
    if bytes.is_empty() {
        Ok(value)
    } else {
        Err(CodecError::new(format_args!("{} bytes are left over", bytes.len())).of::<T>())
    }
}

/// Reads a value that takes up all of `bytes`. A panic in a user's `Deserialize` is an error as well.
pub(crate) fn decode<T: DeserializeOwned + 'static>(bytes: &[u8]) -> Result<T, CodecError> {
    panic::catch(|| decode_uncaught(bytes)).unwrap_or_else(|panic| Err(CodecError::new(panic).of::<T>()))
}

/// Reads what [`encode_bytes`] wrote from the beginning of `bytes`, and leaves the rest.
fn take_bytes(bytes: &mut &[u8]) -> Result<Vec<u8>, CodecError> {
    let (received, rest) = read_value::<Received>(bytes)?;
    *bytes = rest;
    Ok(received.into_vec())
}

/// Reads a value from the beginning of `bytes`, and leaves the rest; a panic is the caller's to catch.
pub(crate) fn decode_first<T: DeserializeOwned + 'static>(bytes: &mut &[u8]) -> Result<T, CodecError> {
    // Bytes are read all at once; serde alone would read them one by one.
    let mut value: Option<T> = None;
    let place: &mut dyn Any = &mut value;
    if let Some(place) = place.downcast_mut::<Option<Vec<u8>>>() {
        *place = Some(take_bytes(bytes)?);
    }
    #[cfg(feature = "bytes")]
    if let Some(place) = place.downcast_mut::<Option<bytes::Bytes>>() {
        *place = Some(take_bytes(bytes)?.into());
    }
    if let Some(value) = value {
        return Ok(value);
    }
    let (value, rest) = read_value(bytes)?;
    *bytes = rest;
    Ok(value)
}
