//! The wire format of arguments and results: postcard. The only place that knows.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use crate::{cancel::Pins, panic};

/// Why a value could not be encoded or decoded, in words.
#[derive(Debug)]
pub(crate) struct CodecError(String);

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
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
}

impl<'a> Output<'a> {
    pub(crate) fn new(room: &'a mut [u8]) -> Self {
        Self { room, used: 0, overflow: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        if self.overflow.is_empty() { self.used } else { self.overflow.len() }
    }

    /// Whether more than half of the room is taken.
    pub(crate) fn is_large(&self) -> bool {
        !self.overflow.is_empty() || self.used > self.room.len() / 2
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        if self.overflow.is_empty() {
            self.used = self.used.min(length);
        } else {
            self.overflow.truncate(length);
        }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if self.overflow.is_empty() {
            if let Some(place) = self.room.get_mut(self.used..self.used + bytes.len()) {
                place.copy_from_slice(bytes);
                self.used += bytes.len();
                return;
            }
            self.overflow.extend_from_slice(&self.room[..self.used]);
        }
        self.overflow.extend_from_slice(bytes);
    }

    /// How much was written into the room; or all of it, where the room was not enough.
    pub(crate) fn into_overflow(self) -> Result<usize, Vec<u8>> {
        if self.overflow.is_empty() { Ok(self.used) } else { Err(self.overflow) }
    }
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
pub(crate) fn encode<T: Serialize>(value: &T, output: &mut Vec<u8>) -> Result<Pins, CodecError> {
    let (encoded, pins) = Pins::collect(|| panic::catch(|| postcard::serialize_with_flavor(value, Append(output))));
    match encoded {
        Ok(Ok(())) => Ok(pins),
        Ok(Err(error)) => Err(CodecError(error.to_string())),
        Err(panic) => Err(CodecError(panic.to_string())),
    }
}

/// Appends the encoded value, as [`encode`]; a panic is the caller's to catch, and pins are the caller's to collect.
pub(crate) fn encode_uncaught<T: Serialize>(value: &T, output: &mut Vec<u8>) -> Result<(), CodecError> {
    postcard::serialize_with_flavor(value, Append(output)).map_err(|error| CodecError(error.to_string()))
}

/// Writes the encoded value, as [`encode_uncaught`].
pub(crate) fn encode_into<T: Serialize>(value: &T, output: &mut Output<'_>) -> Result<(), CodecError> {
    postcard::serialize_with_flavor(value, output).map_err(|error| CodecError(error.to_string()))
}

/// Reads a value that takes up all of `bytes`; a panic is the caller's to catch.
pub(crate) fn decode_uncaught<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(CodecError(format!("{} bytes are left over", rest.len()))),
        Err(error) => Err(CodecError(error.to_string())),
    }
}

/// Reads a value that takes up all of `bytes`. A panic in a user's `Deserialize` is an error as well.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    panic::catch(|| decode_uncaught(bytes)).unwrap_or_else(|panic| Err(CodecError(panic.to_string())))
}

/// Reads a value from the beginning of `bytes`, and leaves the rest; a panic is the caller's to catch.
pub(crate) fn decode_first<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, CodecError> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|error| CodecError(error.to_string()))?;
    *bytes = rest;
    Ok(value)
}
