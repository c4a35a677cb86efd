//! After the pool's own queries a MySQL or MariaDB session is reset unless it is proven that
//! they have left it as it was.

use crate::variant::{My, Variant, fresh_name};
use mysql::prelude::Queryable;
use poolwarden::{MySql, Pool, Reset};
use support::mariadb;
use support::mariadb::{Database, Product};

/// Statements that change their session, and a query that is true (or, behind a `!`, that
/// fails) in a session without the change. `MINE` is the database, `ROLE` a role of the user.
const CHANGES: &[(&str, &str)] = &[
    ("set autocommit = 0", "select @@autocommit"),
    ("set names latin1", "select @@character_set_client = 'utf8mb4'"),
    ("use information_schema", "select database() = 'MINE'"),
    ("lock tables t read", "select count(*) = 1 from item"),
    ("select get_lock('MINE', 0)", "select is_free_lock('MINE')"),
    ("select get_lock ('MINE', 0) from item", "select is_free_lock('MINE')"),
    ("insert into log select get_lock('MINE', 0)", "select is_free_lock('MINE')"),
    ("set @x = 1", "select @x is null"),
    ("select @x := 1", "select @x is null"),
    ("select 1 into @x", "select @x is null"),
    ("create temporary table item (n int)", "select count(*) = 1 from item"),
    (
        "set session transaction isolation level serializable",
        "select ISOLATION = 'REPEATABLE-READ'",
    ),
    ("set session transaction read only", "update t set n = n + 1"),
    ("set transaction read only", "update t set n = n + 1"),
    ("xa start 'MINE'", "begin"),
    ("prepare s from 'select 1'", "!execute s"),
    ("set sql_mode = ''", "select @@sql_mode <> ''"),
    ("set sql_select_limit = 3", "select @@sql_select_limit > 3"),
    ("handler t open", "!handler t read first"),
    ("set time_zone = '+03:00'", "select @@time_zone = 'SYSTEM'"),
    ("begin", "set transaction isolation level serializable"),
    ("start transaction with consistent snapshot", "set transaction isolation level serializable"),
    ("set role ROLE", "select coalesce(current_role(), 'NONE') = 'NONE'"),
    ("select changes()", "select @x is null and @@time_zone = 'SYSTEM'"),
    ("select take_lock()", "select is_free_lock('MINE')"),
    ("select n from changing", "select @x is null and @@time_zone = 'SYSTEM'"),
    ("select 1 from item where exists (select 1 from changing)", "select @x is null"),
    ("select 1.5from changing where n", "select @x is null"),
    ("select 1 from (item, (changing)) where n", "select @x is null"),
    ("select 1e+5from changing where n", "select @x is null"),
    ("select n from MINE.changing", "select @x is null and @@time_zone = 'SYSTEM'"),
    ("insert into watched values (1)", "select @x is null and @@time_zone = 'SYSTEM'"),
    ("call change_by_name()", "select @x is null"),
    ("set @x = 1; select 1", "select @x is null"),
    ("select 1 /*! , @x := 1 */", "select @x is null"),
    ("select nonsense", "select 1"),
];

/// The same that only MariaDB has.
const CHANGES_OF_MARIADB: &[(&str, &str)] = &[
    ("execute immediate 'use information_schema'", "select database() = 'MINE'"),
    ("execute immediate concat('us', 'e information_schema')", "select database() = 'MINE'"),
    ("begin not atomic set @x = 1; end", "select @x is null"),
    ("set statement max_statement_time = 9 for select @x := 1", "select @x is null"),
    ("select \\Nfrom changing where n", "select @x is null"),
    ("select 1 from { d changing } where n", "select @x is null"),
    ("select 1 from item where 1 in (select n from .changing)", "select @x is null"),
    ("select 1.e5from changing where n", "select @x is null"),
    ("select 1 from { oj changing join item on n }", "select @x is null"),
];

