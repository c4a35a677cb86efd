//! `DATABASE_URL=postgres://… cargo run`, and `curl localhost:3000/orders`.

use poolwarden::{Pool, Postgres};
use std::net::TcpListener;
use std::time::Duration;

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let driver = Postgres::new(&std::env::var("DATABASE_URL")?)?;
    // Below the timeout of our own callers, and fewer than threads that may block.
    let options = Pool::builder().checkout_timeout(Duration::from_secs(2)).max_waiting(100);
    let pool = options.build_lazy(driver)?;
    // Ctrl-C and SIGTERM stop it gracefully.
    let server = example_actix::start(TcpListener::bind("127.0.0.1:3000")?, pool.clone())?;
    Ok(example_actix::finish(server, pool).await?)
}
