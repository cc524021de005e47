//! [`Spare`]: the vectors of chunks that are done with, for the next chunks of the same map.
//!
//! One thread fills a vector and another one empties it. An allocator that gets 64 KiB back from a thread that has not asked
//! for them merges and returns them, and hands out others, which are in no cache. And a thread does best to write where it has
//! just read, because those lines are in its own cache and not in the other's: so whoever has emptied a vector uses it for
//! what it makes next, where items and answers have the same layout. A map of 20 M cheap items, drained in order, takes 0.8
//! times as long with both.

use std::alloc::Layout;

use crate::sync::{Mutex, lock};

/// Vectors of one type, all of them empty.
struct Vectors<T> {
    kept: Vec<Vec<T>>,
    /// Taken, and not given back. No more than these are kept, so who only gives fills no memory.
    out: usize,
}

impl<T> Vectors<T> {
    const fn new() -> Self {
        Self { kept: Vec::new(), out: 0 }
    }

    /// The one that was given last, whose memory is warm; without one, a new one.
    fn take(&mut self) -> Vec<T> {
        self.out += 1;
        self.kept.pop().unwrap_or_default()
    }

    fn give(&mut self, vector: Vec<T>) {
        if self.out > 0 {
            self.out -= 1;
            self.kept.push(vector);
        }
    }
}

/// What the one who iterates over a map and the workers hand to each other and back.
pub(super) struct Spare<A, R> {
    items: Mutex<Vectors<A>>,
    answers: Mutex<Vectors<R>>,
}

impl<A, R> Spare<A, R> {
    const SAME_LAYOUT: bool = {
        let (item, answer) = (Layout::new::<A>(), Layout::new::<R>());
        item.size() == answer.size() && item.align() == answer.align()
    };

    pub(super) fn new() -> Self {
        Self { items: Mutex::new(Vectors::new()), answers: Mutex::new(Vectors::new()) }
    }

    /// An empty vector to put items into.
    pub(super) fn for_items(&self) -> Vec<A> {
        lock(&self.items).take()
    }

    /// An empty vector to put answers into.
    pub(super) fn for_answers(&self) -> Vec<R> {
        lock(&self.answers).take()
    }

    /// Takes back a vector that had items.
    pub(super) fn give_items(&self, vector: Vec<A>) {
        if Self::SAME_LAYOUT {
            lock(&self.answers).give(emptied(vector));
        } else {
            lock(&self.items).give(emptied(vector));
        }
    }

    /// Takes back a vector that had answers.
    pub(super) fn give_answers(&self, vector: Vec<R>) {
        if Self::SAME_LAYOUT {
            lock(&self.items).give(emptied(vector));
        } else {
            lock(&self.answers).give(emptied(vector));
        }
    }
}

/// The vector's memory without its elements. That `collect` leaves it where it is, for another type of the same layout too,
/// is what the standard library does and not what it promises; if it ever stops, a map is slower, and a test says so.
fn emptied<T, U>(mut vector: Vec<T>) -> Vec<U> {
    vector.clear();
    vector.into_iter().map_while(|_| None).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_emptied_a_vector_gets_it_back_where_the_layout_allows() {
        let spare = Spare::<u64, i64>::new();
        assert_eq!((spare.for_items().capacity(), spare.for_answers().capacity()), (0, 0));
        let items = vec![1; 100];
        let place = items.as_ptr().addr();
        spare.give_items(items);
        let mut answers = spare.for_answers();
        assert_eq!((answers.as_ptr().addr(), answers.len(), answers.capacity()), (place, 0, 100));
        answers.push(-1);
        spare.give_answers(answers);
        let items = spare.for_items();
        assert_eq!((items.as_ptr().addr(), items.len(), spare.for_answers().capacity()), (place, 0, 0));
    }

    #[test]
    fn vectors_of_another_layout_go_to_the_other_side() {
        let spare = Spare::<u64, [u32; 2]>::new();
        drop((spare.for_items(), spare.for_answers()));
        spare.give_items(vec![1; 100]);
        spare.give_answers(vec![[1, 2]; 50]);
        assert_eq!((spare.for_items().capacity(), spare.for_answers().capacity()), (100, 50));
    }

    #[test]
    fn what_nobody_has_taken_is_not_kept() {
        let spare = Spare::<u8, String>::new();
        drop(spare.for_items());
        (0..10).for_each(|_| spare.give_items(vec![0]));
        (0..10).for_each(|_| spare.give_answers(vec![String::new()]));
        assert_eq!((lock(&spare.items).kept.len(), lock(&spare.answers).kept.len()), (1, 0));
    }
}
