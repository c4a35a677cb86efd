//! A pool in actix-web: blocking work in `web::block`, errors as status codes, readiness,
//! and a shutdown that drains.

use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, HttpResponse, HttpServer, ResponseError, dev};
use poolwarden::observe::status;
use poolwarden::{Error, ErrorKind, Pool, Postgres};
use std::net::TcpListener;
use std::time::Duration;

/// How long a readiness probe waits for the server.
const READY_WITHIN: Duration = Duration::from_millis(200);

/// How long the shutdown waits for connections in use: less than the orchestrator does.
const DRAIN: Duration = Duration::from_secs(10);

/// What a handler gets: the pool, which is a handle already.
pub type Orders = Data<Pool<Postgres>>;

/// An error of the pool, as an HTTP client is told of it.
#[derive(Debug)]
pub enum Failure {
    /// The pool's.
    Pool(Error),
    /// The work panicked.
    Panicked,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Pool(error) => write!(f, "{error}"),
            Failure::Panicked => f.write_str("the work panicked"),
        }
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        let Failure::Pool(error) = self else { return StatusCode::INTERNAL_SERVER_ERROR };
        match error.kind() {
            // Come back later: the pool or the server is at a limit, away or closing.
            ErrorKind::CheckoutTimeout
            | ErrorKind::QueueFull
            | ErrorKind::Connect
            | ErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        // The text names servers and call sites: it is for the log.
        eprintln!("{self}");
        let mut answer = HttpResponse::build(self.status_code());
        if self.status_code() == StatusCode::SERVICE_UNAVAILABLE {
            answer.insert_header((header::RETRY_AFTER, "1"));
        }
        answer.finish()
    }
}

/// Adds the routes; the pool is application data.
pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/orders", web::get().to(orders))
        .route("/orders", web::post().to(order))
        .route("/ready", web::get().to(ready))
        .route("/metrics", web::get().to(metrics))
        .route("/status", web::get().to(status_page))
        .route("/on-the-wrong-thread", web::get().to(on_the_wrong_thread));
}

/// Runs work on a thread that may block.
async fn blocking<T: Send + 'static>(
    pool: Orders,
    work: impl FnOnce(&Pool<Postgres>) -> Result<T, Error> + Send + 'static,
) -> Result<T, Failure> {
    let done = web::block(move || work(&pool)).await;
    done.map_err(|_| Failure::Panicked)?.map_err(Failure::Pool)
}

async fn orders(pool: Orders) -> Result<String, Failure> {
    let rows =
        blocking(pool, |pool| pool.query("select name from orders order by id", &[])).await?;
    // The rows hold no connection.
    Ok(rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n"))
}

async fn order(pool: Orders, name: String) -> Result<HttpResponse, Failure> {
    blocking(pool, move |pool| pool.execute("insert into orders (name) values ($1)", &[&name]))
        .await?;
    Ok(HttpResponse::Created().finish())
}

/// For the orchestrator: 200 if a caller would get a connection.
async fn ready(pool: Orders) -> Result<HttpResponse, Failure> {
    let health = blocking(pool, |pool| Ok(pool.health(READY_WITHIN))).await?;
    let is_ready = health.is_ready();
    Ok(if is_ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() }.finish())
}

/// Of all pools of the process; where only operators can reach it.
async fn metrics() -> String {
    status::prometheus()
}

async fn status_page() -> web::Html {
    web::Html::new(status::html())
}

/// What not to write: the query would block a thread of the runtime. The pool refuses, and
/// the client gets 500.
async fn on_the_wrong_thread(pool: Orders) -> Result<String, Failure> {
    let rows = pool.query("select 1", &[]).map_err(Failure::Pool)?;
    Ok(rows.len().to_string())
}

/// Starts the server; [`finish`] waits for its end.
///
/// # Errors
///
/// Those of the listener.
pub fn start(listener: TcpListener, pool: Pool<Postgres>) -> std::io::Result<dev::Server> {
    let data = Data::new(pool);
    let app = move || App::new().app_data(data.clone()).configure(routes);
    Ok(HttpServer::new(app).workers(2).shutdown_timeout(10).listen(listener)?.run())
}

/// Serves until the server is stopped, which finishes the requests under way, and drains
/// the pool.
///
/// # Errors
///
/// Those of the server.
pub async fn finish(server: dev::Server, pool: Pool<Postgres>) -> std::io::Result<()> {
    server.await?;
    let left = web::block(move || pool.close(DRAIN)).await.map_err(std::io::Error::other)?;
    if left.levels.open > 0 {
        eprintln!("closed with connections in use: {left}");
    }
    Ok(())
}
