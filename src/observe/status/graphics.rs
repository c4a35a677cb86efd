//! The drawings of a page.

use crate::observe::snapshot::Snapshot;
use crate::sys::human_duration::HumanDuration;
use std::fmt::Write as _;
use std::time::Duration;

/// Draws how full a pool is.
pub(super) fn meter(out: &mut String, now: &Snapshot) {
    let most = now.levels.max_size.max(now.levels.open + now.levels.pending).max(1);
    let parts = [
        ("use-bar", now.levels.in_use, "in use"),
        ("idle-bar", now.levels.idle, "idle"),
        ("pending-bar", now.levels.pending, "pending"),
    ];
    let text = parts.map(|(_, count, name)| format!("{name} {count}")).join(", ");
    let _ = write!(
        out,
        "<svg class=\"meter\" viewBox=\"0 0 {most} 1\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{text} of {most}\"><rect class=\"free-bar\" width=\"{most}\" height=\"1\"/>"
    );
    let mut from = 0;
    for (class, count, _) in parts {
        let _ =
            write!(out, "<rect class=\"{class}\" x=\"{from}\" width=\"{count}\" height=\"1\"/>");
        from += count;
    }
    out.push_str("</svg>\n");
}

/// Draws the longest wait of each period, the newest on the right.
pub(super) fn waits(out: &mut String, waits: &[Duration]) {
    let longest = waits.iter().max().copied().unwrap_or_default();
    if longest.is_zero() {
        out.push_str("<p class=\"dim\">No caller has waited in the last five minutes.</p>\n");
        return;
    }
    let text = format!("Longest wait in the last five minutes: {}", HumanDuration(longest));
    let _ = write!(
        out,
        "<p class=\"dim\">{text}.</p>\n<svg class=\"waits\" viewBox=\"0 0 {} 100\" \
         preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{text}\">",
        waits.len()
    );
    for (place, wait) in waits.iter().enumerate().filter(|(_, wait)| !wait.is_zero()) {
        let height = (100.0 * wait.as_secs_f64() / longest.as_secs_f64()).max(2.0);
        let top = 100.0 - height;
        let _ = write!(
            out,
            "<rect class=\"wait-bar\" x=\"{place}\" y=\"{top:.1}\" width=\"0.8\" \
             height=\"{height:.1}\"/>"
        );
    }
    out.push_str("</svg>\n");
}
