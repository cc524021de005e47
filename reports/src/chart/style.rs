//! Inks, marks and dashes of the charts.
//!
//! The plotting library writes literal colours into the SVG. Here every role has a colour that stands for it only,
//! and [`restyle`] turns those into classes, which the page's style sheet colours for light, dark and paper. A series
//! differs from the others by colour, by the shape of its marks and by the dash of its line, so none of the three is
//! needed to tell them apart.

use plotters::style::RGBColor;

/// The first byte of every colour that stands for a role.
const SENTINEL: u8 = 0x01;

/// Number of colours in the style sheet (`.c0`, `.c1`, ...).
pub(crate) const COLOURS: u8 = 6;

/// Number of dash patterns in the style sheet (`.d0`, `.d1`, ...). It shares no divisor with [`SHAPES`].
const DASHES: u8 = 5;

/// What a stroke or an area is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// Titles and labels.
    Text,
    /// Labels of ticks.
    Muted,
    /// Lines of the grid.
    Grid,
    /// The axes.
    Axis,
    /// What could be reached at best.
    Ideal,
    /// The number of cores.
    Limit,
    /// The page behind the chart.
    Surface,
    /// A crossing and its letter.
    Tag,
    /// A wrong answer.
    Wrong,
    /// The line of a series.
    Line(u8),
    /// The marks of a series.
    Mark(u8),
    /// The intervals of a series.
    Bar(u8),
    /// The band between the intervals of a series.
    Band(u8),
}

impl Ink {
    /// The colour that stands for this role until [`restyle`].
    pub(crate) fn colour(self) -> RGBColor {
        let (role, slot) = match self {
            Ink::Text => (1, 0),
            Ink::Muted => (2, 0),
            Ink::Grid => (3, 0),
            Ink::Axis => (4, 0),
            Ink::Ideal => (5, 0),
            Ink::Limit => (6, 0),
            Ink::Surface => (7, 0),
            Ink::Tag => (8, 0),
            Ink::Wrong => (9, 0),
            Ink::Line(slot) => (10, slot),
            Ink::Mark(slot) => (11, slot),
            Ink::Bar(slot) => (12, slot),
            Ink::Band(slot) => (13, slot),
        };
        RGBColor(SENTINEL, role, slot)
    }
}

/// The classes of a role, after `stroke-` or `fill-`.
fn classes(role: u8, slot: u8) -> Option<String> {
    let name = match role {
        1 => "text",
        2 => "muted",
        3 => "grid",
        4 => "axis",
        5 => "ideal",
        6 => "limit",
        7 => "surface",
        8 => "tag",
        9 => "wrong",
        10 => "line",
        11 => "mark",
        12 => "bar",
        13 => "band",
        _ => return None,
    };
    Some(match role {
        10 => format!("{name} c{} d{}", slot % COLOURS, slot % DASHES),
        11..=13 => format!("{name} c{}", slot % COLOURS),
        _ => name.to_owned(),
    })
}

/// Replaces the colours that stand for roles by classes.
pub(crate) fn restyle(svg: &str) -> String {
    let mut styled = String::with_capacity(svg.len());
    let mut rest = svg;
    while let Some(start) = rest.find("=\"#01") {
        let (before, after) = rest.split_at(start);
        // After `="#` stand six digits and a quote.
        let digits = after.get(3..9).unwrap_or_default();
        let role = digits.get(2..4).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let slot = digits.get(4..6).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let class = role.zip(slot).and_then(|(role, slot)| classes(role, slot));
        let attribute = ["stroke", "fill"].into_iter().find(|name| before.ends_with(name));
        match (attribute, class) {
            (Some(attribute), Some(class)) if after.get(9..10) == Some("\"") => {
                styled.push_str(&before[..before.len() - attribute.len()]);
                styled.push_str(&format!("class=\"{attribute}-{class}\""));
                rest = &after[10..];
            }
            _ => {
                styled.push_str(before);
                styled.push_str(&after[..5]);
                rest = &after[5..];
            }
        }
    }
    styled.push_str(rest);
    styled
}

/// The shape of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A disc.
    Disc,
    /// A square.
    Square,
    /// A triangle that points up.
    Up,
    /// A square on its corner.
    Diamond,
    /// A triangle that points down.
    Down,
    /// A plus sign.
    Plus,
    /// A diagonal cross.
    Cross,
    /// A bar that stands upright.
    Stick,
}

