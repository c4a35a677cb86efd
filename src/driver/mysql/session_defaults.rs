//! The statements that set the defaults of a MySQL or MariaDB session.

use crate::config::SessionDefaults;

/// Returns the statements, of which each takes a round trip.
///
/// The variables have other names from version to version; `SET TRANSACTION` has not.
pub(super) fn statements(defaults: &SessionDefaults) -> Vec<String> {
    let mut all = Vec::new();
    let level = defaults.isolation.map(|level| format!("isolation level {level}"));
    let access = defaults.read_only.map(|only| if only { "read only" } else { "read write" });
    let transaction: Vec<_> = level.into_iter().chain(access.map(str::to_owned)).collect();
    if !transaction.is_empty() {
        all.push(format!("set session transaction {}", transaction.join(", ")));
    }
    if let Some(schema) = &defaults.schema {
        all.push(format!("use `{}`", schema.replace('`', "``")));
    }
    // Checked: its letters need no quotes of their own.
    if let Some(zone) = &defaults.time_zone {
        all.push(format!("set time_zone = '{zone}'"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::IsolationLevel;

    #[test]
    fn what_concerns_transactions_is_one_statement_and_names_are_quoted() {
        let mut defaults = SessionDefaults::default();
        assert_eq!(statements(&defaults), [""; 0]);
        defaults.read_only = Some(false);
        assert_eq!(statements(&defaults), ["set session transaction read write"]);
        defaults.isolation = Some(IsolationLevel::Serializable);
        defaults.schema = Some("a`b".into());
        defaults.time_zone = Some("+02:00".into());
        let expected = [
            "set session transaction isolation level serializable, read write",
            "use `a``b`",
            "set time_zone = '+02:00'",
        ];
        assert_eq!(statements(&defaults), expected);
    }
}
