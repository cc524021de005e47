//! The pen: draws a chart's values with the library's elements, which the library puts into their places.
//!
//! The library moves a place beyond the plotting area to its border. That would put a mark at a wrong value, and
//! bend a line within the area. So marks beyond it are left out, and lines and bands that leave the area keep their places and
//! are cut at its border.

use std::ops::Range;

use plotters::coord::CoordTranslate;
use plotters::drawing::Rect;
use plotters::element::{CoordMapper, Drawable, PointCollection};
use plotters::prelude::{Cartesian2d, Circle, DrawingArea, EmptyElement, IntoFont, PathElement, Polygon, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, TextStyle};
use plotters_backend::{BackendCoord, DrawingBackend};

use super::DrawError;
use super::axis::{Axis, Scale};
use super::backend::{Drawn, Svg};
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

/// Draws on a plot, in values of its axes. A value without a place on them is left out.
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

    /// Whether a value lies in the plotting area.
    fn shows(&self, (x, y): Value) -> bool {
        self.x.spans(x) && self.y.spans(y)
    }

    /// The values that have a place, even beyond the plotting area.
    fn held(&self, values: impl IntoIterator<Item = Value>) -> Vec<Value> {
        values.into_iter().filter(|(x, y)| self.x.holds(*x) && self.y.holds(*y)).collect()
    }

    /// A line through some values.
    pub(crate) fn line(&self, values: impl IntoIterator<Item = Value>, ink: Ink, width: u32) -> Result<(), DrawError> {
        let (values, style) = (self.held(values), ink.stroke_width(width));
        if values.len() < 2 {
            Ok(())
        } else if values.iter().all(|value| self.shows(*value)) {
            self.area.draw(&PathElement::new(values, style))
        } else {
            self.cut(values, move |svg, places| svg.draw_path(places, &style))
        }
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
        self.cut(corners, move |svg, places| svg.fill_polygon(places, &ink.to_backend_color()))
    }

    /// Draws a shape through some values that shows in the plotting area only.
    fn cut(
        &self,
        values: Vec<Value>,
        draw: impl Fn(&mut Svg<'_>, Vec<BackendCoord>) -> Drawn,
    ) -> Result<(), DrawError> {
        self.area.draw(&Cut { values, draw, id: format!("{}-window", self.id), window: self.area.get_pixel_range() })
    }

    /// An upright interval with caps, as far as it lies on the axis.
    pub(crate) fn upright(&self, x: f64, low: f64, high: f64, ink: Ink) -> Result<(), DrawError> {
        let Some((low, high)) = self.y.part(low, high) else { return Ok(()) };
        self.interval([(x, low), (x, high)], [(-CAP, 0), (CAP, 0)], ink)
    }

    /// A level interval with caps, as far as it lies on the axis.
    pub(crate) fn level(&self, y: f64, low: f64, high: f64, ink: Ink) -> Result<(), DrawError> {
        let Some((low, high)) = self.x.part(low, high) else { return Ok(()) };
        self.interval([(low, y), (high, y)], [(0, -CAP), (0, CAP)], ink)
    }

    fn interval(&self, ends: [Value; 2], cap: [BackendCoord; 2], ink: Ink) -> Result<(), DrawError> {
        let style = ink.stroke_width(3);
        if !ends.iter().all(|end| self.shows(*end)) {
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
        if self.shows(at) { draw_mark(self.area, at, shape, RADIUS, ink) } else { Ok(()) }
    }

    /// A mark of which only the outline is drawn.
    pub(crate) fn hollow_mark(&self, at: Value, shape: Shape, ink: Ink) -> Result<(), DrawError> {
        if self.shows(at) { draw_hollow_mark(self.area, at, shape, ink) } else { Ok(()) }
    }

    /// A ring as large as a mark.
    pub(crate) fn ring(&self, at: Value, ink: Ink) -> Result<(), DrawError> {
        if self.shows(at) { self.area.draw(&Circle::new(at, RADIUS, ink.stroke_width(4))) } else { Ok(()) }
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
        if !self.shows(at) {
            return Ok(());
        }
        let style = text_style(ink).pos(Pos { h_pos, v_pos });
        self.area.draw(&(EmptyElement::at(at) + Text::new(text.to_owned(), beside, style)))
    }

    /// Shows a text when the pointer rests on a value.
    pub(crate) fn hint(&self, at: Value, text: &str) -> Result<(), DrawError> {
        if self.shows(at) { self.area.draw(&Hint { at, text }) } else { Ok(()) }
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

/// A text over a value: an element of this crate, since the library has none.
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
    fn draw<I: Iterator<Item = BackendCoord>>(&self, places: I, svg: &mut Svg<'_>, _: (u32, u32)) -> Drawn {
        places.for_each(|place| svg.hint(place, self.text));
        Ok(())
    }
}

/// A shape through values beyond the plotting area, which is cut at its border.
struct Cut<D> {
    values: Vec<Value>,
    draw: D,
    id: String,
    window: (Range<i32>, Range<i32>),
}

impl<'e, D> PointCollection<'e, Value, Beyond> for &'e Cut<D> {
    type Point = &'e Value;
    type IntoIter = &'e [Value];

    fn point_iter(self) -> Self::IntoIter {
        &self.values
    }
}

impl<D: Fn(&mut Svg<'_>, Vec<BackendCoord>) -> Drawn> Drawable<Svg<'_>, Beyond> for Cut<D> {
    fn draw<I: Iterator<Item = BackendCoord>>(&self, places: I, svg: &mut Svg<'_>, _: (u32, u32)) -> Drawn {
        svg.in_window(&self.id, &self.window, |svg| (self.draw)(svg, places.collect()))
    }
}

/// Places as they are, also beyond the plotting area.
struct Beyond;

impl CoordMapper for Beyond {
    type Output = BackendCoord;

    fn map<CT: CoordTranslate>(scales: &CT, value: &CT::From, _: &Rect) -> BackendCoord {
        scales.translate(value)
    }
}
