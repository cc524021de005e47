//! [`CancelToken`]: cooperative cancellation, in threads and in worker processes alike.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use crate::sys::{self, PerProcess};
#[cfg(unix)]
use crate::{
    pins::Pins,
    role::in_worker,
    shm::flags::{Flag, RemoteFlag},
};

/// Tells a task that its result is not wanted any more, for tasks that look.
///
/// Tokens form a tree: cancelling a token cancels all tokens below it. A token is an argument like any other, also for a task in
/// a worker process, where [`is_cancelled`](Self::is_cancelled) reads a flag in shared memory. A cancellation in the worker is
/// not seen by the program, but by clones of the token, and by tokens below it, that are made from it in that worker. A copy that
/// a worker keeps for longer than its task learns of a cancellation as long as the program has the token, or one below it. A token
/// that a task in a worker returns is, in the program, a token below the one that the task was given, if the program still has that
/// one, and otherwise a new one.
///
/// # Examples
///
/// ```
/// use executor_core::{CancelToken, Executor, ThreadPoolExecutor};
///
/// fn count_until_cancelled(token: CancelToken) -> u64 {
///     let mut count = 0;
///     while !token.is_cancelled() {
///         count += 1;
///     }
///     count
/// }
///
/// let pool = ThreadPoolExecutor::new(1)?;
/// let token = CancelToken::new();
/// let future = pool.submit(count_until_cancelled, token.child())?;
/// token.cancel();
/// let _count = future.result()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct CancelToken {
    inner: Inner,
}

#[derive(Clone)]
enum Inner {
    Local(Arc<Node>),
    /// In a worker: a flag of the program's, and a node of this process alone. Tokens made from this one are below both.
    #[cfg(unix)]
    Remote(RemoteFlag, Arc<Node>),
}

struct Node {
    cancelled: AtomicBool,
    links: Mutex<Links>,
    /// The same for a forked copy of the process that has made the node. The copy must not wait for the lock above: a thread that
    /// is not in the copy may have held it, in the middle of a change.
    links_of_copy: PerProcess<Mutex<Links>>,
    process: u64,
    /// Keeps the path to the root alive: a child is cancelled through its parents.
    parent: Option<Arc<Node>>,
}

#[derive(Default)]
struct Links {
    children: Vec<Weak<Node>>,
    /// In a copy: this node is among the children of its parent.
    is_linked: bool,
    /// The flag that worker processes see, once the token was sent to one.
    #[cfg(unix)]
    flag: Option<Arc<Flag>>,
}

