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

/// Reads a value that takes up all of `bytes`.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match panic::catch(|| postcard::take_from_bytes(bytes)) {
        Ok(Ok((value, []))) => Ok(value),
        Ok(Ok((_, rest))) => Err(CodecError(format!("{} bytes are left over", rest.len()))),
        Ok(Err(error)) => Err(CodecError(error.to_string())),
        Err(panic) => Err(CodecError(panic.to_string())),
    }
}
