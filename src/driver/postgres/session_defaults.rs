//! The statements that set the defaults of a PostgreSQL session.

use crate::config::SessionDefaults;

/// Returns the statements as one text, which takes one round trip.
///
/// They are not sent as start-up parameters, which poolers refuse.
pub(super) fn statements(defaults: &SessionDefaults) -> String {
    let mut text = String::new();
    if let Some(level) = defaults.isolation {
        text += &format!("set default_transaction_isolation to '{level}';");
    }
    if let Some(read_only) = defaults.read_only {
        let value = if read_only { "on" } else { "off" };
        text += &format!("set default_transaction_read_only to {value};");
    }
    if let Some(schema) = &defaults.schema {
        text += &format!("set search_path to \"{}\";", schema.replace('"', "\"\""));
    }
    // Checked: its letters need no quotes of their own.
    if let Some(zone) = &defaults.time_zone {
        text += &format!("set timezone to '{zone}';");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::IsolationLevel;

    #[test]
    fn all_defaults_are_set_by_one_text_and_names_are_quoted() {
        let mut defaults = SessionDefaults::default();
        assert_eq!(statements(&defaults), "");
        defaults.isolation = Some(IsolationLevel::RepeatableRead);
        defaults.read_only = Some(true);
        defaults.schema = Some("a\"b".into());
        defaults.time_zone = Some("UTC".into());
        assert_eq!(
            statements(&defaults),
            "set default_transaction_isolation to 'repeatable read';\
             set default_transaction_read_only to on;set search_path to \"a\"\"b\";\
             set timezone to 'UTC';"
        );
    }
}
