//! What to check when the server cannot be examined.

use poolwarden::{Error, FaultClass};
use std::error::Error as _;

/// Returns one paragraph: what failed, with every cause, and what to check.
pub(super) fn explain(error: &Error) -> String {
    let mut text = error.to_string();
    // The text of a failed attempt to connect has its cause.
    let mut cause = error.source().filter(|_| error.connect_error().is_none());
    while let Some(error) = cause {
        let cause_text = error.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        cause = error.source();
    }
    let check = error
        .connect_error()
        .map_or("the URL: postgres://user:password@host:port/database or mysql://…", |error| {
            what_to_check(error.class())
        });
    format!("The server cannot be examined: {text}.\nCheck {check}.")
}

fn what_to_check(fault: FaultClass) -> &'static str {
    match fault {
        FaultClass::Refused | FaultClass::SelfConnected => {
            "that the server runs, that host and port are right, and that it listens on that \
             address (listen_addresses in PostgreSQL, bind-address in MySQL)"
        }
        FaultClass::UnknownHost => "the spelling of the host's name, and this computer's DNS",
        FaultClass::Unreachable => "the host's address, and the route and the firewall to it",
        FaultClass::TimedOut => {
            "the host's address and the firewall on the way if it stopped at connecting; the \
             server's own health if it stopped in the handshake"
        }
        FaultClass::Hangup => {
            "that a database listens on that port, and, if it is a proxy, that a server is up \
             behind it"
        }
        FaultClass::Authentication => {
            "user and password, and whether this user may use this database and come from here \
             (pg_hba.conf in PostgreSQL, grants and the account's host part in MySQL)"
        }
        FaultClass::UnknownDatabase => "the database's name, the last part of the URL",
        FaultClass::Tls => "whether the server requires or supports TLS",
        FaultClass::Starting => {
            "the server's log and retry in a moment: the server is starting or stopping"
        }
        FaultClass::Saturated => {
            "which clients hold the connections; an administrator can still log in, on a reserved \
             connection: the limit of the server, the role or the database is reached"
        }
        FaultClass::FleetFull => "which processes of the fleet hold its slots",
        FaultClass::Configuration => "the options in the URL; the message above names the one",
        FaultClass::LocalResource => "this computer's limits on open files and ports",
        _ => "the driver's message above",
    }
}
