//! What encoded bytes refer to: collected while the bytes are encoded, and kept for as long as a reader may need it.

use std::{any::Any, cell::RefCell, fmt, mem::ManuallyDrop, sync::Arc};

#[cfg(target_os = "linux")]
use crate::{
    role::in_worker,
    shm::{Block, MOST_BLOCKS, Reference, SHARED_FROM},
};

/// What encoded bytes refer to, kept alive for as long as a reader of the bytes may need it. Most bytes refer to nothing, and then
/// this is one word.
#[derive(Default)]
pub(crate) struct Pins(Option<Box<Pinned>>);

/// What this crate's own serializer returns for what it has written, and no other serializer does.
///
/// A type's own `Serialize` may have another one make bytes of a part of the value. The worker may keep these bytes as they are, and
/// have the part decoded when the memory that was pinned for the argument is long used for something else. So in them nothing is
/// referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written;

impl Written {
    /// Whether this is the type: that of a serializer's `Ok`, which may borrow something and so has no `TypeId`. The names are both
    /// made by the same compiler, and no other crate can name a type of this one.
    #[cfg(target_os = "linux")]
    pub(crate) fn is<T>() -> bool {
        std::any::type_name::<T>() == std::any::type_name::<Self>()
    }
}

#[derive(Default)]
struct Pinned {
    things: Vec<Arc<dyn Any + Send + Sync>>,
    /// Usually the only piece of shared memory.
    #[cfg(target_os = "linux")]
    block: Option<Block>,
    #[cfg(target_os = "linux")]
    other_blocks: Vec<Block>,
}

thread_local! {
    /// What is being collected on this thread. It has no destructor, so that the destructors of other thread-locals can encode
    /// values as well.
    static COLLECTED: RefCell<Option<ManuallyDrop<Pins>>> = const { RefCell::new(None) };
}

impl Pins {
    /// Runs `encode`, and collects what is pinned meanwhile. When `encode` panics, what it has pinned is dropped, and an outer
    /// collection on this thread continues with what it had.
    pub(crate) fn collect<R>(encode: impl FnOnce() -> R) -> (R, Self) {
        struct Collection {
            outer: Option<ManuallyDrop<Pins>>,
        }
        impl Collection {
            fn end(&mut self) -> Option<Pins> {
                COLLECTED.replace(self.outer.take()).map(ManuallyDrop::into_inner)
            }
        }
        impl Drop for Collection {
            fn drop(&mut self) {
                drop(self.end());
            }
        }
        const { assert!(!std::mem::needs_drop::<RefCell<Option<ManuallyDrop<Self>>>>()) };
        let mut collection = Collection { outer: COLLECTED.replace(Some(ManuallyDrop::default())) };
        let result = encode();
        let pins = collection.end().unwrap_or_default();
        std::mem::forget(collection);
        (result, pins)
    }

    /// Pins `what` if a collection runs on this thread; otherwise `what` lives as long as its owner.
    #[cfg(unix)]
    pub(crate) fn add(what: Arc<dyn Any + Send + Sync>) {
        COLLECTED.with_borrow_mut(|pins| {
            if let Some(pins) = pins {
                pins.pinned().things.push(what);
            }
        });
    }

    /// Pins shared memory; `false` when no collection runs on this thread, or it has enough of it: then the bytes themselves have
    /// to be sent.
    #[cfg(target_os = "linux")]
    pub(crate) fn add_block(block: &Block) -> bool {
        COLLECTED.with_borrow_mut(|pins| {
            let Some(pins) = pins else { return false };
            if pins.blocks().any(|other| other.is_same(block)) {
                return true;
            }
            let has_room = pins.blocks().count() < MOST_BLOCKS;
            if has_room {
                let Pinned { block: first, other_blocks, .. } = pins.pinned();
                match first {
                    None => *first = Some(block.clone()),
                    Some(_) => other_blocks.push(block.clone()),
                }
            }
            has_room
        })
    }

    /// The reference by which the other side finds a piece of shared memory, which is pinned for the encoder; `None` when no
    /// collection runs on this thread, or when the bytes themselves have to be sent.
    #[cfg(target_os = "linux")]
    pub(crate) fn refer(block: &Block) -> Option<Reference> {
        (block.can_be_sent() && Self::add_block(block)).then(|| block.reference())
    }

    /// Whether so many bytes are to be put into shared memory, if a collection runs on this thread.
    #[cfg(target_os = "linux")]
    pub(crate) fn may_share(length: usize) -> bool {
        // A copy that a worker makes is never cheaper than sending the bytes.
        length >= SHARED_FROM && !in_worker() && Self::are_collected()
    }

    fn pinned(&mut self) -> &mut Pinned {
        self.0.get_or_insert_default()
    }

    /// Whether a collection runs on this thread.
    #[cfg(target_os = "linux")]
    pub(crate) fn are_collected() -> bool {
        COLLECTED.with_borrow(Option::is_some)
    }

    /// The pinned pieces of shared memory.
    #[cfg(target_os = "linux")]
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.0.iter().flat_map(|pinned| pinned.block.iter().chain(&pinned.other_blocks))
    }

    /// Takes the pinned pieces of shared memory, and lets go of everything else.
    #[cfg(target_os = "linux")]
    pub(crate) fn into_blocks(self) -> impl Iterator<Item = Block> {
        self.0.into_iter().flat_map(|pinned| pinned.block.into_iter().chain(pinned.other_blocks))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn things(&self) -> &[Arc<dyn Any + Send + Sync>] {
        self.0.as_ref().map_or(&[], |pinned| &pinned.things)
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pins").field("things", &self.things().len()).finish_non_exhaustive()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_what_was_collected_for_it_and_nothing_else() {
        let panics = || {
            let outcome = std::panic::catch_unwind(|| Pins::collect(|| std::panic::resume_unwind(Box::new(()))));
            assert!(outcome.is_err());
        };
        panics();
        assert!(!Pins::are_collected());
        let pin = || Pins::add(Arc::new(()));
        let ((), pins) = Pins::collect(|| {
            pin();
            panics();
            let ((), inner) = Pins::collect(pin);
            assert_eq!(inner.things().len(), 1);
            pin();
        });
        assert_eq!(pins.things().len(), 2);
        assert!(!Pins::are_collected());
    }

    #[test]
    fn the_destructor_of_a_thread_local_can_encode() {
        struct Late(std::sync::mpsc::Sender<bool>);
        impl Drop for Late {
            fn drop(&mut self) {
                let (collected, _) = Pins::collect(Pins::are_collected);
                let _ = self.0.send(collected);
            }
        }
        thread_local! {
            static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            LATE.set(Some(Late(sender)));
            // `COLLECTED` is used after `LATE`, so it would be destroyed before `LATE`, if it had a destructor.
            let _ = Pins::collect(|| ());
        });
        assert_eq!(receiver.recv(), Ok(true));
        assert!(thread.join().is_ok());
    }
}