impl CancelToken {
    /// Creates a token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self { inner: Inner::Local(Arc::new(Node::new(None))) }
    }

    /// Creates a token below this one, which is cancelled together with this one, or by itself.
    ///
    #[must_use]
    pub fn child(&self) -> Self {
        let inner = match &self.inner {
            Inner::Local(node) => Inner::Local(Node::child(node)),
            #[cfg(unix)]
            Inner::Remote(flag, node) => Inner::Remote(*flag, Node::child(node)),
        };
        Self { inner }
    }

    /// Cancels this token and all tokens below it, for good.
    pub fn cancel(&self) {
        match &self.inner {
            Inner::Local(node) => node.cancel(),
            #[cfg(unix)]
            Inner::Remote(_, node) => node.cancel(),
        }
    }

    /// Returns whether the token is cancelled. This takes a few loads of memory, in a worker process too.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        match &self.inner {
            Inner::Local(node) => node.is_cancelled(),
            #[cfg(unix)]
            Inner::Remote(flag, node) => {
                node.is_cancelled()
                    || flag.is_raised() && {
                        // Cancels this node and all below it for good: the flag goes with the program's token,
                        // and these may be kept for longer.
                        node.cancel();
                        true
                    }
            }
        }
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl Node {
    fn new(parent: Option<Arc<Node>>) -> Self {
        Self {
            cancelled: AtomicBool::new(false),
            links: Mutex::default(),
            links_of_copy: PerProcess::new(Mutex::default),
            process: sys::generation(),
            parent,
        }
    }

    /// Makes a node below this one.
    fn child(self: &Arc<Self>) -> Arc<Self> {
        self.link_up();
        let child = Arc::new(Self::new(Some(Arc::clone(self))));
        let mut links = self.lock();
        links.add(Arc::downgrade(&child));
        // Under the parent's lock: a cancellation either has passed, and is seen here, or will find the child.
        // ORDERING: the lock orders it.
        if self.cancelled.load(Ordering::Relaxed) {
            child.cancelled.store(true, Ordering::Relaxed);
        }
        drop(links);
        child
    }

    /// Whether this process is a forked copy of the process that has made the node.
    fn is_inherited(&self) -> bool {
        self.process != sys::generation()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Links> {
        let links = if self.is_inherited() { self.links_of_copy.get() } else { &self.links };
        links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the node is cancelled. A copy does not know which node was below which, so nodes that it has inherited look at those
    /// above themselves.
    fn is_cancelled(&self) -> bool {
        // ORDERING: Acquire pairs with the Release of `cancel_one`: a thread that sees the cancellation sees what came before it.
        self.cancelled.load(Ordering::Acquire) || self.is_inherited() && self.is_cancelled_above()
    }

    #[cold]
    fn is_cancelled_above(&self) -> bool {
        // ORDERING: Acquire pairs with the Release of `cancel_one`, which sets the flag of each node.
        let mut above = std::iter::successors(self.parent.as_ref(), |node| node.parent.as_ref());
        above.any(|node| node.cancelled.load(Ordering::Acquire))
    }

    /// In a copy: from now on a cancellation from above finds this node. Links from the top down, so that no cancellation falls
    /// between two steps.
    fn link_up(self: &Arc<Self>) {
        let mut missing = Vec::new();
        let mut node = self;
        while node.is_inherited()
            && let Some(parent) = &node.parent
            && !node.lock().is_linked
        {
            missing.push((parent, node));
            node = parent;
        }
        for (parent, node) in missing.into_iter().rev() {
            let mut links = parent.lock();
            links.add(Arc::downgrade(node));
            // ORDERING: the parent's lock orders it.
            if parent.cancelled.load(Ordering::Relaxed) {
                node.cancelled.store(true, Ordering::Release);
            }
            drop(links);
            node.lock().is_linked = true;
        }
    }

    /// The flag that worker processes see. A forked copy of the process has its own.
    #[cfg(unix)]
    fn flag(self: &Arc<Self>) -> Result<Arc<Flag>, String> {
        self.link_up();
        let mut links = self.lock();
        if let Some(flag) = &links.flag {
            return Ok(Arc::clone(flag));
        }
        let owner: Weak<Self> = Arc::downgrade(self);
        let flag = Arc::new(Flag::new(owner)?);
        // ORDERING: under the lock that `cancel` holds when it sets this.
        if self.cancelled.load(Ordering::Relaxed) {
            flag.raise();
        }
        links.flag = Some(Arc::clone(&flag));
        Ok(flag)
    }

    /// Cancels this node alone, and returns the nodes below it.
    fn cancel_one(&self) -> Vec<Weak<Self>> {
        let mut links = self.lock();
        // ORDERING: Release pairs with the Acquire in `is_cancelled`.
        self.cancelled.store(true, Ordering::Release);
        #[cfg(unix)]
        if let Some(flag) = &links.flag {
            flag.raise();
        }
        std::mem::take(&mut links.children)
    }

    /// Cancels without recursion: a tree may be deeper than a stack.
    fn cancel(&self) {
        let mut below = self.cancel_one();
        while let Some(child) = below.pop() {
            if let Some(child) = child.upgrade() {
                below.append(&mut child.cancel_one());
            }
        }
    }
}

impl Drop for Node {
    /// Drops without recursion, as `cancel` does: a node may be the last holder of all those above it.
    fn drop(&mut self) {
        if self.is_inherited() {
            // A thread that is not in this copy may have been in the middle of a change, and half of that change may be here.
            let links = self.links.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(std::mem::take(links));
        }
        let mut parent = self.parent.take();
        while let Some(mut node) = parent.and_then(Arc::into_inner) {
            parent = node.parent.take();
        }
    }
}

impl Links {
    /// Looks for nodes that are gone only when the list would have to grow, and not before it has doubled.
    fn add(&mut self, child: Weak<Node>) {
        if self.children.len() == self.children.capacity() {
            self.children.retain(|child| child.strong_count() > 0);
            self.children.reserve(self.children.len().max(4));
        }
        self.children.push(child);
    }
}

impl Serialize for CancelToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[cfg(unix)]
        {
            let remote = match &self.inner {
                Inner::Remote(flag, _) => *flag,
                Inner::Local(node) => {
                    // `flag` has released the lock when the error is made, which runs the code of the user's serializer.
                    let flag = node.flag().map_err(S::Error::custom)?;
                    // Pins the node and not just its flag: a cancellation from above has to find the node.
                    Pins::add(Arc::<Node>::clone(node));
                    flag.remote()
                }
            };
            remote.serialize(serializer)
        }
        #[cfg(not(unix))]
        let _ = serializer;
        #[cfg(not(unix))]
        Err(S::Error::custom("a cancel token can only be sent to a process on Unix"))
    }
}

