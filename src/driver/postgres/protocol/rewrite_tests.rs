//! The rewriting of statement names, against a server that replies as PostgreSQL does.

use super::frames::write;
use super::protocol::Protocol;
use super::shared_state::SharedState;
use super::text_field::split_text as text;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

type Name = Box<[u8]>;

/// A server that replies to what it is sent; behind a pooler it is another one after
/// each Sync and simple query.
#[derive(Default)]
struct Server {
    behind_pooler: bool,
    statements: HashMap<Name, Name>,
    skips: bool,
    /// Statement names that it has received.
    names: Vec<Name>,
    /// The name of the column of every table.
    column: &'static [u8],
}

impl Server {
    fn new(behind_pooler: bool) -> Server {
        Server { behind_pooler, column: b"n", ..Server::default() }
    }

    fn run(&mut self, requests: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, body) in messages(requests) {
            if kind == b'S' || !self.skips {
                self.reply(kind, body, &mut out);
            }
        }
        out
    }

    fn reply(&mut self, kind: u8, body: &[u8], out: &mut Vec<u8>) {
        match kind {
            b'P' => {
                let (name, rest) = text(body);
                if text(rest).0.starts_with(b"wrong") {
                    return self.refuse(out);
                }
                self.receive_name(name);
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
                self.receive_name(text(&body[1..]).0);
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
        if self.behind_pooler {
            self.statements.clear();
        }
        write(out, b'Z', &[b"I"]);
    }

    fn receive_name(&mut self, name: &[u8]) {
        if !name.is_empty() {
            self.names.push(name.into());
        }
    }
}

fn messages(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while let [kind, a, b, c, d, ..] = *bytes {
        let end = usize::try_from(u32::from_be_bytes([a, b, c, d])).expect("short") + 1;
        found.push((kind, &bytes[5..end]));
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
    write(&mut out, b'B', &[b"\0", name.as_bytes(), b"\0", &[0, 0, 0, 1, 0, 0, 0, 1, 42, 0, 0]]);
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
fn unnamed(simple: bool) -> Vec<u8> {
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

/// Sends requests through the rewriter, in pieces, and returns what comes back.
fn through(
    protocol: &mut Protocol,
    server: &mut Server,
    requests: &[u8],
    mut cut: impl FnMut() -> usize,
) -> io::Result<Vec<u8>> {
    let (mut sent, mut seen) = (Vec::new(), Vec::new());
    let mut rest = requests;
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(cut().clamp(1, rest.len()));
        protocol.rewrite_request(piece, &mut sent);
        rest = left;
    }
    let answers = server.run(&sent);
    let mut rest = &answers[..];
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(cut().clamp(1, rest.len()));
        protocol.rewrite_reply(piece, &mut seen)?;
        rest = left;
    }
    Ok(seen)
}

#[test]
fn the_driver_receives_the_replies_of_a_server_without_a_pooler() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..300 {
        let (mut own, mut behind_pooler) = (Server::new(false), Server::new(true));
        let mut protocol = rewriting();
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
                    (2, Some(at)) => close(&names.swap_remove(at)),
                    (3, _) => unnamed(random.bool()),
                    (_, Some(at)) => execute(&names[at]),
                });
            }
            let wanted = own.run(&requests);
            let seen =
                through(&mut protocol, &mut behind_pooler, &requests, || random.usize(1..40));
            assert_eq!(messages(&seen.expect("no change")), messages(&wanted));
        }
        assert!(behind_pooler.names.is_empty(), "{:?}", behind_pooler.names);
        assert_eq!(protocol.rewriter().outstanding(), "[]");
        assert!(protocol.rewriter().known() <= names.len(), "what was closed is forgotten");
    }
}

#[test]
fn different_columns_than_before_end_the_connection() {
    let (mut server, mut protocol) = (Server::new(true), rewriting());
    let mut run = |server: &mut Server, bytes: &[u8]| through(&mut protocol, server, bytes, || 7);
    run(&mut server, &prepare("s0", "select $1")).expect("prepared");
    run(&mut server, &execute("s0")).expect("the same");
    server.column = b"m";
    run(&mut server, &execute("s0")).expect_err("it changed");
}

#[test]
fn while_data_is_copied_in_one_sync_is_ignored() {
    let mut protocol = rewriting();
    let mut out = Vec::new();
    protocol.rewrite_request(&[prepare("s0", "copy"), execute("s0")].concat(), &mut out);
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
    protocol.rewrite_reply(&answers, &mut seen).expect("no change");
    let kinds: Vec<u8> = messages(&seen[prepared..]).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, b"2G");
    let mut data = Vec::new();
    for kind in *b"dcS" {
        write(&mut data, kind, &[]);
    }
    protocol.rewrite_request(&data, &mut out);
    for (kind, body) in [(b'C', &b"COPY 1\0"[..]), (b'Z', b"I")] {
        let mut bytes = Vec::new();
        write(&mut bytes, kind, &[body]);
        protocol.rewrite_reply(&bytes, &mut seen).expect("no change");
    }
    assert_eq!(protocol.rewriter().outstanding(), "[]");
}

#[test]
fn nonsense_never_panics() {
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..20_000 {
        let (mut protocol, mut out) = (rewriting(), Vec::new());
        for _ in 0..random.usize(1..6) {
            let kind = b"PBDCESQF12tTnCZEGI"[random.usize(..18)];
            let body: Vec<u8> = (0..random.usize(..24)).map(|_| random.u8(..4)).collect();
            let mut bytes = Vec::new();
            write(&mut bytes, kind, &[&body]);
            if random.bool() {
                protocol.rewrite_request(&bytes, &mut out);
            } else {
                let _ = protocol.rewrite_reply(&bytes, &mut out);
            }
        }
    }
}

/// Begins behind a start-up.
fn rewriting() -> Protocol {
    let shared = Arc::new(SharedState::new());
    let mut protocol = Protocol::new(Arc::clone(&shared));
    protocol.sent(&[0, 0, 0, 9, 0, 3, 0, 0, 0]);
    protocol.received(&[b'Z', 0, 0, 0, 5, b'I']);
    shared.distrust_names();
    assert!(protocol.is_rewriting());
    protocol
}
