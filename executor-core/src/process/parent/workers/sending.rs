//! What a worker is sent before a request: the function, its configuration, and the shared memory that both refer to.

use std::sync::Arc;

use super::handle::WorkerHandle;
#[cfg(target_os = "linux")]
use super::leases::Leases;
#[cfg(target_os = "linux")]
use crate::{
    codec::limits::MAX_ENCODED,
    shm::{Reference, Segment},
};
use crate::{
    error::TaskError,
    portable::{
        bytes::{LONGEST_COPY, Long},
        function_id::FunctionId,
        request::Request,
    },
    process::transport::{Load, Record},
};
impl WorkerHandle {
    /// The number under which the worker knows this function and configuration; tells it if it does not.
    pub(in crate::process::parent) fn define(&mut self, request: &Request) -> Result<u32, TaskError> {
        if let Some(number) = self.definitions.find(request)
            && self.has_all_of(request)
        {
            return Ok(number);
        }
        let function = FunctionId::of(request.entry)?;
        #[cfg(target_os = "linux")]
        if let Some(bound) = &request.bound {
            let shared = self.leases.share(&bound._pins, &mut *self.channel);
            shared.map_err(|cause| TaskError::encode("configuration", cause))?;
        }
        let number = self.definitions.put(request, self.in_flight.next_number());
        let long = request.bound.as_ref().filter(|bound| bound.bytes.len() > LONGEST_COPY);
        let bound = request.bound.as_ref().map(|bound| if long.is_some() { &[] } else { &bound.bytes[..] });
        let FunctionId { offset, name_hash, .. } = function;
        let record = Record::Define { definition: number, offset, name_hash, bound };
        self.channel.push_with(record, long.map(Arc::clone).map(Long::Bound));
        Ok(number)
    }

    /// Whether the worker has the shared memory of a configuration that it knows.
    #[cfg(target_os = "linux")]
    fn has_all_of(&self, request: &Request) -> bool {
        request.bound.as_ref().is_none_or(|bound| self.leases.has_all(&bound._pins))
    }

    #[cfg(not(target_os = "linux"))]
    fn has_all_of(&self, _: &Request) -> bool {
        true
    }

    /// Whether the transport has room for this request now.
    pub(in crate::process::parent) fn has_room(&self, request: &Request, bytes: usize) -> bool {
        self.channel.has_room(Self::room_for(request, bytes))
    }

    /// What is pushed for a request at most: [`define`](Self::define) and [`share`](Self::share) push some of it, for the
    /// worker may know it already, and the request itself comes last.
    fn room_for(request: &Request, bytes: usize) -> Load {
        let define = Record::Define {
            definition: 0,
            offset: 0,
            name_hash: 0,
            bound: request.bound.as_ref().map(|bound| &bound.bytes[..]),
        };
        #[cfg_attr(not(target_os = "linux"), expect(unused_mut, reason = "nothing is shared"))]
        let mut load = Load { bare: 0, contents: [Some(define.content()), Some(bytes), None] };
        #[cfg(target_os = "linux")]
        {
            let pins = request.pins().into_iter().chain(request.bound.as_ref().map(|bound| &bound._pins));
            load.bare = pins.map(Leases::records_for).sum();
            if request.is_unsettled() {
                // It becomes a reference to one segment of shared memory, or is long.
                load.bare += 1;
                load.contents[1..].copy_from_slice(&[Some(Reference::ENCODED), Some(MAX_ENCODED)]);
            }
        }
        load
    }

    /// Gives it the shared memory that a request refers to.
    #[cfg(target_os = "linux")]
    pub(in crate::process::parent) fn share(&mut self, request: &Request) -> Result<(), TaskError> {
        let Some(pins) = request.pins() else { return Ok(()) };
        self.leases.share(pins, &mut *self.channel).map_err(|cause| TaskError::encode("argument", cause))
    }

    /// Has it unmap the shared memory that has no holder any more, and map that which will be needed next. Where it runs something
    /// there is no hurry about the latter.
    #[cfg(target_os = "linux")]
    pub(in crate::process::parent) fn exchange_shared(&mut self, preallocated: &[Arc<Segment>]) {
        if !self.is_ready() {
            return;
        }
        let mut told = self.leases.tell_to_forget(&mut *self.channel);
        if self.in_flight.len() == 0 && self.is_open() {
            told |= self.leases.offer(preallocated, self.in_flight.next_number(), &mut *self.channel);
        }
        if told {
            self.channel.notify(false);
        }
    }
}
