//! What waits for a cell: a blocked thread, a waker, a callback, or a set of futures. All kinds are in one list.

use std::{sync::Arc, task::Waker};

use super::{
    callbacks::{self, Callback},
    completion_set::CompletionSet,
    pool_context::run_user_code,
    state::Completed,
    time_keeper::keeps_time,
};
use crate::sync::Thread;

/// An entry that is notified when the cell is done.
pub(crate) enum Waiter {
    /// A blocked thread. It looks at the state again when it is unparked, so an unpark too many does no harm.
    Thread(Thread),
    Waker(Waker),
    Callback(Callback),
    Set(Arc<CompletionSet>, usize),
}

/// Names a registered waiter, so that it can be removed: the address of its node. No waiter is added to a cell that is done, so a
/// key that outlives its waiter names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaiterKey(usize);

/// A waiter in its list; the newest waiter is first.
pub(super) struct Node {
    pub(super) waiter: Waiter,
    pub(super) next: Option<Box<Node>>,
}

impl Node {
    pub(super) fn new(waiter: Waiter) -> Box<Self> {
        Box::new(Self { waiter, next: None })
    }

    pub(super) fn key(&self) -> WaiterKey {
        WaiterKey(std::ptr::from_ref(self).addr())
    }

    pub(super) fn is_waker(&self) -> bool {
        matches!(self.waiter, Waiter::Waker(_))
    }

    /// Takes the first node that `is_meant` out of the list.
    pub(super) fn remove(mut list: &mut Option<Box<Node>>, is_meant: impl Fn(&Self) -> bool) -> Option<Box<Self>> {
        while list.as_ref().is_some_and(|node| !is_meant(node)) {
            list = &mut list.as_mut()?.next;
        }
        let mut found = list.take()?;
        *list = found.next.take();
        Some(found)
    }
}

/// Wakes all waiters in the list, in the order in which they came; but those that only this crate's own code wakes come first,
/// because the user's code may take its time. Callbacks run elsewhere. So does a waker, which is the user's code as well, unless
/// `here` says that this thread can afford to call it.
pub(super) fn notify(mut list: Box<Node>, completed: Completed, here: bool) {
    let mut first = None;
    // Reverses the list in place.
    loop {
        let next = list.next.take();
        list.next = first;
        match next {
            Some(node) => {
                first = Some(list);
                list = node;
            }
            None => break,
        }
    }
    // There is at most one waker: that of the handle.
    let (mut callbacks, mut waker) = (Vec::new(), None);
    let mut current = Some(list);
    while let Some(node) = current {
        let Node { waiter, next } = *node;
        current = next;
        match waiter {
            Waiter::Thread(thread) => thread.unpark(),
            Waiter::Waker(of_handle) => waker = Some(of_handle),
            Waiter::Set(set, index) => set.push(index),
            Waiter::Callback(callback) => callbacks.push(callback),
        }
    }
    if !callbacks.is_empty() {
        callbacks::dispatch(callbacks, completed);
    }
    match waker {
        // Contained, because this thread has more to do.
        Some(waker) if here && !keeps_time() => run_user_code(|| waker.wake()),
        Some(waker) => callbacks::wake_elsewhere(waker),
        None => {}
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn list(set: &Arc<CompletionSet>, length: usize) -> (Option<Box<Node>>, Vec<WaiterKey>) {
        let (mut list, mut keys) = (None, Vec::new());
        for index in 0..length {
            let mut node = Node::new(Waiter::Set(Arc::clone(set), index));
            keys.push(node.key());
            node.next = list.take();
            list = Some(node);
        }
        (list, keys)
    }

    fn completed() -> Completed {
        let (promise, future) = crate::Promise::<()>::new();
        drop(promise);
        let (sender, receiver) = std::sync::mpsc::channel();
        future.add_done_callback(move |completed| sender.send(completed).expect("the test waits"));
        receiver.recv().expect("the callback runs")
    }

    #[test]
    fn all_are_woken_in_the_order_in_which_they_came() {
        let set = Arc::new(CompletionSet::new());
        let (list, _) = list(&set, 4);
        notify(list.unwrap(), completed(), true);
        assert_eq!([(); 5].map(|()| set.try_pop()), [Some(0), Some(1), Some(2), Some(3), None]);
    }

    #[test]
    fn one_that_was_removed_is_not_woken_wherever_it_stood() {
        for gone in 0..3 {
            let set = Arc::new(CompletionSet::new());
            let (mut list, keys) = list(&set, 3);
            assert!(Node::remove(&mut list, |node| node.key() == keys[gone]).is_some());
            assert!(Node::remove(&mut list, |node| node.key() == keys[gone]).is_none());
            notify(list.unwrap(), completed(), true);
            let woken: Vec<usize> = std::iter::from_fn(|| set.try_pop()).collect();
            assert_eq!(woken, (0..3).filter(|index| *index != gone).collect::<Vec<_>>());
        }
    }
}
