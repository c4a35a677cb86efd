//! Takes the names off prepared statements, for servers behind a pooler.
//!
//! A pooler in transaction mode gives each transaction to whichever server session
//! is free: a statement prepared under a name is then unknown to the next one, or
//! another program has that name there. The driver names all of its statements, so
//! its stream is edited on the way: each is prepared as the unnamed statement, and
//! prepared again, within the same message, before each use. That costs no round
//! trip and holds for raw driver calls, too. Statements prepared by SQL (`PREPARE`)
//! are not touched.
//!
//! PostgreSQL documentation, "Extended Query" and "Message Formats".

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::io;

/// A message's type byte and length.
const HEAD: usize = 5;

/// A statement that the driver believes to be prepared.
struct Prepared {
    /// Its text, with the zero byte behind it.
    sql: Box<[u8]>,
    /// The number and the types of its parameters, as both Parse and
    /// ParameterDescription write them.
    types: Box<[u8]>,
    /// The names and types of its columns, once it was described.
    columns: Option<u64>,
}

type Name = Box<[u8]>;

/// What the server will answer, in the order of what it was sent.
#[derive(Debug, PartialEq)]
enum Answer {
    /// To a message of the driver's own.
    Shown,
    /// To the driver's question what this statement takes and returns.
    Described(Name),
    /// To a Parse of ours.
    ParsedAgain,
    /// To a Describe of ours: it must be as it was.
    DescribedAgain(Name),
    /// ReadyForQuery, to a Sync.
    Synced,
    /// All that a simple query or a function call is answered by.
    Simple,
}

/// Edits both directions of one connection.
pub(super) struct Unnamed {
    prepared: HashMap<Name, Prepared>,
    /// Which of them is the unnamed statement now, in what was sent since the last
    /// Sync; behind a Sync it may be anybody's.
    current: Option<Name>,
    answers: VecDeque<Answer>,
    from_client: Pieces,
    from_server: Pieces,
}

impl Unnamed {
    /// Begins between two messages, with nothing unanswered.
    pub(super) fn new() -> Unnamed {
        Unnamed {
            prepared: HashMap::new(),
            current: None,
            answers: VecDeque::new(),
            from_client: Pieces::default(),
            from_server: Pieces::default(),
        }
    }

