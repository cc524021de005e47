//! [`SharedBytes`]: bytes that reach worker processes by reference.

#[cfg(target_os = "linux")]
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, EnumAccess, VariantAccess, Visitor},
};

#[cfg(target_os = "linux")]
use crate::{
    pins::Pins,
    shm::{self, Block, Made, Reference},
    sys,
};

/// Bytes that many holders read and nobody changes, in this process and, without a copy, in worker processes.
///
/// ```
/// use executor_core::SharedBytes;
///
/// let bytes = SharedBytes::from(vec![1, 2, 3]);
/// assert_eq!(bytes.iter().sum::<u8>(), 6);            // a `&[u8]` in all but name
/// ```
///
/// As an argument, inside of one, in the configuration of [`partial`](crate::partial), or as a result, only a reference
/// travels: the worker reads the very memory that the program wrote, and the other way round. A worker is handed the memory
/// once, and told a number from then on. The memory is freed when the last holder, wherever it is, drops its copy or dies; a
/// task may keep one, in a static for example, longer than it runs. Inside one process, cloning is counting a reference.
///
/// What crosses by reference is made by [`with_len`](Self::with_len), or was received. Bytes that come from a vector stay
/// there, and are copied into shared memory when they are first sent to a worker; a worker sends them back as they are.
/// Fewer than 64 KiB are always copied. So is everything where there is no shared memory that can be sealed (outside
/// Linux), or no more of it: each piece takes a file descriptor, and the crate takes no more than 256 of them. When many
/// results that refer to shared memory are kept, the program closes the files of the later ones and only keeps them mapped;
/// what is sent on of these is copied. The same is done where memory is refused, or a limit on the size of files
/// (`RLIMIT_FSIZE`) is in the way.
///
/// A worker can map the memory for reading only, and no process can shorten it; a program that trusts no worker can trust
/// what it reads here. Memory that is shared does not count for a worker's memory limit. A worker that cannot map a piece,
/// because it has no descriptor left for example, fails the tasks that need it with
/// [`TaskError::Decode`](crate::TaskError::Decode); the next one brings the piece again.
///
/// # What workers can read
///
/// All workers of all pools are taken for one party: a worker is given the memory of pieces *before* anything is written to
/// them, so that sending them costs nothing, and pieces are used again. So code in a worker that looks for it can read bytes
/// that were sent to another worker, or to none. The same goes for `Vec<u8>` arguments of 64 KiB and more. Where tasks must
/// not read what others get, [`private_with_len`](Self::private_with_len) makes bytes that only those workers can read that
/// they are sent to.
///
/// With a serializer for humans (JSON) this is a plain sequence of bytes.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, ProcessPoolExecutor, SharedBytes};
///
/// fn sum((bytes, from, to): (SharedBytes, usize, usize)) -> u64 {
///     bytes[from..to].iter().copied().map(u64::from).sum()
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     executor_core::init();
///     let pool = ProcessPoolExecutor::new(2)?;
///     let bytes = SharedBytes::with_len(1 << 20, |bytes| bytes.fill(1));
///     // Both read the same megabyte; nothing of it is copied.
///     let halves = [(0, 1 << 19), (1 << 19, 1 << 20)].map(|(from, to)| pool.submit(sum, (bytes.clone(), from, to)));
///     for half in halves {
///         assert_eq!(half?.result()?, 1 << 19);
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct SharedBytes {
    content: Arc<Content>,
}

enum Content {
    Own {
        bytes: Vec<u8>,
        /// `None` where no copy is to be made that all workers could read.
        #[cfg(target_os = "linux")]
        copy: Option<SharedCopy>,
    },
    #[cfg(target_os = "linux")]
    Shared(Block),
}

/// A copy of bytes that workers can see, once there was need of one.
#[cfg(target_os = "linux")]
struct SharedCopy {
    block: OnceLock<Block>,
    /// Many threads that send the same bytes at once make one copy.
    making: Mutex<()>,
    /// The process that makes it.
    process: u64,
}

#[cfg(target_os = "linux")]
impl SharedCopy {
    fn new() -> Self {
        Self { block: OnceLock::new(), making: Mutex::new(()), process: sys::generation() }
    }

    /// How to tell a worker of these bytes. Where there is no memory for them now, the next one who sends them tries again.
    fn refer(&self, bytes: &[u8]) -> Option<Reference> {
        // Another thread of the program may have been making it when this copy of the program was forked, and will never be done
        // here. Who sends it holds it as long as somebody may read it.
        if self.process != sys::generation() {
            return Pins::refer(&shm::copy(bytes, shm::Use::Shared)?);
        }
        if let Some(block) = self.block.get() {
            return Pins::refer(block);
        }
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if self.block.get().is_none() {
            let _ = self.block.set(shm::copy(bytes, shm::Use::Shared)?);
        }
        Pins::refer(self.block.get()?)
    }
}

impl SharedBytes {
    /// Makes `length` bytes in memory that workers can see, and lets `fill` write them: there is no copy that could be
    /// saved. `fill` gets bytes of any value, left over from what was there before, and has to write all that matter.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::SharedBytes;
    ///
    /// let table = SharedBytes::with_len(1 << 20, |bytes| bytes.fill(7));
    /// assert_eq!(table[12345], 7);
    /// ```
    #[must_use]
    pub fn with_len(length: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        #[cfg(target_os = "linux")]
        if length >= shm::SHARED_FROM {
            return Self::make(length, shm::Use::Shared, fill);
        }
        let mut bytes = vec![0; length];
        fill(&mut bytes);
        Self::from(bytes)
    }

