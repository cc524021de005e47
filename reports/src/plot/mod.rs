//! The one plotting layer: it draws every picture of a report, through the plotting library.
//!
//! | Part          | What it is                                                                                  |
//! |---------------|---------------------------------------------------------------------------------------------|
//! | [`Plot`]      | a picture: its name and its axes; the library lays it out and draws grid, ticks and labels |
//! | [`Pen`]       | draws in the values of a chart: lines, bands, intervals, marks, hints                       |
//! | [`Axis`]      | the range, the ticks and their labels; the library's scales map values to places            |
//! | [`Ink`]       | the role of a stroke, an area or a text: a class of the page's style sheet                  |
//! | [`Shape`]     | the mark of a series; [`Palette`] gives every series its look                               |
//! | [`swatch()`]  | the small picture in a legend                                                               |
//! | `backend`     | the library's drawing backend that writes SVG                                               |
//!
//! # How a class gets into the picture
//!
//! The page colors its pictures with classes, so that one picture serves light, dark and paper. The library knows no
//! classes: it hands a shape to the backend with a color and a width, and nothing else. It also draws grid, axes,
//! ticks and labels in one call, so a class that is set on the backend beforehand would be the same for all of them.
//! The color is the only thing that goes with every single shape from the chart to the backend.
//!
//! So the colors are keys. An [`Ink`] is a color for the library; its three bytes are a row of a fixed table, the
//! slot of the series, and a mark that no named color has. The backend looks the row up and writes the class with the
//! element. A color that is in no row, as a default of the library would be, is an error and not a black line. No
//! color is ever written, so no text of a picture has to be searched for one.
//!
//! # How text gets into the picture
//!
//! Values of attributes and the content of elements go through one function of the backend, which escapes them the way
//! the page's templates do. Names, descriptions and the texts over the marks are written where they belong, while the
//! picture is drawn.

mod axis;
mod backend;
mod frame;
mod ink;
mod look;
mod pen;
mod swatch;

pub(crate) use axis::{Axis, bounds};
pub(crate) use frame::Plot;
pub(crate) use ink::Ink;
pub(crate) use look::{Palette, Shape, shorten};
pub(crate) use pen::Pen;
pub(crate) use plotters::style::text_anchor::{HPos, VPos};
pub(crate) use swatch::{Look, swatch};

/// The error of drawing a picture.
pub(crate) type DrawError = plotters::drawing::DrawingAreaErrorKind<backend::SvgError>;
