use tokio_postgres::types::Type;

/// One statement of ours: a `const` beside the function that runs it.
#[derive(Debug)]
pub struct Statement {
    /// Unique in the crate; what a link knows the statement by.
    pub name: &'static str,
    pub sql: &'static str,
    /// Of `$1`, `$2` and so on. Stated, so that a statement needs no round trip to learn them.
    pub types: &'static [Type],
}

/// The store's "now" in milliseconds within a statement: the database's clock, unless the parameter, a `bigint` that
/// [`StoreTime::param`](crate::time::StoreTime::param) gives, says otherwise. The sub-select makes it one moment for the
/// whole statement and lets an index be used with it.
macro_rules! now {
    ($param:literal) => {
        concat!(
            "(SELECT coalesce(",
            $param,
            "::bigint, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint))"
        )
    };
}

pub(crate) use now;