    /// As [`with_len`](Self::with_len), in memory that no worker can read before it is sent the bytes, and that is used for
    /// nothing else afterwards. It costs more: about 35 us the first time that each worker is sent them, and new pages.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::SharedBytes;
    ///
    /// let key = SharedBytes::private_with_len(1 << 20, |bytes| bytes.fill(7));
    /// assert_eq!(key[12345], 7);
    /// ```
    #[must_use]
    pub fn private_with_len(length: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        #[cfg(target_os = "linux")]
        if length >= shm::SHARED_FROM {
            return Self::make(length, shm::Use::Private, fill);
        }
        let mut bytes = vec![0; length];
        fill(&mut bytes);
        Self::from(bytes)
    }

    #[cfg(target_os = "linux")]
    fn make(length: usize, purpose: shm::Use, fill: impl FnOnce(&mut [u8])) -> Self {
        match shm::make(length, purpose, fill) {
            Made::Shared(block) => Self { content: Arc::new(Content::Shared(block)) },
            // It is not copied to where all workers could read it when it is sent.
            Made::Plain(bytes) if purpose == shm::Use::Private => {
                Self { content: Arc::new(Content::Own { bytes, copy: None }) }
            }
            Made::Plain(bytes) => Self::from(bytes),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &*self.content {
            Content::Own { bytes, .. } => bytes,
            #[cfg(target_os = "linux")]
            Content::Shared(block) => block.bytes(),
        }
    }

    /// How to tell a worker of them; `None` when they have to travel themselves.
    #[cfg(target_os = "linux")]
    fn reference(&self) -> Option<Reference> {
        match &*self.content {
            Content::Shared(block) if block.can_be_sent() => Pins::refer(block),
            // Its file was closed; who sends it holds a copy as long as somebody may read it.
            Content::Shared(block) if Pins::may_share(self.len()) => {
                Pins::refer(&shm::copy(block.bytes(), shm::Use::Shared)?)
            }
            Content::Shared(_) => None,
            Content::Own { bytes, copy: Some(copy) } if Pins::may_share(bytes.len()) => copy.refer(bytes),
            Content::Own { .. } => None,
        }
    }
}

impl From<Vec<u8>> for SharedBytes {
    fn from(bytes: Vec<u8>) -> Self {
        let content = Content::Own {
            bytes,
            #[cfg(target_os = "linux")]
            copy: Some(SharedCopy::new()),
        };
        Self { content: Arc::new(content) }
    }
}

/// Copies, into memory that workers can see.
impl From<&[u8]> for SharedBytes {
    fn from(bytes: &[u8]) -> Self {
        Self::with_len(bytes.len(), |place| place.copy_from_slice(bytes))
    }
}

impl Default for SharedBytes {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for SharedBytes {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for SharedBytes {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.content, &other.content) || **self == **other
    }
}

impl Eq for SharedBytes {}

impl PartialEq<[u8]> for SharedBytes {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl Hash for SharedBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBytes").field("len", &self.len()).finish_non_exhaustive()
    }
}

const NAME: &str = "SharedBytes";
const VARIANTS: &[&str] = &["Plain", "Shared"];

/// Bytes as they travel where nothing is shared: all at once, and not one by one as serde has it for slices.
pub(crate) struct Plain<'a>(pub(crate) &'a [u8]);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_variant(NAME, 0, VARIANTS[0], &Blob(self.0))
    }
}

struct Blob<'a>(&'a [u8]);

impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// A reference as it travels.
#[cfg(target_os = "linux")]
pub(crate) struct Shared(pub(crate) Reference);

#[cfg(target_os = "linux")]
impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_variant(NAME, 1, VARIANTS[1], &self.0)
    }
}

impl Serialize for SharedBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_bytes(self);
        }
        #[cfg(target_os = "linux")]
        if let Some(reference) = self.reference() {
            return Shared(reference).serialize(serializer);
        }
        Plain(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_byte_buf(BlobVisitor).map(Self::from);
        }
        Ok(match Received::deserialize(deserializer)? {
            Received::Plain(bytes) => Self::from(bytes),
            #[cfg(target_os = "linux")]
            Received::Shared(block) => Self { content: Arc::new(Content::Shared(block)) },
        })
    }
}

/// Large bytes as they have arrived.
pub(crate) enum Received {
    Plain(Vec<u8>),
    #[cfg(target_os = "linux")]
    Shared(Block),
}

impl Received {
    /// The bytes, copied if they are shared.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Plain(bytes) => bytes,
            #[cfg(target_os = "linux")]
            Self::Shared(block) => block.bytes().to_vec(),
        }
    }
}

impl<'de> Deserialize<'de> for Received {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum(NAME, VARIANTS, ReceivedVisitor)
    }
}

struct ReceivedVisitor;

impl<'de> Visitor<'de> for ReceivedVisitor {
    type Value = Received;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes, or a reference to some")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Received, A::Error> {
        match data.variant()? {
            (0_u32, variant) => Ok(Received::Plain(variant.newtype_variant::<OwnedBlob>()?.0)),
            #[cfg(target_os = "linux")]
            (1, variant) => {
                let reference: Reference = variant.newtype_variant()?;
                reference.resolve().map(Received::Shared).map_err(de::Error::custom)
            }
            (other, _) => Err(de::Error::custom(format_args!("there are no shared bytes of kind {other}"))),
        }
    }
}

struct OwnedBlob(Vec<u8>);

impl<'de> Deserialize<'de> for OwnedBlob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BlobVisitor).map(Self)
    }
}

struct BlobVisitor;

impl<'de> Visitor<'de> for BlobVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = items.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}