    /// Takes bytes of the driver, which may end anywhere; adds what is to be sent.
    pub(super) fn edit_request(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let whole = |kind| matches!(kind, b'P' | b'B' | b'D' | b'C');
            bytes = self.from_client.take(bytes, whole, out);
            if let Some((kind, body)) = self.from_client.complete() {
                self.request(kind, &body, out);
            }
        }
    }

    /// Takes bytes of the server, which may end anywhere; adds what the driver is
    /// to see.
    ///
    /// # Errors
    ///
    /// A statement returns other columns than when it was prepared: the driver
    /// would misread its rows.
    pub(super) fn edit_answer(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() {
            let whole = |kind| matches!(kind, b'1' | b't' | b'T' | b'n');
            bytes = self.from_server.take(bytes, whole, out);
            if let Some((kind, body)) = self.from_server.complete()
                && self.answer(kind, &body)?
                && whole(kind)
            {
                write(out, kind, &[&body]);
            }
        }
        Ok(())
    }

    fn request(&mut self, kind: u8, body: &[u8], out: &mut Vec<u8>) {
        match kind {
            b'P' => self.parse(body, out),
            b'D' if body.first() == Some(&b'S') => self.describe(body, out),
            b'B' => self.bind(body, out),
            b'C' if body.first() == Some(&b'S') => {
                self.prepared.remove(text(&body[1..]).0);
                self.current = None;
                write(out, b'C', &[b"S\0"]);
                self.answers.push_back(Answer::Shown);
            }
            b'D' | b'C' => {
                write(out, kind, &[body]);
                self.answers.push_back(Answer::Shown);
            }
            b'E' => self.answers.push_back(Answer::Shown),
            b'S' => {
                self.current = None;
                self.answers.push_back(Answer::Synced);
            }
            b'Q' | b'F' => {
                self.current = None;
                self.answers.push_back(Answer::Simple);
            }
            _ => {}
        }
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
        self.answers.push_back(Answer::Shown);
    }

    fn describe(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let (name, _) = text(&body[1..]);
        if self.prepare_again(name, out) {
            write(out, b'D', &[b"S\0"]);
        } else {
            write(out, b'D', &[body]);
        }
        self.answers.push_back(Answer::Described(name.into()));
    }

    fn bind(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let (portal, rest) = text(body);
        let (name, values) = text(rest);
        if self.prepare_again(name, out) {
            write(out, b'B', &[portal, b"\0", b"\0", values]);
        } else {
            write(out, b'B', &[body]);
        }
        self.answers.push_back(Answer::Shown);
    }

    /// Makes a named statement the unnamed one, if it is not; false if it has no
    /// name or is not known.
    fn prepare_again(&mut self, name: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(prepared) = self.prepared.get(name) else { return false };
        if self.current.as_deref() != Some(name) {
            write(out, b'P', &[b"\0", &prepared.sql, &prepared.types]);
            write(out, b'D', &[b"S\0"]);
            self.answers.push_back(Answer::ParsedAgain);
            self.answers.push_back(Answer::DescribedAgain(name.into()));
            self.current = Some(name.into());
        }
        true
    }

    /// Tells whether the driver is to see a message of the server.
    fn answer(&mut self, kind: u8, body: &[u8]) -> io::Result<bool> {
        match (kind, self.answers.front()) {
            // What follows until the Sync is ignored by the server.
            (b'E', _) => {
                let end = self.answers.iter().position(is_end).unwrap_or(self.answers.len());
                let behind = self.answers.split_off(end);
                let skipped = std::mem::replace(&mut self.answers, behind);
                skipped.into_iter().for_each(|answer| self.skipped(&answer));
            }
            (b'Z', _) => {
                let end = self.answers.iter().position(is_end).map_or(0, |place| place + 1);
                self.answers.drain(..end);
            }
            (_, None | Some(Answer::Simple | Answer::Synced)) => {}
            // While it takes data in the server ignores the Sync that the driver has
            // sent behind the COPY.
            (b'G', _) => {
                let synced = self.answers.iter().position(|answer| *answer == Answer::Synced);
                synced.map(|place| self.answers.remove(place));
            }
            (b't', Some(Answer::Described(name))) => {
                if let Some(prepared) = self.prepared.get_mut(name) {
                    prepared.types = body.into();
                }
            }
            (b't', Some(Answer::DescribedAgain(_))) => return Ok(false),
            (b'1' | b'2' | b'3' | b'C' | b'I' | b's' | b'n' | b'T', _) => {
                return match self.answers.pop_front() {
                    Some(Answer::ParsedAgain) => Ok(false),
                    Some(Answer::DescribedAgain(name)) => {
                        self.compare(&name, columns(body)).map(|()| false)
                    }
                    Some(Answer::Described(name)) => {
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

    /// The server will not give this answer. What was not described at all the
    /// driver does not take for prepared, and never closes.
    fn skipped(&mut self, answer: &Answer) {
        let Answer::Described(name) = answer else { return };
        if self.prepared.get(name).is_some_and(|prepared| prepared.columns.is_none()) {
            self.prepared.remove(name);
        }
    }

    fn compare(&self, name: &[u8], columns: u64) -> io::Result<()> {
        let before = self.prepared.get(name).and_then(|prepared| prepared.columns);
        if before.is_none_or(|before| before == columns) {
            return Ok(());
        }
        let text = "a prepared statement returns other columns than when it was prepared; behind \
                    a pooler that is seen only when it runs";
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

fn is_end(answer: &Answer) -> bool {
    matches!(answer, Answer::Synced | Answer::Simple)
}

/// Splits a text off, which ends in a zero byte.
fn text(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == 0) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

/// What of a RowDescription the driver reads rows by: names and types. Tables may
/// be made anew, and the empty body of NoData is a description as well.
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

fn write(out: &mut Vec<u8>, kind: u8, body: &[&[u8]]) {
    let length: usize = body.iter().map(|part| part.len()).sum();
    let length = u32::try_from(length + 4).expect("bug: a message grew beyond its length field");
    out.push(kind);
    out.extend_from_slice(&length.to_be_bytes());
    body.iter().for_each(|part| out.extend_from_slice(part));
}

/// One direction: its messages in whatever pieces they come. Some are kept until
/// they are whole, the others go on as they come.
#[derive(Default)]
struct Pieces {
    /// The beginning of the head, then of the body if it is kept.
    held: Vec<u8>,
    /// The message whose head has passed, and how much of its body is to come.
    under_way: Option<(u8, usize, bool)>,
}

impl Pieces {
    /// Takes bytes until a message is complete; returns the rest.
    fn take<'a>(
        &mut self,
        mut bytes: &'a [u8],
        is_kept: impl Fn(u8) -> bool,
        out: &mut Vec<u8>,
    ) -> &'a [u8] {
        if self.under_way.is_none() {
            let taken = bytes.len().min(HEAD - self.held.len());
            self.held.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            let [kind, a, b, c, d] = self.held[..] else { return bytes };
            let length = u32::from_be_bytes([a, b, c, d]).saturating_sub(4);
            let kept = is_kept(kind);
            if !kept {
                out.extend_from_slice(&self.held);
            }
            self.held.clear();
            self.under_way = Some((kind, usize::try_from(length).unwrap_or(usize::MAX), kept));
        }
        if let Some((_, left, kept)) = &mut self.under_way {
            let taken = bytes.len().min(*left);
            let into = if *kept { &mut self.held } else { out };
            into.extend_from_slice(&bytes[..taken]);
            *left -= taken;
            bytes = &bytes[taken..];
        }
        bytes
    }

    /// The message that has just become complete, with its body if it was kept.
    fn complete(&mut self) -> Option<(u8, Vec<u8>)> {
        let (kind, _, _) = self.under_way.take_if(|(_, left, _)| *left == 0)?;
        Some((kind, std::mem::take(&mut self.held)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers what it is sent; behind a pooler it is another one
    /// after each Sync and simple query.
    #[derive(Default)]
    struct Server {
        pooled: bool,
        statements: HashMap<Name, Name>,
        skips: bool,
        /// Names that it was told.
        told: Vec<Name>,
        /// What the column of every table is called.
        column: &'static [u8],
    }

    impl Server {
        fn new(pooled: bool) -> Server {
            Server { pooled, column: b"n", ..Server::default() }
        }

        fn run(&mut self, requests: &[u8]) -> Vec<u8> {
            let mut out = Vec::new();
            for (kind, body) in messages(requests) {
                if kind == b'S' || !self.skips {
                    self.answer(kind, body, &mut out);
                }
            }
            out
        }

        fn answer(&mut self, kind: u8, body: &[u8], out: &mut Vec<u8>) {
            match kind {
                b'P' => {
                    let (name, rest) = text(body);
                    if text(rest).0.starts_with(b"wrong") {
                        return self.refuse(out);
                    }
                    self.tell(name);
                    self.statements.insert(name.into(), text(rest).0.into());
                    write(out, b'1', &[]);
                }
                b'D' => {
                    let name = text(&body[1..]).0;
                    let Some(sql) = self.statements.get(name) else { return self.refuse(out) };
                    write(out, b't', &[&[0, 1, 0, 0, 0, 23]]);
                    match sql.starts_with(b"select") {
                        true => write(out, b'T', &[&[0, 1], self.column, &[0], &[7; 18]]),
                        false => write(out, b'n', &[]),
                    }
                }
                b'B' => {
                    let name = text(text(body).1).0;
                    let Some(sql) = self.statements.get(name) else { return self.refuse(out) };
                    if sql.ends_with(b"fails") {
                        return self.refuse(out);
                    }
                    write(out, b'2', &[]);
                }
                b'E' => {
                    write(out, b'D', &[b"a row of some length"]);
                    write(out, b'C', &[b"SELECT 1\0"]);
                }
                b'C' => {
                    self.tell(text(&body[1..]).0);
                    self.statements.remove(text(&body[1..]).0);
                    write(out, b'3', &[]);
                }
                b'Q' => {
                    write(out, b'T', &[&[0, 0]]);
                    write(out, b'C', &[b"SELECT 0\0"]);
                    self.ready(out);
                }
                b'S' => self.ready(out),
                _ => panic!("an unknown message {kind}"),
            }
        }

        fn refuse(&mut self, out: &mut Vec<u8>) {
            self.skips = true;
            write(out, b'E', &[b"SERROR\0\0"]);
        }

        fn ready(&mut self, out: &mut Vec<u8>) {
            self.skips = false;
            if self.pooled {
                self.statements.clear();
            }
            write(out, b'Z', &[b"I"]);
        }

        fn tell(&mut self, name: &[u8]) {
            if !name.is_empty() {
                self.told.push(name.into());
            }
        }
    }

    fn messages(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
        let mut found = Vec::new();
        while let [kind, a, b, c, d, ..] = *bytes {
            let end = usize::try_from(u32::from_be_bytes([a, b, c, d])).expect("short") + 1;
            found.push((kind, &bytes[HEAD..end]));
            bytes = &bytes[end..];
        }
        found
    }

    fn prepare(name: &str, sql: &str) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, b'P', &[name.as_bytes(), b"\0", sql.as_bytes(), b"\0", &[0, 0]]);
        write(&mut out, b'D', &[b"S", name.as_bytes(), b"\0"]);
        write(&mut out, b'S', &[]);
        out
    }

    fn execute(name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        write(
            &mut out,
            b'B',
            &[b"\0", name.as_bytes(), b"\0", &[0, 0, 0, 1, 0, 0, 0, 1, 42, 0, 0]],
        );
        write(&mut out, b'E', &[b"\0", &[0; 4]]);
        write(&mut out, b'S', &[]);
        out
    }

    fn close(name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, b'C', &[b"S", name.as_bytes(), b"\0"]);
        write(&mut out, b'S', &[]);
        out
    }

    /// What the driver's `query_typed` sends, and a simple query.
    fn at_once(simple: bool) -> Vec<u8> {
        let mut out = Vec::new();
        if simple {
            write(&mut out, b'Q', &[b"select 1\0"]);
            return out;
        }
        write(&mut out, b'P', &[b"\0select 2\0", &[0, 0]]);
        write(&mut out, b'B', &[b"\0\0", &[0; 6]]);
        write(&mut out, b'D', &[b"S\0"]);
        write(&mut out, b'E', &[b"\0", &[0; 4]]);
        write(&mut out, b'S', &[]);
        out
    }

    /// Sends requests through the editor, in pieces, and returns what comes back.
    fn through(
        editor: &mut Unnamed,
        server: &mut Server,
        requests: &[u8],
        mut cut: impl FnMut() -> usize,
    ) -> io::Result<Vec<u8>> {
        let (mut sent, mut seen) = (Vec::new(), Vec::new());
        let mut rest = requests;
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(cut().clamp(1, rest.len()));
            editor.edit_request(piece, &mut sent);
            rest = left;
        }
        let answers = server.run(&sent);
        let mut rest = &answers[..];
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(cut().clamp(1, rest.len()));
            editor.edit_answer(piece, &mut seen)?;
            rest = left;
        }
        Ok(seen)
    }

    #[test]
    fn the_driver_sees_the_answers_of_a_server_of_its_own() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..300 {
            let (mut own, mut pooled) = (Server::new(false), Server::new(true));
            let mut editor = Unnamed::new();
            let (mut names, mut number) = (Vec::<String>::new(), 0);
            for _ in 0..60 {
                let mut requests = Vec::new();
                for _ in 0..random.usize(1..3) {
                    let known = (!names.is_empty()).then(|| random.usize(..names.len()));
                    requests.extend(match (random.u8(..8), known) {
                        (0 | 1, _) | (_, None) => {
                            let texts = ["select $1", "update $1", "select $1 fails", "wrong $1"];
                            let text = texts[random.usize(..4)];
                            let name = format!("s{number}");
                            let request = prepare(&name, text);
                            number += 1;
                            if !text.starts_with("wrong") {
                                names.push(name);
                            }
                            request
                        }
                        (2, Some(place)) => close(&names.swap_remove(place)),
                        (3, _) => at_once(random.bool()),
                        (_, Some(place)) => execute(&names[place]),
                    });
                }
                let wanted = own.run(&requests);
                let seen = through(&mut editor, &mut pooled, &requests, || random.usize(1..40));
                assert_eq!(messages(&seen.expect("no change")), messages(&wanted));
            }
            assert!(pooled.told.is_empty(), "{:?}", pooled.told);
            assert!(editor.answers.is_empty(), "{:?}", editor.answers);
            assert!(editor.prepared.len() <= names.len(), "what was closed is forgotten");
        }
    }

    #[test]
    fn other_columns_than_before_end_the_connection() {
        let (mut server, mut editor) = (Server::new(true), Unnamed::new());
        let mut run = |server: &mut Server, bytes: &[u8]| through(&mut editor, server, bytes, || 7);
        run(&mut server, &prepare("s0", "select $1")).expect("prepared");
        run(&mut server, &execute("s0")).expect("the same");
        server.column = b"m";
        run(&mut server, &execute("s0")).expect_err("it changed");
    }

    #[test]
    fn while_data_is_taken_in_one_sync_is_ignored() {
        let mut editor = Unnamed::new();
        let mut out = Vec::new();
        editor.edit_request(&[prepare("s0", "copy"), execute("s0")].concat(), &mut out);
        let mut answers = Vec::new();
        for (kind, body) in [(b'1', &b""[..]), (b't', &[0, 0]), (b'n', b""), (b'Z', b"I")] {
            write(&mut answers, kind, &[body]);
        }
        let prepared = answers.len();
        for (kind, body) in [(b'1', &b""[..]), (b't', &[0, 0]), (b'n', b""), (b'2', b"")] {
            write(&mut answers, kind, &[body]);
        }
        write(&mut answers, b'G', &[&[0; 3]]);
        let mut seen = Vec::new();
        editor.edit_answer(&answers, &mut seen).expect("no change");
        let kinds: Vec<u8> = messages(&seen[prepared..]).iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, b"2G");
        let mut data = Vec::new();
        for kind in *b"dcS" {
            write(&mut data, kind, &[]);
        }
        editor.edit_request(&data, &mut out);
        for (kind, body) in [(b'C', &b"COPY 1\0"[..]), (b'Z', b"I")] {
            let mut bytes = Vec::new();
            write(&mut bytes, kind, &[body]);
            editor.edit_answer(&bytes, &mut seen).expect("no change");
        }
        assert!(editor.answers.is_empty(), "{:?}", editor.answers);
    }

    #[test]
    fn nonsense_never_panics() {
        let mut random = fastrand::Rng::with_seed(9);
        for _ in 0..20_000 {
            let (mut editor, mut out) = (Unnamed::new(), Vec::new());
            for _ in 0..random.usize(1..6) {
                let kind = b"PBDCESQF12tTnCZEGI"[random.usize(..18)];
                let body: Vec<u8> = (0..random.usize(..24)).map(|_| random.u8(..4)).collect();
                let mut bytes = Vec::new();
                write(&mut bytes, kind, &[&body]);
                if random.bool() {
                    editor.edit_request(&bytes, &mut out);
                } else {
                    let _ = editor.edit_answer(&bytes, &mut out);
                }
            }
        }
    }
}
