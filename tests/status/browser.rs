//! The status page in a browser: live, and safe from hostile names. Slow; needs Chromium.
//!
//! `tests/run.sh browser`

use crate::text::HOSTILE;
use nix::sys::stat::Mode;
use poolwarden::observe::status;
use poolwarden::{Pool, Postgres};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A headless Chromium with one tab, controlled over its pipe.
struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    session: Option<String>,
    last: u64,
    _folder: TempDir,
}

impl Browser {
    fn open(url: &str) -> Browser {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["in", "out"] {
            nix::unistd::mkfifo(&folder.path().join(name), Mode::S_IRWXU).expect("a pipe");
        }
        let script = "exec chromium --headless=new --no-sandbox --disable-gpu \
                      --disable-dev-shm-usage --user-data-dir=\"$1/data\" \
                      --remote-debugging-pipe about:blank 3<\"$1/in\" 4>\"$1/out\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(folder.path());
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = shell.spawn().expect("a shell");
        // The shell opens them in this order, and waits at each for the other end.
        let to = OpenOptions::new().write(true).open(folder.path().join("in")).expect("a pipe");
        let from = File::open(folder.path().join("out")).expect("a pipe");
        let from = BufReader::new(from);
        let mut browser = Browser { child, to, from, session: None, last: 0, _folder: folder };
        let tab = browser.call("Target.createTarget", &json!({ "url": url }));
        let attach = json!({ "targetId": tab["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        write!(self.to, "{message}\0").expect("the browser reads");
        loop {
            let mut answer = Vec::new();
            let length = self.from.read_until(0, &mut answer).expect("the browser writes");
            assert!(length > 0, "the browser has ended");
            answer.pop();
            let answer: Value = serde_json::from_slice(&answer).expect("valid JSON");
            if answer["id"] == self.last {
                return answer["result"].clone();
            }
        }
    }

    fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        self.call("Runtime.evaluate", &params)["result"]["value"].clone()
    }

    /// Returns how long it takes until the page shows this text in the section of a pool.
    #[track_caller]
    fn shows(&mut self, pool: &str, text: &str) -> Duration {
        let began = Instant::now();
        let find = format!(
            "[...document.querySelectorAll('section')].filter(s => \
             s.querySelector('h2').textContent === {}).map(s => s.innerText).join('')",
            json!(pool)
        );
        loop {
            let shown = self.evaluate(&find);
            if shown.as_str().is_some_and(|shown| shown.contains(text)) {
                return began.elapsed();
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{text:?} is not shown: {shown}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        let _ = write!(self.to, "{}\0", json!({ "id": 0, "method": "Browser.close" }));
        if thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Serves the page to whoever asks; returns its address.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}/", listener.local_addr().expect("an address"));
    thread::spawn(move || listener.incoming().flatten().for_each(answer));
    address
}

fn answer(mut client: TcpStream) {
    let mut request = [0; 4096];
    let _ = client.read(&mut request);
    let page = status::html();
    let kind = status::CONTENT_TYPE_HTML;
    let _ = write!(
        client,
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{page}",
        page.len()
    );
}

/// The promise. On a loaded computer one of three counts.
const SOON: Duration = Duration::from_secs(2);

#[track_caller]
fn soon(what: &str, mut measure: impl FnMut() -> Duration) {
    let times: Vec<_> = (0..3).map(|_| measure()).collect();
    println!("{what} is visible after {times:?}");
    assert!(times.iter().any(|time| *time <= SOON), "{what}: {times:?}");
}

#[test]
#[ignore = "slow: needs Chromium; tests/run.sh browser"]
fn a_kill_a_freeze_and_an_exhaustion_are_visible_within_two_seconds() {
    support::require!(postgres);
    let server = support::postgres::Server::start();
    let database = server.fresh_database();
    let open = |name: &str| {
        let driver = Postgres::new(&database.url()).expect("a driver");
        Pool::builder().name(name).max_size(2).build(driver).expect("a server")
    };
    let (killed, full, frozen) = (open("killed"), open("full"), open("frozen"));
    let mut browser = Browser::open(&serve());
    browser.shows("full", "serving");
    let mut kills = 0;
    soon("a kill", || {
        drop(killed.get().expect("a connection"));
        kills += 1;
        let pid = "select pg_terminate_backend(pg_backend_pid())";
        let mut victim = killed.get().expect("a connection");
        let _ = victim.batch_execute(pid);
        drop(victim);
        let count = format!("UTC\t{kills}\t");
        browser.shows("killed", "the server ended the session");
        browser.shows("killed", &count)
    });
    soon("an exhaustion", || {
        browser.shows("full", "serving");
        let held = [(); 2].map(|()| full.get().expect("a connection"));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| full.get().map(drop));
            let time = browser.shows("full", "saturated: 1 caller waits");
            drop(held);
            waiting.join().expect("no panic").expect("a connection");
            time
        })
    });
    soon("a freeze", || {
        browser.shows("frozen", "serving");
        let mut held = [(); 2].map(|()| frozen.get().expect("a connection"));
        server.freeze();
        thread::scope(|scope| {
            for conn in &mut held {
                scope.spawn(|| conn.batch_execute("select 1"));
            }
            let waiting = scope.spawn(|| frozen.get_timeout(Duration::from_secs(5)).is_err());
            let time = browser.shows("frozen", "saturated: 1 caller waits");
            server.thaw();
            // The connections are held until the scope ends.
            assert!(waiting.join().expect("no panic"));
            time
        })
    });
}

#[test]
#[ignore = "slow: needs Chromium; tests/run.sh browser"]
fn hostile_names_stay_text_also_after_the_page_has_refreshed_itself() {
    let pool = crate::text::sqlite(HOSTILE);
    let mut browser = Browser::open(&serve());
    browser.shows(HOSTILE, "serving");
    let held = pool.get().expect("a connection");
    browser.shows(HOSTILE, "in use for");
    drop(held);
    assert_eq!(browser.evaluate("document.images.length"), 0);
    assert_eq!(browser.evaluate("document.title"), "poolwarden");
    assert_eq!(browser.evaluate("document.getElementById('live').textContent"), "live");
}

#[test]
#[ignore = "slow: needs Chromium; tests/run.sh browser"]
fn the_page_is_dark_where_the_reader_wants_it() {
    let _pool = crate::text::sqlite("colours");
    let mut browser = Browser::open(&serve());
    browser.shows("colours", "serving");
    let colour = "getComputedStyle(document.body).backgroundColor";
    let mut of = |scheme: &str| {
        let feature = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        browser.call("Emulation.setEmulatedMedia", &json!({ "features": feature }));
        browser.evaluate(colour)
    };
    assert_eq!((of("light"), of("dark")), ("rgb(255, 255, 255)".into(), "rgb(15, 19, 24)".into()));
}

/// Returns a picture of the page, as base64.
fn picture(browser: &mut Browser) -> String {
    let size = json!({ "width": 900, "height": 760, "deviceScaleFactor": 1, "mobile": false });
    browser.call("Emulation.setDeviceMetricsOverride", &size);
    let format = json!({ "format": "png", "optimizeForSpeed": false });
    let answer = browser.call("Page.captureScreenshot", &format);
    answer["data"].as_str().expect("a picture").to_owned()
}

#[test]
#[ignore = "writes the picture of the guide, as base64, into the file that PICTURE names"]
fn the_picture_of_the_guide() {
    support::require!(postgres);
    let Ok(path) = std::env::var("PICTURE") else { return };
    let database = support::postgres::shared().fresh_database();
    let open = |name: &str, size| {
        let driver = Postgres::new(&database.url()).expect("a driver");
        Pool::builder().name(name).max_size(size).build(driver).expect("a server")
    };
    let (orders, reports) = (open("orders", 3), open("reports", 2));
    let mut victim = reports.get().expect("a connection");
    let _ = victim.batch_execute("select pg_terminate_backend(pg_backend_pid())");
    drop(victim);
    drop(reports.get().expect("a connection"));
    let mut browser = Browser::open(&serve());
    thread::scope(|scope| {
        for name in ["worker-1", "worker-2", "nightly-report"] {
            let hold = || {
                let _held = orders.get().expect("a connection");
                thread::sleep(Duration::from_secs(6));
            };
            let named = thread::Builder::new().name(name.into());
            named.spawn_scoped(scope, hold).expect("a thread");
        }
        browser.shows("orders", "nightly-report");
        let waiting = scope.spawn(|| orders.get().map(drop));
        browser.shows("orders", "saturated: 1 caller waits");
        std::fs::write(&path, picture(&mut browser)).expect("the file can be written");
        waiting.join().expect("no panic").expect("a connection");
    });
}
