//! The bytes of arguments, configurations and results: few are moved with what they belong to, and long ones are owned once, by all
//! that still need them. An operation on long ones under the pool's lock takes as long as one on few: they are neither copied nor
//! freed there.

use std::sync::Arc;

use crate::configuration::Bound;

/// Contents that are longer are owned once; those up to this are copied where that is simpler.
pub(crate) const LONGEST_COPY: usize = 64 * 1024;

/// Bytes that are mostly few.
#[derive(Debug)]
pub(crate) enum Bytes {
    Few(FewBytes),
    Many(Box<[u8]>),
    /// More than [`LONGEST_COPY`], from when they go to a worker.
    Long(LongBytes),
}

/// All that a task has is moved several times on its way: aligned, this moves in whole words, and the bytes begin where a word
/// does. At odd places each move would have to wait for the one before it.
#[derive(Debug, Default)]
#[repr(C, align(8))]
pub(crate) struct FewBytes {
    bytes: [u8; Bytes::FEW],
    length: u8,
    mark: Mark,
}

/// A byte that can have no other value: with one, [`Bytes`] is something else, and takes no room to say so.
#[derive(Debug, Default)]
#[repr(u8)]
enum Mark {
    #[default]
    Few,
}

impl FewBytes {
    /// `None` if they are more.
    fn new(slice: &[u8]) -> Option<Self> {
        let mut few = Self::default();
        few.bytes.get_mut(..slice.len())?.copy_from_slice(slice);
        // Fits: it is at most FEW.
        few.length = slice.len() as u8;
        Some(few)
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl Bytes {
    const FEW: usize = 22;

    /// Takes them out.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Few(FewBytes::default()))
    }

    /// Takes them out as shared bytes, which several may own.
    pub(crate) fn take_long(&mut self) -> LongBytes {
        match self.take() {
            Self::Few(few) => few.as_slice().to_vec().into(),
            Self::Many(bytes) => bytes.into_vec().into(),
            Self::Long(bytes) => bytes,
        }
    }

    /// Leaves the first ones out. Of many the rest is moved, of long ones it stays where it is.
    pub(crate) fn skip(&mut self, count: usize) {
        match self {
            Self::Long(bytes) => bytes.skip(count),
            few => *few = Self::from(&few.as_slice()[count..]),
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Few(few) => few.as_slice(),
            Self::Many(bytes) => bytes,
            Self::Long(bytes) => bytes.as_slice(),
        }
    }
}

impl From<&[u8]> for Bytes {
    fn from(slice: &[u8]) -> Self {
        FewBytes::new(slice).map_or_else(|| Self::Many(slice.into()), Self::Few)
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        FewBytes::new(&bytes).map_or_else(|| Self::Many(bytes.into()), Self::Few)
    }
}

/// The long part behind the rest of a record's content, which is not copied until the system takes it.
#[derive(Debug, Clone)]
pub(crate) enum Long {
    /// An encoded argument, or a chunk of them.
    Argument(LongBytes),
    /// A configuration.
    Bound(Arc<Bound>),
    /// An argument that is nothing but bytes, and was not encoded.
    #[cfg(target_os = "linux")]
    Large(Arc<Large>),
}

impl Long {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Argument(bytes) => bytes.as_slice(),
            Self::Bound(bound) => &bound.bytes,
            #[cfg(target_os = "linux")]
            Self::Large(large) => large.as_slice(),
        }
    }
}

/// Encoded bytes that several may own.
#[derive(Debug, Clone)]
pub(crate) struct LongBytes {
    all: Arc<Vec<u8>>,
    /// The bytes before this are not needed any more.
    start: usize,
}

impl LongBytes {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.all[self.start..]
    }

    /// Leaves the first ones out.
    pub(crate) fn skip(&mut self, count: usize) {
        self.start = self.all.len().min(self.start + count);
    }
}

impl From<Vec<u8>> for LongBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self { all: Arc::new(bytes), start: 0 }
    }
}

/// An argument that is nothing but bytes, and so many of them that sharing them is worth it.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) enum Large {
    Vector(Vec<u8>),
    #[cfg(feature = "bytes")]
    Bytes(bytes::Bytes),
}

#[cfg(target_os = "linux")]
impl Large {
    /// Whether its destructor may be the user's code: that of an owner behind `Bytes`.
    pub(crate) fn has_user_destructor(&self) -> bool {
        !matches!(self, Self::Vector(_))
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Vector(bytes) => bytes,
            #[cfg(feature = "bytes")]
            Self::Bytes(bytes) => bytes,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn long_bytes_lose_their_first_ones_where_they_are() {
        let mut bytes = Bytes::Long(LongBytes::from(vec![1, 2, 3]));
        let at = bytes.as_slice().as_ptr();
        bytes.skip(2);
        assert_eq!((bytes.as_slice(), bytes.as_slice().as_ptr()), (&[3][..], at.wrapping_add(2)));
        assert_eq!(bytes.take_long().as_slice(), [3]);
        assert!(bytes.as_slice().is_empty());
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn what_has_bytes_takes_no_more_room_than_few_of_them() {
        assert_eq!((size_of::<FewBytes>(), size_of::<Bytes>(), size_of::<Option<Bytes>>()), (24, 24, 24));
    }

    #[test]
    fn bytes_are_the_same_however_many() {
        for length in [0, 1, Bytes::FEW, Bytes::FEW + 1, 1000] {
            let all: Vec<u8> = (0..length).map(|index| index as u8).collect();
            assert_eq!(Bytes::from(&all[..]).as_slice(), all);
            assert_eq!(Bytes::from(all.clone()).as_slice(), all);
        }
    }
}
