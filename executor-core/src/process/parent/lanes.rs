//! A queue with priorities: what has a higher one comes first, and of one priority what was added first.
//!
//! An entry is removed in a few steps from wherever it is, however many there are: its owner knows its place, which stays the same
//! as long as it waits, and every place knows its neighbors. So nothing that was cancelled stays behind, and no search is ever as
//! long as the queue.

use std::{cmp::Reverse, collections::BTreeMap};

/// No place.
const NONE: u32 = u32::MAX;
/// Places are made so many at a time: a vector that grows would copy all of them, under the pool's lock.
const PAGE: usize = 256;
/// An empty queue keeps so many pages.
const KEPT: usize = 64;

pub(super) struct Place<T> {
    content: Option<T>,
    before: u32,
    /// Of a place without content: the next one of these.
    after: u32,
}

/// The tasks of one priority.
#[derive(Clone, Copy)]
struct Lane {
    first: u32,
    last: u32,
}

type Page<T> = Box<[Place<T>]>;
/// The memory of a queue.
pub(super) type Pages<T> = Vec<Page<T>>;

/// The order of entries: among those of its priority, an entry belongs where its ticket says. A task that comes back gets its old
/// place.
pub(super) trait Ranked {
    fn priority(&self) -> i32;
    fn ticket(&self) -> u64;
}

/// A queue with any type of content: the tests put numbers into it.
pub(super) struct Lanes<T> {
    pages: Vec<Page<T>>,
    /// The first place without content.
    free: u32,
    length: usize,
    /// Without empty ones.
    lanes: BTreeMap<Reverse<i32>, Lane>,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), free: NONE, length: 0, lanes: BTreeMap::new() }
    }
}

impl<T: Ranked> Lanes<T> {
    fn place(&mut self, at: u32) -> &mut Place<T> {
        &mut self.pages[at as usize / PAGE][at as usize % PAGE]
    }

    pub(super) fn content(&self, at: u32) -> Option<&T> {
        self.pages.get(at as usize / PAGE)?[at as usize % PAGE].content.as_ref()
    }

    fn make_page(&mut self) {
        // 2^32 tasks take 300 GiB.
        let first = (self.pages.len() * PAGE) as u32;
        let place = |at| Place { content: None, before: NONE, after: at };
        let last = first + PAGE as u32 - 1;
        self.pages.push((first..=last).map(|at| place(if at == last { NONE } else { at + 1 })).collect());
        self.free = first;
    }

    fn ticket(&self, at: u32) -> Option<u64> {
        self.content(at).map(T::ticket)
    }

    /// Between which two of its lane something with this ticket belongs. What is new belongs to the end, and what comes back
    /// near the beginning: all but what came back as well has been behind it.
    fn neighbors(&self, lane: Lane, ticket: u64) -> (u32, u32) {
        if self.ticket(lane.last) < Some(ticket) {
            return (lane.last, NONE);
        }
        let (mut before, mut after) = (NONE, lane.first);
        while after != NONE && self.ticket(after) < Some(ticket) {
            (before, after) = (after, self.pages[after as usize / PAGE][after as usize % PAGE].after);
        }
        debug_assert!(self.ticket(after).is_none_or(|other| other > ticket), "each has a place of its own");
        (before, after)
    }

    /// Adds something where it belongs; returns its place.
    pub(super) fn push(&mut self, content: T) -> u32 {
        if self.free == NONE {
            self.make_page();
        }
        let at = self.free;
        let (priority, ticket) = (Reverse(content.priority()), content.ticket());
        let lane = self.lanes.get(&priority).copied();
        let (before, after) = lane.map_or((NONE, NONE), |lane| self.neighbors(lane, ticket));
        self.free = std::mem::replace(self.place(at), Place { content: Some(content), before, after }).after;
        let mut lane = lane.unwrap_or(Lane { first: at, last: at });
        match before {
            NONE => lane.first = at,
            before => self.place(before).after = at,
        }
        match after {
            NONE => lane.last = at,
            after => self.place(after).before = at,
        }
        self.lanes.insert(priority, lane);
        self.length += 1;
        at
    }

    /// Takes out what is at this place, if there is something.
    pub(super) fn remove(&mut self, at: u32) -> Option<T> {
        let priority = Reverse(self.content(at)?.priority());
        let free = self.free;
        let Place { content, before, after } =
            std::mem::replace(self.place(at), Place { content: None, before: NONE, after: free });
        self.free = at;
        self.length -= 1;
        let mut lane = self.lanes.get(&priority).copied()?;
        match before {
            NONE => lane.first = after,
            before => self.place(before).after = after,
        }
        match after {
            NONE => lane.last = before,
            after => self.place(after).before = before,
        }
        if lane.first == NONE {
            self.lanes.remove(&priority);
        } else {
            self.lanes.insert(priority, lane);
        }
        content
    }

