//! Removes the names from prepared statements, for servers behind a pooler.
//!
//! A pooler in transaction mode runs each transaction on whichever server session is
//! free: a statement that was prepared under a name may be unknown to the next session,
//! or another client may have used the name there. The driver names all its statements,
//! so its messages are rewritten: each statement is prepared as the unnamed one, and
//! prepared again, in the same message, before each use. That costs no round trip and
//! works for raw driver calls as well. Statements prepared by SQL (`PREPARE`) are not
//! changed.
//!
//! PostgreSQL documentation, "Extended Query" and "Message Formats".

use super::frames::{Keep, write};
use super::state;
use super::text_field::split_text as text;
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::io;

/// A statement that is prepared from the driver's point of view.
struct Prepared {
    /// Its text, with the zero byte at its end.
    sql: Box<[u8]>,
    /// The number and the types of its parameters, as both Parse and
    /// ParameterDescription write them.
    types: Box<[u8]>,
    /// A hash of the names and types of its columns, once it was described.
    columns: Option<u64>,
}

type Name = Box<[u8]>;

/// What the server will reply, in the order of what it was sent.
#[derive(Debug, PartialEq)]
enum Reply {
    /// To a message of the driver.
    Shown,
    /// To the driver's Describe of this statement.
    Described(Name),
    /// To a Parse that was added.
    ParsedAgain,
    /// To a Describe that was added: the columns must not have changed.
    DescribedAgain(Name),
    /// ReadyForQuery, to a Sync.
    Synced,
    /// The whole reply to a simple query or a function call.
    Simple,
}

/// Rewrites both directions of one connection.
#[derive(Default)]
pub(in crate::driver::postgres) struct StatementRewriter {
    prepared: HashMap<Name, Prepared>,
    /// Which of them is the unnamed statement now, within what was sent since the last
    /// Sync; after a Sync it may be that of any client.
    current: Option<Name>,
    replies: VecDeque<Reply>,
}

/// How much is kept of a client's messages: those that are rewritten and those whose text
/// is read are kept whole.
pub(super) fn keep_of_client(kind: u8) -> Keep {
    if matches!(kind, b'P' | b'B' | b'D' | b'C' | b'Q') { Keep::Whole } else { Keep::Nothing }
}

/// How much is kept of a server's messages: those that may be hidden are kept whole.
pub(super) fn keep_of_server(kind: u8) -> Keep {
    if is_rewritten(kind) { Keep::Whole } else { state::keep_of_server(kind) }
}

fn is_rewritten(reply: u8) -> bool {
    matches!(reply, b'1' | b't' | b'T' | b'n')
}

impl StatementRewriter {
    /// Takes a message of the driver; adds what is to be sent instead of what is kept
    /// whole.
    pub(super) fn request(&mut self, kind: u8, body: &[u8], out: &mut Vec<u8>) {
        match kind {
            b'P' => self.parse(body, out),
            b'D' if body.first() == Some(&b'S') => self.describe(body, out),
            b'B' => self.bind(body, out),
            b'C' if body.first() == Some(&b'S') => {
                self.prepared.remove(text(&body[1..]).0);
                self.current = None;
                write(out, b'C', &[b"S\0"]);
                self.replies.push_back(Reply::Shown);
            }
            b'D' | b'C' => {
                write(out, kind, &[body]);
                self.replies.push_back(Reply::Shown);
            }
            b'E' => self.replies.push_back(Reply::Shown),
            b'S' => {
                self.current = None;
                self.replies.push_back(Reply::Synced);
            }
            b'Q' | b'F' => {
                if kind == b'Q' {
                    write(out, kind, &[body]);
                }
                self.current = None;
                self.replies.push_back(Reply::Simple);
            }
            _ => {}
        }
    }

