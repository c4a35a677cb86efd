//! What the text of a request shows about the session that its command tags do not.

/// What a text may change in its session, beyond the open transaction. In doubt it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::driver::postgres) struct SessionText(u8);

/// The function and the view by which a statement of any kind does what SET does.
///
/// PostgreSQL documentation: "Configuration Settings Functions", "pg_settings".
const SETTING: &[&[u8]] = &[b"set_config", b"pg_settings"];

/// Words in front of TEMP and TEMPORARY where a temporary object is created.
const IN_FRONT_OF_TEMP: &[&[u8]] = &[b"create", b"into", b"local", b"global", b"replace", b"table"];

impl SessionText {
    /// It changes the session, whatever its command tag.
    const CHANGES: SessionText = SessionText(1);
    /// Each SET in it is SET LOCAL or SET TRANSACTION.
    const SETS_LOCALLY: SessionText = SessionText(2);
    /// A SET in it may be another one.
    const SETS_SESSION: SessionText = SessionText(4);
    /// A cursor in it may be WITH HOLD.
    const HOLDS: SessionText = SessionText(8);
    /// A DEALLOCATE in it may name a statement of the driver.
    const DEALLOCATES_DRIVERS: SessionText = SessionText(16);

    /// Reads a text of one or several statements.
    pub(super) fn read(text: &[u8]) -> SessionText {
        let mut found = SessionText::default();
        let (mut previous, mut before): (&[u8], &[u8]) = (b"", b"");
        let (mut sets, mut deallocates, mut names_drivers, mut says_temp) =
            (false, false, false, false);
        for word in words(text) {
            if changes_session(word) || is_temporary(word, previous, before) {
                found.add(SessionText::CHANGES);
            }
            sets |= is(word, b"set");
            deallocates |= is(word, b"deallocate");
            names_drivers |= is_drivers_name(word);
            says_temp |= is(word, b"temp") || is(word, b"temporary");
            if is(word, b"hold") {
                found.add(SessionText::HOLDS);
            }
            (before, previous) = (previous, word);
        }
        if deallocates && names_drivers {
            found.add(SessionText::DEALLOCATES_DRIVERS);
        }
        if sets {
            let local = sets_locally(text);
            found.add(if local { SessionText::SETS_LOCALLY } else { SessionText::SETS_SESSION });
        }
        // A comment may separate words; an escape may hide one.
        let is_hidden = says_temp && (has(text, b"/*") || has(text, b"--"));
        if is_hidden || text.contains(&b'&') && has(text, b"u&\"") {
            found.add(SessionText::CHANGES);
        }
        found
    }

    pub(super) fn add(&mut self, other: SessionText) {
        self.0 |= other.0;
    }

    fn has(self, other: SessionText) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns `true` if the session is changed, whatever the command tags are.
    pub(super) fn changes(self) -> bool {
        self.has(SessionText::CHANGES)
    }

    /// Returns `true` if a SET that was carried out changes nothing beyond its transaction.
    pub(super) fn sets_only_locally(self) -> bool {
        self.has(SessionText::SETS_LOCALLY) && !self.has(SessionText::SETS_SESSION)
    }

    /// Returns `true` if a cursor that was declared may outlive its transaction.
    pub(super) fn may_hold(self) -> bool {
        self.has(SessionText::HOLDS)
    }

    /// Returns `true` if a statement that was deallocated may be one of the driver's own.
    pub(super) fn may_deallocate_drivers(self) -> bool {
        self.has(SessionText::DEALLOCATES_DRIVERS)
    }
}

fn is(word: &[u8], other: &[u8]) -> bool {
    word.eq_ignore_ascii_case(other)
}

/// Splits a text at everything that is part of no name.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    text.split(move |byte| !is_part(*byte)).filter(|word| !word.is_empty())
}

fn changes_session(word: &[u8]) -> bool {
    match word.first() {
        // Most words end here.
        Some(b'p' | b'P' | b's' | b'S') => {}
        _ => return false,
    }
    let begins = |with: &[u8]| word.get(..with.len()).is_some_and(|head| is(head, with));
    SETTING.iter().any(|one| is(word, one))
        || begins(b"pg_temp")
        // The locks of a transaction end with it.
        || (begins(b"pg_advisory_") || begins(b"pg_try_advisory_")) && !has(word, b"_xact_")
}

/// CREATE TEMP, CREATE OR REPLACE TEMP, SELECT INTO TEMP, also LOCAL and GLOBAL.
fn is_temporary(word: &[u8], previous: &[u8], before: &[u8]) -> bool {
    let follows = || IN_FRONT_OF_TEMP.iter().any(|one| is(previous, one));
    // INSERT INTO a table of that name.
    let inserts = || is(previous, b"into") && is(before, b"insert");
    (is(word, b"temp") || is(word, b"temporary")) && follows() && !inserts()
}

