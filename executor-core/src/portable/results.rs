//! The results of a chunk's items on their way back.
//!
//! Each has its length before it, so that one which cannot be decoded spoils no other one: a byte for a result of up to
//! [`LONGEST_SHORT`] bytes; [`LONG`] and four bytes for a longer one, and [`ERROR`] and four for an encoded [`TaskError`].

use crate::{
    codec::{self, Output, limits::MAX_ENCODED},
    error::TaskError,
};

const LONGEST_SHORT: usize = 0xfd;
const LONG: u8 = 0xfe;
const ERROR: u8 = 0xff;

/// Begins a result, which is then written, and [ended](end).
pub(crate) fn begin(output: &mut Output<'_>) {
    output.put(&[0]);
}

/// Ends the result that began at `start`. One that is too long is an error, and [`put_error`] takes it away.
pub(crate) fn end(output: &mut Output<'_>, start: usize) -> Result<(), TaskError> {
    let length = output.len() - start - 1;
    if length <= LONGEST_SHORT {
        output.bytes_mut()[start] = length as u8;
        return Ok(());
    }
    if length > MAX_ENCODED {
        return Err(too_long());
    }
    output.put(&[0; 4]);
    let result = &mut output.bytes_mut()[start..];
    result.rotate_right(4);
    result[0] = LONG;
    // Fits: it is at most MAX_ENCODED.
    result[1..5].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

pub(crate) fn too_long() -> TaskError {
    TaskError::encode("result", "it is longer than 512 MiB: use SharedBytes::with_len")
}

/// Writes an item's error in the place of whatever there is from `start` on.
pub(crate) fn put_error(output: &mut Output<'_>, start: usize, error: &TaskError) {
    output.truncate(start);
    output.put(&[ERROR, 0, 0, 0, 0]);
    // Plain data that always encodes, and nowhere near 4 GiB of it.
    let _ = codec::encode_into(error, output);
    let length = (output.len() - start - 5) as u32;
    output.bytes_mut()[start + 1..start + 5].copy_from_slice(&length.to_le_bytes());
}

/// The encoded result of an item, or its encoded error.
pub(crate) type Encoded<'a> = Result<&'a [u8], &'a [u8]>;

/// Takes the first result off; `None` when there is none, or it is not whole.
pub(super) fn take_first<'a>(bytes: &mut &'a [u8]) -> Option<Encoded<'a>> {
    let (&kind, rest) = bytes.split_first()?;
    let (length, rest) = match kind {
        LONG | ERROR => {
            let (length, rest) = rest.split_first_chunk()?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        length => (usize::from(length), rest),
    };
    let (result, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(if kind == ERROR { Err(result) } else { Ok(result) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Output<'_>), room: usize) -> Vec<u8> {
        let mut room = vec![0; room];
        let mut output = Output::new(&mut room);
        write(&mut output);
        match output.into_overflow() {
            Ok(used) => room[..used].to_vec(),
            Err(overflow) => overflow,
        }
    }

    #[test]
    fn results_of_all_lengths_and_errors_are_read_back_whether_there_is_room_or_not() {
        let write = |output: &mut Output<'_>| {
            for length in [0, 1, LONGEST_SHORT, LONGEST_SHORT + 1, 1000] {
                let start = output.len();
                begin(output);
                output.put(&vec![length as u8; length]);
                end(output, start).unwrap();
            }
            let start = output.len();
            begin(output);
            output.put(b"half of a result");
            put_error(output, start, &TaskError::Cancelled);
            begin(output);
        };
        for room in [0, 3, 300, 600, 10_000] {
            let bytes = written(write, room);
            let mut left = &bytes[..];
            for length in [0, 1, LONGEST_SHORT, LONGEST_SHORT + 1, 1000] {
                assert_eq!(take_first(&mut left), Some(Ok(&vec![length as u8; length][..])), "{room}");
            }
            let error = take_first(&mut left).unwrap().unwrap_err();
            assert_eq!(codec::decode::<TaskError>(error).unwrap(), TaskError::Cancelled);
            assert_eq!(take_first(&mut left), Some(Ok(&[][..])));
            assert_eq!(take_first(&mut left), None);
        }
    }

    #[test]
    fn an_error_takes_the_place_of_a_first_result_that_had_no_room() {
        let write = |output: &mut Output<'_>| {
            begin(output);
            output.put(b"12");
            output.put(&[7; 1000]);
            put_error(output, 0, &TaskError::Cancelled);
        };
        let bytes = written(write, 8);
        let mut left = &bytes[..];
        let error = take_first(&mut left).unwrap().unwrap_err();
        assert_eq!((codec::decode::<TaskError>(error).unwrap(), left.len()), (TaskError::Cancelled, 0));
    }

    #[test]
    fn a_result_that_is_not_whole_is_none() {
        for bytes in [&[1][..], &[LONG], &[LONG, 1, 0, 0], &[LONG, 1, 0, 0, 0], &[ERROR, 255, 255, 255, 255, 0]] {
            assert_eq!(take_first(&mut &*bytes), None, "{bytes:?}");
        }
    }
}
