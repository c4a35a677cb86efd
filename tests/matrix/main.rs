//! Every fault in every position, on both servers, plain and over TLS.
//!
//! One cell is one fault that strikes one position of one pool's work; it is checked
//! against [`rules`]: what the caller is told and how soon, why the pool closed what
//! it closed, that no place is lost, and that the table holds what the caller was
//! told. `tests/run.sh matrix` runs all cells; the plain run takes a diagonal that
//! has every position and every fault for each server and security. Both print the
//! table: what the callers saw, and after how many milliseconds.

mod cell;
mod grid;
mod products;
mod rules;
mod stage;

use cell::Cell;
use grid::{Grid, Shown};
use products::{Maria, Postgre, Product};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

/// Cells under way at a time.
const AT_A_TIME: usize = 4;

#[test]
fn a_diagonal_of_the_matrix_is_as_the_rules_say() {
    run(Cell::is_on_the_diagonal);
}

#[test]
#[ignore = "takes two minutes: tests/run.sh matrix"]
fn the_whole_matrix_is_as_the_rules_say() {
    run(|_| true);
}

fn run(wanted: impl Fn(&Cell) -> bool) {
    let postgres = support::postgres::available().then(Postgre::start);
    let maria = support::mariadb::available().then(Maria::start);
    let mut products: Vec<(&dyn Subject, Vec<Cell>)> = Vec::new();
    if let Some(product) = &postgres {
        products.push((product, Cell::all().filter(&wanted).collect()));
    }
    if let Some(product) = &maria {
        products.push((product, Cell::all().filter(&wanted).collect()));
    }
    let work: Vec<(&dyn Subject, Cell)> = products
        .into_iter()
        .flat_map(|(product, cells)| cells.into_iter().map(move |cell| (product, cell)))
        .collect();
    let (next, grid) = (AtomicUsize::new(0), Mutex::new(Grid::default()));
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((product, cell)) = work.get(next.fetch_add(1, SeqCst)) {
                    let report = product.try_cell(*cell);
                    grid.lock().expect("no panic under it").enter(product.name(), *cell, report);
                }
            });
        }
    });
    let grid = grid.into_inner().expect("no panic under it");
    grid.print();
    assert_eq!(grid.failures(), Vec::<String>::new());
}

/// A product whose kind does not show.
trait Subject: Sync {
    fn name(&self) -> &'static str;
    /// Tries one cell; the error says what was not as the rules say.
    fn try_cell(&self, cell: Cell) -> Result<Shown, String>;
}

impl<P: Product> Subject for P {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn try_cell(&self, cell: Cell) -> Result<Shown, String> {
        let trial = || stage::perform(self, cell);
        // What panics is a cell that failed; the others go on.
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(trial)).unwrap_or_else(|payload| {
            let text = payload.downcast_ref::<String>().cloned();
            Err(text.unwrap_or_else(|| "it panicked".to_owned()))
        })
    }
}