    /// Takes a message of the server; adds what the driver is to receive of those that are
    /// kept whole.
    ///
    /// # Errors
    ///
    /// A statement returns different columns than when it was prepared.
    pub(super) fn reply(&mut self, kind: u8, body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        if self.is_shown(kind, body)? && is_rewritten(kind) {
            write(out, kind, &[body]);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn outstanding(&self) -> String {
        format!("{:?}", self.replies)
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.prepared.len()
    }

    fn parse(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let (name, rest) = text(body);
        if !name.is_empty() {
            let (sql, types) = rest.split_at(rest.len() - text(rest).1.len());
            let prepared = Prepared { sql: sql.into(), types: types.into(), columns: None };
            self.prepared.insert(name.into(), prepared);
        }
        self.current = Some(name.into());
        write(out, b'P', &[b"\0", rest]);
        self.replies.push_back(Reply::Shown);
    }

    fn describe(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let (name, _) = text(&body[1..]);
        if self.prepare_again(name, out) {
            write(out, b'D', &[b"S\0"]);
        } else {
            write(out, b'D', &[body]);
        }
        self.replies.push_back(Reply::Described(name.into()));
    }

    fn bind(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let (portal, rest) = text(body);
        let (name, values) = text(rest);
        if self.prepare_again(name, out) {
            write(out, b'B', &[portal, b"\0", b"\0", values]);
        } else {
            write(out, b'B', &[body]);
        }
        self.replies.push_back(Reply::Shown);
    }

    /// Prepares a named statement as the unnamed one, if it is not that now; returns
    /// `false` if it has no name or is not known.
    fn prepare_again(&mut self, name: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(prepared) = self.prepared.get(name) else { return false };
        if self.current.as_deref() != Some(name) {
            write(out, b'P', &[b"\0", &prepared.sql, &prepared.types]);
            write(out, b'D', &[b"S\0"]);
            self.replies.push_back(Reply::ParsedAgain);
            self.replies.push_back(Reply::DescribedAgain(name.into()));
            self.current = Some(name.into());
        }
        true
    }

    /// Returns `true` if the driver is to receive this message of the server.
    fn is_shown(&mut self, kind: u8, body: &[u8]) -> io::Result<bool> {
        match (kind, self.replies.front()) {
            // The server ignores what follows until the Sync.
            (b'E', _) => {
                let end = self.replies.iter().position(is_end).unwrap_or(self.replies.len());
                let rest = self.replies.split_off(end);
                let skipped = std::mem::replace(&mut self.replies, rest);
                skipped.into_iter().for_each(|reply| self.skipped(&reply));
            }
            (b'Z', _) => {
                let end = self.replies.iter().position(is_end).map_or(0, |at| at + 1);
                self.replies.drain(..end);
            }
            (_, None | Some(Reply::Simple | Reply::Synced)) => {}
            // While it receives data the server ignores the Sync that the driver has sent
            // behind the COPY.
            (b'G', _) => {
                let synced = self.replies.iter().position(|reply| *reply == Reply::Synced);
                synced.map(|at| self.replies.remove(at));
            }
            (b't', Some(Reply::Described(name))) => {
                if let Some(prepared) = self.prepared.get_mut(name) {
                    prepared.types = body.into();
                }
            }
            (b't', Some(Reply::DescribedAgain(_))) => return Ok(false),
            (b'1' | b'2' | b'3' | b'C' | b'I' | b's' | b'n' | b'T', _) => {
                return match self.replies.pop_front() {
                    Some(Reply::ParsedAgain) => Ok(false),
                    Some(Reply::DescribedAgain(name)) => {
                        self.compare(&name, columns(body)).map(|()| false)
                    }
                    Some(Reply::Described(name)) => {
                        if let Some(prepared) = self.prepared.get_mut(&name) {
                            prepared.columns = Some(columns(body));
                        }
                        Ok(true)
                    }
                    _ => Ok(true),
                };
            }
            _ => {}
        }
        Ok(true)
    }

    /// Records that the server will not send this reply. A statement that was never
    /// described is not prepared from the driver's point of view: it never closes it.
    fn skipped(&mut self, reply: &Reply) {
        let Reply::Described(name) = reply else { return };
        if self.prepared.get(name).is_some_and(|prepared| prepared.columns.is_none()) {
            self.prepared.remove(name);
        }
    }

    fn compare(&self, name: &[u8], columns: u64) -> io::Result<()> {
        let before = self.prepared.get(name).and_then(|prepared| prepared.columns);
        if before.is_none_or(|before| before == columns) {
            return Ok(());
        }
        let text = "a prepared statement returns different columns than when it was prepared; behind \
                    a pooler this is noticed only when it runs";
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

fn is_end(reply: &Reply) -> bool {
    matches!(reply, Reply::Synced | Reply::Simple)
}

/// Returns a hash of what the driver reads rows by: the names and types of a
/// RowDescription. The numbers of tables may change, and the empty body of NoData is a
/// description as well.
fn columns(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut rest = body.get(2..).unwrap_or_default();
    while !rest.is_empty() {
        let (name, field) = text(rest);
        hasher.write(name);
        hasher.write_u8(0);
        hasher.write(field.get(6..10).unwrap_or_default());
        rest = field.get(18..).unwrap_or_default();
    }
    hasher.finish()
}
