//! The charts of the page: each section a gallery of charts, and each chart a picture with the table behind it.

mod cost;
mod efficiency;
mod gallery;
mod latency;
mod load;
mod overhead;
mod pathologies;
mod python;
mod scaling;
mod surface;

pub(crate) use gallery::{Chart, Context, Gallery, LegendEntry, SectionSpec};
pub(crate) use latency::median_sample;

/// The sections with charts, in the order of the page.
pub(crate) static SECTIONS: &[&SectionSpec] = &[
    &scaling::SECTION,
    &overhead::SECTION,
    &efficiency::SECTION,
    &cost::SECTION,
    &pathologies::SECTION,
    &latency::SECTION,
    &load::SECTION,
    &python::SECTION,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use std::collections::BTreeSet;

    #[test]
    fn every_gallery_of_an_empty_run_says_what_is_missing() {
        let run = fixture::empty();
        let context = Context::new(&run);
        for section in SECTIONS {
            let gallery = (section.gallery)(&context).unwrap();
            assert_eq!(gallery.charts.len(), 1);
            assert!(gallery.charts[0].missing.starts_with("No "), "{:?}", gallery.charts[0]);
            assert!(gallery.charts[0].pictures.is_empty());
        }
    }

    #[test]
    fn every_class_of_every_picture_has_a_rule_in_the_style_sheet() {
        let css = include_str!("../../templates/report.css");
        let rules: BTreeSet<&str> = css.split('.').skip(1).map(name).collect();
        let run = fixture::run();
        let context = Context::new(&run);
        let galleries: Vec<Gallery> = SECTIONS.iter().map(|section| (section.gallery)(&context).unwrap()).collect();
        let swatches = galleries.iter().flat_map(|gallery| &gallery.legend).map(|entry| &entry.swatch);
        let pictures = galleries.iter().flat_map(|gallery| &gallery.charts).flat_map(|chart| &chart.pictures);
        let mut seen = BTreeSet::new();
        for svg in swatches.chain(pictures) {
            let lists = svg.split("class=\"").skip(1).map(|rest| rest.split('"').next().unwrap_or_default());
            seen.extend(lists.flat_map(|list| list.split(' ')));
        }
        // A line without dashes is drawn as it is.
        seen.remove("d0");
        assert!(seen.contains("stroke-wrong") && seen.contains("fill-band") && seen.len() > 20, "{seen:?}");
        assert_eq!(seen.difference(&rules).collect::<Vec<_>>(), Vec::<&&str>::new());
    }

    /// The name at the start of a text.
    fn name(text: &str) -> &str {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(text.len());
        &text[..end]
    }
}
