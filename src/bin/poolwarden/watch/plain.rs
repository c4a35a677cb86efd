//! The output that is no terminal: a line a second, and one for each event.

use super::picture::Picture;
use std::io::{self, Write};

/// Writes what is new.
pub(super) fn write(out: &mut impl Write, picture: &Picture, events: &[String]) -> io::Result<()> {
    for event in events {
        writeln!(out, "{event}")?;
    }
    writeln!(out, "{}", picture.one_line())?;
    out.flush()
}