impl<'de> Deserialize<'de> for CancelToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[cfg(unix)]
        {
            let flag = RemoteFlag::deserialize(deserializer)?;
            flag.check().map_err(D::Error::custom)?;
            if in_worker() {
                return Ok(Self { inner: Inner::Remote(flag, Arc::new(Node::new(None))) });
            }
            // It has come back from a worker, which is not trusted: what it names is seen, and not cancelled, by the token that it
            // becomes.
            let above = flag.owner().and_then(|owner| owner.downcast::<Node>().ok());
            let node = above.map_or_else(|| Arc::new(Node::new(None)), |above| Node::child(&above));
            Ok(Self { inner: Inner::Local(node) })
        }
        #[cfg(not(unix))]
        let _ = deserializer;
        #[cfg(not(unix))]
        Err(D::Error::custom("a cancel token can only be sent to a process on Unix"))
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEEP: usize = 200_000;

    fn deep(root: &CancelToken) -> CancelToken {
        (0..DEEP).fold(root.clone(), |token, _| token.child())
    }

    #[test]
    fn a_tree_that_is_deeper_than_a_stack_is_cancelled_and_dropped() {
        let root = CancelToken::new();
        let leaf = deep(&root);
        root.cancel();
        assert!(leaf.is_cancelled() && leaf.child().is_cancelled());
        drop(root);
        drop(leaf);
    }

    #[test]
    fn cancelling_reaches_all_tokens_below_and_no_others() {
        let root = CancelToken::new();
        let branches = [root.child(), root.child(), root.child()];
        let leaves: Vec<_> = branches.iter().flat_map(|branch| [branch.child(), branch.child()]).collect();
        let cancelled = || leaves.iter().map(CancelToken::is_cancelled).collect::<Vec<_>>();
        branches[1].cancel();
        assert_eq!(cancelled(), [false, false, true, true, false, false]);
        assert!(!root.is_cancelled());
        root.cancel();
        assert_eq!(cancelled(), [true; 6]);
    }

    #[test]
    fn children_that_are_gone_take_no_memory_for_long() {
        let root = CancelToken::new();
        let kept: Vec<_> = (0..100).map(|_| root.child()).collect();
        (0..10_000).for_each(|_| drop(root.child()));
        let Inner::Local(node) = &root.inner else { unreachable!("made here") };
        assert!(node.lock().children.capacity() <= 4 * kept.len());
        root.cancel();
        assert!(kept.iter().all(CancelToken::is_cancelled));
    }
}
