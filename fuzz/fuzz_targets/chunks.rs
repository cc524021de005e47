#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| executor_core::fuzzing::chunks(bytes));
