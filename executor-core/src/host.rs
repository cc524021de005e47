#![doc = include_str!("host.md")]
