//! Rows that are locked in place of something that no single row stands for.

use tokio_postgres::types::Type;

use crate::errors::Result;
use crate::link::Link;
use crate::statement::Statement;

#[derive(Debug, Clone, Copy)]
pub enum Turn {
    /// Which clients are administrators, so that the last one is never lost to two changes at once.
    Administrators,
    /// The keys as a whole.
    Keys,
}

impl Turn {
    const fn name(self) -> &'static str {
        match self {
            Self::Administrators => "administrators",
            Self::Keys => "keys",
        }
    }
}

pub const TURN_TAKE: Statement = Statement {
    name: "turn_take",
    sql: "SELECT FROM turns WHERE name = $1 FOR NO KEY UPDATE",
    types: &[Type::TEXT],
};

/// Until the transaction ends. What is read by the statements after this one is as the last one left it.
pub async fn turn_take(link: &Link, turn: Turn) -> Result<()> {
    link.query_one(&TURN_TAKE, &[&turn.name()]).await.map(drop)
}
