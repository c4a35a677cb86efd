//! A streaming standby of a server, and its promotion.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{START_LIMIT, Server, programs};
use crate::daemon::Daemon;
use crate::wait::eventually;
use crate::{port, scratch};

impl Server {
    /// Starts a standby that streams from this server: it answers queries, and returns
    /// 25006 for writes.
    ///
    /// It is a server like any other, with a port of its own. It keeps running when its
    /// primary stops, and [`Server::promote`] makes it a primary.
    ///
    /// # Blocking
    ///
    /// For a copy of the primary's data and a start: about a second.
    ///
    /// # Panics
    ///
    /// When the copy fails or the standby does not start.
    pub fn standby(&self) -> Server {
        let account = programs::account();
        let folder = scratch::folder("pg", account);
        let sockets = folder.join("s");
        std::fs::create_dir(&sockets).expect("the server's folder can be written");
        account.own(&sockets);
        let mut copy = account.command(&programs::path("pg_basebackup"), &folder);
        copy.arg("-D").arg(folder.join("data")).arg("-h").arg(self.socket_dir());
        copy.args(["-p", &self.port.to_string(), "-U", "postgres"]);
        copy.args(["-R", "-X", "stream", "-c", "fast", "--no-sync"]);
        let output = copy.output().expect("pg_basebackup starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pg_basebackup failed: {errors}");
        let daemon = Daemon::new(&folder, account, Signal::SIGQUIT);
        let standby = Server { daemon, folder, port: port::unused(), more_sockets: String::new() };
        standby.launch();
        let accepts = standby.accepts_within(START_LIMIT);
        assert!(accepts, "the standby did not start:\n{}", standby.log_text());
        standby
    }

    /// Promotes this standby to a primary. Waits until it accepts writes.
    ///
    /// Its clients stay connected, and may write from then on.
    #[track_caller]
    pub fn promote(&self) {
        let limit = START_LIMIT.as_secs();
        let done = self.sql("postgres", &format!("SELECT pg_promote(true, {limit})"));
        assert_eq!(done, [["t"]], "the promotion failed:\n{}", self.log_text());
    }

    /// Returns `true` if this standby has replayed what its primary has written so
    /// far, within `timeout`.
    #[must_use]
    #[track_caller]
    pub fn catches_up(&self, primary: &Server, timeout: Duration) -> bool {
        // Commits are not flushed here: the insert position is what counts.
        let written = &primary.sql("postgres", "SELECT pg_current_wal_insert_lsn()")[0][0];
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        eventually(timeout, || self.sql("postgres", &replayed) == [["t"]])
    }
}