/// The driver names its statements `s0`, `s1` and so on.
fn is_drivers_name(word: &[u8]) -> bool {
    matches!(word, [b's', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
}

/// Returns `true` if each SET of this text is LOCAL or TRANSACTION, which end with the
/// transaction.
fn sets_locally(text: &[u8]) -> bool {
    let end =
        text.iter().rposition(|byte| !matches!(byte, b';' | b'\0') && !byte.is_ascii_whitespace());
    let text = &text[..end.map_or(0, |end| end + 1)];
    let hides_ends = text.iter().any(|byte| matches!(byte, b'\\' | b'$'))
        || has(text, b"/*")
        || has(text, b"--");
    if text.contains(&b';') && hides_ends {
        return false;
    }
    let mut quote = None;
    let is_end = |byte: &u8| {
        match quote {
            None if matches!(byte, b'\'' | b'"') => quote = Some(*byte),
            Some(open) if open == *byte => quote = None,
            _ => {}
        }
        *byte == b';' && quote.is_none()
    };
    text.split(is_end).map(skip_blanks).all(|statement| {
        let mut words = words(statement);
        let is_set = words.next().is_some_and(|word| is(word, b"set"));
        let rest = statement.get(3..).map(skip_blanks).unwrap_or_default();
        let begins = |with: &[u8]| rest.get(..with.len()).is_some_and(|head| is(head, with));
        !is_set || begins(b"local") || begins(b"transaction")
    })
}

/// Skips white space and comments, which nest.
fn skip_blanks(mut text: &[u8]) -> &[u8] {
    loop {
        text = match text {
            [first, rest @ ..] if first.is_ascii_whitespace() || *first == 0x0b => rest,
            [b'-', b'-', rest @ ..] => {
                let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                end.map_or(&[], |end| &rest[end..])
            }
            [b'/', b'*', rest @ ..] => after_comment(rest),
            _ => return text,
        };
    }
}

fn after_comment(mut text: &[u8]) -> &[u8] {
    let mut depth = 1;
    while depth > 0 {
        text = match text {
            [] => return text,
            [b'/', b'*', rest @ ..] => {
                depth += 1;
                rest
            }
            [b'*', b'/', rest @ ..] => {
                depth -= 1;
                rest
            }
            [_, rest @ ..] => rest,
        };
    }
    text
}

fn has(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> SessionText {
        SessionText::read(text.as_bytes())
    }

    #[test]
    fn a_text_that_changes_its_session_is_recognized() {
        let changing = [
            "select set_config('app.x', $1, false)",
            "SELECT pg_catalog.\"set_config\"('a', 'b', true)",
            "select U&\"set\\005fconfig\"('a', 'b', false)",
            "update pg_settings set setting = '1s' where name = 'lock_timeout'",
            "select pg_advisory_lock(1)",
            "select pg_try_advisory_lock_shared(1)",
            "create temp table t (n int)",
            "create temporary view v as select 1",
            "create or replace temp view v as select 1",
            "create local temporary sequence s",
            "create /* scratch */ temp table t (n int)",
            "create\n-- scratch\ntemp table t (n int)",
            "select 1 into temp t",
            "select 1 into temporary table t",
            "select 1 as n into local temp t",
            "select 1 into table temp",
            "create table pg_temp.t (n int)",
            "create function pg_temp_3.f() returns int return 1",
            "explain analyze create temp table t as select 1",
            "select pg_advisory_xact_lock(1), pg_advisory_lock(1)",
        ];
        for text in changing {
            assert!(read(text).changes(), "{text}");
        }
    }

    #[test]
    fn a_text_that_changes_only_its_transaction_or_the_database_is_not_taken_for_one() {
        let harmless = [
            "select 1",
            "",
            "insert into weather (temp, city) values ($1, $2)",
            "insert into temp values ($1)",
            "select temp, temporary from weather -- hot",
            "update t set temporary = true",
            "select pg_advisory_xact_lock(1)",
            "select pg_try_advisory_xact_lock_shared(1)",
            "select name from pg_catalog.pg_class",
            "create table t (temp int)",
            "delete from settings",
            "\u{e4}set_config",
        ];
        for text in harmless {
            let comment = text.contains("--");
            assert_eq!(read(text).changes(), comment, "{text}");
        }
    }

    #[test]
    fn only_a_set_that_is_clearly_local_is_taken_for_a_local_one() {
        let local = [
            "set local lock_timeout = '1s'",
            " SET LOCAL x = 1;\n",
            "/* a /* b */ c */ set local x = 1",
            "-- one\rset local x = 1",
            "set /* route */ local role a",
            "set transaction isolation level serializable",
            "begin; set local x = 'it''s; '; update t set n = 1",
        ];
        for text in local {
            assert!(read(text).sets_only_locally(), "{text}");
        }
        let session = [
            "set x = 1",
            "set role a",
            "set session characteristics as transaction read only",
            "set time zone local",
            "set local x = 1; set y = 2",
            "set local x = E'\\';set local y = '; set z = 1",
            "set local x = 1; /* ; */ set y = 2",
            "/* /* */ set local x = 1 */ set y = 1",
            "select 1",
            "",
        ];
        for text in session {
            assert!(!read(text).sets_only_locally(), "{text}");
        }
        let mut both = read("set local x = 1");
        both.add(read("set x = 1"));
        assert!(!both.sets_only_locally());
    }

    #[test]
    fn cursors_that_hold_and_statements_of_the_driver_are_recognized() {
        assert!(read("declare c cursor with hold for select 1").may_hold());
        assert!(!read("declare c cursor for select 1").may_hold());
        assert!(read("deallocate s12").may_deallocate_drivers());
        assert!(read("deallocate prepare \"s0\"").may_deallocate_drivers());
        assert!(!read("deallocate mine").may_deallocate_drivers());
        assert!(!read("select s1 from t").may_deallocate_drivers());
    }
}
