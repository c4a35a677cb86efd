//! A pool in axum: blocking work in `spawn_blocking`, errors as status codes, readiness,
//! and a shutdown that drains.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, serve};
use poolwarden::observe::status;
use poolwarden::{Error, ErrorKind, Pool, Postgres};
use std::future::Future;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

/// How long a readiness probe waits for the server.
const READY_WITHIN: Duration = Duration::from_millis(200);

/// How long the shutdown waits for connections in use: less than the orchestrator does.
const DRAIN: Duration = Duration::from_secs(10);

/// An error of the pool, as an HTTP client is told of it.
#[derive(Debug)]
pub struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        // The text names servers and call sites: it is for the log.
        eprintln!("{}", self.0);
        match self.0.kind() {
            // Come back later: the pool or the server is at a limit, away or closing.
            ErrorKind::CheckoutTimeout
            | ErrorKind::QueueFull
            | ErrorKind::Connect
            | ErrorKind::Closed => {
                (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response()
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// Returns the routes over a pool.
pub fn router(pool: Pool<Postgres>) -> Router {
    Router::new()
        .route("/orders", get(orders))
        .route("/orders", post(order))
        .route("/ready", get(ready))
        // Of all pools of the process; where only operators can reach it.
        .route("/metrics", get(async || status::prometheus()))
        .route("/status", get(async || Html(status::html())))
        .route("/on-the-wrong-thread", get(on_the_wrong_thread))
        .with_state(pool)
}

/// Runs work on a thread that may block.
async fn blocking<T: Send + 'static>(
    pool: Pool<Postgres>,
    work: impl FnOnce(&Pool<Postgres>) -> Result<T, Error> + Send + 'static,
) -> Result<T, Failure> {
    let done = spawn_blocking(move || work(&pool)).await;
    done.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic())).map_err(Failure)
}

async fn orders(State(pool): State<Pool<Postgres>>) -> Result<String, Failure> {
    let rows =
        blocking(pool, |pool| pool.query("select name from orders order by id", &[])).await?;
    // The rows hold no connection.
    Ok(rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n"))
}

async fn order(State(pool): State<Pool<Postgres>>, name: String) -> Result<StatusCode, Failure> {
    blocking(pool, move |pool| pool.execute("insert into orders (name) values ($1)", &[&name]))
        .await?;
    Ok(StatusCode::CREATED)
}

/// For the orchestrator: 200 if a caller would get a connection.
async fn ready(State(pool): State<Pool<Postgres>>) -> Result<StatusCode, Failure> {
    let health = blocking(pool, |pool| Ok(pool.health(READY_WITHIN))).await?;
    let is_ready = health.is_ready();
    Ok(if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
}

/// What not to write: the query would block a thread of the runtime. The pool refuses, and
/// the client gets 500.
async fn on_the_wrong_thread(State(pool): State<Pool<Postgres>>) -> Result<String, Failure> {
    Ok(pool.query("select 1", &[])?.len().to_string())
}

/// Serves until the signal, finishes the requests under way, and drains the pool.
///
/// # Errors
///
/// Those of the listener.
pub async fn run(
    listener: TcpListener,
    pool: Pool<Postgres>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    serve(listener, router(pool.clone())).with_graceful_shutdown(stop).await?;
    let left = spawn_blocking(move || pool.close(DRAIN)).await.map_err(std::io::Error::other)?;
    if left.levels.open > 0 {
        eprintln!("closed with connections in use: {left}");
    }
    Ok(())
}
