//! The lab's results model, and its rendering as one self-contained HTML file.
#![forbid(unsafe_code)]

pub mod model;
