//! Statistics on samples: pure functions, no input or output.

mod crossing;
mod order;

pub(crate) use crossing::{Curve, crossing};
pub(crate) use order::{estimate, ratio_of_medians};
