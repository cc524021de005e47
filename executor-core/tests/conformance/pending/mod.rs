//! Tests that wait for something in the library, in the form that they will have. They are formatted and not built, until
//! `--cfg pending_api` says so. When the library has what a test needs, it moves to its module, and its row in the table
//! loses its `later`.

mod thread_reuse;
