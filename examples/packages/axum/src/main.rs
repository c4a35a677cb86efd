//! `DATABASE_URL=postgres://… cargo run`, and `curl localhost:3000/orders`.

use poolwarden::{Pool, Postgres};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("DATABASE_URL")?;
    let build = move || {
        // Below the timeout of our own callers, and fewer than threads that may block.
        let options = Pool::builder().checkout_timeout(Duration::from_secs(2)).max_waiting(100);
        options.build_lazy(Postgres::new(&url)?)
    };
    let pool = tokio::task::spawn_blocking(build).await??;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    let stop = async { tokio::signal::ctrl_c().await.expect("a handler of Ctrl-C") };
    Ok(example_axum::run(listener, pool, stop).await?)
}
