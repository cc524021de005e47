//! The small pictures of the legends.

use plotters::prelude::{IntoDrawingArea, PathElement};
use plotters::style::Color;

use super::backend::Svg;
use super::ink::Ink;
use super::look::{RADIUS, Shape};
use super::pen::{draw_hollow_mark, draw_mark};
use crate::error::ReportError;

/// The content of a [`swatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// A mark on a line.
    Series,
    /// A filled mark.
    Mark,
    /// An outlined mark.
    Hollow,
    /// The line of the best that could be reached.
    Ideal,
    /// The line of the number of cores.
    Limit,
    /// A wrong answer.
    Wrong,
}

/// A small picture of a series, drawn as in the charts.
pub(crate) fn swatch(shape: Shape, slot: u8, look: Look) -> Result<String, ReportError> {
    let mut svg = String::new();
    let root = Svg::decoration(&mut svg, (80, 32), "swatch").into_drawing_area();
    let center = (40, 16);
    let line = |from, to, ink: Ink| root.draw(&PathElement::new([from, to], ink.stroke_width(4)));
    let (left, right) = ((2, 16), (78, 16));
    let drawn = match look {
        Look::Series => {
            line(left, right, Ink::line(slot)).and_then(|()| draw_mark(&root, center, shape, RADIUS, Ink::mark(slot)))
        }
        Look::Mark => draw_mark(&root, center, shape, RADIUS + 1, Ink::mark(slot)),
        Look::Hollow => draw_hollow_mark(&root, center, shape, Ink::mark(slot)),
        Look::Ideal => line(left, right, Ink::IDEAL),
        Look::Limit => line((40, 0), (40, 32), Ink::LIMIT),
        Look::Wrong => draw_mark(&root, center, shape, RADIUS + 4, Ink::WRONG),
    };
    drawn
        .and_then(|()| root.present())
        .map_err(|source| ReportError::Chart { chart: format!("legend, {look:?}"), source: Box::new(source) })?;
    drop(root);
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_look_has_its_picture() {
        let looks = [
            (Look::Series, "stroke-line c1 d2"),
            (Look::Mark, "fill-mark c1"),
            (Look::Hollow, "stroke-mark c1"),
            (Look::Ideal, "stroke-ideal"),
            (Look::Limit, "stroke-limit"),
            (Look::Wrong, "fill-wrong"),
        ];
        for (look, class) in looks {
            let svg = swatch(Shape::of(7), 7, look).unwrap();
            assert!(svg.starts_with("<svg class=\"swatch\"") && svg.ends_with("</svg>"), "{svg}");
            assert!(svg.contains("aria-hidden=\"true\"") && svg.contains(&format!("class=\"{class}\"")), "{svg}");
        }
    }
}
