//! The limit on the bytes that one of the pool's own SQLite queries returns.

use poolwarden::{ErrorKind, Pool, Sqlite};

#[test]
fn an_sqlite_query_is_stopped_at_the_byte_limit_before_its_value_is_mapped() {
    let builder = Pool::builder().max_size(1).byte_limit(1_000);
    let pool = builder.build(Sqlite::memory()).expect("the options agree");
    let mut mapped = 0;
    let mut lengths = |sql: &str| {
        pool.query(sql, [], |row| {
            mapped += 1;
            row.get::<_, Vec<u8>>(0)
        })
    };
    assert_eq!(lengths("select zeroblob(1000)").expect("it fits").len(), 1);
    let error = lengths("select zeroblob(1001)").expect_err("it is too long");
    assert_eq!(error.kind(), ErrorKind::ByteLimit, "{error}");
    let three = "values (zeroblob(400)), (zeroblob(400)), (zeroblob(400))";
    assert_eq!(lengths(three).expect_err("together").kind(), ErrorKind::ByteLimit);
    assert_eq!(mapped, 1 + 2);
    assert_eq!((pool.snapshot().opened, pool.snapshot().closed()), (1, 0));
}
