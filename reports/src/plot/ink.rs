//! Inks: the roles of shapes, which are told apart by their meaning and not by their color.

use plotters::style::Color;
use plotters_backend::BackendColor;

/// Number of colors in the style sheet (`.c0`, `.c1`, ...).
pub(super) const COLORS: u8 = 6;

/// Number of dash patterns in the style sheet (`.d0`, `.d1`, ...). It shares no divisor with the number of shapes.
pub(super) const DASHES: u8 = 5;

/// The third byte of every key. The library's own defaults are black, white and mixtures of them.
const MARK: u8 = 0x17;

/// The table of the keys: the first byte of a key is the number of a row here, the second one the slot of the series.
const TABLE: [(Role, &str); 14] = [
    (Role::Text, "text"),
    (Role::Muted, "muted"),
    (Role::Grid, "grid"),
    (Role::Axis, "axis"),
    (Role::Ideal, "ideal"),
    (Role::Limit, "limit"),
    (Role::Surface, "surface"),
    (Role::Tag, "tag"),
    (Role::Wrong, "wrong"),
    (Role::Line, "line"),
    (Role::Mark, "mark"),
    (Role::Bar, "bar"),
    (Role::Band, "band"),
    (Role::Shade, "shade"),
];

/// A row of [`TABLE`], by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Text,
    Muted,
    Grid,
    Axis,
    Ideal,
    Limit,
    Surface,
    Tag,
    Wrong,
    Line,
    Mark,
    Bar,
    Band,
    Shade,
}

/// The role of a stroke, an area or a text, and its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ink {
    role: Role,
    slot: u8,
}

impl Ink {
    /// Titles and labels.
    pub(crate) const TEXT: Ink = Ink::plain(Role::Text);
    /// Labels of ticks.
    pub(crate) const MUTED: Ink = Ink::plain(Role::Muted);
    /// Lines of the grid.
    pub(crate) const GRID: Ink = Ink::plain(Role::Grid);
    /// The axes.
    pub(crate) const AXIS: Ink = Ink::plain(Role::Axis);
    /// The best that could be reached.
    pub(crate) const IDEAL: Ink = Ink::plain(Role::Ideal);
    /// The number of cores.
    pub(crate) const LIMIT: Ink = Ink::plain(Role::Limit);
    /// The page behind the chart.
    pub(crate) const SURFACE: Ink = Ink::plain(Role::Surface);
    /// A crossing and its letter.
    pub(crate) const TAG: Ink = Ink::plain(Role::Tag);
    /// A wrong answer.
    pub(crate) const WRONG: Ink = Ink::plain(Role::Wrong);

    const fn plain(role: Role) -> Self {
        Ink { role, slot: 0 }
    }

    /// The line of a series.
    pub(crate) const fn line(slot: u8) -> Self {
        Ink { role: Role::Line, slot }
    }

    /// The marks of a series.
    pub(crate) const fn mark(slot: u8) -> Self {
        Ink { role: Role::Mark, slot }
    }

    /// The intervals of a series.
    pub(crate) const fn bar(slot: u8) -> Self {
        Ink { role: Role::Bar, slot }
    }

    /// The band between the intervals of a series.
    pub(crate) const fn band(slot: u8) -> Self {
        Ink { role: Role::Band, slot }
    }

    /// The field of a heat map: from 0, far below the middle, over 3 to 6, far above it (`.h0` to `.h6` in the style sheet).
    pub(crate) const fn shade(step: u8) -> Self {
        Ink { role: Role::Shade, slot: step }
    }

    /// The ink that has this color as its key.
    pub(super) fn of(color: BackendColor) -> Option<Self> {
        let (row, slot, mark) = color.rgb;
        let (role, _) = TABLE.get(usize::from(row))?;
        (mark == MARK && color.alpha == 1.0).then_some(Ink { role: *role, slot })
    }

    /// The classes of a stroke.
    pub(super) fn stroke(self) -> String {
        self.classes("stroke")
    }

    /// The classes of an area or a text.
    pub(super) fn fill(self) -> String {
        self.classes("fill")
    }

    fn classes(self, how: &str) -> String {
        let (_, name) = TABLE[self.role as usize];
        let (color, dash) = (self.slot % COLORS, self.slot % DASHES);
        match self.role {
            Role::Line => format!("{how}-{name} c{color} d{dash}"),
            Role::Mark | Role::Bar | Role::Band => format!("{how}-{name} c{color}"),
            Role::Shade => format!("{how}-{name} h{}", self.slot.min(6)),
            _ => format!("{how}-{name}"),
        }
    }
}

/// For the library an ink is a color: the key of its row.
impl Color for Ink {
    fn to_backend_color(&self) -> BackendColor {
        BackendColor { alpha: 1.0, rgb: (self.role as u8, self.slot, MARK) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plotters::style::{BLACK, RED, TRANSPARENT, WHITE};

    #[test]
    fn every_ink_comes_back_from_its_color() {
        for (row, (role, _)) in TABLE.into_iter().enumerate() {
            assert_eq!(role as usize, row, "the rows are in the order of the roles");
            for slot in [0, 7, u8::MAX] {
                let ink = Ink { role, slot };
                assert_eq!(Ink::of(ink.to_backend_color()), Some(ink));
                assert_eq!(Ink::of(ink.to_rgba().to_backend_color()), Some(ink), "the library's own color keeps it");
            }
        }
    }

    #[test]
    fn a_color_that_is_no_key_has_no_ink() {
        let others = [BLACK.to_backend_color(), WHITE.to_backend_color(), RED.to_backend_color()];
        let faint = [TRANSPARENT.to_backend_color(), Ink::GRID.mix(0.5).to_backend_color()];
        let beyond = BackendColor { alpha: 1.0, rgb: (TABLE.len() as u8, 0, MARK) };
        for color in others.into_iter().chain(faint).chain([beyond]) {
            assert_eq!(Ink::of(color), None, "{:?}", color.rgb);
        }
    }

    #[test]
    fn a_series_has_its_color_and_only_its_line_a_dash() {
        assert_eq!(Ink::line(7).stroke(), "stroke-line c1 d2");
        assert_eq!(Ink::band(7).fill(), "fill-band c1");
        assert_eq!(Ink::TAG.fill(), "fill-tag");
    }
}
