//! The drawing backend: turns the shapes of the plotting library into SVG with classes, names and hints.

use std::fmt::{Display, Write as _};
use std::ops::Range;

use askama::filters::{Html, escape};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontTransform,
};

use super::ink::Ink;

/// Radius around a mark in which its text appears.
const HINT_RADIUS: i32 = 22;

/// Why something cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SvgError {
    /// The library used a color of its own, for which the page has no class.
    #[error("the color {rgb:?} with opacity {alpha} is no ink")]
    NoInk {
        /// Red, green and blue.
        rgb: (u8, u8, u8),
        /// Opacity.
        alpha: f64,
    },
    /// The library asked for single pixels; a picture consists of shapes.
    #[error("a single pixel at {at:?} cannot be drawn")]
    Pixel {
        /// Its place.
        at: BackendCoord,
    },
}

pub(super) type Drawn = Result<(), DrawingErrorKind<SvgError>>;

/// One `<svg>` element that is being written.
#[derive(Debug)]
pub(super) struct Svg<'a> {
    text: &'a mut String,
    size: (u32, u32),
    /// Texts that appear over the marks. They come last, so that no shape covers them.
    hints: String,
    /// Whether the window at which shapes are cut has been written.
    has_window: bool,
    finished: bool,
}

impl<'a> Svg<'a> {
    /// A picture with a name and a description for readers who do not see it. The ids start with `id`.
    pub(super) fn named(text: &'a mut String, size: (u32, u32), id: &str, name: &str, description: &str) -> Self {
        let (title_id, desc_id) = (format!("{id}-t"), format!("{id}-d"));
        let names: [Attribute<'_>; 3] =
            [("role", &"img"), ("aria-labelledby", &title_id), ("aria-describedby", &desc_id)];
        let svg = Svg::open(text, size, "chart", &names);
        element(svg.text, "title", &[("id", &title_id)], name);
        element(svg.text, "desc", &[("id", &desc_id)], description);
        svg
    }

    /// A picture beside a text with the same content.
    pub(super) fn decoration(text: &'a mut String, size: (u32, u32), class: &str) -> Self {
        Svg::open(text, size, class, &[("aria-hidden", &"true")])
    }

    /// The page decides about the size; the picture only has its proportions.
    fn open(text: &'a mut String, size: (u32, u32), class: &str, more: &[Attribute<'_>]) -> Self {
        let view = format!("0 0 {} {}", size.0, size.1);
        let mut attributes: Vec<Attribute<'_>> = vec![("class", &class), ("viewBox", &view)];
        attributes.extend(more);
        tag(text, "svg", &attributes);
        text.push('>');
        Svg { text, size, hints: String::new(), has_window: false, finished: false }
    }

    /// Shows a text when the pointer rests on a place.
    pub(super) fn hint(&mut self, (x, y): BackendCoord, text: &str) {
        tag(&mut self.hints, "circle", &[("class", &"hit"), ("cx", &x), ("cy", &y), ("r", &HINT_RADIUS)]);
        self.hints.push('>');
        element(&mut self.hints, "title", &[], text);
        self.hints.push_str("</circle>");
    }

    /// Draws shapes that show inside of a window only. A picture has one window, which `id` names.
    pub(super) fn in_window(
        &mut self,
        id: &str,
        (x, y): &(Range<i32>, Range<i32>),
        content: impl FnOnce(&mut Self) -> Drawn,
    ) -> Drawn {
        if !self.has_window {
            tag(self.text, "clipPath", &[("id", &id)]);
            self.text.push('>');
            self.shape("rect", &[("x", &x.start), ("y", &y.start), ("width", &x.len()), ("height", &y.len())]);
            self.text.push_str("</clipPath>");
            self.has_window = true;
        }
        tag(self.text, "g", &[("clip-path", &format_args!("url(#{id})"))]);
        self.text.push('>');
        content(self)?;
        self.text.push_str("</g>");
        Ok(())
    }

