//! Items of an input, moved into memory that has room for them.

use std::mem::MaybeUninit;

use crate::panic;

/// Memory for so many items is allocated before they are pulled, even if the input promises fewer.
const UNPROMISED: usize = 8192;

/// The first of these places, to which items were written. It is forgotten when all items are moved; if the input panics before,
/// they are dropped.
struct Pulled<'a, A> {
    places: &'a mut [MaybeUninit<A>],
    count: usize,
}

impl<A> Drop for Pulled<'_, A> {
    #[cold]
    fn drop(&mut self) {
        for place in &mut self.places[..self.count] {
            // SAFETY: the place was written, and the item was not moved out. A second panic goes no further: during the first one
            // it would abort the program.
            panic::contain(|| unsafe { place.assume_init_drop() });
        }
    }
}

/// Moves `count` items, or all that are left, into `items`, which is empty. Takes the input by value, so that its state can
/// be in registers meanwhile. If the input panics, the items that were moved so far are dropped.
pub(super) fn pull<I: Iterator>(mut input: I, count: usize, items: &mut Vec<I::Item>) -> I {
    items.clear();
    // A chunk without a bound, of an input that ends, needs no unbounded memory, even if the input does not say where it ends.
    let (least, most) = input.size_hint();
    let room = count.min(most.unwrap_or(count)).min(least.max(UNPROMISED));
    // A size hint of more than there is memory for is ignored.
    if items.try_reserve(room).is_err() {
        items.reserve(room.min(UNPROMISED));
    }
    let mut pulled = Pulled { places: items.spare_capacity_mut(), count: 0 };
    let most = count.min(pulled.places.len());
    while pulled.count < most {
        let Some(item) = input.next() else { break };
        pulled.places[pulled.count].write(item);
        pulled.count += 1;
    }
    let moved = pulled.count;
    std::mem::forget(pulled);
    debug_assert!(moved <= items.capacity(), "places beyond the capacity were written");
    // SAFETY: so many places were written, one after the other.
    unsafe { items.set_len(moved) };
    if moved == most && moved < count {
        // The input holds more than it has promised. The rest is moved one by one: a promise about the rest is worth no more.
        input.by_ref().take(count - moved).for_each(|item| items.push(item));
    }
    input
}
