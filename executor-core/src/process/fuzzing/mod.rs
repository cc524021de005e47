//! The functions that `fuzz/` drives: those that read what another process has written, as they ship. It is there where a fuzzer
//! builds the crate (`--cfg fuzzing`), and promises nothing; and in tests, which run the corpus.
//!
//! Each function takes any bytes and returns; what it asserts is in its name or its text.

use arbitrary::{Arbitrary, Unstructured};

use super::{
    parent::hostile::Taker,
    transport::hostile::{over_rings, over_socket},
    wire::{birth::Birth, frame},
};

mod requests;
mod values;

pub use requests::{requests, worker};
pub use values::{chunks, values};

/// So many steps are taken of one input.
const MOST_STEPS: usize = 200;

/// The list that these bytes encode.
fn list<T: for<'a> Arbitrary<'a>>(bytes: &[u8]) -> Vec<T> {
    let mut bytes = Unstructured::new(bytes);
    let mut list = Vec::new();
    while list.len() < MOST_STEPS
        && !bytes.is_empty()
        && let Ok(element) = T::arbitrary(&mut bytes)
    {
        list.push(element);
    }
    list
}

/// A worker that writes anything to the rings and the socket, and the parent up to the values of the replies.
pub fn rings(bytes: &[u8]) {
    let Some(mut taker) = Taker::new() else { return };
    over_rings(list(bytes), &mut |reply| taker.take(reply));
}

/// A worker that sends anything over the transport that is a socket, and the parent up to the values of the replies.
pub fn socket(bytes: &[u8]) {
    let Some(mut taker) = Taker::new() else { return };
    over_socket(list(bytes), &mut |reply| taker.take(reply));
}

/// Any bytes are the same frames however they are cut, and written again they are the bytes that they were read from. The first
/// byte says how they are cut. Any text that is a `Birth` gives the same one when that is written and read again.
pub fn frames(bytes: &[u8]) {
    if let Some(birth) = std::str::from_utf8(bytes).ok().and_then(|text| Birth::read(text.as_ref())) {
        assert_eq!(Birth::read(birth.variable().as_ref()), Some(birth));
    }
    let Some((step, bytes)) = bytes.split_first() else { return };
    let whole = read_frames(std::iter::once(bytes));
    assert_eq!(read_frames(bytes.chunks(usize::from(*step).max(1))), whole, "cut after each {step} bytes");
    let mut written = Vec::new();
    for (kind, body) in whole.0 {
        let start = frame::begin_frame(&mut written, kind);
        written.extend_from_slice(&body);
        assert!(frame::end_frame(&mut written, start).is_ok());
    }
    assert!(bytes.starts_with(&written));
}

/// All frames, and whether there was none that is malformed.
fn read_frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<(u8, Vec<u8>)>, bool) {
    let mut buffer = frame::FrameBuffer::default();
    let mut frames = Vec::new();
    for mut piece in pieces {
        while !piece.is_empty() {
            // As from a socket, a part of it at a time.
            assert!(buffer.read_from(&mut piece, 64).is_ok());
            loop {
                let (begun, has_frame) = (buffer.begun(), buffer.has_frame());
                match buffer.next() {
                    Ok(Some((kind, body))) => {
                        assert!(has_frame && begun == Some((kind, body.len() + 1)));
                        frames.push((kind, body.to_vec()));
                    }
                    Ok(None) => break assert!(!has_frame),
                    Err(_) => return (frames, !has_frame),
                }
            }
        }
    }
    (frames, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Target = fn(&[u8]);

    /// Inputs that fuzzers have found before are run without a fuzzer.
    #[test]
    fn the_corpus_is_as_it_should_be() {
        let targets: [(_, Target); 7] = [
            ("frames", frames),
            ("rings", rings),
            ("socket", socket),
            ("values", values),
            ("chunks", chunks),
            ("requests", requests),
            ("worker", worker),
        ];
        for (name, target) in targets {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/").to_owned() + name;
            let files = std::fs::read_dir(folder).unwrap();
            let inputs: Vec<Vec<u8>> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
            assert!(!inputs.is_empty(), "{name} has no corpus");
            inputs.iter().for_each(|input| target(input));
        }
    }
}
