//! How many instructions a check-out and its check-in take, counted by valgrind.
//!
//! `cargo bench --features postgres --bench instructions` prints one line for each way to
//! validate. It runs itself under callgrind twice, with two numbers of cycles: the difference
//! leaves the start of the program out. Needs valgrind.

#[cfg(feature = "postgres")]
mod counted {
    use poolwarden::{Pool, Postgres, Validation};
    use std::process::Command;

    const WAYS: [(&str, Validation); 3] =
        [("off", Validation::Off), ("watch", Validation::Watch), ("peek", Validation::Peek)];

    const CYCLES: [u32; 2] = [20_000, 40_000];

    /// Holds what a run under valgrind is to do: the URL of the server, the name of the way to
    /// validate and the number of cycles.
    const TASK: &str = "POOLWARDEN_COUNTED_TASK";

    pub(super) fn run() {
        if let Ok(task) = std::env::var(TASK) {
            return work(&task);
        }
        println!("# name instructions");
        let server = support::postgres::Server::start();
        let url = server.url("postgres", "postgres");
        for (name, _) in WAYS {
            let [few, many] = CYCLES.map(|cycles| count(&format!("{url} {name} {cycles}")));
            println!("{name:<10} {:>6}", (many - few) / u64::from(CYCLES[1] - CYCLES[0]));
        }
    }

    fn work(task: &str) {
        let mut words = task.split(' ');
        let mut next = || words.next().expect("a word of the task");
        let (url, name, cycles) = (next(), next(), next().parse::<u32>().expect("a number"));
        let (_, validation) = WAYS.iter().find(|way| way.0 == name).expect("a way to validate");
        let builder = Pool::builder().max_size(10).validation(*validation);
        let pool = builder.build(Postgres::new(url).expect("a driver")).expect("a pool");
        (0..cycles).for_each(|_| drop(pool.get().expect("a connection")));
    }

    /// Returns how many instructions the whole of a run takes.
    fn count(task: &str) -> u64 {
        let this = std::env::current_exe().expect("the path of this program");
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(this);
        let output = command.env(TASK, task).output().expect("valgrind is installed");
        let text = String::from_utf8_lossy(&output.stderr);
        let total = text.lines().find_map(|line| line.split_once("Collected : ")?.1.parse().ok());
        total.unwrap_or_else(|| panic!("valgrind counts no instructions: {text}"))
    }
}

fn main() {
    #[cfg(feature = "postgres")]
    counted::run();
}