    pub(super) fn first(&self) -> Option<u32> {
        Some(self.lanes.first_key_value()?.1.first)
    }

    /// The first place whose content is like this.
    pub(super) fn find(&self, is: impl Fn(&T) -> bool) -> Option<u32> {
        self.lanes.values().find_map(|lane| {
            let mut at = lane.first;
            while at != NONE {
                let place = &self.pages[at as usize / PAGE][at as usize % PAGE];
                if place.content.as_ref().is_some_and(&is) {
                    return Some(at);
                }
                at = place.after;
            }
            None
        })
    }

    /// The memory of an empty queue that was long, to be dropped where no thread waits for it.
    #[inline]
    pub(super) fn take_spent(&mut self) -> Option<Pages<T>> {
        if self.length > 0 || self.pages.len() <= KEPT {
            return None;
        }
        self.free = NONE;
        Some(std::mem::take(&mut self.pages))
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// All of them with their places, in no order.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let places = self.pages.iter().flatten();
        (0..).zip(places).filter_map(|(at, place)| Some((at, place.content.as_ref()?)))
    }

    /// Whether everything is where something else says that it is.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn is_sound(&self) -> bool {
        let mut count = 0;
        let mut sound = true;
        for (lane_priority, lane) in &self.lanes {
            let (mut at, mut before) = (lane.first, NONE);
            while at != NONE {
                let place = &self.pages[at as usize / PAGE][at as usize % PAGE];
                let content = place.content.as_ref();
                sound &= place.before == before && content.is_some_and(|it| it.priority() == lane_priority.0);
                sound &= before == NONE || self.ticket(before) < self.ticket(at);
                count += 1;
                (before, at) = (at, place.after);
            }
            sound &= before == lane.last;
        }
        sound && count == self.length
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Priority and ticket.
    impl Ranked for (i32, u64) {
        fn priority(&self) -> i32 {
            self.0
        }

        fn ticket(&self) -> u64 {
            self.1
        }
    }

    /// Against a list that is sorted after each step.
    #[test]
    fn any_order_of_steps_gives_what_a_sorted_list_gives() {
        for seed in 0..200_u64 {
            let mut random = seed;
            let mut below = |end: u64| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) % end
            };
            let mut lanes = Lanes::<(i32, u64)>::default();
            let mut list: Vec<((i32, u64), u32)> = Vec::new();
            let mut out: Vec<(i32, u64)> = Vec::new();
            for number in 0..600 {
                match below(if seed % 2 == 0 { 5 } else { 8 }) {
                    0 | 5 => {
                        let taken = lanes.first().and_then(|at| lanes.remove(at));
                        let expected = (!list.is_empty()).then(|| list.remove(0).0);
                        assert_eq!(taken, expected);
                        out.extend(taken);
                    }
                    1 if !list.is_empty() => {
                        let (content, at) = list.remove(below(list.len() as u64) as usize);
                        assert_eq!((lanes.remove(at), lanes.remove(at)), (Some(content), None));
                        out.push(content);
                    }
                    kind => {
                        // It is new, or it comes back.
                        let content = if kind == 3 { out.pop() } else { None };
                        let content = content.unwrap_or_else(|| (below(3) as i32 - 1, number));
                        list.push((content, lanes.push(content)));
                        list.sort_by_key(|((priority, ticket), _)| (Reverse(*priority), *ticket));
                    }
                }
                assert!(lanes.is_sound());
                assert_eq!(lanes.length, list.len());
                assert_eq!(lanes.find(|it| it.1 % 7 == 0), list.iter().find(|it| it.0.1 % 7 == 0).map(|it| it.1));
            }
        }
    }

    #[test]
    fn what_is_taken_out_leaves_its_place_to_the_next() {
        let mut lanes = Lanes::default();
        lanes.push((0, 0));
        for number in 1..100_000 {
            let at = lanes.push((0, number));
            assert_eq!(lanes.remove(at), Some((0, number)));
        }
        assert_eq!((lanes.pages.len(), lanes.length), (1, 1));
    }

    #[test]
    fn a_queue_that_was_long_gives_its_memory_back() {
        let mut lanes = Lanes::default();
        for round in 0..2 {
            let places: Vec<u32> = (0..100_000).map(|number| lanes.push((0, number))).collect();
            assert!(lanes.take_spent().is_none());
            for at in places {
                assert!(lanes.remove(at).is_some());
            }
            assert_eq!(lanes.take_spent().map(|pages| pages.len()), Some(100_000_usize.div_ceil(PAGE)), "{round}");
        }
    }
}
