//! One plot: axes and grid by the plotting library, and a pen that knows where a value lies.
//!
//! The library's SVG coordinates are whole pixels. The canvas therefore has twice the size at which the page shows
//! it, which makes a step half a pixel; sizes in the charts are canvas pixels.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::{
    Cartesian2d, ChartBuilder, ChartContext, Circle, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, IntoFont,
    PathElement, Polygon, SVGBackend, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color, ShapeStyle, TextStyle};

use super::axis::Axis;
use super::style::{Ink, Shape, restyle};
use crate::error::ReportError;

/// Size of the charts' text. The library divides sizes by 1.24 on the way into the SVG.
const TEXT: f64 = 24.0 * 1.24;

/// Radius of a mark.
pub(crate) const RADIUS: i32 = 9;

type PlotCoord = Cartesian2d<Span, Span>;
/// What the plotting library says when it cannot draw.
pub(crate) type DrawError = DrawingAreaErrorKind<std::io::Error>;

/// A place on the canvas.
pub(crate) type Place = (i32, i32);

/// What is to be drawn around the data.
#[derive(Debug)]
pub(crate) struct Plot<'a> {
    /// Anchor of the chart, unique in the page: ids are made from it.
    pub(crate) id: &'a str,
    /// Name of the picture, for those who do not see it.
    pub(crate) title: &'a str,
    /// What the picture shows, for those who do not see it.
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
    /// Draws axes and grid, then whatever the caller draws, and gives the picture as an `<svg>` element.
    pub(crate) fn draw(
        &self,
        content: impl FnOnce(&mut Pen<'_, '_>) -> Result<(), DrawError>,
    ) -> Result<String, ReportError> {
        let mut svg = String::new();
        let hits = self
            .draw_on(&mut svg, content)
            .map_err(|source| ReportError::Chart { chart: self.id.to_owned(), source: Box::new(source) })?;
        Ok(self.finish(&svg, &hits))
    }

    fn draw_on(
        &self,
        svg: &mut String,
        content: impl FnOnce(&mut Pen<'_, '_>) -> Result<(), DrawError>,
    ) -> Result<String, DrawError> {
        let root = SVGBackend::with_string(svg, self.size).into_drawing_area();
        let range = |axis: &Axis| {
            let (low, high) = axis.places();
            let ticks = axis.ticks.iter().filter_map(|(tick, _)| axis.place(*tick)).collect();
            Span { low, high, ticks }
        };
        let mut chart = ChartBuilder::on(&root)
            .margin_top(76)
            .margin_right(64)
            .margin_bottom(8)
            .x_label_area_size(92)
            .y_label_area_size(self.left)
            .build_cartesian_2d(range(&self.x), range(&self.y))?;
        let label = |axis: &Axis, place: f64| {
            let near = |tick: &&(f64, String)| axis.place(tick.0).is_some_and(|tick| (tick - place).abs() < 1e-9);
            axis.ticks.iter().find(near).map(|(_, label)| label.clone()).unwrap_or_default()
        };
        chart
            .configure_mesh()
            .bold_line_style(stroke(Ink::Grid, 2))
            .light_line_style(BLACK.mix(0.0))
            .axis_style(stroke(Ink::Axis, 2))
            .label_style(text_style(Ink::Muted))
            .axis_desc_style(text_style(Ink::Text))
            .x_label_formatter(&|place| label(&self.x, *place))
            .y_label_formatter(&|place| label(&self.y, *place))
            .x_desc(self.x.title.as_str())
            .draw()?;
        let (width, height) = chart.plotting_area().get_pixel_range();
        let mut pen = Pen { root: &root, chart: &chart, plot: self, width, height, hits: String::new() };
        // The vertical axis's title lies above it, where it can be read without turning the head.
        pen.text((10, 22), &self.y.title, Ink::Text, (HPos::Left, VPos::Center))?;
        content(&mut pen)?;
        let hits = pen.hits;
        root.present()?;
        Ok(hits)
    }

    /// Gives the picture its name, its classes, and the texts that appear over its marks.
    fn finish(&self, svg: &str, hits: &str) -> String {
        // The library's opening tag has a fixed size, and the page decides about the size.
        let body = svg.split_once('>').map_or(svg, |(_, body)| body);
        let body = body.trim_end().trim_end_matches("</svg>");
        let (width, height) = self.size;
        let (id, title, desc) = (escape(self.id), escape(self.title), escape(self.desc));
        format!(
            "<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{desc}</desc>{}{hits}</svg>",
            restyle(body)
        )
    }
}