const OBJECTS: &str = "
    create table item (id int primary key, name text); insert into item values (1, 'tea');
    create table t (n int); insert into t values (1);
    create table log (n int); create table watched (n int);
    delimiter //
    create function changes() returns int deterministic
        begin set @x = 1; set time_zone = '+03:00'; return 1; end//
    create function take_lock() returns int deterministic begin do get_lock('MINE', 0); return 1; end//
    create procedure change_by_name() begin set @s = 'set @x = 1'; prepare s from @s; execute s; end//
    create trigger watching before insert on watched for each row set @x = changes()//
    delimiter ;
    create view changing as select changes() as n from item;";

/// A database with objects, and the words of its statements.
struct Objects {
    database: Database<'static>,
    role: String,
}

impl Objects {
    fn create() -> Objects {
        let database = mariadb::shared().fresh_database();
        database.sql(&OBJECTS.replace("MINE", database.name()));
        let role = format!("{}_role", database.name());
        database.sql(&format!("create role {role}; grant {role} to {}@'%';", database.user()));
        database.sql(&format!("grant {role} to {}@localhost;", database.user()));
        Objects { database, role }
    }

    fn words(&self, sql: &str) -> String {
        let is_mariadb = mariadb::product() == Product::MariaDb;
        let isolation = if is_mariadb { "@@tx_isolation" } else { "@@transaction_isolation" };
        let sql = sql.replace("ISOLATION", isolation).replace("ROLE", &self.role);
        sql.replace("MINE", self.database.name())
    }

    fn changes(&self) -> Vec<(String, String)> {
        let of_mariadb = mariadb::product() == Product::MariaDb;
        let more = if of_mariadb { CHANGES_OF_MARIADB } else { &[] };
        let words = |(change, clean): &(&str, &str)| (self.words(change), self.words(clean));
        CHANGES.iter().chain(more).map(words).collect()
    }

    fn pool(&self, reset: Reset) -> Pool<MySql> {
        one(&My::new(self.database.url()), reset)
    }
}

fn one(variant: &My, reset: Reset) -> Pool<MySql> {
    let builder = Pool::builder().max_size(1).reset(reset).name(fresh_name("mysql by need"));
    builder.build(variant.driver()).expect("the server accepts")
}

/// Asserts that this holds in the session of the next borrower.
#[track_caller]
fn assert_clean(pool: &Pool<MySql>, clean: &str, after: &str) {
    let mut connection = pool.get().expect("the connection");
    if let Some(refused) = clean.strip_prefix('!') {
        assert!(connection.query_drop(refused).is_err(), "after {after}");
        return;
    }
    let row: mysql::Result<Option<Option<i64>>> = connection.query_first(clean);
    let row = row.unwrap_or_else(|error| panic!("after {after}: {error}"));
    assert!(row.is_none_or(|value| value == Some(1)), "after {after}: {row:?}");
}

#[test]
fn each_own_statement_that_changes_its_session_costs_a_reset_and_reaches_no_one() {
    if !mariadb::available() {
        return;
    }
    let objects = Objects::create();
    let pool = objects.pool(Reset::Auto);
    for (change, clean) in objects.changes() {
        for is_prepared in [false, true] {
            let before = pool.snapshot().resets;
            // Some cannot be prepared, and one is wrong.
            let outcome = match is_prepared {
                false => pool.query_drop(&change).map(drop),
                true => pool.exec_drop(&change, ()).map(drop),
            };
            let may_fail = is_prepared || change.contains("nonsense") || change.starts_with("xa");
            assert!(outcome.is_ok() || may_fail, "{change}: {outcome:?}");
            assert_eq!(pool.snapshot().resets, before + 1, "{change}, prepared: {is_prepared}");
            assert_clean(&pool, &clean, &change);
        }
    }
    assert_eq!((pool.snapshot().opened, pool.snapshot().closed()), (1, 0), "{}", pool.snapshot());
}

/// Returns how many statements the pool's session was asked to prepare since its last reset.
fn prepared(pool: &Pool<MySql>) -> u64 {
    let sql = "select variable_value from information_schema.session_status \
               where variable_name = 'Com_stmt_prepare'";
    let count: Option<u64> = pool.query_first(sql).expect("a row");
    count.expect("a count")
}