/// The shapes in the order of the series.
const SHAPES: [Shape; 8] =
    [Shape::Disc, Shape::Square, Shape::Up, Shape::Diamond, Shape::Down, Shape::Plus, Shape::Cross, Shape::Stick];

impl Shape {
    /// The shape of a series.
    pub(crate) fn of(slot: u8) -> Self {
        SHAPES[usize::from(slot) % SHAPES.len()]
    }

    /// The corners around a centre; shapes of one radius look about equally large.
    pub(crate) fn corners(self, (x, y): (i32, i32), radius: i32) -> Vec<(i32, i32)> {
        let r = f64::from(radius);
        let ring = |count: u32, start: f64, r: f64| -> Vec<(f64, f64)> {
            (0..count)
                .map(|step| {
                    let angle = (start + 360.0 * f64::from(step) / f64::from(count)).to_radians();
                    (r * angle.cos(), r * angle.sin())
                })
                .collect()
        };
        let arm = 0.36 * r;
        let long = 1.15 * r;
        let plus = [
            (-arm, -long),
            (arm, -long),
            (arm, -arm),
            (long, -arm),
            (long, arm),
            (arm, arm),
            (arm, long),
            (-arm, long),
            (-arm, arm),
            (-long, arm),
            (-long, -arm),
            (-arm, -arm),
        ];
        let points: Vec<(f64, f64)> = match self {
            Shape::Disc => ring(24, 0.0, r),
            Shape::Square => ring(4, 45.0, 1.28 * r),
            Shape::Up => ring(3, -90.0, 1.4 * r),
            Shape::Diamond => ring(4, 0.0, 1.3 * r),
            Shape::Down => ring(3, 90.0, 1.4 * r),
            Shape::Plus => plus.to_vec(),
            Shape::Cross => {
                let half = std::f64::consts::FRAC_1_SQRT_2;
                plus.iter().map(|(x, y)| ((x - y) * half, (x + y) * half)).collect()
            }
            Shape::Stick => vec![(-arm, -long), (arm, -long), (arm, long), (-arm, long)],
        };
        points.into_iter().map(|(dx, dy)| (x + dx.round() as i32, y + dy.round() as i32)).collect()
    }
}

/// Which series has which look, the same in all charts of a page.
#[derive(Debug)]
pub(crate) struct Palette {
    names: Vec<String>,
}

impl Palette {
    /// Looks for the names in the order of their first appearance.
    pub(crate) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut known: Vec<String> = Vec::new();
        for name in names {
            if !known.iter().any(|other| other == name) {
                known.push(name.to_owned());
            }
        }
        Palette { names: known }
    }

    /// The look of a name: its place in the order.
    pub(crate) fn slot(&self, name: &str) -> u8 {
        let place = self.names.iter().position(|other| other == name).unwrap_or(self.names.len());
        // More than 256 series in one chart cannot be told apart in any way; they start over.
        (place % 256) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_roles_become_classes_and_others_stay() {
        let svg = "<line opacity=\"1\" stroke=\"#010A07\" x1=\"1\"/><rect fill=\"#010300\" stroke=\"none\"/><a fill=\"#FFFFFF\"/>";
        assert_eq!(
            restyle(svg),
            "<line opacity=\"1\" class=\"stroke-line c1 d2\" x1=\"1\"/><rect class=\"fill-grid\" stroke=\"none\"/><a fill=\"#FFFFFF\"/>"
        );
    }

    #[test]
    fn text_that_looks_like_a_colour_stays() {
        for text in ["say=\"#01", "say=\"#010A0", "x=\"#01ZZ00\"", "fill=\"#010A0é\""] {
            assert_eq!(restyle(text), text);
        }
    }

    #[test]
    fn the_first_series_differ_in_more_than_one_way() {
        for slot in 0..30_u8 {
            for other in 0..slot {
                let same = |count: u8| slot % count == other % count;
                let ways = [!same(COLOURS), !same(DASHES), !same(8)].into_iter().filter(|differs| *differs).count();
                assert!(ways >= 2 || slot >= 24, "{slot} and {other}");
            }
        }
    }

    #[test]
    fn a_name_keeps_its_slot() {
        let palette = Palette::new(["b", "a", "b"]);
        assert_eq!((palette.slot("b"), palette.slot("a")), (0, 1));
    }
}
