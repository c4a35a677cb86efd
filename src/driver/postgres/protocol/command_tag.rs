//! Command tags: what the server says that it has done.

/// What the tag of a CommandComplete means for the session.
///
/// PostgreSQL documentation, "Message Formats", CommandComplete. Tags are not localized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver::postgres) enum CommandTag {
    Begin,
    /// COMMIT, also AND CHAIN. A COMMIT of a failed transaction has the tag ROLLBACK.
    Commit,
    /// PREPARE TRANSACTION: the outcome is left to another session.
    PrepareTransaction,
    /// ROLLBACK, also AND CHAIN and also TO SAVEPOINT, which leaves the transaction open.
    Rollback,
    /// DISCARD ALL or DEALLOCATE ALL: the session has lost all prepared statements.
    DropStatements,
    Other,
}

impl CommandTag {
    /// Reads the body of a CommandComplete.
    pub(in crate::driver::postgres) fn read(body: &[u8]) -> CommandTag {
        match body.strip_suffix(b"\0").unwrap_or(body) {
            b"BEGIN" | b"START TRANSACTION" => CommandTag::Begin,
            b"COMMIT" => CommandTag::Commit,
            b"PREPARE TRANSACTION" => CommandTag::PrepareTransaction,
            b"ROLLBACK" => CommandTag::Rollback,
            b"DISCARD ALL" | b"DEALLOCATE ALL" => CommandTag::DropStatements,
            _ => CommandTag::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tag_has_its_meaning() {
        let table: &[(&[u8], CommandTag)] = &[
            (b"BEGIN\0", CommandTag::Begin),
            (b"START TRANSACTION\0", CommandTag::Begin),
            (b"COMMIT\0", CommandTag::Commit),
            (b"COMMIT PREPARED\0", CommandTag::Other),
            (b"PREPARE TRANSACTION\0", CommandTag::PrepareTransaction),
            (b"PREPARE\0", CommandTag::Other),
            (b"ROLLBACK\0", CommandTag::Rollback),
            (b"DISCARD ALL\0", CommandTag::DropStatements),
            (b"DISCARD TEMP\0", CommandTag::Other),
            (b"DEALLOCATE ALL\0", CommandTag::DropStatements),
            (b"DEALLOCATE\0", CommandTag::Other),
            (b"INSERT 0 1\0", CommandTag::Other),
            (b"", CommandTag::Other),
        ];
        for (body, tag) in table {
            assert_eq!(CommandTag::read(body), *tag, "{}", body.escape_ascii());
        }
    }
}