#[test]
fn an_own_statement_that_provably_leaves_its_session_as_it_is_costs_no_reset() {
    if !mariadb::available() {
        return;
    }
    let objects = Objects::create();
    let urls = [objects.database.url(), objects.database.unix_url()];
    for pool in urls.map(|url| one(&My::new(url), Reset::Auto)) {
        let before = pool.snapshot().resets;
        for n in 0..3_i64 {
            let sum: Option<i64> = pool.exec_first("select ? + 22", (n,)).expect("a row");
            assert_eq!(sum, Some(n + 22));
            assert_eq!(pool.query::<i64>("select 20 + 22;").expect("a row"), [42]);
            let sql = "/* route=pay */ select upper(concat(?, 'x')), now()";
            pool.exec_drop(sql, ("a",)).expect("it runs");
        }
        assert_eq!(pool.snapshot().resets, before, "no table is read");
        let is_mariadb = mariadb::product() == Product::MariaDb;
        if is_mariadb {
            // A statement is prepared once as long as no reset closes it. This is followed by one.
            prepared(&pool);
        }
        let now = pool.snapshot().resets;
        for n in 0..5_i64 {
            let sql = "select name, count(*) from item where id = :id group by name";
            let row: Option<(String, i64)> =
                pool.exec_first(sql, vec![("id", mysql::Value::from(n))]).expect("it runs");
            assert_eq!(row, (n == 1).then(|| ("tea".into(), 1)));
        }
        let resets = pool.snapshot().resets - now;
        if is_mariadb {
            assert_eq!(resets, 0, "only a base table is read");
            assert_eq!(prepared(&pool), 1);
        } else {
            assert_eq!(resets, 5, "MySQL does not show whether a table has become a view");
        }
        let now = pool.snapshot();
        assert_eq!((now.opened, now.closed()), (1, 0), "{now}");
    }
}

#[test]
fn a_table_that_becomes_a_view_is_noticed_at_the_next_execution() {
    support::require!(mariadb, mariadb_only);
    let objects = Objects::create();
    let (pool, database) = (objects.pool(Reset::Auto), &objects.database);
    let name = database.name();
    database.sql(
        "create table a (n int); insert into a values (1); create table b like a;
                  insert into b values (1)",
    );
    let read = format!("select `n` from {name} . `a` where exists (select 1 from b)");
    let resets_of = |what: &str| {
        let before = pool.snapshot().resets;
        assert_eq!(pool.exec::<i64, _>(&read, ()).expect("a row"), [1], "{what}");
        assert_clean(&pool, "select @x is null and @@time_zone = 'SYSTEM'", what);
        // That was a raw borrow.
        pool.snapshot().resets - before - 1
    };
    // A raw borrow's reset closes the statement: here it lives on from query to query.
    let run = || {
        let before = pool.snapshot().resets;
        assert_eq!(pool.exec::<i64, _>(&read, ()).expect("a row"), [1]);
        pool.snapshot().resets - before
    };
    assert_eq!((run(), run()), (0, 0));
    for (table, view) in [("a", "select 1 as n, changes() as m"), ("b", "select changes() as n")] {
        database.sql(&format!("rename table {table} to kept; create view {table} as {view}"));
        assert_eq!(resets_of("it became a view"), 1, "{table}");
        assert_eq!(resets_of("it is a view"), 1, "{table}");
        database.sql(&format!("drop view {table}; rename table kept to {table}"));
        // A text that was not proven is not asked about again on this connection.
        pool.retire_all();
        assert_eq!((run(), run()), (0, 0), "{table} is a table again");
    }
}

#[test]
fn a_view_is_noticed_by_a_user_who_may_read_one_column_of_it() {
    support::require!(mariadb, mariadb_only);
    let objects = Objects::create();
    let (database, guest) = (&objects.database, format!("{}_guest", objects.database.name()));
    database.sql(&format!(
        "create user {guest}@'%' identified by 'app'; grant select (n) on changing to {guest}@'%';"
    ));
    let url = database.url().replace(&format!("{}:app", database.user()), &format!("{guest}:app"));
    let pool = one(&My::new(url), Reset::Auto);
    for _ in 0..2 {
        let before = pool.snapshot().resets;
        assert_eq!(pool.exec::<i64, _>("select n from changing", ()).expect("a row"), [1]);
        assert_eq!(pool.snapshot().resets, before + 1);
        assert_clean(&pool, "select @x is null", "a view");
    }
}