    /// An element without content.
    fn shape(&mut self, name: &str, attributes: &[Attribute<'_>]) {
        tag(self.text, name, attributes);
        self.text.push_str("/>");
    }
}

/// A name and its value.
type Attribute<'v> = (&'static str, &'v dyn Display);

/// Writes a tag up to its last attribute.
fn tag(text: &mut String, name: &str, attributes: &[Attribute<'_>]) {
    // Writing to a string cannot fail.
    let _ = write!(text, "<{name}");
    for (name, value) in attributes {
        let _ = write!(text, " {name}=\"{}\"", escaped(value));
    }
}

/// Writes an element with a text in it.
fn element(text: &mut String, name: &str, attributes: &[Attribute<'_>], content: &str) {
    tag(text, name, attributes);
    let _ = write!(text, ">{}</{name}>", escaped(content));
}

/// The only function that puts text into a picture: it escapes contents and attributes as the page's templates do.
fn escaped(text: impl Display) -> impl Display {
    let Ok(escaped) = escape(text, Html);
    escaped
}

fn points(places: impl IntoIterator<Item = BackendCoord>) -> String {
    let places: Vec<String> = places.into_iter().map(|(x, y)| format!("{x},{y}")).collect();
    places.join(" ")
}

/// The ink of a color; `None` for a shape that does not show.
fn ink(color: BackendColor) -> Result<Option<Ink>, DrawingErrorKind<SvgError>> {
    if color.alpha == 0.0 {
        return Ok(None);
    }
    let error = SvgError::NoInk { rgb: color.rgb, alpha: color.alpha };
    Ink::of(color).map(Some).ok_or(DrawingErrorKind::DrawingError(error))
}

impl DrawingBackend for Svg<'_> {
    type ErrorType = SvgError;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        if !self.finished {
            self.text.push_str(&self.hints);
            self.text.push_str("</svg>");
            self.finished = true;
        }
        Ok(())
    }

    fn draw_pixel(&mut self, at: BackendCoord, _: BackendColor) -> Drawn {
        Err(DrawingErrorKind::DrawingError(SvgError::Pixel { at }))
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn {
        if let Some(ink) = ink(style.color())? {
            let (class, width) = (ink.stroke(), style.stroke_width());
            self.shape("polyline", &[("class", &class), ("stroke-width", &width), ("points", &points(path))]);
        }
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, corners: I, style: &S) -> Drawn {
        if let Some(ink) = ink(style.color())? {
            self.shape("polygon", &[("class", &ink.fill()), ("points", &points(corners))]);
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(&mut self, (x, y): BackendCoord, radius: u32, style: &S, fill: bool) -> Drawn {
        if let Some(ink) = ink(style.color())? {
            let class = if fill { ink.fill() } else { ink.stroke() };
            let width = style.stroke_width();
            let attributes: [Attribute<'_>; 5] =
                [("class", &class), ("cx", &x), ("cy", &y), ("r", &radius), ("stroke-width", &width)];
            // An area has no rim.
            self.shape("circle", if fill { &attributes[..4] } else { &attributes });
        }
        Ok(())
    }

    /// The family is the page's. The anchor is met by figures and capital letters, which are about 0.7 em high.
    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, (x, y): BackendCoord) -> Drawn {
        let Some(ink) = ink(style.color())? else { return Ok(()) };
        let anchor = match style.anchor().h_pos {
            HPos::Left => "start",
            HPos::Center => "middle",
            HPos::Right => "end",
        };
        let down = match style.anchor().v_pos {
            VPos::Top => "0.75em",
            VPos::Center => "0.33em",
            VPos::Bottom => "-0.25em",
        };
        let turn = match style.transform() {
            FontTransform::None => 0,
            FontTransform::Rotate90 => 90,
            FontTransform::Rotate180 => 180,
            FontTransform::Rotate270 => 270,
        };
        let (class, turned) = (ink.fill(), format!("rotate({turn} {x} {y})"));
        let attributes: [Attribute<'_>; 7] = [
            ("class", &class),
            ("x", &x),
            ("y", &y),
            ("dy", &down),
            ("text-anchor", &anchor),
            ("font-size", &style.size()),
            ("transform", &turned),
        ];
        element(self.text, "text", if turn == 0 { &attributes[..6] } else { &attributes }, text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plotters::prelude::{Circle, IntoDrawingArea, IntoFont, PathElement, Rectangle, Text};
    use plotters::style::{BLACK, Color, TextStyle};

    #[test]
    fn shapes_carry_classes_and_no_color() {
        let mut text = String::new();
        let root = Svg::decoration(&mut text, (80, 32), "x").into_drawing_area();
        root.draw(&PathElement::new([(1, 2), (3, 4)], Ink::line(7).stroke_width(4))).unwrap();
        root.draw(&Circle::new((5, 6), 7, Ink::TAG.stroke_width(2))).unwrap();
        root.draw(&Circle::new((5, 6), 7, Ink::mark(1).filled())).unwrap();
        root.draw(&PathElement::new([(1, 2), (3, 4)], BLACK.mix(0.0))).unwrap();
        root.present().unwrap();
        root.present().unwrap();
        drop(root);
        assert_eq!(
            text,
            "<svg class=\"x\" viewBox=\"0 0 80 32\" aria-hidden=\"true\">\
             <polyline class=\"stroke-line c1 d2\" stroke-width=\"4\" points=\"1,2 3,4\"/>\
             <circle class=\"stroke-tag\" cx=\"5\" cy=\"6\" r=\"7\" stroke-width=\"2\"/>\
             <circle class=\"fill-mark c1\" cx=\"5\" cy=\"6\" r=\"7\"/></svg>"
        );
    }

    #[test]
    fn what_no_class_can_show_is_an_error() {
        let mut text = String::new();
        let root = Svg::decoration(&mut text, (80, 32), "x").into_drawing_area();
        let path = [(1, 2), (3, 4)];
        let error = root.draw(&PathElement::new(path, BLACK)).unwrap_err();
        assert!(error.to_string().contains("(0, 0, 0) with opacity 1 is no ink"), "{error}");
        assert!(root.draw(&PathElement::new(path, Ink::GRID.mix(0.5))).is_err());
        let label = |style: TextStyle<'static>| root.draw(&Text::new("t", (1, 1), style));
        assert!(label(("sans-serif", 24).into_font().into()).is_err());
        assert!(root.draw_pixel((1, 1), &BLACK).is_err());
        assert!(root.draw(&Rectangle::new([(1, 1), (9, 9)], BLACK.filled())).is_err());
    }

    #[test]
    fn every_text_is_escaped() {
        let mut text = String::new();
        let hostile = "\"><script>'&";
        let mut svg = Svg::named(&mut text, (80, 32), hostile, hostile, hostile);
        svg.hint((1, 2), hostile);
        svg.in_window(hostile, &(0..9, 0..9), |_| Ok(())).unwrap();
        let root = svg.into_drawing_area();
        let style = ("sans-serif", 24).into_font().color(&Ink::TEXT);
        root.draw(&Text::new(hostile, (1, 1), style)).unwrap();
        root.present().unwrap();
        drop(root);
        assert!(!text.contains(hostile) && !text.contains("<script"), "{text}");
        assert_eq!(text.matches("&#34;&#62;&#60;script&#62;&#39;&#38;").count(), 10, "{text}");
        assert!(text.ends_with("</circle></svg>"), "hints come last: {text}");
    }
}
