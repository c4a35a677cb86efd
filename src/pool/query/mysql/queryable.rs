//! The driver's own query methods on guards, so that they fit where a
//! [`Queryable`] is wanted.

use crate::driver::mysql::MySql;
use crate::pool::guard::PooledConnection;
use crate::pool::r2d2::ManagedConnection;
use mysql::prelude::{AsStatement, Queryable};
use mysql::{Binary, Params, QueryResult, Result, Statement, Text};
use std::ops::DerefMut;

macro_rules! delegate {
    ($guard:ty) => {
        /// Delegates to [`mysql::Conn`].
        ///
        /// For the driver's traits on statements (`TextQuery`, `BinQuery`, `BatchQuery`),
        /// which take the connection itself, write `&mut *guard`:
        ///
        /// ```no_run
        /// use mysql::prelude::{Queryable, TextQuery};
        /// use poolwarden::{MySql, Pool};
        ///
        /// fn count(connection: &mut impl Queryable) -> mysql::Result<Option<u64>> {
        ///     connection.query_first("select count(*) from orders")
        /// }
        ///
        /// let pool = Pool::builder().build(MySql::new("mysql://app@db.example.com/app")?)?;
        /// let mut guard = pool.get()?;
        /// let orders = count(&mut guard)?;
        /// "delete from orders".run(&mut *guard)?;
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        impl Queryable for $guard {
            fn query_iter<Q: AsRef<str>>(
                &mut self,
                query: Q,
            ) -> Result<QueryResult<'_, '_, '_, Text>> {
                self.deref_mut().query_iter(query)
            }

            fn prep<Q: AsRef<str>>(&mut self, query: Q) -> Result<Statement> {
                self.deref_mut().prep(query)
            }

            fn close(&mut self, statement: Statement) -> Result<()> {
                self.deref_mut().close(statement)
            }

            fn exec_iter<S, P>(
                &mut self,
                statement: S,
                params: P,
            ) -> Result<QueryResult<'_, '_, '_, Binary>>
            where
                S: AsStatement,
                P: Into<Params>,
            {
                self.deref_mut().exec_iter(statement, params)
            }

            fn exec_batch<S, P, I>(&mut self, statement: S, params: I) -> Result<()>
            where
                Self: Sized,
                S: AsStatement,
                P: Into<Params>,
                I: IntoIterator<Item = P>,
            {
                self.deref_mut().exec_batch(statement, params)
            }
        }
    };
}

delegate!(PooledConnection<MySql>);
delegate!(ManagedConnection<MySql>);
