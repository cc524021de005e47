//! The pen: draws a chart's values with the library's elements, which the library puts into their places.

use std::ops::Range;

use plotters::coord::CoordTranslate;
use plotters::element::{Drawable, PointCollection};
use plotters::prelude::{Cartesian2d, Circle, DrawingArea, EmptyElement, IntoFont, PathElement, Polygon, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, TextStyle};
use plotters_backend::{BackendCoord, DrawingErrorKind};

use super::DrawError;
use super::axis::{Axis, Scale};
use super::backend::{Svg, SvgError};
use super::ink::Ink;
use super::look::{RADIUS, Shape};

/// Size of the charts' text.
const TEXT: i32 = 24;

/// Half the width of an interval's caps.
const CAP: i32 = 7;

/// A pair of values: horizontal, vertical.
pub(crate) type Value = (f64, f64);

/// The plotting area of a picture.
type Area<'b> = DrawingArea<Svg<'b>, Cartesian2d<Scale, Scale>>;

/// Draws on a plot, in values of its axes. What has no place on them is left out.
pub(crate) struct Pen<'a, 'b> {
    id: &'a str,
    x: &'a Axis,
    y: &'a Axis,
    area: &'a Area<'b>,
}

impl<'a, 'b> Pen<'a, 'b> {
    /// A pen for the area between two axes, in the picture `id`.
    pub(super) fn new(id: &'a str, x: &'a Axis, y: &'a Axis, area: &'a Area<'b>) -> Self {
        Pen { id, x, y, area }
    }

    fn holds(&self, (x, y): Value) -> bool {
        self.x.holds(x) && self.y.holds(y)
    }

    fn held(&self, values: impl IntoIterator<Item = Value>) -> Vec<Value> {
        values.into_iter().filter(|value| self.holds(*value)).collect()
    }

    /// A line through some values.
    pub(crate) fn line(&self, values: impl IntoIterator<Item = Value>, ink: Ink, width: u32) -> Result<(), DrawError> {
        let values = self.held(values);
        if values.len() < 2 { Ok(()) } else { self.area.draw(&PathElement::new(values, ink.stroke_width(width))) }
    }

    /// The area between two edges that both run from left to right, as far as it lies in the plotting area.
    pub(crate) fn band(
        &self,
        lower: impl IntoIterator<Item = Value>,
        upper: impl IntoIterator<Item = Value>,
        ink: Ink,
    ) -> Result<(), DrawError> {
        let mut corners = self.held(lower);
        let mut back = self.held(upper);
        if corners.len() < 2 || corners.len() != back.len() {
            return Ok(());
        }
        back.reverse();
        corners.append(&mut back);
        let id = format!("{}-window", self.id);
        self.area.draw(&Band { corners, ink, id, window: self.area.get_pixel_range() })
    }

    /// An upright interval with caps, as far as it lies on the axis.
    pub(crate) fn upright(&self, x: f64, low: f64, high: f64, ink: Ink) -> Result<(), DrawError> {
        let keep = |y| self.y.keep(y);
        if self.y.holds(low) && self.y.holds(high) {
            self.interval([(x, keep(low)), (x, keep(high))], [(-CAP, 0), (CAP, 0)], ink)?;
        }
        Ok(())
    }

    /// A level interval with caps, as far as it lies on the axis.
    pub(crate) fn level(&self, y: f64, low: f64, high: f64, ink: Ink) -> Result<(), DrawError> {
        let keep = |x| self.x.keep(x);
        if self.x.holds(low) && self.x.holds(high) {
            self.interval([(keep(low), y), (keep(high), y)], [(0, -CAP), (0, CAP)], ink)?;
        }
        Ok(())
    }

    fn interval(&self, ends: [Value; 2], cap: [BackendCoord; 2], ink: Ink) -> Result<(), DrawError> {
        let style = ink.stroke_width(3);
        if !ends.iter().all(|end| self.holds(*end)) {
            return Ok(());
        }
        self.area.draw(&PathElement::new(ends, style))?;
        for end in ends {
            self.area.draw(&(EmptyElement::at(end) + PathElement::new(cap, style)))?;
        }
        Ok(())
    }

    /// A filled mark with a rim in the color of the page, so that marks on each other stay apart.
    pub(crate) fn mark(&self, at: Value, shape: Shape, ink: Ink) -> Result<(), DrawError> {
        if self.holds(at) { draw_mark(self.area, at, shape, RADIUS, ink) } else { Ok(()) }
    }

