//! The looks of the series: a series differs from the others by color, by the shape of its marks and by the dash of
//! its line, so none of the three is needed to tell them apart.

/// Radius of a mark.
pub(super) const RADIUS: i32 = 9;

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

    /// The corners around a center; shapes of one radius look about equally large.
    pub(super) fn corners(self, (x, y): (i32, i32), radius: i32) -> Vec<(i32, i32)> {
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

/// The looks of the series, which are the same in all charts of a page.
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
        // More than 256 series in one chart cannot be told apart; the looks start over.
        (place % 256) as u8
    }
}

/// A label cut to some characters; the table has all of it.
pub(crate) fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::super::ink::{COLORS, DASHES};
    use super::*;

    #[test]
    fn the_first_series_differ_in_more_than_one_way() {
        for slot in 0..30_u8 {
            for other in 0..slot {
                let same = |count: u8| slot % count == other % count;
                let ways = [!same(COLORS), !same(DASHES), !same(8)].into_iter().filter(|differs| *differs).count();
                assert!(ways >= 2 || slot >= 24, "{slot} and {other}");
            }
        }
    }

    #[test]
    fn a_name_keeps_its_slot() {
        let palette = Palette::new(["b", "a", "b"]);
        assert_eq!((palette.slot("b"), palette.slot("a")), (0, 1));
    }

    #[test]
    fn long_labels_are_cut_between_characters() {
        assert_eq!(shorten("straßenbahn", 6), "straß…");
        assert_eq!(shorten("short", 6), "short");
    }
}
