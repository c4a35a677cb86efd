//! Every fault in every position, on both servers, plain and over TLS.
//!
//! One cell is one fault in one position of one pool's work; it is checked against
//! [`rules`]: the caller's result and its time, the close reasons, that no permit is
//! lost, and that the rows in the database agree with the result.
//! `tests/run.sh matrix` runs all cells; the default run takes a diagonal that has
//! every position and every fault for each server and encryption. Both print the
//! table: the callers' results, and after how many milliseconds.

mod cell;
mod grid;
mod products;
mod rules;
mod trial;

use cell::Cell;
use grid::{Entry, Grid};
use products::{MariaDbProduct, PostgresProduct, Product};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

/// The number of cells that run at a time.
const CONCURRENT_CELLS: usize = 4;

#[test]
fn a_diagonal_of_the_matrix_follows_the_rules() {
    run(Cell::is_on_the_diagonal);
}

#[test]
#[ignore = "takes two minutes: tests/run.sh matrix"]
fn the_whole_matrix_follows_the_rules() {
    run(|_| true);
}

fn run(filter: impl Fn(&Cell) -> bool) {
    let postgres = support::postgres::available().then(PostgresProduct::start);
    let maria = support::mariadb::available().then(MariaDbProduct::start);
    let mut products: Vec<(&dyn Subject, Vec<Cell>)> = Vec::new();
    if let Some(product) = &postgres {
        products.push((product, Cell::all().filter(&filter).collect()));
    }
    if let Some(product) = &maria {
        products.push((product, Cell::all().filter(&filter).collect()));
    }
    let work: Vec<(&dyn Subject, Cell)> = products
        .into_iter()
        .flat_map(|(product, cells)| cells.into_iter().map(move |cell| (product, cell)))
        .collect();
    let (next, grid) = (AtomicUsize::new(0), Mutex::new(Grid::default()));
    thread::scope(|scope| {
        for _ in 0..CONCURRENT_CELLS {
            scope.spawn(|| {
                while let Some((product, cell)) = work.get(next.fetch_add(1, SeqCst)) {
                    let report = product.try_cell(*cell);
                    grid.lock().expect("no thread panics with the lock").enter(
                        product.name(),
                        *cell,
                        report,
                    );
                }
            });
        }
    });
    let grid = grid.into_inner().expect("no thread panics with the lock");
    grid.print();
    assert_eq!(grid.failures(), Vec::<String>::new());
}

/// A product without its type.
trait Subject: Sync {
    fn name(&self) -> &'static str;
    /// Runs one cell; the error says which rule it broke.
    fn try_cell(&self, cell: Cell) -> Result<Entry, String>;
}

impl<P: Product> Subject for P {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn try_cell(&self, cell: Cell) -> Result<Entry, String> {
        let trial = || trial::run_cell(self, cell);
        // A panic fails its cell; the others go on.
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(trial)).unwrap_or_else(|payload| {
            let text = payload.downcast_ref::<String>().cloned();
            Err(text.unwrap_or_else(|| "it panicked".to_owned()))
        })
    }
}
