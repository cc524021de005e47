//! A picture and the frame of its data: name, axes, grid and labels.
//!
//! The library's places are whole pixels. The canvas therefore has twice the size at which the page shows it, which
//! makes a step half a pixel; sizes in the charts are canvas pixels.

use plotters::prelude::{ChartBuilder, IntoDrawingArea, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, TRANSPARENT};

use super::DrawError;
use super::axis::Axis;
use super::backend::Svg;
use super::ink::Ink;
use super::pen::{Pen, text_style};
use crate::error::ReportError;

/// The frame of a picture's data.
#[derive(Debug)]
pub(crate) struct Plot<'a> {
    /// Anchor of the chart, unique in the page: ids are made from it.
    pub(crate) id: &'a str,
    /// Name of the picture, for readers who do not see it.
    pub(crate) title: &'a str,
    /// A description of the picture, for readers who do not see it.
    pub(crate) desc: &'a str,
    /// Width and height of the canvas.
    pub(crate) size: (u32, u32),
    /// Room for the labels left of the vertical axis.
    pub(crate) left: u32,
    /// The horizontal axis.
    pub(crate) x: Axis,
    /// The vertical axis.
    pub(crate) y: Axis,
}

impl Plot<'_> {
    /// Draws axes and grid, lets the caller draw, and returns the picture as an `<svg>` element.
    pub(crate) fn draw(
        &self,
        content: impl FnOnce(&Pen<'_, '_>) -> Result<(), DrawError>,
    ) -> Result<String, ReportError> {
        let mut svg = String::new();
        self.draw_on(&mut svg, content)
            .map_err(|source| ReportError::Chart { chart: self.id.to_owned(), source: Box::new(source) })?;
        Ok(svg)
    }

    fn draw_on(
        &self,
        svg: &mut String,
        content: impl FnOnce(&Pen<'_, '_>) -> Result<(), DrawError>,
    ) -> Result<(), DrawError> {
        let root = Svg::named(svg, self.size, self.id, self.title, self.desc).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin_top(76)
            .margin_right(64)
            .margin_bottom(8)
            .x_label_area_size(92)
            .y_label_area_size(self.left)
            .build_cartesian_2d(self.x.scale(), self.y.scale())?;
        chart
            .configure_mesh()
            .bold_line_style(Ink::GRID.stroke_width(2))
            .light_line_style(TRANSPARENT)
            .axis_style(Ink::AXIS.stroke_width(2))
            .label_style(text_style(Ink::MUTED))
            .axis_desc_style(text_style(Ink::TEXT))
            .x_label_formatter(&|tick| self.x.label(*tick))
            .y_label_formatter(&|tick| self.y.label(*tick))
            .x_desc(self.x.title.as_str())
            .draw()?;
        // The vertical axis's title lies above it, where it can be read without turning the head.
        let style = text_style(Ink::TEXT).pos(Pos::new(HPos::Left, VPos::Center));
        root.draw(&Text::new(self.y.title.as_str(), (10, 22), style))?;
        content(&Pen::new(self.id, &self.x, &self.y, chart.plotting_area()))?;
        root.present()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Shape;
    use super::*;
    use crate::format;

    fn plot(title: &str) -> String {
        let plot = Plot {
            id: "p",
            title,
            desc: "d",
            size: (800, 400),
            left: 120,
            x: Axis::log("x", [1.0, 1e6], format::duration_tick),
            y: Axis::from_zero("y < 1", 10.0, format::rate_tick),
        };
        plot.draw(|pen| {
            for place in [(1e3, 5.0), (f64::NAN, 1.0), (0.0, 1.0), (1.0, f64::INFINITY), (1e3, 99.0), (0.1, 5.0)] {
                pen.mark(place, Shape::Disc, Ink::mark(0))?;
                pen.hint(place, "<b>")?;
                pen.text(place, (0, 0), "somewhere", Ink::TEXT, (HPos::Left, VPos::Center))?;
                pen.ring(place, Ink::TAG)?;
            }
            pen.upright(1e3, -5.0, 1e9, Ink::bar(0))?;
            pen.upright(1e3, 1e8, 1e9, Ink::bar(0))?;
            pen.line([(1e3, 1.0), (1e4, 2.0)], Ink::line(1), 4)?;
            pen.line([(1e3, 1.0), (1e4, 1e300)], Ink::line(0), 4)?;
            pen.band([(1e3, 1.0), (1e4, -9.0)], [(1e3, 2.0), (1e4, 1e2)], Ink::band(0))
        })
        .unwrap()
    }

    #[test]
    fn a_plot_is_one_named_picture_without_literal_colors() {
        let svg = plot("a <script> title");
        assert!(svg.starts_with(
            "<svg class=\"chart\" viewBox=\"0 0 800 400\" role=\"img\" aria-labelledby=\"p-t\" aria-describedby=\"p-d\">"
        ));
        assert_eq!(svg.matches("<svg").count(), 1);
        assert!(svg.ends_with("</svg>"));
        assert!(svg.contains("<title id=\"p-t\">a &#60;script&#62; title</title><desc id=\"p-d\">d</desc>"), "{svg}");
        assert!(svg.contains("y &#60; 1") && svg.contains("<title>&#60;b&#62;</title>"));
        for color in ["\"#", "fill=", "stroke=", "opacity=", "style="] {
            assert!(!svg.contains(color), "{color} in {svg}");
        }
        assert!(svg.contains("1 µs"), "{svg}");
    }

    /// The places in the first element with these classes.
    fn places(svg: &str, classes: &str) -> Vec<(i64, i64)> {
        let element = svg.split(&format!("class=\"{classes}\"")).nth(1).unwrap();
        let places = element.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let place = |place: &str| place.split_once(',').map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()));
        places.split(' ').map(|text| place(text).unwrap()).collect()
    }

    #[test]
    fn what_has_no_place_is_left_out() {
        let svg = plot("t");
        for (mark, count) in [("\"hit\"", 1), ("\"fill-mark c0\"", 1), ("\"stroke-tag\"", 1), ("\"stroke-bar c0\"", 3)]
        {
            assert_eq!(svg.matches(&format!("class={mark}")).count(), count, "{mark}");
        }
        assert_eq!(svg.matches("somewhere").count(), 1);
    }

    #[test]
    fn what_leaves_the_plotting_area_is_cut_at_its_border_and_not_bent() {
        let svg = plot("t");
        // Margins and label areas are taken off: 800 by 400 less 120 and 64, 76 and 100.
        let window = "<clipPath id=\"p-window\"><rect x=\"120\" y=\"76\" width=\"616\" height=\"224\"/></clipPath>";
        assert_eq!(svg.matches(window).count(), 1, "{svg}");
        assert_eq!(svg.matches("<g clip-path=\"url(#p-window)\"><poly").count(), 2, "a line and a band: {svg}");
        assert_eq!(svg.matches("</g>").count(), 2, "what stays inside is not cut: {svg}");
        // A hundred is ten times as high as the axis, and -9 almost as far below it.
        let band = places(&svg, "fill-band c0");
        assert!(band[1].1 > 450 && band[2].1 < -1700, "{band:?}");
        assert!(places(&svg, "stroke-line c0 d0")[1].1 < -100_000, "{svg}");
        assert_eq!(places(&svg, "stroke-bar c0"), [(427, 299), (427, 76)], "an interval ends at the border");
    }
}