    /// A mark of which only the outline is drawn.
    pub(crate) fn hollow_mark(&self, at: Value, shape: Shape, ink: Ink) -> Result<(), DrawError> {
        if self.holds(at) { draw_hollow_mark(self.area, at, shape, ink) } else { Ok(()) }
    }

    /// A ring as large as a mark.
    pub(crate) fn ring(&self, at: Value, ink: Ink) -> Result<(), DrawError> {
        if self.holds(at) { self.area.draw(&Circle::new(at, RADIUS, ink.stroke_width(4))) } else { Ok(()) }
    }

    /// A text, anchored some pixels beside a value.
    pub(crate) fn text(
        &self,
        at: Value,
        beside: BackendCoord,
        text: &str,
        ink: Ink,
        (h_pos, v_pos): (HPos, VPos),
    ) -> Result<(), DrawError> {
        if !self.holds(at) {
            return Ok(());
        }
        let style = text_style(ink).pos(Pos { h_pos, v_pos });
        self.area.draw(&(EmptyElement::at(at) + Text::new(text.to_owned(), beside, style)))
    }

    /// Shows a text when the pointer rests on a value.
    pub(crate) fn hint(&self, at: Value, text: &str) -> Result<(), DrawError> {
        if self.holds(at) { self.area.draw(&Hint { at, text }) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Pen<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pen").field("plot", &self.id).finish_non_exhaustive()
    }
}

/// Text of the charts' one size.
pub(super) fn text_style(ink: Ink) -> TextStyle<'static> {
    // The backend leaves the family to the page.
    ("sans-serif", TEXT).into_font().color(&ink)
}

/// See [`Pen::mark`].
pub(super) fn draw_mark<CT: CoordTranslate>(
    area: &DrawingArea<Svg<'_>, CT>,
    at: CT::From,
    shape: Shape,
    radius: i32,
    ink: Ink,
) -> Result<(), DrawError> {
    let corners = |radius| shape.corners((0, 0), radius);
    area.draw(
        &(EmptyElement::at(at)
            + Polygon::new(corners(radius + 3), Ink::SURFACE.filled())
            + Polygon::new(corners(radius), ink.filled())),
    )
}

/// See [`Pen::hollow_mark`].
pub(super) fn draw_hollow_mark<CT: CoordTranslate>(
    area: &DrawingArea<Svg<'_>, CT>,
    at: CT::From,
    shape: Shape,
    ink: Ink,
) -> Result<(), DrawError> {
    let corners = shape.corners((0, 0), RADIUS);
    // The corner at which it starts is joined as the others are.
    let outline = [corners.as_slice(), &corners[..2]].concat();
    area.draw(
        &(EmptyElement::at(at)
            + Polygon::new(corners, Ink::SURFACE.filled())
            + PathElement::new(outline, ink.stroke_width(4))),
    )
}

/// A text over a value: an element of ours, since the library has none.
struct Hint<'t> {
    at: Value,
    text: &'t str,
}

impl<'e> PointCollection<'e, Value> for &'e Hint<'_> {
    type Point = &'e Value;
    type IntoIter = std::iter::Once<&'e Value>;

    fn point_iter(self) -> Self::IntoIter {
        std::iter::once(&self.at)
    }
}

impl Drawable<Svg<'_>> for Hint<'_> {
    fn draw<I: Iterator<Item = BackendCoord>>(
        &self,
        places: I,
        svg: &mut Svg<'_>,
        _: (u32, u32),
    ) -> Result<(), DrawingErrorKind<SvgError>> {
        places.for_each(|place| svg.hint(place, self.text));
        Ok(())
    }
}

/// An area that is cut at the borders of the plotting area, which the library's are not.
struct Band {
    corners: Vec<Value>,
    ink: Ink,
    id: String,
    window: (Range<i32>, Range<i32>),
}

impl<'e> PointCollection<'e, Value> for &'e Band {
    type Point = &'e Value;
    type IntoIter = &'e [Value];

    fn point_iter(self) -> Self::IntoIter {
        &self.corners
    }
}

impl Drawable<Svg<'_>> for Band {
    fn draw<I: Iterator<Item = BackendCoord>>(
        &self,
        places: I,
        svg: &mut Svg<'_>,
        _: (u32, u32),
    ) -> Result<(), DrawingErrorKind<SvgError>> {
        svg.area_in_window(places, self.ink, &self.id, &self.window);
        Ok(())
    }
}
