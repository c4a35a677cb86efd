//! Watches one pool until its user or the time ends it.

use super::activity::{Activity, Closes};
use super::load::Load;
use super::picture::Picture;
use super::plain;
use super::screen::{KEYS, Key, Screen};
use super::server::Server;
use poolwarden::config::System;
use poolwarden::{Error, MySql, Pool, Postgres, Settings};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the screen is drawn.
const SCREEN_EVERY: Duration = Duration::from_millis(250);

/// How often a line is written.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// After this time a connection counts as held for too long.
const HELD_WARNING: Duration = Duration::from_secs(2);

/// How long a client waits for a connection.
const CHECKOUT_TIMEOUT: Duration = Duration::from_secs(2);

/// Shows a pool of this size at work on the server.
///
/// # Errors
///
/// What failed: the URL, the first connection, or the output.
pub fn run(url: &str, size: u32, time: Option<Duration>) -> Result<(), String> {
    let settings = Settings::parse(url).map_err(text)?;
    match settings.system() {
        Some(System::MySql) => watch::<MySql>(settings, size, time),
        _ => watch::<Postgres>(settings, size, time),
    }
}

fn watch<D: Server>(settings: Settings, size: u32, time: Option<Duration>) -> Result<(), String> {
    let activity = Arc::new(Activity::new());
    let driver = || D::from_settings(&settings).map_err(text);
    let builder = Pool::builder().max_size(size).checkout_timeout(CHECKOUT_TIMEOUT);
    let builder = builder.held_warning(HELD_WARNING).observer(Closes(Arc::clone(&activity)));
    let pool = builder.build(driver()?).map_err(text)?;
    let control = Pool::builder().max_size(1).build_lazy(driver()?).map_err(text)?;
    let load = Load::start(&pool, control, &activity);
    let end = time.map(|time| Instant::now() + time);
    let shown = match io::stdout().is_terminal() {
        true => on_screen(&pool, &activity, &load, end),
        false => as_lines(&pool, &activity, end),
    };
    drop(load);
    match shown {
        // Its reader, such as `head`, wants no more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        shown => shown.map_err(|error| format!("The output failed: {error}.")),
    }
}

fn on_screen<D: Server>(
    pool: &Pool<D>,
    activity: &Activity,
    load: &Load<D>,
    end: Option<Instant>,
) -> io::Result<()> {
    let mut screen = Screen::open()?;
    while !is_over(end) {
        screen.draw(&Picture::of(pool, activity).lines(KEYS))?;
        match screen.key(SCREEN_EVERY)? {
            Some(Key::Terminate) => load.terminate_sessions(),
            Some(Key::Exhaust) => load.exhaust(),
            Some(Key::Hold) => load.hold_too_long(),
            Some(Key::Quit) => break,
            None => {}
        }
    }
    Ok(())
}

fn as_lines<D: Server>(
    pool: &Pool<D>,
    activity: &Activity,
    end: Option<Instant>,
) -> io::Result<()> {
    while !is_over(end) {
        std::thread::sleep(LINE_EVERY);
        let events = activity.new_events();
        plain::write(&mut io::stdout().lock(), &Picture::of(pool, activity), &events)?;
    }
    Ok(())
}

fn is_over(end: Option<Instant>) -> bool {
    end.is_some_and(|end| Instant::now() >= end)
}

fn text(error: Error) -> String {
    error.to_string()
}
