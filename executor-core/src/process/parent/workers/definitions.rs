//! The functions that one worker knows, and the configurations that it may still decode.
//!
//! A worker decodes a configuration when it comes, or when the first task runs that needs it. So what the bytes refer to is pinned
//! from before the definition is sent until the worker has passed the place where another definition takes its number: after that
//! it has dropped the old bytes. It says so by answering a request that was sent behind that place, or by having passed all.
//! Requests cannot do the pinning: they may be cancelled while the definition is still in the ring.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    configuration::Bound,
    portable::{entry::Entry, request::Request},
    process::wire::frame::DEFINITIONS,
};

#[derive(Debug, Default)]
pub(in crate::process) struct Definitions {
    /// By their numbers.
    known: Vec<(&'static Entry, Option<Arc<Bound>>)>,
    next: usize,
    /// Configurations whose numbers others have, and the request behind the place where these took them.
    retired: VecDeque<(u64, Arc<Bound>)>,
}

impl Definitions {
    /// The number under which the worker knows this function and configuration.
    pub(in crate::process) fn find(&self, request: &Request) -> Option<u32> {
        let bound_id = request.bound.as_ref().map(|bound| bound.id);
        let known = |(entry, bound): &(&'static Entry, Option<Arc<Bound>>)| {
            std::ptr::eq(*entry, request.entry) && bound.as_ref().map(|bound| bound.id) == bound_id
        };
        self.known.iter().position(known).map(|number| number as u32)
    }

    /// A number for a function and configuration, also one that the worker knows and is told again. `request_number` is that
    /// of the request behind the definition.
    pub(in crate::process) fn put(&mut self, request: &Request, request_number: u64) -> u32 {
        let number = match self.find(request) {
            Some(number) => number as usize,
            None => {
                let number = self.next;
                self.next = (number + 1) % DEFINITIONS;
                number
            }
        };
        let definition = (request.entry, request.bound.clone());
        match self.known.get_mut(number) {
            Some(place) => {
                let (_, old) = std::mem::replace(place, definition);
                if let Some(old) = old.filter(|old| !old._pins.is_empty()) {
                    debug_assert!(self.retired.back().is_none_or(|(last, _)| *last <= request_number), "in order");
                    self.retired.push_back((request_number, old));
                }
            }
            None => self.known.push(definition),
        }
        number as u32
    }

    /// The worker has answered this request: it has passed all records before it.
    pub(in crate::process) fn passed(&mut self, request_number: u64) {
        while self.retired.front().is_some_and(|(behind, _)| *behind <= request_number) {
            self.retired.pop_front();
        }
    }

    /// The worker has passed all that it was sent.
    pub(super) fn passed_all(&mut self) {
        self.retired.clear();
    }
}
