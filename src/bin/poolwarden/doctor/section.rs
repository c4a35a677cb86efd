//! A part of the page.

/// A label and its text.
pub type Row = (&'static str, String);

/// Some rows under a title.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) rows: Vec<Row>,
}
