//! The terminal: its alternate screen, in raw mode, for as long as the value lives.

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::style::Print;
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{cursor, execute, queue};
use std::io::{self, Stdout, Write};
use std::time::Duration;

/// The keys, as the picture shows them.
pub(super) const KEYS: &str =
    "t ends the server's sessions   e takes all connections   h holds one too long   q quits";

/// What a key asks for.
pub(super) enum Key {
    Terminate,
    Exhaust,
    Hold,
    Quit,
}

/// The terminal, which is as it was before when this is dropped.
pub(super) struct Screen(Stdout);

impl Screen {
    pub(super) fn open() -> io::Result<Screen> {
        terminal::enable_raw_mode()?;
        let mut screen = Screen(io::stdout());
        execute!(screen.0, EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    /// Draws the lines, as far as they fit.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let (width, height) = terminal::size()?;
        let mut row = 0;
        for line in lines.iter().take(usize::from(height)) {
            let shown: String = line.chars().take(usize::from(width)).collect();
            queue!(self.0, cursor::MoveTo(0, row), Print(shown), Clear(ClearType::UntilNewLine))?;
            row += 1;
        }
        if row < height {
            queue!(self.0, cursor::MoveTo(0, row), Clear(ClearType::FromCursorDown))?;
        }
        self.0.flush()
    }

    /// Waits for a key for so long.
    pub(super) fn key(&self, time: Duration) -> io::Result<Option<Key>> {
        if !event::poll(time)? {
            return Ok(None);
        }
        let Event::Key(key) = event::read()? else { return Ok(None) };
        if key.kind != KeyEventKind::Press {
            return Ok(None);
        }
        Ok(match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
            KeyCode::Char('t') => Some(Key::Terminate),
            KeyCode::Char('e') => Some(Key::Exhaust),
            KeyCode::Char('h') => Some(Key::Hold),
            KeyCode::Char('q') | KeyCode::Esc => Some(Key::Quit),
            _ => None,
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(self.0, LeaveAlternateScreen, cursor::Show);
        let _ = terminal::disable_raw_mode();
    }
}
