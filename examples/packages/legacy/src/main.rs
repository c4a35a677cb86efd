//! Prints how long requests take before and after the change, and how many sessions the servers
//! have begun: `cargo run --release -- postgres://… mysql://…`.

use example_legacy::{Failure, time_mysql, time_postgres};

fn main() -> Result<(), Failure> {
    println!("{:<10} {:>14} {:>10} {:>14} {:>10}", "", "before", "sessions", "after", "sessions");
    for url in std::env::args().skip(1) {
        let is_mysql = url.starts_with("mysql:");
        let [before, after] = if is_mysql { time_mysql(&url)? } else { time_postgres(&url)? };
        println!(
            "{:<10} {:>14?} {:>10} {:>14?} {:>10}",
            if is_mysql { "mysql" } else { "postgres" },
            before.request,
            before.sessions,
            after.request,
            after.sessions
        );
    }
    print!("{}", poolwarden::dropin::registry().report());
    Ok(())
}
