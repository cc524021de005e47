//! Every kind of process pool: each transport with each start method. What a pool promises, all of them keep.

use executor_core::{ProcessPoolBuilder, ProcessPoolExecutor, StartMethod, Transport};

/// How workers are reached, and how they are started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) transport: Transport,
    pub(crate) method: StartMethod,
}

impl Kind {
    pub(crate) fn builder(self) -> ProcessPoolBuilder {
        ProcessPoolExecutor::builder().transport(self.transport).start_method(self.method)
    }
}

/// One `#[test]` per kind of pool for each scenario, which is a function of a [`Kind`], or of what `$from`, a full path,
/// makes of one. `over every transport` leaves out the workers that are spawned.
macro_rules! on_every_kind_of_pool {
    ($($scenario:ident),* $(,)?) => {
        crate::pool_kinds::on_every_kind_of_pool!(from std::convert::identity; $($scenario),*);
    };
    (over every transport; $($scenario:ident),* $(,)?) => {
        crate::pool_kinds::on_this_kind_of_pool!(rings, SharedMemory, ForkServer, std::convert::identity, $($scenario)*);
        crate::pool_kinds::on_this_kind_of_pool!(sockets, Socket, ForkServer, std::convert::identity, $($scenario)*);
    };
    (from $from:path; $($scenario:ident),* $(,)?) => {
        #[cfg(target_os = "linux")]
        crate::pool_kinds::on_this_kind_of_pool!(rings_spawn, SharedMemory, Spawn, $from, $($scenario)*);
        #[cfg(target_os = "linux")]
        crate::pool_kinds::on_this_kind_of_pool!(rings_fork_server, SharedMemory, ForkServer, $from, $($scenario)*);
        crate::pool_kinds::on_this_kind_of_pool!(sockets_spawn, Socket, Spawn, $from, $($scenario)*);
        #[cfg(target_os = "linux")]
        crate::pool_kinds::on_this_kind_of_pool!(sockets_fork_server, Socket, ForkServer, $from, $($scenario)*);
    };
}

macro_rules! on_this_kind_of_pool {
    ($name:ident, $transport:ident, $method:ident, $from:path, $($scenario:ident)*) => {
        mod $name {
            $(
                #[test]
                fn $scenario() {
                    let kind = crate::pool_kinds::Kind {
                        transport: executor_core::Transport::$transport,
                        method: executor_core::StartMethod::$method,
                    };
                    super::$scenario($from(kind));
                }
            )*
        }
    };
}

pub(crate) use {on_every_kind_of_pool, on_this_kind_of_pool};