/// A linear axis of the plotting library with the ticks that were chosen here, neither more nor fewer.
struct Span {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Ranged for Span {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        start + (f64::from(end - start) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // The library asks once for lines with labels and once for finer lines between them.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

/// Draws on a plot. Everything that has no finite place is left out.
pub(crate) struct Pen<'a, 'b> {
    root: &'a DrawingArea<SVGBackend<'b>, Shift>,
    chart: &'a ChartContext<'b, SVGBackend<'b>, PlotCoord>,
    plot: &'a Plot<'a>,
    width: std::ops::Range<i32>,
    height: std::ops::Range<i32>,
    hits: String,
}

impl Pen<'_, '_> {
    /// Where a pair of values lies on the canvas.
    pub(crate) fn at(&self, x: f64, y: f64) -> Option<Place> {
        let (x, y) = (self.plot.x.place(x)?, self.plot.y.place(y)?);
        Some(self.chart.backend_coord(&(x, y)))
    }

    /// Left and right end of the plotting area.
    pub(crate) fn sides(&self) -> (i32, i32) {
        (self.width.start, self.width.end)
    }

    /// Upper and lower end of the plotting area.
    pub(crate) fn ends(&self) -> (i32, i32) {
        (self.height.start, self.height.end)
    }

    /// A line through some places.
    pub(crate) fn line(&mut self, places: &[Place], ink: Ink, width: u32) -> Result<(), DrawError> {
        if places.len() < 2 {
            return Ok(());
        }
        self.root.draw(&PathElement::new(places.to_vec(), stroke(ink, width)))
    }

    /// An area with some corners.
    pub(crate) fn area(&mut self, corners: Vec<Place>, ink: Ink) -> Result<(), DrawError> {
        self.root.draw(&Polygon::new(corners, ink.colour().filled()))
    }

    /// The area between two edges that both run from left to right, as far as it lies in the plotting area.
    pub(crate) fn band(&mut self, lower: &[Place], upper: &[Place], ink: Ink) -> Result<(), DrawError> {
        let (top, bottom) = self.ends();
        let mut corners = clip(lower, top, bottom);
        corners.extend(clip(upper, top, bottom).into_iter().rev());
        self.area(corners, ink)
    }

    /// An upright interval with caps.
    pub(crate) fn upright(&mut self, x: i32, from: i32, to: i32, ink: Ink) -> Result<(), DrawError> {
        let (low, high) = (self.keep_y(from), self.keep_y(to));
        self.line(&[(x, low), (x, high)], ink, 3)?;
        self.line(&[(x - 7, low), (x + 7, low)], ink, 3)?;
        self.line(&[(x - 7, high), (x + 7, high)], ink, 3)
    }

    /// A level interval with caps.
    pub(crate) fn level(&mut self, y: i32, from: i32, to: i32, ink: Ink) -> Result<(), DrawError> {
        let (low, high) = (self.keep_x(from), self.keep_x(to));
        self.line(&[(low, y), (high, y)], ink, 3)?;
        self.line(&[(low, y - 7), (low, y + 7)], ink, 3)?;
        self.line(&[(high, y - 7), (high, y + 7)], ink, 3)
    }

    /// A filled mark with a rim in the colour of the page, so that marks on each other stay apart.
    pub(crate) fn mark(&mut self, place: Place, shape: Shape, ink: Ink) -> Result<(), DrawError> {
        self.area(shape.corners(place, RADIUS + 3), Ink::Surface)?;
        self.area(shape.corners(place, RADIUS), ink)
    }

    /// A mark of which only the outline is drawn.
    pub(crate) fn hollow_mark(&mut self, place: Place, shape: Shape, ink: Ink) -> Result<(), DrawError> {
        let mut outline = shape.corners(place, RADIUS);
        self.area(outline.clone(), Ink::Surface)?;
        outline.extend(outline.first().copied());
        outline.extend(outline.get(1).copied());
        self.line(&outline, ink, 4)
    }

    /// A ring.
    pub(crate) fn ring(&mut self, place: Place, radius: i32, ink: Ink) -> Result<(), DrawError> {
        self.root.draw(&Circle::new(place, radius, stroke(ink, 4)))
    }

    /// A text, anchored at a place.
    pub(crate) fn text(&mut self, place: Place, text: &str, ink: Ink, anchor: (HPos, VPos)) -> Result<(), DrawError> {
        let style = text_style(ink).pos(Pos::new(anchor.0, anchor.1));
        self.root.draw(&Text::new(text.to_owned(), place, style))
    }

    /// Shows a text when the pointer rests on a place.
    pub(crate) fn hint(&mut self, (x, y): Place, text: &str) {
        self.hits.push_str(&format!(
            "<circle class=\"hit\" cx=\"{x}\" cy=\"{y}\" r=\"22\"><title>{}</title></circle>",
            escape(text)
        ));
    }

    fn keep_x(&self, x: i32) -> i32 {
        x.clamp(self.width.start, self.width.end)
    }

    fn keep_y(&self, y: i32) -> i32 {
        y.clamp(self.height.start, self.height.end)
    }
}

impl std::fmt::Debug for Pen<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pen").field("plot", &self.plot.id).finish_non_exhaustive()
    }
}

/// An edge that runs along a border where it would lie beyond it. It meets the border where it crosses it: moving only its
/// corners would bend what lies inside.
fn clip(edge: &[Place], top: i32, bottom: i32) -> Vec<Place> {
    let mut kept: Vec<Place> = edge.iter().take(1).copied().collect();
    for pair in edge.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let (low, high) = (y0.min(y1), y0.max(y1));
        let mut crossings: Vec<Place> = [top, bottom]
            .into_iter()
            .filter(|border| low < *border && *border < high)
            .map(|border| {
                let share = f64::from(border - y0) / f64::from(y1 - y0);
                (x0 + (f64::from(x1 - x0) * share).round() as i32, border)
            })
            .collect();
        crossings.sort_unstable();
        kept.extend(crossings);
        kept.push((x1, y1));
    }
    kept.into_iter().map(|(x, y)| (x, y.clamp(top, bottom))).collect()
}

