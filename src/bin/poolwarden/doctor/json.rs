//! The report as JSON, written without a library: it has only texts.

use super::section::Section;

/// Returns `{"server": …, "sections": [{"title": …, "rows": [{"label": …, "text": …}]}]}`.
pub(super) fn report(server: &str, sections: &[Section]) -> String {
    let sections = sections.iter().map(|section| {
        let rows = section.rows.iter().map(|(label, text)| {
            format!("{{\"label\":{},\"text\":{}}}", quoted(label), quoted(text.trim()))
        });
        let rows = rows.collect::<Vec<_>>().join(",");
        format!("{{\"title\":{},\"rows\":[{rows}]}}", quoted(section.title))
    });
    let sections = sections.collect::<Vec<_>>().join(",");
    format!("{{\"server\":{},\"sections\":[{sections}]}}", quoted(server))
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if u32::from(char) < 0x20 => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(char)));
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}