#[test]
fn with_autocommit_off_a_statement_that_reads_is_followed_by_a_reset() {
    support::require!(mariadb, mariadb_only);
    let objects = Objects::create();
    let init = |connection: &mut mysql::Conn| Ok(connection.query_drop("set autocommit = 0")?);
    let builder = Pool::builder().max_size(1).init(init).name(fresh_name("mysql by need"));
    let driver = My::new(objects.database.url()).driver();
    let pool = builder.build(driver).expect("the server accepts");
    for n in 0..3 {
        let before = pool.snapshot().resets;
        let names: Vec<String> = pool.exec("select name from item", ()).expect("rows");
        assert_eq!(names, [format!("tea{}", "!".repeat(n))], "of no transaction of before");
        assert_eq!(pool.snapshot().resets, before + 1);
        objects.database.sql("update item set name = concat(name, '!')");
    }
}

#[test]
fn a_role_that_a_borrower_has_chosen_is_undone_and_the_default_role_stays() {
    if !mariadb::available() {
        return;
    }
    let objects = Objects::create();
    let (database, role) = (&objects.database, &objects.role);
    let is_mariadb = mariadb::product() == Product::MariaDb;
    for default in ["NONE", role.as_str()] {
        let (user, to) = (database.user(), if is_mariadb { "for" } else { "to" });
        database.sql(&format!("set default role {default} {to} {user}@'%'"));
        let pool = objects.pool(Reset::Auto);
        let has_default = |when: &str| {
            let now: Option<String> = pool
                .get()
                .expect("a connection")
                .query_first("select coalesce(current_role(), 'NONE')")
                .expect("an answer");
            let now = now.expect("a row");
            assert!(
                now.trim_matches('`').starts_with(default),
                "{when}: {now} instead of {default}"
            );
        };
        has_default("at first");
        for _ in 0..2 {
            for chosen in ["NONE", role.as_str()] {
                let set = format!("set role {chosen}");
                pool.get().expect("a connection").query_drop(&set).expect("it may");
                has_default(&set);
                pool.query_drop(&set).expect("it may");
                has_default(&set);
            }
        }
        let now = pool.snapshot();
        assert_eq!((now.opened, now.closed()), (1, 0), "{now}");
    }
}

#[test]
fn with_reset_full_each_own_statement_is_followed_by_a_reset() {
    if !mariadb::available() {
        return;
    }
    let objects = Objects::create();
    let pool = objects.pool(Reset::Full);
    let before = pool.snapshot().resets;
    assert_eq!(pool.query::<i64>("select 1").expect("a row"), [1]);
    assert_eq!(pool.exec::<i64, _>("select ?", (1,)).expect("a row"), [1]);
    assert_eq!(pool.snapshot().resets, before + 2);
    let pool = objects.pool(Reset::None);
    pool.exec_drop("set @x = 1", ()).expect("it runs");
    assert_eq!(pool.query::<Option<i64>>("select @x").expect("a row"), [Some(1)]);
    assert_eq!(pool.snapshot().resets, 0);
}

#[test]
fn a_statement_whose_table_was_altered_is_proven_once_more() {
    support::require!(mariadb, mariadb_only);
    let objects = Objects::create();
    let pool = objects.pool(Reset::Auto);
    let run = || {
        let before = pool.snapshot().resets;
        assert_eq!(pool.exec::<String, _>("select name from item", ()).expect("rows"), ["tea"]);
        pool.snapshot().resets - before
    };
    assert_eq!((run(), run()), (0, 0));
    objects.database.sql("alter table item add column price int");
    assert_eq!((run(), run(), run()), (1, 0, 0));
    // Two hundred others, of which the driver keeps 32.
    for n in 0..200 {
        let sql = format!("select {n} from item");
        assert_eq!(pool.exec::<i64, _>(&sql, ()).expect("rows"), [n]);
    }
    assert_eq!((run(), run()), (0, 0));
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}