/// A line of some width.
fn stroke(ink: Ink, width: u32) -> ShapeStyle {
    ink.colour().stroke_width(width)
}

/// Text of the charts' one size. The family is the page's, set by its style sheet.
fn text_style(ink: Ink) -> TextStyle<'static> {
    ("sans-serif", TEXT).into_font().color(&ink.colour())
}

/// Text for the inside of an element or an attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A label cut to some characters; the whole of it stands in the table.
pub(crate) fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

/// A small picture of a series: its mark on its line.
pub(crate) fn swatch(shape: Shape, slot: u8, look: Look) -> String {
    let points = |radius| {
        let corners = shape.corners((40, 16), radius);
        corners.iter().map(|(x, y)| format!("{x},{y}")).collect::<Vec<_>>().join(" ")
    };
    let (colour, dash) = (slot % super::style::COLOURS, slot % 5);
    let inner = match look {
        Look::Series => format!(
            "<path class=\"stroke-line c{colour} d{dash}\" d=\"M2 16H78\"/><polygon class=\"fill-surface\" points=\"{}\"/>\
             <polygon class=\"fill-mark c{colour}\" points=\"{}\"/>",
            points(RADIUS + 3),
            points(RADIUS)
        ),
        Look::Mark => format!("<polygon class=\"fill-mark c{colour}\" points=\"{}\"/>", points(RADIUS + 1)),
        Look::Hollow => format!("<polygon class=\"stroke-mark c{colour}\" points=\"{}\"/>", points(RADIUS)),
        Look::Ideal => "<path class=\"stroke-ideal\" d=\"M2 16H78\"/>".to_owned(),
        Look::Limit => "<path class=\"stroke-limit\" d=\"M40 0V32\"/>".to_owned(),
        Look::Wrong => {
            format!("<polygon class=\"fill-wrong\" points=\"{}\"/>", points(RADIUS + 4))
        }
    };
    format!("<svg class=\"swatch\" viewBox=\"0 0 80 32\" aria-hidden=\"true\">{inner}</svg>")
}

/// What a [`swatch`] shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// A mark on a line.
    Series,
    /// A filled mark.
    Mark,
    /// An outlined mark.
    Hollow,
    /// The line of what could be reached at best.
    Ideal,
    /// The line of the number of cores.
    Limit,
    /// A wrong answer.
    Wrong,
}

#[cfg(test)]
mod tests {
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
            let place = pen.at(1e3, 5.0).unwrap();
            assert_eq!(pen.at(f64::NAN, 1.0), None);
            assert_eq!(pen.at(0.0, 1.0), None);
            pen.mark(place, Shape::Disc, Ink::Mark(0))?;
            pen.hint(place, "<b>");
            Ok(())
        })
        .unwrap()
    }

    #[test]
    fn a_plot_is_one_named_picture_without_literal_colours() {
        let svg = plot("a <script> title");
        assert!(svg.starts_with("<svg class=\"chart\" viewBox=\"0 0 800 400\""));
        assert_eq!(svg.matches("<svg").count(), 1);
        assert!(svg.ends_with("</svg>"));
        assert!(svg.contains("<title id=\"p-t\">a &lt;script&gt; title</title>"), "{svg}");
        assert!(svg.contains("y &lt; 1") && svg.contains("<title>&lt;b&gt;</title>"));
        assert!(!svg.contains("\"#0"), "{svg}");
        assert!(svg.contains("1 µs"), "{svg}");
    }

    #[test]
    fn an_edge_is_cut_where_it_crosses_a_border() {
        let edge = [(0, 50), (100, -50), (200, 150), (300, 60)];
        let cut = [(0, 50), (50, 0), (100, 0), (125, 0), (175, 100), (200, 100), (256, 100), (300, 60)];
        assert_eq!(clip(&edge, 0, 100), cut);
        assert_eq!(clip(&[(0, 10), (9, 90)], 0, 100), [(0, 10), (9, 90)]);
    }

    #[test]
    fn long_labels_are_cut_between_characters() {
        assert_eq!(shorten("straßenbahn", 6), "straß…");
        assert_eq!(shorten("short", 6), "short");
    }
}
