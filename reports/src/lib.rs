//! The lab's results model, and its rendering as one self-contained HTML file.
//!
//! A [`model::Run`] holds the measurements and the estimates that the harness computed from them. This crate shows it, and answers
//! from it; it measures nothing, so that any old run can be rendered again from its JSON alone.
//!
//! | To                                              | Use                                                 |
//! |-------------------------------------------------|-----------------------------------------------------|
//! | write `run.json` and `index.html` into a folder | [`write()`]                                         |
//! | read a run back                                 | [`load`]                                            |
//! | get the page as text                            | [`render_html`]                                     |
//! | export the raw samples                          | [`csv::samples`]                                    |
//! | show two runs side by side                      | [`comparison::Comparison`], [`render_comparison`]   |
//! | fill the summary page of an automated job       | [`markdown::summary`]                               |
//! | word a figure as the page does                  | [`format`](mod@format)                              |
//! | choose an executor by it                        | [`advice::advise`]                                  |
//! | predict times by the cost model                | [`cost::CostModel`]                                 |
//! | print judged claims                             | [`claims::to_text`]                                 |
//! | show what `lab overhead` measured               | [`overhead::Overhead`]                              |
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used)]

pub mod advice;
mod cells;
mod chart;
mod choice;
pub mod claims;
mod columns;
pub mod comparison;
mod comparison_page;
pub mod cost;
pub mod csv;
mod error;
pub mod format;
mod html;
pub mod markdown;
pub mod model;
pub mod overhead;
mod plot;
mod store;
mod table;
mod verdicts;

pub use comparison_page::render_comparison;
pub use error::ReportError;
pub use html::render_html;
pub use store::{Claim, HTML_NAME, JSON_NAME, Written, check_folder, claim, load, write};

// The fixture is shared with the browser test, which uses this crate from outside.
#[cfg(test)]
extern crate self as reports;
#[cfg(test)]
#[path = "../tests/fixture/mod.rs"]
mod fixture;
