//! The charts of the page: each a gallery of figures, and each figure a picture with the table behind it.

mod axis;
mod efficiency;
mod gallery;
mod latency;
mod overhead;
mod plot;
mod scaling;
mod style;

pub(crate) use gallery::{Context, Figure, Gallery, LegendEntry, SectionSpec, group_title};
pub(crate) use latency::median_sample;

/// The sections with charts, in the order of the page.
pub(crate) static SECTIONS: &[&SectionSpec] =
    &[&scaling::SECTION, &overhead::SECTION, &efficiency::SECTION, &latency::SECTION];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn every_gallery_of_an_empty_run_says_what_is_missing() {
        let run = fixture::empty();
        let context = Context::new(&run);
        for section in SECTIONS {
            let gallery = (section.gallery)(&context).unwrap();
            assert_eq!(gallery.figures.len(), 1);
            assert!(gallery.figures[0].missing.starts_with("No "), "{:?}", gallery.figures[0]);
            assert!(gallery.figures[0].pictures.is_empty());
        }
    }
}
