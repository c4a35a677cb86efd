//! What a borrower has changed in its session, as far as the messages show.

use super::parameters::Parameters;
use super::session_text::SessionText;

/// The changes of a session since it was last known to be clean.
#[derive(Debug, Default)]
pub(in crate::driver::postgres) struct SessionChanges {
    /// A command tag, a text or a call has shown one.
    is_changed: bool,
    /// SQL's own PREPARE was used since the last reset.
    has_prepared: bool,
    /// A statement of the driver was deallocated.
    has_deallocated_drivers: bool,
    parameters: Parameters,
}

impl SessionChanges {
    /// Records what the text of a request shows.
    pub(super) fn requested(&mut self, text: SessionText) {
        self.is_changed |= text.changes();
    }

    /// Records a FunctionCall: which function it calls is known by a number only.
    pub(super) fn called(&mut self) {
        self.is_changed = true;
    }

    /// Records the body of a CommandComplete; `text` is what the texts of the outstanding
    /// requests show.
    ///
    /// PostgreSQL documentation, "Message Formats": tags are not localized. RESET, UNLISTEN
    /// and DISCARD undo what the `init` hook may have done.
    pub(super) fn completed(&mut self, body: &[u8], text: SessionText) {
        match body.strip_suffix(b"\0").unwrap_or(body) {
            b"SET" => self.is_changed |= !text.sets_only_locally(),
            b"DECLARE CURSOR" => self.is_changed |= text.may_hold(),
            b"PREPARE" => {
                self.is_changed = true;
                self.has_prepared = true;
            }
            b"DEALLOCATE" => {
                self.is_changed = true;
                self.has_deallocated_drivers |= text.may_deallocate_drivers();
            }
            // The code of a DO is a text in any language.
            b"RESET" | b"LISTEN" | b"UNLISTEN" | b"DO" => self.is_changed = true,
            tag if tag.starts_with(b"DISCARD") || tag.starts_with(b"DEALLOCATE") => {
                self.is_changed = true;
            }
            _ => {}
        }
    }

    /// Records the body of a ParameterStatus.
    pub(super) fn parameter(&mut self, body: &[u8]) {
        self.parameters.report(body);
    }

    /// Records that the session is as the next borrower is to find it.
    pub(super) fn mark_clean(&mut self) {
        self.is_changed = false;
        self.parameters.mark_clean();
    }

    /// Records that no statement of SQL's PREPARE is left.
    pub(super) fn deallocated(&mut self) {
        self.has_prepared = false;
    }

    pub(super) fn is_changed(&self) -> bool {
        self.is_changed || self.parameters.differ()
    }

    pub(super) fn has_prepared(&self) -> bool {
        self.has_prepared
    }

    /// Returns `true` if a statement of the driver may have been deallocated by its name.
    pub(super) fn has_deallocated_drivers(&self) -> bool {
        self.has_deallocated_drivers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a request of this text that completes with this tag changes the session.
    fn changes(text: &str, tag: &str) -> bool {
        let (mut changes, text) = (SessionChanges::default(), SessionText::read(text.as_bytes()));
        changes.requested(text);
        changes.completed(format!("{tag}\0").as_bytes(), text);
        changes.is_changed()
    }

    #[test]
    fn each_tag_that_shows_a_change_is_recognized() {
        let table = [
            ("set x = 1", "SET", true),
            ("set local x = 1", "SET", false),
            ("set constraints all deferred", "SET CONSTRAINTS", false),
            ("reset x", "RESET", true),
            ("listen a", "LISTEN", true),
            ("unlisten a", "UNLISTEN", true),
            ("notify a", "NOTIFY", false),
            ("prepare p as select 1", "PREPARE", true),
            ("prepare transaction 'x'", "PREPARE TRANSACTION", false),
            ("deallocate p", "DEALLOCATE", true),
            ("deallocate all", "DEALLOCATE ALL", true),
            ("discard temp", "DISCARD TEMP", true),
            ("declare c cursor for select 1", "DECLARE CURSOR", false),
            ("declare c cursor with hold for select 1", "DECLARE CURSOR", true),
            ("do $$ begin end $$", "DO", true),
            ("create temp table t (n int)", "CREATE TABLE", true),
            ("select 1", "SELECT 1", false),
            ("call p()", "CALL", false),
            ("begin", "BEGIN", false),
        ];
        for (text, tag, changed) in table {
            assert_eq!(changes(text, tag), changed, "{text}");
        }
    }

    #[test]
    fn what_is_marked_clean_is_no_change_until_the_next_one() {
        let mut changes = SessionChanges::default();
        changes.called();
        changes.completed(b"PREPARE\0", SessionText::default());
        changes.parameter(b"TimeZone\0UTC\0");
        assert!(changes.is_changed() && changes.has_prepared());
        changes.mark_clean();
        assert!(!changes.is_changed() && changes.has_prepared());
        changes.parameter(b"TimeZone\0Asia/Tokyo\0");
        assert!(changes.is_changed());
        changes.deallocated();
        assert!(!changes.has_prepared());
    }
}
